"""Patients and studies of images, from DICOM headers or file names, without the identifiers themselves."""

import hashlib
import secrets
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from skpneumo._images.dicom_header import PREAMBLE_SIZE, PREFIX, is_dicom, read_header
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import ImageBytes, Source, is_url, name_of
from skpneumo._utils.files import open_file
from skpneumo._utils.messages import shortened

_PATIENT, _ISSUER, _STUDY = 0x00100020, 0x00100021, 0x0020000D
_HEADER_BYTES = 2**20  # the identifiers are near the beginning of a file
_DIGEST_SIZE = 12  # bytes
_PREFIX = "dicom-"

_SALT = secrets.token_bytes(32)  # new in each process, so that its digests identify nobody later


class Identifiers(NamedTuple):
    """Digests of the patient and of the study of an image; None if its header lacks them."""

    patient: str | None
    study: str | None


def identifiers(image: Source, salt: str | bytes | None = None) -> Identifiers | None:
    """Read patient and study from the header of a DICOM file; return None if the image is none or is damaged.

    The patient is that of PatientID and its issuer, or the study if there is no PatientID, so that at least the images
    of a study stay together. Salt makes digests useless for comparisons with other lists of patients. The same salt
    gives the same digests; by default it differs between processes. URLs are not opened.
    """
    if not isinstance(salt, (str, bytes, type(None))):
        raise TypeError(f"salt must be str, bytes or None; got {shortened(repr(salt))}.")
    key = _SALT if salt is None else hashlib.blake2b(salt if isinstance(salt, bytes) else salt.encode()).digest()
    try:
        data = _beginning(image)
        if not is_dicom(data):
            return None
        header = read_header(data, _STUDY, is_whole=False)
    except (OSError, ValueError):  # reported when the image is decoded
        return None
    study = _digest(header.text(_STUDY), key) if header.text(_STUDY) else None
    patient = "\\".join(header.texts(_PATIENT))
    if not patient:
        return Identifiers(study, study)
    return Identifiers(_digest(f"{patient}\\{header.text(_ISSUER)}", key), study)


def patient_of(image: Source, salt: str | bytes | None = None) -> str | None:
    """Return the patient in the file name of an image, or else a digest of that in its DICOM header, or None."""
    if key := patient_key(name_of(image) or ""):
        return key
    found = identifiers(image, salt)
    return found and found.patient


def reproducible(patients: Iterable[str]) -> np.ndarray:
    """Replace digests by numbers in order of appearance, since algorithms may depend on the order of the names."""
    numbers: dict[str, int] = {}
    named = (
        f"{_PREFIX}{numbers.setdefault(each, len(numbers)):09}" if each.startswith(_PREFIX) else each
        for each in patients
    )
    return np.array(list(named), dtype=object)


def _beginning(image: Source) -> bytes:
    if isinstance(image, ImageBytes):
        return image.data
    if not isinstance(image, str) or is_url(image):
        return b""
    with open_file(image) as file:
        start = file.read(PREAMBLE_SIZE + len(PREFIX)) or b""
        return start + file.read(_HEADER_BYTES) if is_dicom(start) else b""


def _digest(text: str, key: bytes) -> str:
    return _PREFIX + hashlib.blake2b(text.encode(), key=key, digest_size=_DIGEST_SIZE).hexdigest()
