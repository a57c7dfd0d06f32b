"""Items of X: which of them are images, and where their bytes come from."""

import io
import os
import reprlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from skpneumo._images.decoding import pack
from skpneumo._images.sources import MAX_FILE_BYTES, ImageBytes, LazyImage, Source, fetch, is_url, without_secrets
from skpneumo._utils.messages import shortened

BYTES = (bytes, bytearray, memoryview)
PIXEL_DTYPES = ("uint8", "uint16")
RANGE = "gray values must be uint8 or uint16 (0 is black)"

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 300


class RangeError(ValueError):
    """Error raised for pixels of a type whose range is unknown."""


def is_path(item: Any) -> bool:
    """Return whether an item is a path or a URL."""
    return isinstance(item, (str, os.PathLike))


def is_file(item: Any) -> bool:
    """Return whether an item is an open file."""
    return callable(getattr(item, "read", None)) and not isinstance(item, (np.ndarray, Image.Image))


def is_image(item: Any) -> bool:
    """Return whether an item is of a kind that may hold an image."""
    return (
        is_path(item)
        or isinstance(item, (*BYTES, Image.Image, LazyImage))
        or _is_array(item)
        or is_file(item)
        or is_record(item)
        or is_dataset(item)
    )


def _is_array(item: Any) -> bool:
    return hasattr(item, "__array__") and getattr(item, "ndim", 0) > 1


def is_record(item: Any) -> bool:
    """Return whether an item is a dict with a path, bytes or both, as in data sets of Hugging Face."""
    return isinstance(item, Mapping) and 0 < len(item) == len({"path", "bytes"} & set(item))


def is_dataset(item: Any) -> bool:
    """Return whether an item is a data set of pydicom, whose conversion to an array fails."""
    return any(each.__module__ == "pydicom.dataset" for each in type(item).__mro__)


def to_source(item: Any) -> Source:  # noqa: PLR0911 - one per kind of item
    """Return the source of an image; raise ValueError with a description of any other item."""
    if isinstance(item, (ImageBytes, LazyImage)):
        return item
    if isinstance(item, str) and item:
        if not is_url(item):
            return item
        label = without_secrets(item)
        return LazyImage(partial(fetch, item), label, label)
    if isinstance(item, BYTES):
        return ImageBytes(bytes(item), "<bytes>")
    if is_record(item) and isinstance(item.get("bytes"), bytes):
        name = item.get("path")
        return ImageBytes(item["bytes"], f"<{name or 'bytes'}>", name if isinstance(name, str) else None)
    if isinstance(item, Image.Image):
        name = getattr(item, "filename", None)
        return LazyImage(partial(pack, item), "<PIL image>", os.fspath(name) if name else None)
    if _is_array(item):
        pixels = to_array(item)
        check_pixels(pixels)
        return LazyImage(partial(pack, pixels), f"<{describe(pixels)}>")
    if is_file(item):
        return _read(item)
    raise ValueError(describe(item))


def check_pixels(pixels: np.ndarray) -> None:
    """Raise ValueError with a description if an array is no image."""
    if pixels.dtype.name not in PIXEL_DTYPES:
        raise RangeError(f"{describe(pixels)}, but {RANGE}")
    max_channels = 4 if pixels.dtype.name == "uint8" else 3
    if not pixels.size or pixels.ndim > 3 or (pixels.ndim == 3 and pixels.shape[2] not in {1, 3, max_channels}):
        is_first = pixels.ndim == 3 and pixels.shape[0] in {1, 3, max_channels}
        raise ValueError(
            f"{describe(pixels)}, but the shape must be (height, width) or, with colors, (height, width, n_channels)"
            + (": move the channels to the last axis, for example with np.moveaxis(image, 0, -1)" if is_first else "")
        )


def _read(file: Any) -> ImageBytes:
    """Read an open file from its beginning and restore its position."""
    name = getattr(file, "name", None)
    label = f"<{name if isinstance(name, str) else 'open file'}>"
    if isinstance(file, io.TextIOBase):
        raise ValueError(f"{describe(file)}, open in text mode: open it in binary mode")
    try:
        position = file.tell()
        file.seek(0)
    except Exception as error:  # a second read would return nothing
        raise ValueError(f"{describe(file)}, which cannot be rewound ({error}): pass its bytes") from error
    try:
        data = file.read(MAX_FILE_BYTES + 1)
        file.seek(position)
    except Exception as error:
        raise ValueError(f"{describe(file)}, which cannot be read: {error}") from error
    if not isinstance(data, BYTES):
        raise ValueError(f"{describe(file)}, whose read() returns {type(data).__name__}, not bytes")
    return ImageBytes(bytes(data), label, name if isinstance(name, str) else None)


def to_array(X: Any) -> np.ndarray:
    """Convert a tensor or another array-like object to an array."""
    try:
        return np.asarray(X)
    except Exception as error:  # tensors on a GPU, or with a gradient
        raise ValueError(f"{kind_of(X)}, which cannot be converted to an array: {error}") from error


def describe(item: Any) -> str:
    """Describe the kind of an item briefly."""
    kind = kind_of(item)
    if is_dataset(item):
        return "a data set of pydicom: pass the path or the bytes of its file"
    if isinstance(item, np.ndarray):
        return f"array of shape {item.shape} and type {item.dtype}"
    if isinstance(item, BYTES):
        return f"{kind} of length {len(item)}"
    if isinstance(item, Image.Image) or is_file(item):
        return f"{type(item).__module__}.{kind}"
    if isinstance(item, LazyImage):
        return item.label
    text = shortened(_repr.repr(item))  # shortened also while it is built
    return f"{kind} {text}" if is_path(item) else f"{text} ({kind})"


def kind_of(item: Any) -> str:
    """Return the name of the type of an item."""
    return type(item).__name__
