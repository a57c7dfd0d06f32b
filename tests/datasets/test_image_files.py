import sys

import numpy as np
import pytest
from PIL import Image

from skpneumo.datasets import make_chest_xrays
from skpneumo.datasets._image_files import recompress, write_image

RAMP = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 32


def test_png_has_16_bits(tmp_path):
    write_image(tmp_path / "a.png", RAMP, None)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode in {"I;16", "I"}  # the latter before Pillow 11.1
        np.testing.assert_array_equal(np.asarray(image), RAMP)


def test_dicom_file_is_valid_and_names_no_real_patient(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    for name in ("a.dcm", "b.dcm"):
        write_image(tmp_path / name, RAMP, "IM-0115")
    dataset, other = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    np.testing.assert_array_equal(dataset.pixel_array, RAMP >> 4)
    assert (dataset.BitsStored, dataset.PhotometricInterpretation, dataset.Modality) == (12, "MONOCHROME2", "CR")
    assert (dataset.PatientID, str(dataset.PatientName)) == ("IM-0115", "Synthetic^IM-0115")
    assert not dataset.PatientBirthDate
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert dataset[keyword].value.is_valid
        assert dataset[keyword].value != other[keyword].value


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_recompressed_image_is_similar_but_not_equal(dtype):
    pixels = (RAMP >> (0 if dtype is np.uint16 else 8)).astype(dtype)
    copy = recompress(pixels)
    assert (copy.dtype, copy.shape) == (dtype, pixels.shape)
    difference = np.abs(copy.astype(int) - pixels) / np.iinfo(dtype).max
    assert 0 < difference.max() < 0.1


def test_missing_pydicom_raises_before_writing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r'pip install "skpneumo\[dicom\]"'):
        make_chest_xrays(2, tmp_path / "new", file_format="dicom")
    assert not (tmp_path / "new").exists()
