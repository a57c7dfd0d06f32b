"""What X may be: a column of images in any container, or numbers."""

import io
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from skpneumo._images.decoding import pack
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import (
    MAX_FILE_BYTES,
    ImageBytes,
    Images,
    LazyImage,
    Source,
    fetch,
    is_url,
    name_of,
    shortened,
    without_secrets,
)

_BYTES = (bytes, bytearray, memoryview)
_PIXELS = ("uint8", "uint16")

_EXPECTED = (
    "X must hold images as a list, a tuple, a Series, an array of shape (n,) or (n, 1) or a one-column DataFrame: "
    "paths (str or pathlib.Path), bytes, open binary files, PIL images, arrays of gray or colour values (uint8 or "
    "uint16, two or three axes) or URLs"
)
_FOR_ONE = "For one image pass a list:"


def as_images(X: Any) -> Images | None:
    """Return the images that `X` holds, or None where it can only be numbers, which are features.

    What is returned may be passed again, and is returned unchanged.

    Open files are read here and now, from their beginning, and left where they were.

    Raises
    ------
    ValueError
        A bare image, nothing at all, more than one column, or images mixed with other things.
    """
    if isinstance(X, Images):
        return X
    column = _column(X)
    if column is None:
        return None
    sources, wrong = list[Source](), []
    for i, item in enumerate(column):
        try:
            sources.append(_source(item))
        except ValueError as fault:
            wrong.append(f"X[{i}] is {fault}")
    if wrong:
        raise ValueError(f"{_EXPECTED}; {len(wrong)} of its {len(column)} items are none: {', '.join(wrong)}.")
    return Images(sources, frame=X if hasattr(X, "columns") else None)


def images_if_any(X: Any) -> Images | None:
    """Return the images that `X` holds, or None where it holds other things, whatever these are."""
    try:
        return as_images(X)
    except ValueError:
        return None


def as_paths(X: Any) -> list[str] | None:
    """Return the paths, or URLs, that `X` holds, or None where it can only be numbers.

    Raises
    ------
    ValueError
        As of `as_images`; or there are images without a path.
    """
    column = _column(X)
    if column is None:
        return None
    wrong = [f"X[{i}] is {_describe(item)}" for i, item in enumerate(column) if not _is_path(item)]
    if wrong:
        raise ValueError(
            f"Paths of images (str or pathlib.Path) are needed, but {len(wrong)} of {len(column)} items are none: "
            f"{', '.join(wrong)}."
        )
    return [str(os.fspath(item)) for item in column]


def object_array(items: Iterable[Any]) -> np.ndarray:
    """Return a 1-d array of things as they are."""
    items = list(items)
    return np.fromiter(items, dtype=object, count=len(items))


def patients_by_name(images: Sequence[Source]) -> np.ndarray:
    """Read the patient of each image from the name of its file; one whose name does not tell has a patient alone."""
    names = [name_of(image) for image in images]
    others = [os.path.abspath(image) if isinstance(image, str) else f"X[{i}]" for i, image in enumerate(images)]
    keys = [patient_key(name or "") or other for name, other in zip(names, others, strict=True)]
    return np.array(keys, dtype=object)


def check_column(estimator: Any, images: Images, *, reset: bool) -> None:
    """Let scikit-learn note, or compare, the one column of images and its name."""
    column = object_array(images).reshape(-1, 1) if images.frame is None else images.frame
    validate_data(estimator, column, reset=reset, skip_check_array=True)


def _column(X: Any) -> np.ndarray | None:
    """Return the items of a column that holds an image at all; None where `X` is a matrix of numbers."""
    if isinstance(X, (str, os.PathLike, *_BYTES, Image.Image)) or _is_file(X):
        raise ValueError(f"{_EXPECTED}; got the bare {_describe(X)}. {_FOR_ONE} {_listed(X)}.")
    if _is_stack(X) or (isinstance(X, (list, tuple)) and any(map(_is_image, X))):
        return object_array(X)
    if issparse(X) or _is_numeric(X):
        return None
    items = np.asarray(X, dtype=object)
    if items.ndim == 0:
        raise ValueError(f"{_EXPECTED}; or numbers of shape (n_samples, n_features); got {type(X).__name__}.")
    if not items.size and (items.ndim == 1 or not len(items)):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}, which is empty.")
    # A matrix without columns is scikit-learn's to refuse.
    return _only_column(X, items) if any(map(_is_image, items.flat)) else None


