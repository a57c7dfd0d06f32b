"""Gray images and findings from DICOM files."""

import re
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skpneumo._images.dicom_grays import PHOTOMETRIC, gray_values
from skpneumo._images.dicom_header import PIXEL_DATA, RECORDS, Header, damaged, is_dicom, read_header
from skpneumo._images.pixels import check_size
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
_JP2 = b"\0\0\0\x0cjP  "
_FRAME_MARKERS = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC})  # of JPEG and JPEG-LS

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
    return _gray(*_open(data))


def read_whole(data: bytes) -> tuple[Image.Image, Image.Image]:
    """Decode a DICOM file; return it with what `audit_xrays` reports about its header, and as a gray image.

    Raises
    ------
    ValueError
        With the reason why the image cannot be decoded.
    """
    header, frame = _open(data)
    gray = _gray(header, frame)
    image = gray.copy()
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
    header, frame = _open(data)
    return _sides(header, frame)


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


def _open(data: bytes) -> tuple[Header, _Frame]:
    check_installed()
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
    gray = Image.fromarray(gray_values(header, frame.levels(), positions)[positions])
    return gray if gray.size == sides else scale(gray, sides)


def _decode(header: Header, frame: _Frame) -> np.ndarray:
    """Return the position of each pixel among the levels, of shape (rows, columns) uint16."""
    pixels = _pixels(header, frame)
    first = int(frame.levels()[0])
    np.clip(pixels, first, first + 2**frame.stored - 1, out=pixels)
    return (pixels.astype(np.int32) - first).astype(np.uint16)


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
            # That of pylibjpeg panics on damaged data: it writes to stderr and raises a BaseException.
            decoding_plugin="pydicom" if syntax == _RLE else "",
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
    if header.transfer_syntax != _RLE and _coded_layout(data) != (frame.columns, frame.rows, 1):
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
