"""Decoding of images to square images of gray bytes, the same for training and prediction."""

import functools
import io
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from skpneumo._images import dicom
from skpneumo._images.augmentation import View
from skpneumo._images.dicom_header import is_dicom
from skpneumo._images.memory import memory_for
from skpneumo._images.opening import (
    FILE_CLASSES,
    FORMATS,
    check_cost,
    format_of,
    may_have_late_orientation,
    n_bytes_to_decode,
    n_samples,
    orientation_of,
    prepared,
)
from skpneumo._images.pixels import BIT_DEPTHS, largest_value, row_blocks
from skpneumo._images.resizing import scale

# Increase it with any change to the gray values that `decode` returns: it is part of the keys of stored features.
VERSION = 2

N_FIRST_BYTES = 132  # the number that `kind_of` needs at most
_SIDES = struct.Struct("<II")  # width and height
_NOT_AN_IMAGE = f"not an image in one of the formats {', '.join(FORMATS)}, DICOM, or a damaged one"
ASPECTS = ("crop", "pad", "stretch")

_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0
_SAMPLE_FORMAT, _SIGNED = 339, 2

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow
_load_lock = threading.Lock()

_TRANSPOSITIONS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED_SIDES = {_TRANSPOSITIONS[orientation] for orientation in (5, 6, 7, 8)}


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an image into the square input of the network.

    Parameters
    ----------
    size : int
        Side of the preprocessed image in pixels.
    aspect : {"crop", "pad", "stretch"}
        How an image becomes square.
    contrast : {None, "equalize"}
        Whether to equalize the histogram, after resizing and before padding.
    """

    size: int
    aspect: str = "crop"
    contrast: str | None = None

    def key(self) -> bytes:
        """Return a key of everything that affects the gray values."""
        # With this setting of Pillow truncated images are decoded, and must not share features with complete ones.
        lenient = ImageFile.LOAD_TRUNCATED_IMAGES
        return f"square {VERSION} {self.size} {self.aspect} {self.contrast} {lenient} ".encode()

    def decode(self, data: bytes) -> np.ndarray:
        """Decode and preprocess an image file; return gray values (size, size) uint8.

        Raises
        ------
        ValueError
            With the reason why the image cannot be decoded.
        """
        return self.resize(self.gray(data))

    def gray(self, data: bytes) -> Image.Image:
        """Decode an image file to a gray image that is not much larger than needed.

        Raises
        ------
        ValueError
            With the reason why the image cannot be decoded.
        """
        if isinstance(data, Packed):
            return data.unpack()
        if is_dicom(data):
            return dicom.read_gray(data)
        with _open(data) as image:
            # Decoding a JPEG at a reduced scale is much faster; twice the target size leaves enough to resample.
            return _decode(image, (2 * self.size, 2 * self.size))

    def resize(self, gray: Image.Image, view: View | None = None) -> np.ndarray:
        """Preprocess a decoded gray image, or a view of it; return gray values (size, size) uint8."""
        return np.asarray(_resize(gray, self) if view is None else self._view(gray, view))

    def _view(self, gray: Image.Image, view: View) -> Image.Image:
        short, long = min(gray.size), max(gray.size)
        sides = {"crop": (short, short), "pad": (long, long), "stretch": gray.size}[self.aspect]
        preprocessed = view.apply(gray, sides, self.size)
        if self.contrast == "equalize":
            mask = view.transform(Image.new("L", gray.size, 255), sides, self.size)
            preprocessed = ImageOps.equalize(preprocessed, mask=mask)
        return preprocessed


def whole(data: bytes) -> tuple[Image.Image, Image.Image]:
    """Decode an image at full size; return its metadata, as an image without pixels, and an upright gray image.

    Raises
    ------
    ValueError
        With the reason why the image cannot be decoded.
    """
    if isinstance(data, Packed):
        gray = data.unpack()
        return gray, gray
    if is_dicom(data):
        return dicom.read_whole(data)
    image = _open(data)
    return image, _decode(image)


def sides(data: bytes) -> tuple[int, int]:
    """Return the width and height of an image in upright orientation, as a rule without decoding it.

    Raises
    ------
    ValueError
        With the reason why the image cannot be opened.
    """
    if isinstance(data, Packed):
        return data.unpack().size
    if is_dicom(data):
        return dicom.read_sides(data)
    with _open(data) as image:
        if may_have_late_orientation(image, data):
            return _decode(image).size
        width, height = image.size
        return (height, width) if _transposition(image) in _SWAPPED_SIDES else (width, height)


def kind_of(data: bytes) -> str | None:
    """Return the format of an image file from its first `N_FIRST_BYTES` bytes, or None if it is not supported."""
    if is_dicom(data):  # its preamble may be that of another format
        return dicom.DICOM
    return format_of(data)


def look(data: bytes) -> None:
    """Raise ValueError if the first bytes of a file are not those of a supported format."""
    if isinstance(data, Packed):
        return
    kind = kind_of(data)
    if kind is None:
        raise ValueError(dicom.guess(data) or _NOT_AN_IMAGE)
    if kind == dicom.DICOM:
        dicom.check_installed()


class Packed(bytes):
    """Gray pixels from memory, preceded by width and height; the type distinguishes them from the bytes of a file."""

    def unpack(self) -> Image.Image:
        """Return the pixels as an image."""
        return Image.frombytes("L", _SIDES.unpack(self[: _SIDES.size]), self[_SIDES.size :])


def pack(image: Image.Image | np.ndarray) -> Packed:
    """Convert pixels in memory to gray, at full size, as `whole` does with those of a file.

    Parameters
    ----------
    image : PIL.Image.Image or ndarray of shape (height, width) or (height, width, n), uint8 or uint16
        With a third axis: gray, RGB or RGBA (RGBA only as uint8).

    Raises
    ------
    ValueError
        With the reason why the image cannot be decoded.
    """
    try:
        if isinstance(image, Image.Image):
            with _load_lock:  # threads may share an image that is not loaded yet
                image.load()
            gray = _upright(_gray(image), image)
        else:
            gray = _gray(_from_array(image))
    except Exception as error:
        raise ValueError(f"cannot be decoded: {_message(error)}") from error
    if not all(gray.size):
        raise ValueError(f"has no pixels: {gray.width} x {gray.height}")
    return Packed(_SIDES.pack(*gray.size) + gray.tobytes())


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.itemsize == 1:
        return Image.fromarray(np.ascontiguousarray(pixels))
    if pixels.ndim == 3:  # Pillow has no 16-bit colors
        pixels = np.rint(pixels @ _LUMA)
    return Image.fromarray(np.ascontiguousarray(pixels, np.uint16))


def _open(data: bytes) -> Image.Image:
    kind = format_of(data)
    if kind is None:
        raise ValueError(dicom.guess(data) or _NOT_AN_IMAGE)
    data = prepared(kind, data)
    try:
        image: Image.Image = FILE_CLASSES[kind](io.BytesIO(data))
    except (SyntaxError, IndexError, TypeError, struct.error):  # those by which Pillow refuses a file
        raise ValueError(_NOT_AN_IMAGE) from None
    except Exception as error:
        raise ValueError(f"cannot be opened: {_message(error)}") from error
    check_cost(image)
    n_images = 1 if kind == "TIFF" else getattr(image, "n_frames", 1)  # further images of a TIFF are refused before
    if n_images > 1:
        raise ValueError(f"holds {n_images} images; save the one to use as a separate file")
    return image


def _decode(image: Image.Image, side: tuple[int, int] | None = None) -> Image.Image:
    """Decode and close an open image; return an upright gray image whose sides may be reduced to those of `side`."""
    try:
        n_coefficients = n_samples(image)
        if side is not None:
            image.draft("L", side)
        n_bytes = n_bytes_to_decode(image, n_coefficients)
    except Exception as error:
        raise ValueError(f"cannot be decoded: {_message(error)}") from error
    with memory_for(*image.size, n_bytes):
        try:
            image.load()
            return _upright(_gray(image), image)
        except Exception as error:
            raise ValueError(f"cannot be decoded: {_message(error)}") from error
        finally:
            image.close()  # frees its pixels before another image takes their place


def _message(error: BaseException) -> str:
    return f"{error}" or type(error).__name__


def _gray(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit gray, with transparent pixels over black."""
    if image.mode.startswith(("I", "F")):
        return _from_high_bit_depth(image)
    if image.mode == "La":  # premultiplied by alpha, which is the same as over black
        return image.getchannel("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("L")
    if image.mode not in {"1", "L", "P", "RGB"}:
        image = image.convert("RGB")
    return image.convert("L")


def _from_high_bit_depth(image: Image.Image) -> Image.Image:
    """Convert 16-bit, 32-bit and float pixels to 8 bits, in blocks of rows to save memory.

    Detectors store 10, 12 or 14 bits in 16. To keep the exposure of a radiograph, integers are divided by the largest
    value of the smallest such depth that holds the brightest pixel. Floats are scaled by their own range.
    """
    ranges = [(values.min(), values.max()) for _, values in _blocks(image)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    is_table = image.mode != "F" and low >= 0 and high < 2**16  # faster
    if image.mode != "F":
        low, high = min(low, 0.0), largest_value(high)
    gray = np.empty((image.height, image.width), np.uint8)
    for rows, values in _blocks(image):
        gray[rows] = _table(high)[values] if is_table else _scaled(values, low, high)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        np.subtract(255, gray, out=gray)
    return Image.fromarray(gray)


def _blocks(image: Image.Image) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows and their values, with 0 for transparent pixels."""
    is_unsigned = image.mode == "I" and _SIGNED not in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())
    for rows in row_blocks(image.height, image.width):
        values = np.array(image.crop((0, rows.start, image.width, rows.stop)))
        if is_unsigned:  # Pillow has no such mode of 32 bits
            values = values.view(np.uint32)
        if image.mode == "F" and not np.isfinite(values).all():
            raise ValueError("holds pixels that are not finite numbers")
        if "transparency" in image.info:
            values[values == image.info["transparency"]] = 0
        yield rows, values


@functools.lru_cache(maxsize=len(BIT_DEPTHS))
def _table(largest: int) -> np.ndarray:
    """Return the gray value of each 16-bit number."""
    return np.rint(np.minimum(np.arange(2**16), largest) * (255 / largest)).astype(np.uint8)


def _scaled(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    values = values.astype(np.float64)
    values -= low
    values *= 255 / max(float(high) - float(low), 1e-300)
    return np.rint(values).astype(np.uint8)


def _upright(gray: Image.Image, image: Image.Image) -> Image.Image:
    """Transpose `gray` by the EXIF orientation of `image`, ignoring broken metadata."""
    transposition = _transposition(image)
    return gray if transposition is None else gray.transpose(transposition)


def _transposition(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TRANSPOSITIONS.get(orientation_of(image))
    except Exception:
        return None


def _resize(gray: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    size = preprocessing.size
    if preprocessing.aspect == "crop":
        short = min(gray.size)
        left, upper = ((length - short) / 2 for length in gray.size)
        resized = scale(gray, (size, size), (left, upper, left + short, upper + short))
    elif preprocessing.aspect == "pad":
        # The short side of a very elongated image would be rounded to 0.
        long = max(gray.size)
        width, height = (max(1, round(side * size / long)) for side in gray.size)
        resized = scale(gray, (width, height))
    else:
        resized = scale(gray, (size, size))
    if preprocessing.contrast == "equalize":
        resized = ImageOps.equalize(resized)
    if resized.size == (size, size):
        return resized
    padded = Image.new("L", (size, size))
    padded.paste(resized, ((size - resized.width) // 2, (size - resized.height) // 2))
    return padded
