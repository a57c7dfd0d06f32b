"""Gray images and findings from DICOM files."""

import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skpneumo._images.dicom_grays import PHOTOMETRIC, gray_values
from skpneumo._images.dicom_header import (
    DEFLATED,
    PIXEL_DATA,
    RECORDS,
    Header,
    damaged,
    is_dicom,
    max_inflated,
    read_header,
)
from skpneumo._images.memory import memory_for
from skpneumo._images.pixels import check_size, row_blocks
from skpneumo._images.resizing import scale
from skpneumo._images.sources import MAX_FILE_BYTES, reason
from skpneumo._utils.files import open_file, read_at_most
from skpneumo._utils.messages import shortened

DICOM = "DICOM"  # format of the images that `read_whole` returns
_MISSING = "a DICOM file, which needs pydicom: pip install 'skpneumo[dicom]'"
_FIRST_GROUP = (b"\x08\x00", b"\x00\x08\x00")  # of a data set, little or big endian
_NO_META = "possibly a DICOM data set without file meta information, whose encoding is unknown: save it as a DICOM file"
_A_DIRECTORY = "a DICOMDIR, which lists files: pass it to skpneumo.datasets.load_dicom"

_FILE_ID = 0x00041500
_SOP_CLASS, _MODALITY = 0x00080016, 0x00080060
_INTENT, _MANUFACTURER = 0x00080068, 0x00080070
_BODY_PART, _VIEW_POSITION, _BURNED_IN = 0x00180015, 0x00185101, 0x00280301
_VIEW_CODES, _CODE_MEANING = 0x00540220, 0x00080104
_SAMPLES, _N_FRAMES, _ROWS, _COLUMNS = 0x00280002, 0x00280008, 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_SPACINGS, _ASPECT_RATIO = (0x00280030, 0x00181164, 0x00182010), 0x00280034
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)

_HEADER_BYTES = 2**20  # most headers are shorter

_RLE = "1.2.840.10008.1.2.5"
_RLE_HEADER = struct.Struct("<16I")  # number and offsets of the segments
_JP2 = b"\0\0\0\x0cjP  "
_FRAME_MARKERS = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC})  # of JPEG and JPEG-LS

_BYTES_PER_PIXEL = 8  # twice, for the pixels of the file and for the square ones

_MAX_ASPECT = 10.0  # of a pixel
_SQUARE = 0.01  # deviation of the aspect of a pixel from 1 that is ignored
_RADIOGRAPHY = ("CR", "DX", "DR", "RG", "SC", "OT", "")
_CHEST = ("CHEST", "THORAX", "LUNG")
_LATERAL = ("LL", "RL")


class _Frame(NamedTuple):
    """Layout of the pixels of a single gray frame."""

    rows: int
    columns: int
    allocated: int  # bits per pixel in the file
    stored: int  # bits per pixel that hold its value
    is_signed: bool

    def levels(self) -> np.ndarray:
        """Return all values that a pixel can have."""
        first = -(2 ** (self.stored - 1)) if self.is_signed else 0
        return np.arange(first, first + 2**self.stored)


