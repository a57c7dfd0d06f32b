"""Opening of image files by their headers, with bounds on the cost of decoding them, and without warnings of Pillow."""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from PIL import BmpImagePlugin, ExifTags, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from skpneumo._images.pixels import check_size
from skpneumo._images.tiff import clean_exif, read_directory

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_FIRST_BYTES = {  # of a format; a dot is any byte
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "BMP": rb"BM.{12}[\x0c-\x80]\0\0\0",  # the size of the second header, since texts may begin with "BM"
    "TIFF": rb"II[*+]\0|MM\0[*+]|II\0\*|MM\*\0",  # the last two are written by mistake, but Pillow reads them
    "WEBP": rb"RIFF.{4}WEBP",
}
_FORMAT = re.compile(
    b"|".join(b"(?P<%s>%s)" % (kind.encode(), start) for kind, start in _FIRST_BYTES.items()), re.DOTALL
)

_MAX_SEGMENTS, _MAX_SCANS = 10_000, 100  # of a JPEG; each scan of a progressive one takes a pass over the image
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_END, _SCAN, _NO_LENGTH = 0xD9, 0xDA, frozenset({0x01, *range(0xD0, 0xD9)})

_MAX_CHUNKS = 10_000  # of a PNG, besides those of one kilobyte or more
_ANIMATION = b"acTL"
_WITH_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_PROFILE = "Raw profile type exif"

_STRIP_OFFSETS, _TILE_OFFSETS, _TILE_WIDTH, _TILE_HEIGHT = 273, 324, 322, 323
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 256, 257, 258, 259, 277, 278, 284
_FAX, _MAX_FAX_ROWS = frozenset({2, 3, 4, 32771}), 2**16  # libtiff prints an error for each damaged row
_MAX_RUN_LENGTH_PIXELS = 2**24  # of a BMP, whose runs are decoded in Python

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_BYTES_PER_PIXEL = {"1": 3, "L": 3, "P": 3, "RGB": 7}  # of the image, its gray copy and its upright copy


def format_of(data: bytes) -> str | None:
    """Return the format of an image file from its first bytes, or None if it is none of `FORMATS`."""
    match = _FORMAT.match(data)
    return match and match.lastgroup


def prepared(kind: str, data: bytes) -> bytes:
    """Return an image file without parts of which Pillow would warn.

    Raises
    ------
    ValueError
        If the image is too large, the file holds several images, or decoding it would take very long.
    """
    prepare = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "WEBP": _webp}.get(kind)
    return prepare(data) if prepare else data


def check_cost(image: Image.Image) -> None:
    """Raise ValueError if an open image is too large, or if decoding it would take very long."""
    check_size(*image.size)
    if image.format == "BMP" and _has_runs(image) and image.width * image.height > _MAX_RUN_LENGTH_PIXELS:
        raise ValueError(f"too slow to decode: {image.width} x {image.height} pixels in runs; save it uncompressed")


def n_samples(image: Image.Image) -> int:
    """Return the number of gray or color values of an open image."""
    return image.width * image.height * len(image.getbands())


def n_bytes_to_decode(image: Image.Image, n_coefficients: int) -> int:
    """Return about how many bytes of memory the decoding of an open image takes at most, besides those of the file.

    All coefficients of a progressive JPEG are in memory, even if it is decoded at a reduced scale.
    """
    n_pixels = image.width * image.height
    has_alpha = image.mode in _ALPHA_MODES or "transparency" in image.info
    is_high = image.mode.startswith(("I", "F"))
    n_bytes = 7 if is_high else 19 if has_alpha else _BYTES_PER_PIXEL.get(image.mode, 11)
    if image.format == "JPEG" and image.info.get("progressive"):
        return n_pixels * n_bytes + 2 * n_coefficients
    if image.format == "WEBP":
        return n_pixels * (n_bytes + 9)
    if image.format == "TIFF":
        return n_pixels * n_bytes + _n_bytes_of_strip(image)
    if _has_runs(image):
        return n_pixels * n_bytes + 256 * image.width
    return n_pixels * n_bytes


class _QuietJpeg(JpegImagePlugin.JpegImageFile):
    """JPEG file whose resolution is read from EXIF data without warnings."""

    def getexif(self) -> Image.Exif:
        if "exif" in self.info:
            self.info["exif"] = clean_exif(self.info["exif"])
        return super().getexif()


FILE_CLASSES: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "JPEG": _QuietJpeg,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}


def _jpeg(data: bytes) -> bytes:
    if _n_scans(data) > _MAX_SCANS:
        raise ValueError(f"too slow to decode: more than {_MAX_SCANS} scans")
    return data


def _n_scans(data: bytes) -> int:
    """Count the scans of a JPEG up to one more than are allowed; raise ValueError if it has too many segments."""
    position, n_segments, n_scans, may_be_many = 2, 0, 0, data.count(b"\xff\xda") > _MAX_SCANS
    while n_segments <= _MAX_SEGMENTS:
        match = _MARKER.search(data, position)
        if match is None or match[1][0] == _END:
            return n_scans
        n_segments += len(match[0]) - 1  # Pillow takes fill bytes one by one
        position = match.end()
        if match[1][0] == _SCAN:
            n_scans += 1
            if n_scans > _MAX_SCANS or not may_be_many:
                return n_scans
        if match[1][0] not in _NO_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    raise ValueError(f"too slow to decode: more than {_MAX_SEGMENTS} segments")


