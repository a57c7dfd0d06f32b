"""Validation of X: images in any container, or a matrix of features."""

import io
import os
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from skpneumo._images.decoding import pack
from skpneumo._images.sources import (
    MAX_FILE_BYTES,
    ImageBytes,
    Images,
    LazyImage,
    Source,
    fetch,
    is_url,
    without_secrets,
)
from skpneumo._utils.messages import list_items, shortened

_BYTES = (bytes, bytearray, memoryview)
_PIXEL_DTYPES = ("uint8", "uint16")

_EXPECTED = (
    "X must hold images as a list, a tuple, a Series, an array of shape (n,) or (n, 1) or a one-column DataFrame of "
    "paths (str or pathlib.Path), URLs, bytes, open binary files, PIL images or arrays of gray or color values (uint8 "
    "or uint16, two or three axes)"
)
_FOR_ONE = "For one image pass a list:"


def as_images(X: Any) -> Images | None:
    """Validate and return the images in `X`, or return None if it is a numeric matrix of features.

    A returned list of images may be passed again and is returned unchanged. Open files are read at once, from their
    beginning, and their position is restored.

    Raises
    ------
    ValueError
        If `X` is a single image, is empty, has more than one column, or holds other items besides images.
    """
    if isinstance(X, Images):
        return X
    column = _column(X)
    if column is None:
        return None
    sources, invalid = list[Source](), []
    for i, item in enumerate(column):
        try:
            sources.append(_source(item))
        except ValueError as error:
            invalid.append(f"X[{i}] is {error}")
    if invalid:
        listed = list_items(invalid, max_length=400)
        raise ValueError(f"{_EXPECTED}; {len(invalid)} of {len(column)} items are not images: {listed}.")
    return Images(sources, frame=X if hasattr(X, "columns") else None)


def images_if_any(X: Any) -> Images | None:
    """Return the images in `X`, or None if it holds anything else."""
    try:
        return as_images(X)
    except ValueError:
        return None


def as_paths(X: Any) -> list[str] | None:
    """Return the paths or URLs in `X`, or None if it is a numeric matrix.

    Raises
    ------
    ValueError
        As in `as_images`, or if an image has no path.
    """
    column = _column(X)
    if column is None:
        return None
    invalid = [f"X[{i}] is {_describe(item)}" for i, item in enumerate(column) if not _is_path(item)]
    if invalid:
        raise ValueError(
            f"Expected paths of images (str or pathlib.Path), but {len(invalid)} of {len(column)} items are not paths: "
            f"{list_items(invalid, max_length=400)}."
        )
    return [str(os.fspath(item)) for item in column]


def object_array(items: Iterable[Any]) -> np.ndarray:
    """Return a 1-d object array of the unchanged items."""
    items = list(items)
    return np.fromiter(items, dtype=object, count=len(items))


def check_column(estimator: Any, images: Images, *, reset: bool) -> None:
    """Set or check `n_features_in_` and `feature_names_in_` for the single column of images."""
    column = object_array(images).reshape(-1, 1) if images.frame is None else images.frame
    validate_data(estimator, column, reset=reset, skip_check_array=True)


def _column(X: Any) -> np.ndarray | None:
    """Return the items of `X` if any of them is an image, or None if it is a numeric matrix."""
    if isinstance(X, (str, os.PathLike, *_BYTES, Image.Image)) or _is_file(X):
        raise ValueError(f"{_EXPECTED}; got a single {_describe(X)}. {_FOR_ONE} {_in_list(X)}.")
    if _is_stack(X) or (isinstance(X, (list, tuple)) and any(map(_is_image, X))):
        return object_array(X)
    if issparse(X) or _is_numeric(X):
        return None
    items = np.asarray(X, dtype=object)
    if items.ndim == 0:
        raise ValueError(f"{_EXPECTED}, or features of shape (n_samples, n_features); got {type(X).__name__}.")
    if not items.size and (items.ndim == 1 or not len(items)):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}, which is empty.")
    # A matrix without columns is left to the validation of scikit-learn.
    return _only_column(X, items) if any(map(_is_image, items.flat)) else None


def _only_column(X: Any, items: np.ndarray) -> np.ndarray:
    if getattr(getattr(X, "dtype", None), "kind", "") == "S":
        raise ValueError(
            f"{_EXPECTED}; got an array of type {X.dtype}, in which NumPy drops trailing zero bytes: pass a list of "
            "bytes or an array of type object."
        )
    if items.ndim > 2 or (items.ndim == 2 and items.shape[1] != 1):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}: pass only the column of images.")
    return items.ravel()


