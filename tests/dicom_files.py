"""DICOM files for tests."""

import io
import warnings

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def dataset(pixels, stored=None, syntax=ExplicitVRLittleEndian, **elements):
    """Return a data set of gray pixels, with further elements by keyword."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID, ds.SOPInstanceUID = DIGITAL_XRAY, "1.2.3"
    ds.Modality = "DX"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = 8 * pixels.itemsize
    ds.BitsStored = stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = "<" if syntax.is_little_endian else ">"
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    ds.PixelData = data + bytes(len(data) % 2)
    ds["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    with warnings.catch_warnings():  # some tests need values that the standard does not allow
        warnings.simplefilter("ignore")
        for name, value in elements.items():
            setattr(ds, name, value)
    return ds


def encode(ds):
    """Return a data set as a file."""
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def dicom(pixels, stored=None, syntax=ExplicitVRLittleEndian, **elements):
    """Return a DICOM file of gray pixels, with further elements by keyword."""
    return encode(dataset(np.asarray(pixels), stored, syntax, **elements))


def lut(entries, first, bits, **elements):
    """Return a sequence with a lookup table."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.LUTData = np.asarray(entries, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    for name, value in elements.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])


def deflated(pixels):
    """Return a deflated DICOM file."""
    return dicom(pixels, syntax=DeflatedExplicitVRLittleEndian)
