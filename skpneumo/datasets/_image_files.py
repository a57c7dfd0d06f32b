"""Files of synthetic radiographs: gray JPEG, PNG of 16 bits, or DICOM."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUFFIXES = {"jpeg": ".jpeg", "png16": ".png", "dicom": ".dcm"}
_BITS_STORED = 12  # of the 16 that a pixel of a DICOM file takes, as in most detectors
_UID_ROOT = "2.25."  # of identifiers that are random or computed, without a registered organization


def import_pydicom() -> Any:
    """Import pydicom, or raise an ImportError that says how to install it."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError(
            "file_format='dicom' needs pydicom. Install it with 'pip install \"skpneumo[dicom]\"', or use another "
            "file_format."
        ) from error
    return pydicom


def write_image(path: Path, pixels: NDArray[Any], patient: str | None) -> None:
    """Write pixels in the format of the suffix; only DICOM files contain the patient."""
    if path.suffix == SUFFIXES["dicom"]:
        _write_dicom(path, pixels >> (16 - _BITS_STORED), patient)
    else:
        Image.fromarray(pixels).save(path, quality=90)


def recompress(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels after storage as an 8-bit JPEG of low quality."""
    scale = np.iinfo(pixels.dtype).max // 255
    buffer = io.BytesIO()
    Image.fromarray((pixels // scale).astype(np.uint8)).save(buffer, "JPEG", quality=50)
    with Image.open(buffer) as image:
        return np.asarray(image).astype(pixels.dtype) * pixels.dtype.type(scale)


def _write_dicom(path: Path, pixels: NDArray[Any], patient: str | None) -> None:
    """Write a computed radiograph with the attributes that the standard requires."""
    pydicom = import_pydicom()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = _uid(path.name, pixels.tobytes())
    dataset.StudyInstanceUID = _uid("study", path.name, pixels.tobytes())
    dataset.SeriesInstanceUID = _uid("series", path.name, pixels.tobytes())
    dataset.PatientID = patient
    dataset.PatientName = f"Synthetic^{patient}"
    dataset.Modality = "CR"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"
    dataset.ImageComments = "Synthetic drawing, no patient"
    for required in (
        *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
        *("ReferringPhysicianName", "SeriesNumber", "InstanceNumber", "Manufacturer", "PatientOrientation"),
    ):
        setattr(dataset, required, None)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS_STORED, _BITS_STORED - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (_BITS_STORED - 1), 2**_BITS_STORED
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)


def _uid(*parts: str | bytes) -> str:
    """Compute an identifier from its parts, so that equal data sets have equal files."""
    joined = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return _UID_ROOT + str(int.from_bytes(hashlib.sha256(joined).digest()[:16], "big"))
