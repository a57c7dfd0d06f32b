"""What a model's file says of itself: a format, versions and a checksum."""

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

# Raise it with each change that earlier versions of this package cannot read, or would read wrongly.
FORMAT = 1

_ABOUT = "_file"
_CHECKSUM = "checksum"
_PAIRS = "_pairs"

_OF_A_FIT = {"_before", "_callback_fit_ctx", "_parent_callback_ctx", "_skl_callbacks", "_skl_callbacks_to_teardown"}

_BACKEND_PACKAGES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-intel"),
    "jax": ("jax",),
    "torch": ("torch",),
}

_DAMAGED = (
    "the model is damaged: what was read is not what was written. Copy the file anew from where it was made, or fit "
    "anew."
)
_NO_FORMAT = (
    "the model does not say in which format it was written, as every model that skpneumo saves does: the file is "
    "damaged, or was changed or written by something else. Copy it anew from where it was made, or fit anew."
)


def versions() -> dict[str, str]:
    """Tell what this process computes with, without importing any of it.

    The framework is the one that Keras is set to, whether or not a fit had need of it: a fit that finds its features in
    the store leaves the same as one that computes them.
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
    """Refuse images where a model was fitted on images that were prepared in another way.

    Raises
    ------
    ValueError
        Says which versions these are.
    """
    then, now = known.get("preprocessing"), str(_images.VERSION)
    if then != now:
        raise ValueError(
            f"This model was fitted with version {then} of the preprocessing of images, by skpneumo "
            f"{known.get('skpneumo')}; skpneumo {__version__} has version {now}. Install skpneumo "
            f"{known.get('skpneumo')} to predict on images, or fit anew. Features that were extracted with version "
            f"{then} can be predicted on."
        )


def sealed(state: State) -> State:
    """Return what is saved of an estimator: without what only a fit that goes on has need of, with a checksum."""
    is_fitted = "coefs_" in state
    kept = {
        name: _portable(value)
        for name, value in state.items()
        if name != "_before" and not (is_fitted and name in _OF_A_FIT)
    }
    about = {"format": FORMAT, "skpneumo": __version__, "scikit-learn": sklearn.__version__}
    return kept | {_ABOUT: about | {_CHECKSUM: checksum(kept | {_ABOUT: about})}}


def _portable(value: Any) -> Any:
    """Write a parameter so that other platforms, and skops, read it."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, joblib.Memory):
        return value.location
    if _has_bool_keys(value):  # which skops reads wrongly
        return {_PAIRS: [list(pair) for pair in value.items()]}
    return value


def _has_bool_keys(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(key, (bool, np.bool_)) for key in value)


def opened(state: State, estimator: str) -> State:
    """Check what was saved, and return what an estimator is made of.

    Parameters
    ----------
    state : dict
        What `sealed` returned.
    estimator : str
        Name of its class.

    Raises
    ------
    ModelFileError
        It has no format, is damaged, or was written by a later version.

    Warns
    -----
    InconsistentVersionWarning
        scikit-learn's, where its version is another one.
    """
    kept = {name: value for name, value in state.items() if name != _ABOUT}
    if _ABOUT not in state:
        raise ModelFileError(_NO_FORMAT)
    about = _checked(kept, state[_ABOUT])
    if about["scikit-learn"] != sklearn.__version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=estimator,
                current_sklearn_version=sklearn.__version__,
                original_sklearn_version=about["scikit-learn"],
            ),
            stacklevel=3,
        )
    return {name: _read(value) for name, value in kept.items()}


def _checked(kept: State, about: Any) -> dict[str, Any]:
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise ModelFileError(_DAMAGED)
    if about["format"] > FORMAT:
        raise ModelFileError(
            f"the model was written by skpneumo {about.get('skpneumo')}, in format {about['format']}; this is skpneumo "
            f"{__version__}, which reads formats up to {FORMAT}: install at least skpneumo {about.get('skpneumo')}."
        )
    said = {name: value for name, value in about.items() if name != _CHECKSUM}
    if checksum(kept | {_ABOUT: said}) != about.get(_CHECKSUM):
        raise ModelFileError(_DAMAGED)
    return about


def _read(value: Any) -> Any:
    """Undo `_portable`."""
    return dict(value[_PAIRS]) if isinstance(value, dict) and set(value) == {_PAIRS} else value


def checksum(value: Any) -> str:
    """Name plain values, arrays, and lists and dicts of them, by what they hold.

    The name is one on every machine and in every version of Python and numpy. Of other objects, such as samplers, only
    their place counts.

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