def _only_column(X: Any, items: np.ndarray) -> np.ndarray:
    if getattr(getattr(X, "dtype", None), "kind", "") == "S":
        raise ValueError(
            f"{_EXPECTED}; got an array of type {X.dtype}, in which NumPy cuts off zeros at the end: pass a list of "
            "bytes, or an array of type object."
        )
    if items.ndim > 2 or (items.ndim == 2 and items.shape[1] != 1):
        raise ValueError(f"{_EXPECTED}; got {_shape_of(X, items)}: pass the column that holds the images.")
    return items.ravel()


def _is_stack(X: Any) -> bool:
    """Tell whether an array is one of images of equal size."""
    if not isinstance(X, np.ndarray) or X.ndim not in {3, 4} or X.dtype.kind not in "biufc":
        return False
    if X.dtype.name not in _PIXELS or not X.size:
        raise ValueError(f"{_EXPECTED}; got an {_describe(X)}: gray values are uint8 or uint16 (0 black).")
    if X.ndim == 3 and X.shape[-1] <= 4:
        raise ValueError(f"{_EXPECTED}; got an array of shape {X.shape}, which looks like one image. {_FOR_ONE} [X].")
    return True


def _is_numeric(X: Any) -> bool:
    """Tell from the types alone, without touching a value."""
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


def _source(item: Any) -> Source:  # noqa: PLR0911 - one a kind
    """Return where the bytes of an item come from, or raise ValueError with what is wrong with it."""
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
    if pixels.dtype.name not in _PIXELS:
        raise ValueError(f"{_describe(pixels)}, but gray values are uint8 or uint16 (0 black)")
    most = 4 if pixels.dtype.name == "uint8" else 3
    if not pixels.size or pixels.ndim > 3 or (pixels.ndim == 3 and pixels.shape[2] not in {1, 3, most}):
        raise ValueError(
            f"{_describe(pixels)}, but pixels have the shape (height, width), with one axis more for colours"
        )


def _read(file: Any) -> ImageBytes:
    """Read an open file from its beginning, and leave it where it was."""
    name = getattr(file, "name", None)
    label = f"<{name if isinstance(name, str) else 'open file'}>"
    if isinstance(file, io.TextIOBase):
        raise ValueError(f"{_describe(file)}, open as text and not in binary mode")
    try:
        place = file.tell()
        file.seek(0)
    except Exception as error:  # it would be empty when it is read again
        raise ValueError(f"{_describe(file)}, which cannot be rewound ({error}): pass what its read() gives") from error
    try:
        data = file.read(MAX_FILE_BYTES + 1)
        file.seek(place)
    except Exception as error:
        raise ValueError(f"{_describe(file)}, which cannot be read: {error}") from error
    if not isinstance(data, _BYTES):
        raise ValueError(f"{_describe(file)}, whose read() gives {type(data).__name__} and not bytes")
    return ImageBytes(bytes(data), label, name if isinstance(name, str) else None)


def _describe(item: Any) -> str:
    """Say what an item is, in few words."""
    kind = type(item).__name__
    if isinstance(item, np.ndarray):
        return f"array of shape {item.shape} and type {item.dtype}"
    if isinstance(item, _BYTES):
        return f"{kind} of length {len(item)}"
    if isinstance(item, Image.Image) or _is_file(item):
        return f"{type(item).__module__}.{kind}"
    return f"{kind} {shortened(repr(item))}" if _is_path(item) else f"{shortened(repr(item))} ({kind})"


def _listed(item: Any) -> str:
    return f"[{shortened(repr(item))}]" if _is_path(item) else "[X]"


def _shape_of(X: Any, items: np.ndarray) -> str:
    return f"{type(X).__name__} of shape {items.shape}"