def check_installed() -> None:
    """Raise ValueError if pydicom is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ValueError(_MISSING) from None


def guess(data: bytes) -> str | None:
    """Return a description of a file that may be a DICOM data set, though not a DICOM file; None for any other."""
    return _NO_META if data.startswith(_FIRST_GROUP) else None


def read_gray(data: bytes) -> Image.Image:
    """Decode a DICOM file at full size to an 8-bit gray image with square pixels.

    Raises
    ------
    ValueError
        With the reason why the image cannot be decoded.
    """
    with _opened(data) as (header, frame):
        return _gray(header, frame)


def read_whole(data: bytes) -> tuple[Image.Image, Image.Image]:
    """Decode a DICOM file; return an image with what `audit_xrays` reports about its header, and the gray image.

    Raises
    ------
    ValueError
        With the reason why the image cannot be decoded.
    """
    with _opened(data) as (header, frame):
        gray = _gray(header, frame)
    image = Image.new("L", (1, 1))
    image.format = DICOM
    image.info = {"bit depth": frame.stored, "attributes": _attributes(header), "findings": _findings(header)}
    return image, gray


def read_sides(data: bytes) -> tuple[int, int]:
    """Return width and height of the image in a DICOM file, without decoding it.

    Raises
    ------
    ValueError
        With the reason why the image cannot be opened.
    """
    return _sides(*_beginning(data))


def check_path(path: str) -> str | None:
    """Return why a file is not a DICOM image, by its header, or None if it is one."""
    try:
        check_installed()
        with open_file(path) as file:
            data = file.read(_HEADER_BYTES) or b""
            if not is_dicom(data):
                return "not a DICOM file"
            header = read_header(data, is_whole=False)
            if PIXEL_DATA not in header.elements:
                header = read_header(data + read_at_most(file, MAX_FILE_BYTES - len(data)))
        check_image(header)
    except (OSError, ValueError) as error:
        return reason(error)
    return None


def directory_entries(data: bytes) -> list[list[str]]:
    """Return the parts of the path of each file that a DICOMDIR lists.

    Raises
    ------
    ValueError
        If the file is damaged, or no DICOMDIR.
    """
    header = read_header(data) if is_dicom(data) else None
    if header is None or RECORDS not in header.elements:
        raise ValueError("another file")
    records = (record.texts(_FILE_ID) for record in header.items(RECORDS))
    return [parts for parts in records if parts]


def check_image(header: Header) -> _Frame:
    """Return the layout of the pixels; raise ValueError if they are not one frame of gray values."""
    if not {PIXEL_DATA, *_FLOAT_PIXELS} & header.elements.keys():
        raise _without_image(header)
    if PIXEL_DATA not in header.elements:
        raise ValueError("a DICOM file of floating-point pixels; gray values must be integers")
    n_frames = header.numbers(_N_FRAMES)
    if n_frames and n_frames[0] > 1:
        raise ValueError(f"a DICOM file of {n_frames[0]:g} frames; save the one to use as a separate file")
    if not (photometric := header.text(PHOTOMETRIC)):
        raise damaged("the element (0028,0004), PhotometricInterpretation, is missing")
    if header.integer(_SAMPLES) != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise ValueError(f"a DICOM file in colors ({shortened(photometric, 20)}); a radiograph has gray values")
    rows, columns, allocated, stored = (header.integer(tag) for tag in (_ROWS, _COLUMNS, _ALLOCATED, _STORED))
    frame = _Frame(rows, columns, allocated, stored, any(header.integers(_SIGNED)))
    if not (frame.rows and frame.columns):
        raise ValueError(f"has no pixels: {frame.columns} x {frame.rows}")
    check_size(frame.columns, frame.rows)
    high_bit = header.integers(_HIGH_BIT) or (frame.stored - 1,)
    if frame.allocated not in {8, 16} or not 2 <= frame.stored <= frame.allocated or high_bit[0] != frame.stored - 1:
        raise ValueError(
            f"a DICOM file with {frame.stored} of {frame.allocated} bits up to bit {high_bit[0]} per pixel; expected 2 "
            "to 16 bits, the lowest of 8 or 16"
        )
    return frame


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[Header, _Frame]]:
    """Wait for the memory that decoding the pixels takes, besides that of the file; yield header and frame."""
    header, frame = _beginning(data)
    is_deflated = header.transfer_syntax == DEFLATED
    n_pixels = frame.rows * frame.columns + math.prod(_sides(header, frame))
    with memory_for(frame.columns, frame.rows, n_pixels * _BYTES_PER_PIXEL + is_deflated * max_inflated(data)):
        if is_deflated:
            header = read_header(data)
            frame = check_image(header)
        yield header, frame


def _beginning(data: bytes) -> tuple[Header, _Frame]:
    """Read header and frame; of a deflated file, the values of the pixels are not complete."""
    check_installed()
    header = read_header(data, is_whole=False)
    if PIXEL_DATA not in header.elements:  # or an error is raised
        with memory_for(0, 0, max_inflated(data)):
            header = read_header(data)
    return header, check_image(header)


def _without_image(header: Header) -> ValueError:
    """Return the error of a file without pixel data."""
    if RECORDS in header.elements:
        return ValueError(_A_DIRECTORY)
    uid = _uid(header.text(_SOP_CLASS))
    if "Image Storage" in uid.name:
        return damaged(f"it has no pixel data, though it is of the class {uid.name}")
    return ValueError(f"a DICOM object without an image{f': {uid.name}' if uid.name != uid else ''}")


def _uid(text: str) -> Any:
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    return UID(text, IGNORE)  # by default, invalid ones are warned of


def _sides(header: Header, frame: _Frame) -> tuple[int, int]:
    """Return width and height of the image after the longer side of each pixel has been divided."""
    pairs = [header.numbers(tag) for tag in (*_SPACINGS, _ASPECT_RATIO)]
    vertical, horizontal = next((pair[:2] for pair in pairs if len(pair) >= 2 and min(pair[:2]) > 0), (1.0, 1.0))
    aspect = vertical / horizontal
    if not 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT:
        raise ValueError(f"a DICOM file whose pixels are {vertical:g} high and {horizontal:g} wide")
    if abs(aspect - 1) <= _SQUARE:
        return frame.columns, frame.rows
    width, height = round(frame.columns * max(1, 1 / aspect)), round(frame.rows * max(1, aspect))
    check_size(width, height)
    return width, height


def _gray(header: Header, frame: _Frame) -> Image.Image:
    # At most 65,536 values occur, so that a table of their gray values is faster than a transformation of each pixel.
    sides = _sides(header, frame)
    positions = _decode(header, frame)
    table = gray_values(header, frame.levels(), positions)
    grays = np.empty(positions.shape, np.uint8)
    for rows in row_blocks(*positions.shape):
        grays[rows] = table[positions[rows]]
    gray = Image.fromarray(grays)
    return gray if gray.size == sides else scale(gray, sides)


def _decode(header: Header, frame: _Frame) -> np.ndarray:
    """Return the position of each pixel among the levels, of shape (rows, columns) uint16."""
    pixels = _pixels(header, frame)
    first = int(frame.levels()[0])
    np.clip(pixels, first, first + 2**frame.stored - 1, out=pixels)
    positions = np.empty(pixels.shape, np.uint16)
    for rows in row_blocks(*pixels.shape):
        positions[rows] = pixels[rows].astype(np.int32) - first
    return positions


def _pixels(header: Header, frame: _Frame) -> np.ndarray:
    """Return the values of the pixels."""
    from pydicom.pixels import get_decoder

    syntax = _uid(header.transfer_syntax)
    name = shortened(syntax.name, 80)
    try:
        if not syntax.is_valid:  # of which pydicom would warn
            raise NotImplementedError
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"a DICOM file with the transfer syntax {name}, which is not supported") from None
    if not decoder.is_available:
        raise ValueError(
            f"a DICOM file with the transfer syntax {name}, which needs {_packages(decoder)}: pip install "
            "'skpneumo[dicom]'"
        )
    vr, value = header.elements[PIXEL_DATA]
    if syntax == _RLE:
        return _from_runs(b"".join(header.fragments()), frame)
    if decoder.is_encapsulated:
        data = _encapsulated(header, frame)
    else:
        n_bytes = frame.rows * frame.columns * frame.allocated // 8
        if len(value) < n_bytes:
            raise damaged(f"its pixel data has {len(value)} of {n_bytes} bytes")
        data = bytes(value[: n_bytes + n_bytes % 2])
    try:
        pixels, _ = decoder.as_array(
            data,
            index=0,
            validate=False,  # it warns of excess bytes
            raw=True,
            rows=frame.rows,
            columns=frame.columns,
            samples_per_pixel=1,
            number_of_frames=1,
            bits_allocated=frame.allocated,
            bits_stored=frame.stored,
            pixel_representation=int(frame.is_signed),
            photometric_interpretation="MONOCHROME2",
            pixel_keyword="PixelData",
            pixel_vr=vr.decode() or "OW",
        )
    except Exception as error:  # plugins raise errors of any kind
        raise ValueError(f"cannot be decoded: {_message(error)}") from error
    return pixels


def _from_runs(data: bytes, frame: _Frame) -> np.ndarray:
    """Decode run lengths: a segment for the high bytes of all pixels, and one for the low bytes.

    pydicom would warn of padding and decode segments of any length; pylibjpeg panics on damaged data.
    """
    n_segments = frame.allocated // 8
    if len(data) < _RLE_HEADER.size or _RLE_HEADER.unpack_from(data)[0] != n_segments:
        raise damaged(f"its pixel data does not have {n_segments} segments")
    starts = [*_RLE_HEADER.unpack_from(data)[1 : n_segments + 1], len(data)]
    n_pixels = frame.rows * frame.columns
    pixels = np.empty((n_pixels, n_segments), np.uint8)
    for i in range(n_segments):
        decoded = _segment(data[starts[i] : starts[i + 1]], n_pixels)
        if len(decoded) < n_pixels:
            raise damaged(f"a segment of its pixel data has {len(decoded)} of {n_pixels} bytes")
        pixels[:, i] = np.frombuffer(decoded, np.uint8, n_pixels)
    values = pixels.view(f">{'i' if frame.is_signed else 'u'}{n_segments}").reshape(frame.rows, frame.columns)
    return values.astype(values.dtype.newbyteorder("="))


def _segment(data: bytes, n_bytes: int) -> bytearray:
    decoded, position = bytearray(), 0
    while len(decoded) < n_bytes and position < len(data):
        code = data[position]
        if code < 128:
            decoded += data[position + 1 : position + code + 2]
            position += code + 2
        else:  # 128 is a filler
            decoded += data[position + 1 : position + 2] * (257 - code if code > 128 else 0)
            position += 2 if code > 128 else 1
    return decoded


def _packages(decoder: Any) -> str:
    """Return the packages of the plugin for pylibjpeg."""
    plugin = next((each for each in decoder.missing_dependencies if each.startswith("pylibjpeg ")), "")
    return re.sub(r">=[\d.]+", "", plugin.partition(" - requires ")[2]) or "another decoder"


def _encapsulated(header: Header, frame: _Frame) -> bytes:
    """Return compressed pixel data as a single fragment, which is decoded without a search for its end."""
    data = b"".join(header.fragments())
    if not data:
        raise damaged("it has no pixel data")
    if data.startswith(_JP2):  # a wrapper that the standard does not allow
        data = data[data.find(b"jp2c") + 4 :]
    if _coded_layout(data) != (frame.columns, frame.rows, 1):
        raise damaged(f"its pixel data is not a gray image of {frame.columns} x {frame.rows}")
    data += bytes(len(data) % 2)
    item = struct.Struct("<HHI")
    return item.pack(0xFFFE, 0xE000, 0) + item.pack(0xFFFE, 0xE000, len(data)) + data


def _coded_layout(data: bytes) -> tuple[int, int, int] | None:
    """Return width, height and number of channels in a JPEG, JPEG-LS or JPEG 2000 stream; None if it has none.

    A decoder would allocate memory for them, whatever the header of the file says.
    """
    try:
        if data.startswith(b"\xff\x4f\xff\x51"):
            right, lower, left, upper = struct.unpack_from(">4I", data, 8)
            return right - left, lower - upper, struct.unpack_from(">H", data, 40)[0]
        position = 2
        while data.startswith(b"\xff\xd8"):
            marker, length = struct.unpack_from(">HH", data, position)
            if marker in _FRAME_MARKERS:
                height, width, n_channels = struct.unpack_from(">HHB", data, position + 5)
                return width, height, n_channels
            position += 1 if marker == 0xFFFF else 2 + length  # markers may be preceded by fill bytes
    except struct.error:
        pass
    return None


def _message(error: Exception) -> str:
    """Return the message of an error on one line, without the beginning common to all errors of plugins."""
    text = " ".join(f"{error}".split()).rpartition("all available plugins: ")[2]
    return shortened(text, 120) or type(error).__name__


def _attributes(header: Header) -> dict[str, str]:
    """Return attributes of the header that may reveal the label; none of them identifies a patient."""
    return {
        "manufacturer": header.text(_MANUFACTURER),
        "view position": header.text(_VIEW_POSITION),
        "photometric interpretation": header.text(PHOTOMETRIC),
        "transfer syntax": _uid(header.transfer_syntax).name,
    }


def _findings(header: Header) -> dict[str, str]:
    """Return the values of the header by which an image is no ordinary frontal chest X-ray, by kind of finding."""
    body_part, view, modality = (header.text(tag).upper() for tag in (_BODY_PART, _VIEW_POSITION, _MODALITY))
    views = [view, *(item.text(_CODE_MEANING).upper() for item in header.items(_VIEW_CODES))]
    found = {}
    if lateral := [each for each in views if each in _LATERAL or each.startswith("LAT") or " LATERAL" in f" {each}"]:
        found["lateral view"] = lateral[0]
    if body_part and not any(part in body_part for part in _CHEST):
        found["other body part"] = body_part
    if modality not in _RADIOGRAPHY:
        found["other modality"] = modality
    if header.text(_BURNED_IN).upper() == "YES":
        found["burned-in annotation"] = "BurnedInAnnotation YES"
    if header.text(_INTENT).upper() == "FOR PROCESSING":
        found["raw image"] = "PresentationIntentType FOR PROCESSING"
    return found
