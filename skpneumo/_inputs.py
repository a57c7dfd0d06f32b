"""What X may be: a column of paths in any container, or numbers; and what a file holds, by content."""

import hashlib
import os
import time
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

MAX_FILE_BYTES = 2**30
DIGEST_SIZE = 20  # bytes

# Seconds after which a change of a file shows in its times for sure: some file systems count in steps of two.
_SETTLED = 3.0

_EXPECTED = (
    "X must hold paths of images (str or pathlib.Path) as a list, a tuple, a Series, an array of shape (n,) or (n, 1) "
    "or a one-column DataFrame"
)


def as_paths(X: Any) -> list[str] | None:
    """Return the paths that `X` holds, or None where it holds no text and so can only be numbers.

    Raises
    ------
    ValueError
        A bare string or path, nothing at all, more than one column, or paths mixed with other things.
    """
    if isinstance(X, (str, bytes, os.PathLike)):
        raise ValueError(f"{_EXPECTED}; got the bare {type(X).__name__} {X!r}. For one image pass a list: [{X!r}].")
    if issparse(X) or _is_numeric(X):
        return None
    items = np.asarray(X, dtype=object)
    if items.ndim == 0:
        raise ValueError(f"{_EXPECTED}; or numbers of shape (n_samples, n_features); got {type(X).__name__}.")
    if items.size == 0:
        # A matrix without columns is scikit-learn's to refuse; a container without items is ours.
        if items.ndim > 1 and len(items):
            return None
        raise ValueError(f"{_EXPECTED}; got {_describe(X, items)}, which is empty.")
    is_path = np.fromiter((isinstance(item, (str, os.PathLike)) for item in items.flat), bool, items.size)
    if not is_path.any():
        if any(isinstance(item, bytes) for item in items.flat):
            raise ValueError(f"{_EXPECTED}; got {_describe(X, items)} of bytes.")
        return None
    if items.ndim > 2 or (items.ndim == 2 and items.shape[1] != 1):
        raise ValueError(f"{_EXPECTED}; got {_describe(X, items)}: pass the column that holds the paths.")
    column = items.ravel()
    if not is_path.all():
        wrong = [f"X[{i}] is {column[i]!r} ({type(column[i]).__name__})" for i in np.flatnonzero(~is_path)]
        raise ValueError(f"{_EXPECTED}; {len(wrong)} of its {len(column)} items are none: {', '.join(wrong)}.")
    return [os.fspath(item) if isinstance(item, os.PathLike) else str(item) for item in column]


def paths_if_any(X: Any) -> list[str] | None:
    """Return the paths that `X` holds, or None where it holds other things, whatever these are."""
    try:
        return as_paths(X)
    except ValueError:
        return None


def _is_numeric(X: Any) -> bool:
    """Tell from the types alone, without touching a value."""
    dtypes = X.dtypes if hasattr(X, "columns") else [getattr(X, "dtype", None)]
    return all(getattr(dtype, "kind", "O") in "biufc" for dtype in dtypes)


def check_column(estimator: Any, X: Any, paths: list[str], *, reset: bool) -> None:
    """Let scikit-learn note, or compare, the one column of `X` and its name."""
    column = X if hasattr(X, "columns") else np.asarray(paths, dtype=object).reshape(-1, 1)
    validate_data(estimator, column, reset=reset, skip_check_array=True)


def _describe(X: Any, items: np.ndarray) -> str:
    return f"{type(X).__name__} of shape {items.shape}"


def read_bytes(path: str) -> bytes:
    """Read a whole file; what stands in the way is said in the words of `ImageReadError`."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ValueError(f"absurdly large: {size} bytes, more than {MAX_FILE_BYTES}")
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("no such file") from None
    except OSError:
        if os.path.isdir(path):
            raise ValueError("a folder, not an image") from None
        raise
    if not data:
        raise ValueError("an empty file")
    return data


def digest(data: bytes) -> bytes:
    """Name content by its content: 20 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def stamp(path: str) -> bytes | None:
    """Name a state of a file by its path, number, size and times; None where it has changed just now."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED:
        return None
    name = f"{os.path.abspath(path)}\0{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return digest(os.fsencode(name))
