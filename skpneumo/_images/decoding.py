"""One image of any kind to one square of gray bytes; the same for training and prediction."""

import io
import struct
import threading
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from skpneumo._images.augmentation import View
from skpneumo._images.resizing import scale

# Whatever changes a single gray value of what `decode` returns must raise this number: stored features carry it.
VERSION = 2

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_FIRST_BYTES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II", b"MM", b"RIFF")
_SIDES = struct.Struct("<II")  # width and height
_NO_IMAGE = f"not an image in one of the formats {', '.join(FORMATS)}, or a damaged one"
ASPECTS = ("crop", "pad", "stretch")

_BIT_DEPTHS = (8, 10, 12, 14, *range(16, 33))
_PHOTOMETRIC, _MIN_IS_WHITE = 262, 0
_SAMPLE_FORMAT, _SIGNED = 339, 2

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's own
_loading = threading.Lock()

_UPRIGHT = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


@dataclass(frozen=True)
class Preprocessing:
    """The square that the network sees.

    Parameters
    ----------
    size : int
        Its side in pixels.
    aspect : {"crop", "pad", "stretch"}
        What becomes of an image that is not square.
    contrast : {None, "equalize"}
        Whether the histogram is equalised, after scaling and before padding.
    """

    size: int
    aspect: str = "crop"
    contrast: str | None = None

    def key(self) -> bytes:
        """Name everything that shapes the gray values of an image."""
        # Pillow's own switch lets truncated images through; what it lets through must not be taken for whole ones.
        lenient = ImageFile.LOAD_TRUNCATED_IMAGES
        return f"square {VERSION} {self.size} {self.aspect} {self.contrast} {lenient} ".encode()

    def decode(self, data: bytes) -> np.ndarray:
        """Turn the bytes of an image file into gray values, (size, size) uint8.

        Raises
        ------
        ValueError
            The reason why it cannot be done.
        """
        return self.resize(self.gray(data))

    def gray(self, data: bytes) -> Image.Image:
        """Turn the bytes of an image file into a gray image, not much larger than needed.

        Raises
        ------
        ValueError
            The reason why it cannot be done.
        """
        if isinstance(data, Packed):
            return data.unpack()
        with _open(data) as image:
            try:
                # A JPEG decoder halves the scale at a fraction of the cost; twice the target is
                # left to resample well.
                image.draft("L", (2 * self.size, 2 * self.size))
                image.load()
                return _upright(_gray(image), image)
            except Exception as error:
                raise ValueError(f"cannot be decoded: {_sentence(error)}") from error

    def resize(self, gray: Image.Image, view: View | None = None) -> np.ndarray:
        """Cut the square, or a view of it, out of a gray image; (size, size) uint8."""
        return np.asarray(_square(gray, self) if view is None else self._view(gray, view))

    def _view(self, gray: Image.Image, view: View) -> Image.Image:
        short, long = min(gray.size), max(gray.size)
        whole = {"crop": (short, short), "pad": (long, long), "stretch": gray.size}[self.aspect]
        square = view.crop(gray, whole, self.size)
        if self.contrast == "equalize":
            square = ImageOps.equalize(square, mask=view.frame(Image.new("L", gray.size, 255), whole, self.size))
        return square


def whole(data: bytes) -> tuple[Image.Image, Image.Image]:
    """Decode an image at its own size: as its file holds it, with the metadata; and in gray, upright.

    Raises
    ------
    ValueError
        The reason why it cannot be done.
    """
    if isinstance(data, Packed):
        gray = data.unpack()
        return gray, gray
    image = _open(data)
    try:
        image.load()
        return image, _upright(_gray(image), image)
    except Exception as error:
        raise ValueError(f"cannot be decoded: {_sentence(error)}") from error


def sides(data: bytes) -> tuple[int, int]:
    """Read width and height of an image, upright, without decoding it.

    Raises
    ------
    ValueError
        The reason why it cannot be done.
    """
    if isinstance(data, Packed):
        return data.unpack().size
    with _open(data) as image:
        width, height = image.size
        return (height, width) if _turn(image) in _SIDEWAYS else (width, height)


def look(data: bytes) -> None:
    """Raise ValueError where the first bytes of a file are enough to tell that it cannot be decoded."""
    if not isinstance(data, Packed) and not data.startswith(_FIRST_BYTES):
        raise ValueError(_NO_IMAGE)