def _is_stack(X: Any) -> bool:
    """Return whether `X` is an array of images of equal size."""
    if not isinstance(X, np.ndarray) or X.ndim not in {3, 4} or X.dtype.kind not in "biufc":
        return False
    if X.dtype.name not in _PIXEL_DTYPES or not X.size:
        raise ValueError(f"{_EXPECTED}; got an {_describe(X)}: gray values must be uint8 or uint16 (0 is black).")
    if X.ndim == 3 and X.shape[-1] <= 4:
        raise ValueError(f"{_EXPECTED}; got an array of shape {X.shape}, which looks like one image. {_FOR_ONE} [X].")
    return True


def _is_numeric(X: Any) -> bool:
    """Return whether all columns are numeric, from their types alone."""
    dtypes = X.dtypes if hasattr(X, "columns") else [getattr(X, "dtype", None)]
    return all(getattr(dtype, "kind", "O") in "biufc" for dtype in dtypes)


def _is_path(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike))


def _is_file(item: Any) -> bool:
    return callable(getattr(item, "read", None)) and not isinstance(item, (np.ndarray, Image.Image))


def _is_image(item: Any) -> bool:
    return (
        _is_path(item)
        or isinstance(item, (*_BYTES, Image.Image))
        or (isinstance(item, np.ndarray) and item.ndim > 1)
        or _is_file(item)
    )


def _source(item: Any) -> Source:  # noqa: PLR0911 - one per kind of item
    """Return the source of an image; raise ValueError with a description of any other item."""
    if isinstance(item, (ImageBytes, LazyImage)):
        return item
    if _is_path(item):
        path = str(os.fspath(item))
        if not is_url(path):
            return path
        label = without_secrets(path)
        return LazyImage(partial(fetch, path), label, label)
    if isinstance(item, _BYTES):
        return ImageBytes(bytes(item), "<bytes>")
    if isinstance(item, Image.Image):
        name = getattr(item, "filename", None)
        return LazyImage(partial(pack, item), "<PIL image>", os.fspath(name) if name else None)
    if isinstance(item, np.ndarray) and item.ndim > 1:
        _check_pixels(item)
        return LazyImage(partial(pack, item), f"<{_describe(item)}>")
    if _is_file(item):
        return _read(item)
    raise ValueError(_describe(item))


def _check_pixels(pixels: np.ndarray) -> None:
    if pixels.dtype.name not in _PIXEL_DTYPES:
        raise ValueError(f"{_describe(pixels)}, but gray values must be uint8 or uint16 (0 is black)")
    max_channels = 4 if pixels.dtype.name == "uint8" else 3
    if not pixels.size or pixels.ndim > 3 or (pixels.ndim == 3 and pixels.shape[2] not in {1, 3, max_channels}):
        raise ValueError(
            f"{_describe(pixels)}, but the shape must be (height, width) or, with colors, (height, width, n_channels)"
        )


def _read(file: Any) -> ImageBytes:
    """Read an open file from its beginning and restore its position."""
    name = getattr(file, "name", None)
    label = f"<{name if isinstance(name, str) else 'open file'}>"
    if isinstance(file, io.TextIOBase):
        raise ValueError(f"{_describe(file)}, open in text mode: open it in binary mode")
    try:
        position = file.tell()
        file.seek(0)
    except Exception as error:  # a second read would return nothing
        raise ValueError(f"{_describe(file)}, which cannot be rewound ({error}): pass its bytes") from error
    try:
        data = file.read(MAX_FILE_BYTES + 1)
        file.seek(position)
    except Exception as error:
        raise ValueError(f"{_describe(file)}, which cannot be read: {error}") from error
    if not isinstance(data, _BYTES):
        raise ValueError(f"{_describe(file)}, whose read() returns {type(data).__name__}, not bytes")
    return ImageBytes(bytes(data), label, name if isinstance(name, str) else None)


def _describe(item: Any) -> str:
    """Describe the kind of an item briefly."""
    kind = type(item).__name__
    if isinstance(item, np.ndarray):
        return f"array of shape {item.shape} and type {item.dtype}"
    if isinstance(item, _BYTES):
        return f"{kind} of length {len(item)}"
    if isinstance(item, Image.Image) or _is_file(item):
        return f"{type(item).__module__}.{kind}"
    return f"{kind} {shortened(repr(item))}" if _is_path(item) else f"{shortened(repr(item))} ({kind})"


def _in_list(item: Any) -> str:
    return f"[{shortened(repr(item))}]" if _is_path(item) else "[X]"


def _shape_of(X: Any, items: np.ndarray) -> str:
    return f"{type(X).__name__} of shape {items.shape}"
