"""Validation of X: images in any container, or a matrix of features."""

import os
from collections.abc import Iterable, Sequence
from functools import partial
from numbers import Number
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from skpneumo._images.decoding import pack
from skpneumo._images.items import (
    BYTES,
    PIXEL_DTYPES,
    RANGE,
    RangeError,
    check_pixels,
    describe,
    is_dataset,
    is_file,
    is_image,
    is_path,
    is_record,
    kind_of,
    to_array,
    to_source,
)
from skpneumo._images.sources import Images, LazyImage, Source, absolute_sources
from skpneumo._utils.containers import advice_for
from skpneumo._utils.messages import list_items

_EXPECTED = (
    "X must hold images as a list, a tuple, a Series, an array of shape (n,) or (n, 1) or a one-column DataFrame of "
    "paths (str or pathlib.Path), URLs, bytes, open binary files, PIL images or arrays of gray or color values (uint8 "
    "or uint16, two or three axes)"
)
_FOR_ONE = "For one image pass a list:"
_CONVERT = (
    "Convert arrays of other types with np.rint(255 * np.clip((image - black) / (white - black), 0, 1)).astype(np.uint8"
    "), where black and white are the values of black and white pixels in all images, such as 0 and 1 or 0 and 4095."
)
_OR_FEATURES = "or features of shape (n_samples, n_features)"
_NESTED = (
    "nested lists: if they are pixels from 0 to 255, pass [np.array(image, np.uint8) for image in X]; if they are "
    "paths, pass a flat list."
)


def as_images(X: Any) -> Images | None:
    """Validate and return the images in `X`, or return None if it is a numeric matrix of features.

    A returned list of images may be passed again and is returned unchanged. Relative paths are resolved. Open files
    are read at once, from their beginning, and their position is restored.

    Raises
    ------
    ValueError
        If `X` is a single image, a matrix of pixels, a generator or a data loader, is empty, has more than one column,
        or holds other items besides images; or if it holds relative paths in a worker process in which they cannot be
        resolved.
    """
    if isinstance(X, Images):
        return X
    column = _column(X)
    if column is None:
        _check_features(X)
        return None
    items = [item["path"] if is_record(item) and item.get("bytes") is None else item for item in column]
    texts = {i: os.fsdecode(item) for i, item in enumerate(items) if is_path(item)}
    paths = dict(zip(texts, absolute_sources(list(texts.values())), strict=True))
    sources, invalid, hint = list[Source](), [], ""
    for i, item in enumerate(items):
        try:
            sources.append(to_source(paths.get(i, item)))
        except ValueError as error:
            invalid.append(f"X[{i}] is {error}")
            hint = f" {_CONVERT}" if isinstance(error, RangeError) else hint
    if invalid:
        listed = list_items(invalid, max_length=400)
        raise ValueError(f"{_EXPECTED}; {len(invalid)} of {len(column)} items are not images: {listed}.{hint}")
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
    invalid = [f"X[{i}] is {describe(item)}" for i, item in enumerate(column) if not is_path(item)]
    if invalid:
        raise ValueError(
            f"Expected paths of images (str or pathlib.Path), but {len(invalid)} of {len(column)} items are not paths: "
            f"{list_items(invalid, max_length=400)}."
        )
    return [os.fsdecode(item) for item in column]


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
    if issparse(X):
        return None
    _check_container(X)
    if (stack := _stack(X)) is not None:
        return stack
    if isinstance(X, Sequence):
        listed = [X[i] for i in range(len(X))]  # not list(X), which may be endless
        if any(map(is_image, listed)):
            return object_array(listed)
        if any(isinstance(row, list) and row and isinstance(row[0], list) for row in listed):
            raise ValueError(f"{_EXPECTED}; got a {kind_of(X)} of {_NESTED}")
    return None if _is_numeric(X) else _objects(X)


def _check_container(X: Any) -> None:
    """Raise ValueError if `X` is a single image, or no container of known length."""
    if isinstance(X, (str, os.PathLike, *BYTES, Image.Image)) or is_file(X):
        one, listed = describe(X), "[X]"
        if is_path(X):
            listed = f"[{one.partition(' ')[2]}]"
        raise ValueError(f"{_EXPECTED}; got a single {one}. {_FOR_ONE} {listed}.")
    if is_dataset(X):
        raise ValueError(f"{_EXPECTED}; got {describe(X)}, in a list.")
    if (advice := advice_for(X)) is not None:
        raise ValueError(f"{_EXPECTED}, {_OR_FEATURES}; got {kind_of(X)}. {advice}".strip())


