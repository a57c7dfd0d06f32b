"""Integrity of model files: a digest over the bytes, which is checked before anything is unpickled."""

import hashlib
import json

from skpneumo import _model_state
from skpneumo._version import __version__
from skpneumo.exceptions import ModelFileError

# Increase it with each change that earlier versions cannot read. The end of the trailer, from the digest on, stays.
FORMAT = 1

_NAME = b"skpneumo model file"
_END = b"\n" + _NAME + b"\n"
_N_DIGITS = 64
_DAMAGED = "the file is damaged or truncated. Copy it again from its source, or fit the model again."

# Both ends of a pickle are marked, so that no damage to one end makes it look like a file without a trailer. These
# opcodes push a text and discard it: every unpickler ignores them.
START_OF_PICKLE = b"\x80\x04\x8c" + bytes([len(_NAME)]) + _NAME + b"0"


def trailer(body: bytes) -> bytes:
    """Return the lines to append to `body`: format and versions, digest, and a mark. Their length is constant."""
    info = json.dumps({"format": FORMAT, "versions": _model_state.versions()})
    first = f"\n{info}\n".encode()
    return first + _digest(body, first) + _END


def check_trailer(data: bytes, *, is_expected: bool) -> dict[str, str] | None:
    """Check the digest of a model file.

    Parameters
    ----------
    data : bytes
        Content of the file.
    is_expected : bool
        Whether the content has a mark of `save_model` outside the trailer.

    Returns
    -------
    versions : dict or None
        Versions of the packages with which the file was written. None if it has no trailer.

    Raises
    ------
    ModelFileError
        If the content does not match the digest, if an expected trailer is missing or damaged, or if the file was
        written by a later version.
    """
    if not data.endswith(_END):
        if is_expected:
            raise ModelFileError(_DAMAGED)
        return None
    end = len(data) - len(_END) - _N_DIGITS
    if end < 0 or _digest(memoryview(data)[:end]) != data[end : end + _N_DIGITS]:
        raise ModelFileError(_DAMAGED)
    info = json.loads(data[data.rindex(b"\n", 0, end - 1) : end])
    versions = info["versions"]
    if info["format"] > FORMAT:
        raise ModelFileError(
            f"the file was written by skpneumo {versions['skpneumo']} in format {info['format']}, but skpneumo "
            f"{__version__} reads formats up to {FORMAT}: install skpneumo {versions['skpneumo']} or later."
        )
    return versions


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=_N_DIGITS // 2)
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()
