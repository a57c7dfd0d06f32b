"""Saved state of a model, with a format number, versions and a checksum."""

import functools
import hashlib
import platform
import struct
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from skpneumo._images import decoding as _images
from skpneumo._keras import backend_name
from skpneumo._version import __version__
from skpneumo.exceptions import ModelFileError

State = dict[str, Any]

# Increase it with each change that earlier versions cannot read, or would read incorrectly.
FORMAT = 1

_HEADER = "_file"
_CHECKSUM = "checksum"
_PAIRS = "_pairs"

_FIT_STATE = {"_before", "_callback_fit_ctx", "_parent_callback_ctx", "_skl_callbacks", "_skl_callbacks_to_teardown"}

_BACKEND_PACKAGES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-intel"),
    "jax": ("jax",),
    "torch": ("torch",),
}

_DAMAGED = (
    "the model is damaged: its content differs from what was saved. Copy the file again from its source, or fit the "
    "model again."
)
_NO_FORMAT = (
    "the model has no format number, which skpneumo saves with every model: the file is damaged, modified or from "
    "another program. Copy it again from its source, or fit the model again."
)


def versions() -> dict[str, str]:
    """Return the versions of the packages in use, without importing them.

    The backend of Keras is included even if it is not loaded, so that a fit on cached features gives the same model.
    """
    backend = backend_name()
    own = {
        "skpneumo": __version__,
        "scikit-learn": sklearn.__version__,
        "keras": _installed("keras"),
        backend: _installed(*_BACKEND_PACKAGES.get(backend, (backend,))),
        "numpy": np.__version__,
        "pillow": _installed("pillow"),
        "python": platform.python_version(),
        "preprocessing": str(_images.VERSION),
    }
    return {name: version for name, version in own.items() if version}


def check_preprocessing(known: Mapping[str, str]) -> None:
    """Check that the model was fitted with the current version of the image preprocessing.

    Raises
    ------
    ValueError
        If the versions differ.
    """
    then, now = known.get("preprocessing"), str(_images.VERSION)
    if then != now:
        raise ValueError(
            f"This model was fitted with version {then} of the image preprocessing (skpneumo {known.get('skpneumo')}), "
            f"but skpneumo {__version__} has version {now}. To predict on images, install skpneumo "
            f"{known.get('skpneumo')} or fit the model again. Features extracted with version {then} still work."
        )


def to_saved_state(state: State) -> State:
    """Return the state to save: without state that only continued training uses, with a checksum."""
    is_fitted = "coefs_" in state
    kept = {
        name: _portable(value)
        for name, value in state.items()
        if name != "_before" and not (is_fitted and name in _FIT_STATE)
    }
    header = {"format": FORMAT, "skpneumo": __version__, "scikit-learn": sklearn.__version__}
    return kept | {_HEADER: header | {_CHECKSUM: checksum(kept | {_HEADER: header})}}


def _portable(value: Any) -> Any:
    """Convert a parameter so that other platforms and skops can read it."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, joblib.Memory):
        return value.location
    if _has_bool_keys(value):  # skops reads bool keys incorrectly
        return {_PAIRS: [list(pair) for pair in value.items()]}
    return value


def _has_bool_keys(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(key, (bool, np.bool_)) for key in value)


def from_saved_state(state: State, estimator: str) -> State:
    """Check a saved state, and return the attributes of the estimator.

    Parameters
    ----------
    state : dict
        Result of `to_saved_state`.
    estimator : str
        Class name of the estimator.

    Raises
    ------
    ModelFileError
        If the state has no format number, is damaged, or was written by a later version.

    Warns
    -----
    InconsistentVersionWarning
        If the state was saved with another version of scikit-learn.
    """
    kept = {name: value for name, value in state.items() if name != _HEADER}
    if _HEADER not in state:
        raise ModelFileError(_NO_FORMAT)
    header = _check_header(kept, state[_HEADER])
    if header["scikit-learn"] != sklearn.__version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=estimator,
                current_sklearn_version=sklearn.__version__,
                original_sklearn_version=header["scikit-learn"],
            ),
            stacklevel=3,
        )
    return {name: _from_portable(value) for name, value in kept.items()}


def _check_header(kept: State, header: Any) -> dict[str, Any]:
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ModelFileError(_DAMAGED)
    if header["format"] > FORMAT:
        raise ModelFileError(
            f"the model was written by skpneumo {header.get('skpneumo')} in format {header['format']}, but skpneumo "
            f"{__version__} reads formats up to {FORMAT}: install skpneumo {header.get('skpneumo')} or later."
        )
    rest = {name: value for name, value in header.items() if name != _CHECKSUM}
    if checksum(kept | {_HEADER: rest}) != header.get(_CHECKSUM):
        raise ModelFileError(_DAMAGED)
    return header


def _from_portable(value: Any) -> Any:
    """Undo `_portable`."""
    return dict(value[_PAIRS]) if isinstance(value, dict) and set(value) == {_PAIRS} else value


def checksum(value: Any) -> str:
    """Compute a checksum of plain values, arrays, and lists and dicts of them.

    It is the same on every machine and in every version of Python and numpy. Other objects, such as samplers, count
    only by their position.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._model_state import checksum
    >>> checksum({"a": np.arange(2, dtype="<i8"), "b": 1.0}) == checksum({"b": 1.0, "a": np.arange(2, dtype=">i8")})
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest.update, value)
    return digest.hexdigest()


def _feed(update: Callable[[Any], None], value: Any) -> None:
    if isinstance(value, np.ndarray):
        _feed_array(update, value)
    elif isinstance(value, (list, tuple)):
        update(b"list %d:" % len(value))
        for each in value:
            _feed(update, each)
    elif isinstance(value, Mapping):
        update(b"dict %d:" % len(value))
        for key in sorted(value, key=str):
            _feed(update, str(key))
            _feed(update, value[key])
    else:
        _feed_scalar(update, value)


def _feed_array(update: Callable[[Any], None], array: np.ndarray) -> None:
    if array.dtype.kind in "OUS":
        _feed(update, array.shape)
        _feed(update, array.ravel().tolist())
        return
    dtype = array.dtype.newbyteorder("<")
    update(f"array {dtype.str} {array.shape}:".encode())
    update(np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8))


def _feed_scalar(update: Callable[[Any], None], value: Any) -> None:
    if value is None:
        update(b"None:")
    elif isinstance(value, (bool, np.bool_)):
        update(b"bool %d:" % bool(value))
    elif isinstance(value, Integral):
        update(b"int %d:" % int(value))
    elif isinstance(value, Real):
        update(b"float:" + struct.pack("<d", float(value)))
    elif isinstance(value, (str, bytes)):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        update(f"{type(value).__name__} {len(data)}:".encode() + data)
    else:
        update(b"object:")


def _installed(*names: str) -> str | None:
    module = sys.modules.get(names[0])
    return _from_metadata(names) or getattr(module, "__version__", None)


@functools.cache
def _from_metadata(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