def _objects(X: Any) -> np.ndarray | None:
    """Return the items of a container of objects if any of them is an image, or if they are no numbers either."""
    items = np.asarray(_to_array(X) if hasattr(X, "__array__") else X, dtype=object)
    if items.ndim == 0:
        raise ValueError(f"{_EXPECTED}, {_OR_FEATURES}; got {kind_of(X)}.")
    if not items.size and (items.ndim == 1 or not len(items)):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}, which is empty.")
    if any(map(is_image, items.flat)):
        return _only_column(X, items)
    are_numbers = items.ndim > 1 or all(isinstance(item, (Number, np.generic)) for item in items)
    return None if are_numbers else items  # a matrix without columns is left to the validation of scikit-learn


def _only_column(X: Any, items: np.ndarray) -> np.ndarray:
    if getattr(getattr(X, "dtype", None), "kind", "") == "S":
        raise ValueError(
            f"{_EXPECTED}; got an array of type {X.dtype}, in which NumPy drops trailing zero bytes: pass a list of "
            "bytes or an array of type object; if they are paths, pass X.astype(str)."
        )
    if items.ndim > 2 or (items.ndim == 2 and items.shape[1] != 1):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}: pass only the column of images.")
    return items.ravel()


def _stack(X: Any) -> np.ndarray | None:
    """Return the images in an array, tensor or HDF5 data set of images of equal size, or None for other objects."""
    shape = tuple(getattr(X, "shape", ()))
    if len(shape) not in {3, 4} or not hasattr(X, "__array__"):
        return None
    first = X if isinstance(X, np.ndarray) else _to_array(X[:1])
    if first.dtype.kind not in "biufc":
        return None
    described = f"got an array of shape {shape} and type {first.dtype}"
    if not all(shape):
        raise ValueError(f"{_EXPECTED}; {described}, which is empty.")
    if first.dtype.name not in PIXEL_DTYPES:
        raise ValueError(f"{_EXPECTED}; {described}: {RANGE}. {_CONVERT}")
    if len(shape) == 3 and shape[-1] <= 4:
        raise ValueError(f"{_EXPECTED}; {described}, which looks like one image. {_FOR_ONE} [X].")
    try:
        check_pixels(first[0])
    except ValueError as error:
        raise ValueError(f"{_EXPECTED}; {described}: each image is {error}.") from None
    if isinstance(X, np.ndarray):
        return object_array(X)
    label = f"<{describe(first[0])}>"
    return object_array([LazyImage(partial(_pack_row, X, i), label) for i in range(shape[0])])


def _pack_row(X: Any, i: int) -> bytes:
    try:
        return pack(np.asarray(X[i]))
    except Exception as error:  # such as a file that is closed by now
        raise ValueError(f"cannot be read: {error}") from error


def _check_features(X: Any) -> None:
    """Raise ValueError if a numeric matrix consists of pixels."""
    rows = X if isinstance(X, (list, tuple)) else ()
    arrays = [X] if hasattr(X, "dtype") else [row for row in rows if isinstance(row, np.ndarray)]
    dtypes = list(X.dtypes) if hasattr(X, "columns") else [array.dtype for array in arrays]
    names = {getattr(dtype, "name", str(dtype).rpartition(".")[2]).lower() for dtype in dtypes}  # torch.uint8, UInt8
    if names and names <= set(PIXEL_DTYPES) and getattr(X, "ndim", 2) == 2:
        shape = tuple(X.shape) if hasattr(X, "shape") else (len(X), *np.shape(X[0]))
        raise ValueError(
            f"Features must be floats, but X has shape {shape} and type {', '.join(sorted(names))}, the type of pixels."
            " Pass images as an array of shape (n_samples, height, width), for example X.reshape(-1, height, width). "
            "For a single image, pass [X]. To use X as features nevertheless, pass X.astype(float)."
        )


def _is_numeric(X: Any) -> bool:
    """Return whether all columns are numeric, from their types alone."""
    dtypes = X.dtypes if hasattr(X, "columns") else [getattr(X, "dtype", None)]
    return all(getattr(dtype, "kind", "O") in "biufc" for dtype in dtypes)


def _to_array(X: Any) -> np.ndarray:
    try:
        return to_array(X)
    except ValueError as error:
        raise ValueError(f"{_EXPECTED}; got {error}") from error


def _shape_of(X: Any, items: np.ndarray) -> str:
    return f"{type(X).__name__} of shape {items.shape}"