def _png(data: bytes) -> bytes:
    animations, first_data = [], len(data)
    for n_chunks, (kind, start, end) in enumerate(_chunks(data)):
        if n_chunks > _MAX_CHUNKS + len(data) // 2**10:
            raise ValueError(f"too slow to decode: more than {n_chunks - 1} chunks")
        if kind == b"IDAT":
            first_data = min(first_data, start)
        elif kind == _ANIMATION:
            animations.append((start, end))
    if animations and not _is_animated(data, animations, first_data):
        ends = [8, *(end for _, end in animations)]
        starts = [*(start for start, _ in animations), len(data)]
        data = data[:8] + b"".join(data[end:start] for end, start in zip(ends, starts, strict=True))
    return data


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each chunk of a PNG."""
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position, position + length + 12
        position += length + 12


def _is_animated(data: bytes, animations: list[tuple[int, int]], first_data: int) -> bool:
    """Return whether the chunk of an animation is valid; Pillow warns of others, and ignores them."""
    start, end = animations[0]
    return len(animations) == 1 and start < first_data and end - start >= 20 and 0 < _be(data, start + 8) <= 2**31


def _be(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "big")


def _has_runs(image: Any) -> bool:
    return bool(image.tile) and image.tile[0][0] == "bmp_rle"


def _tiff(data: bytes) -> bytes:
    directory = read_directory(data)
    if directory.has_next:
        raise ValueError("holds several images; save the one to use as a separate file")
    numbers = {tag: first for tag, (first, _) in directory.numbers.items()}
    width, height = numbers.get(_WIDTH, 0), numbers.get(_HEIGHT, 0)
    check_size(width, height)
    if numbers.get(_COMPRESSION) in _FAX and height > _MAX_FAX_ROWS:
        raise ValueError(f"too slow to decode: {height} rows in the coding of a fax, more than {_MAX_FAX_ROWS}")
    if _TILE_WIDTH in numbers and _STRIP_OFFSETS not in numbers:
        across, down = max(1, numbers[_TILE_WIDTH]), max(1, numbers.get(_TILE_HEIGHT, height))
    else:
        across, down = max(1, width), max(1, numbers.get(_ROWS_PER_STRIP, height))
    n_planes = max(1, numbers.get(_SAMPLES, 1)) if numbers.get(_PLANAR) == 2 else 1
    expected = -(-width // across) * -(-height // down) * n_planes
    n_parts = max(directory.numbers.get(tag, (0, 0))[1] for tag in (_STRIP_OFFSETS, _TILE_OFFSETS))
    if n_parts > 2 * expected + 16:  # Pillow would decode all of them, some over others
        raise ValueError(f"a damaged TIFF file: it has {n_parts} strips or tiles instead of {expected}")
    return directory.data


def _n_bytes_of_strip(image: Any) -> int:
    """Return the bytes of the largest strip or tile of a TIFF, which libtiff decodes at once."""
    tags = image.tag_v2
    bits = tags.get(_BITS, (1,))
    n_bits = max(bits) * max(len(bits), tags.get(_SAMPLES, 1)) if isinstance(bits, tuple) else bits
    width, height = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT, tags.get(_ROWS_PER_STRIP, image.height))
    n_pixels = width * min(height, max(image.size)) if isinstance(width, int) and isinstance(height, int) else 0
    return 0 if tags.get(_COMPRESSION, 1) == 1 else n_pixels * max(4, n_bits // 8)


def _webp(data: bytes) -> bytes:
    check_size(*_webp_sides(data))  # Pillow allocates memory when it opens the file
    return data


def _webp_sides(data: bytes) -> tuple[int, int]:
    kind, header = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(header[4:7], "little"), 1 + int.from_bytes(header[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(header[6:8], "little") & 0x3FFF, int.from_bytes(header[8:10], "little") & 0x3FFF


def orientation_of(image: Image.Image) -> Any:
    """Return the EXIF orientation of a decoded image without warnings; broken metadata raises errors of any kind."""
    info = dict(image.info)
    if "exif" in info:
        info["exif"] = clean_exif(info["exif"])
    elif _PROFILE in info:
        profile = bytes.fromhex("".join(info[_PROFILE].split("\n")[3:]))
        info[_PROFILE] = "\n\n\n" + clean_exif(profile).hex()
    elif hasattr(image, "tag_v2"):
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    bare = Image.new("1", (1, 1))
    bare.info = info
    return bare.getexif().get(ExifTags.Base.Orientation, 1)


def may_have_late_orientation(image: Image.Image, data: bytes) -> bool:
    """Return whether the orientation of an image may be known only once it is decoded, as in a PNG."""
    return image.format == "PNG" and "exif" not in image.info and any(each in data for each in _WITH_ORIENTATION)