class Packed(bytes):
    """Gray pixels that came without a file, behind their width and height; a type, so that no file passes as one."""

    def unpack(self) -> Image.Image:
        """Return the pixels."""
        return Image.frombytes("L", _SIDES.unpack(self[: _SIDES.size]), self[_SIDES.size :])


def pack(image: Image.Image | np.ndarray) -> Packed:
    """Turn pixels in memory into bytes, gray as those of a file would be, and as many.

    Parameters
    ----------
    image : PIL.Image.Image or ndarray of shape (height, width) or (height, width, n), uint8 or uint16
        With a third axis: gray, red, green and blue, or these and opacity (uint8 alone).

    Raises
    ------
    ValueError
        The reason why it cannot be done.
    """
    try:
        if isinstance(image, Image.Image):
            with _loading:  # a lazy image decodes its file once, and threads may share it
                image.load()
            gray = _upright(_gray(image), image)
        else:
            gray = _gray(_from_array(image))
    except Exception as error:
        raise ValueError(f"cannot be decoded: {_sentence(error)}") from error
    if not all(gray.size):
        raise ValueError(f"has no pixels: {gray.width} x {gray.height}")
    return Packed(_SIDES.pack(*gray.size) + gray.tobytes())


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.itemsize == 1:
        return Image.fromarray(np.ascontiguousarray(pixels))
    if pixels.ndim == 3:  # Pillow has no deep colours
        pixels = np.rint(pixels @ _LUMA)
    return Image.fromarray(np.ascontiguousarray(pixels, np.uint16))


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        pages = getattr(image, "n_frames", 1)
    except UnidentifiedImageError:
        raise ValueError(_NO_IMAGE) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"absurdly large: {_sentence(error)}") from None
    except Exception as error:
        raise ValueError(f"cannot be opened: {_sentence(error)}") from error
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"absurdly large: {width} x {height} pixels, more than {Image.MAX_IMAGE_PIXELS} in all")
    if pages > 1 and image.format != "MPO":
        raise ValueError(f"holds {pages} images: save the one that is meant as a file of its own")
    return image


def _sentence(error: BaseException) -> str:
    return f"{error}" or type(error).__name__


def _gray(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit gray: transparency over black, deep pixels scaled by their range."""
    if image.mode.startswith(("I", "F")):
        return _from_deep(image)
    if image.mode == "La":  # already multiplied by its transparency: over black as it is
        return image.getchannel("L")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("L")
    if image.mode not in {"1", "L", "P", "RGB"}:
        image = image.convert("RGB")
    return image.convert("L")


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float pixels to 8 bits.

    Detectors write 10, 12 or 14 bits into 16: integers are divided by the largest value of the
    smallest such depth that holds the brightest pixel, so that a film keeps its exposure. Floats
    have no depth: their own range is taken.
    """
    tags = getattr(image, "tag_v2", {})
    pixels = np.asarray(image)
    if image.mode == "I" and _SIGNED not in tags.get(_SAMPLE_FORMAT, ()):
        pixels = pixels.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds pixels that are not finite numbers")
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = 0
    low, top = values.min(), values.max()
    if image.mode != "F":
        low, top = min(low, 0.0), next(2**depth - 1 for depth in _BIT_DEPTHS if top < 2**depth)
    values -= low  # in place: a large film takes half a gigabyte
    values *= 255 / max(top - low, 1e-300)
    gray = np.rint(values).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        gray = 255 - gray
    return Image.fromarray(gray)


def _upright(gray: Image.Image, image: Image.Image) -> Image.Image:
    """Turn `gray` as the metadata of `image` say; broken ones do not spoil its pixels."""
    turn = _turn(image)
    return gray if turn is None else gray.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None


def _square(gray: Image.Image, square: Preprocessing) -> Image.Image:
    sides = (square.size, square.size)
    if square.aspect == "crop":
        short = min(gray.size)
        left, upper = ((length - short) / 2 for length in gray.size)
        scaled = scale(gray, sides, (left, upper, left + short, upper + short))
    elif square.aspect == "pad":
        # A side of an extreme image would round to nothing.
        long = max(gray.size)
        width, height = (max(1, round(s * square.size / long)) for s in gray.size)
        scaled = scale(gray, (width, height))
    else:
        scaled = scale(gray, sides)
    if square.contrast == "equalize":
        scaled = ImageOps.equalize(scaled)
    if scaled.size == sides:
        return scaled
    black = Image.new("L", sides)
    black.paste(scaled, ((square.size - scaled.width) // 2, (square.size - scaled.height) // 2))
    return black
