"""Elements of DICOM files.

Values are converted only when they are used. pydicom, in contrast, reports odd values by warnings and in its log, which
cannot be turned off for one call or one thread, and which may contain the name of the patient.
"""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from PIL import Image

from skpneumo._images.sources import MAX_FILE_BYTES

PREAMBLE_SIZE, PREFIX = 128, b"DICM"
_META_START = b"\x02\x00\x00\x00UL\x04\x00"  # group length of the file meta information
RECORDS, PIXEL_DATA = 0x00041220, 0x7FE00010
_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_VR = re.compile(rb"[A-Z]{2}")
_UNDEFINED = 0xFFFFFFFF
_MAX_HEADER_BYTES = 2**24  # of an inflated file
_BEGINNING = 2**20  # bytes of an inflated file, which hold most headers
_MAX_RATIO = 1040  # of inflated to deflated bytes, by the format
_MAX_TEXT_BYTES = 2**16  # of an element; only the first values are used
_MAX_ELEMENTS, _MAX_DEPTH = 1_000_000, 32  # a damaged file must not take minutes

_Elements = dict[int, tuple[bytes, memoryview]]  # value representation and value by tag


@dataclass(frozen=True)
class Header:
    """Elements of a data set by tag, as bytes, up to and including the pixel data.

    Parameters
    ----------
    elements : dict of int to (bytes, memoryview)
        Value representation (empty if implicit) and value of each element.
    order : {"<", ">"}
        Byte order of the values, as in `struct`.
    transfer_syntax : str
        UID of the transfer syntax; empty for an item of a sequence.
    """

    elements: _Elements = field(repr=False)
    order: str
    transfer_syntax: str = ""
    is_implicit: bool = field(default=False, repr=False)

    def value(self, tag: int) -> bytes:
        """Return the bytes of an element, empty if it is missing."""
        return bytes(self.elements[tag][1]) if tag in self.elements else b""

    def texts(self, tag: int) -> list[str]:
        """Return the values of an element of text, without padding."""
        value = self.elements[tag][1][:_MAX_TEXT_BYTES] if tag in self.elements else b""
        text = bytes(value).decode("latin-1").strip("\0 ")
        return [each.strip("\0 ") for each in text.split("\\")] if text else []

    def text(self, tag: int) -> str:
        """Return the first value of an element of text, empty if it is missing."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int) -> list[float]:
        """Return the values of an element of decimal or integer strings."""
        try:
            numbers = [float(each) for each in self.texts(tag) if each]
        except ValueError:
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            raise damaged(f"the element {_name(tag)} does not hold numbers")
        return numbers

    def integer(self, tag: int) -> int:
        """Return the first value of an element of unsigned integers of two bytes."""
        values = self.integers(tag)
        if not values:
            raise damaged(f"the element {_name(tag)} is missing")
        return values[0]

    def integers(self, tag: int, code: str = "H") -> tuple[int, ...]:
        """Return the values of an element of binary integers; `code` is that of `struct`."""
        value = self.value(tag)
        size = struct.calcsize(code)
        if len(value) % size:
            raise damaged(f"the element {_name(tag)} does not hold integers of {size} bytes")
        return struct.unpack(f"{self.order}{len(value) // size}{code}", value)

    def items(self, tag: int) -> list["Header"]:
        """Return the items of a sequence."""
        if tag not in self.elements:
            return []
        vr, value = self.elements[tag]
        reader = _Reader(value, self.order, self.is_implicit or vr == b"UN")
        try:
            return [Header(elements, self.order, is_implicit=reader.is_implicit) for elements in reader.items()]
        except struct.error:
            raise damaged(f"the sequence {_name(tag)} ends early") from None

    def fragments(self) -> list[memoryview]:
        """Return the fragments of compressed pixel data, without the table of offsets."""
        value = self.elements[PIXEL_DATA][1]
        try:
            return list(_Reader(value, self.order, is_implicit=False).fragments())[1:]
        except struct.error:
            raise damaged("its pixel data is truncated") from None


def is_dicom(data: bytes) -> bool:
    """Return whether a file begins as a DICOM file does, possibly without its preamble of 128 bytes."""
    return data[PREAMBLE_SIZE : PREAMBLE_SIZE + len(PREFIX)] == PREFIX or data.startswith(_META_START)


def read_header(data: bytes, last: int = PIXEL_DATA, *, is_whole: bool = True) -> Header:
    """Read the elements of a DICOM file up to and including the tag `last`.

    If not `is_whole`, `data` may be the beginning of a file, and elements that it does not hold completely are skipped.
    Only the beginning of a deflated file is inflated then.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    view = memoryview(data)
    start = 0 if data.startswith(_META_START) else PREAMBLE_SIZE + len(PREFIX)
    meta_elements, elements = _Elements(), _Elements()
    try:
        meta = _Reader(view[start:], "<", is_implicit=False)
        meta.read(meta_elements, lambda tag: tag >> 16 != 2)
        if not (syntax := Header(meta_elements, "<").text(_TRANSFER_SYNTAX)):
            raise damaged("it has no transfer syntax")
        body = view[start + meta.position :]
        if syntax == DEFLATED:
            body = memoryview(_inflate(body, max_inflated(data) if is_whole else _BEGINNING, is_whole=is_whole))
        reader = _Reader(body, ">" if syntax == _BIG_ENDIAN else "<", is_implicit=syntax == _IMPLICIT)
        reader.read(elements, lambda tag: tag > last)
    except struct.error:
        if is_whole or not elements:
            raise damaged("it ends within its header") from None
    return Header(elements, reader.order, syntax, reader.is_implicit)


def damaged(why: str) -> ValueError:
    """Return the error of a file that violates the standard."""
    return ValueError(f"a damaged DICOM file: {why}")


def max_inflated(data: bytes) -> int:
    """Return the largest number of bytes to which a file is inflated."""
    largest = MAX_FILE_BYTES if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS + _MAX_HEADER_BYTES
    return min(largest, len(data) * _MAX_RATIO)


def _inflate(compressed: memoryview, limit: int, *, is_whole: bool) -> bytes:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = decompressor.decompress(compressed, limit)
    except zlib.error:
        raise damaged("it cannot be inflated") from None
    if is_whole and decompressor.unconsumed_tail:
        raise ValueError(f"too large: more than {limit} bytes")
    return data


class _Reader:
    """Position in a data set or a sequence."""

    def __init__(self, data: memoryview, order: str, is_implicit: bool) -> None:
        self.data = data
        self.order = order
        self.is_implicit = is_implicit
        self.position = 0
        self._n_read = 0

    def read(self, found: _Elements, is_after: Callable[[int], bool] = lambda tag: False) -> None:
        """Add the elements before the first whose tag passes a test, or before the end of the data or of the item."""
        while self.position + 8 <= len(self.data):
            start = self.position
            tag, vr, length = self._head()
            if tag == _ITEM_END:
                return
            if is_after(tag):
                self.position = start
                return
            value = self.position
            if tag == PIXEL_DATA:  # may be truncated, which is found out when it is decoded
                self.position = len(self.data) if length == _UNDEFINED else min(value + length, len(self.data))
            else:
                self._skip(vr, length)
            found[tag] = vr, self.data[value : self.position]
            if tag == PIXEL_DATA:
                return

    def items(self) -> Iterator[_Elements]:
        """Yield the elements of each item of a sequence."""
        while self.position + 8 <= len(self.data):
            tag, _, length = self._head()
            if tag != _ITEM:
                return
            end = len(self.data) if length == _UNDEFINED else self.position + length
            item = _Reader(self.data[self.position : end], self.order, self.is_implicit)
            elements = _Elements()
            item.read(elements)
            yield elements
            self.position = self.position + item.position if length == _UNDEFINED else end

    def fragments(self) -> Iterator[memoryview]:
        """Yield the value of each item of compressed pixel data."""
        while self.position + 8 <= len(self.data):
            tag, _, length = self._head()
            if tag != _ITEM or length == _UNDEFINED:
                return
            self._move(length)
            yield self.data[self.position - length : self.position]

    def _head(self) -> tuple[int, bytes, int]:
        """Return tag, value representation and length of the next element, and move to its value."""
        self._n_read += 1
        if self._n_read > _MAX_ELEMENTS:
            raise damaged(f"it has more than {_MAX_ELEMENTS} elements")
        group, element = struct.unpack_from(f"{self.order}HH", self.data, self.position)
        vr = bytes(self.data[self.position + 4 : self.position + 6])
        # Items have no value representation, and some writers use implicit ones within explicit files.
        if self.is_implicit or group == 0xFFFE or not _VR.fullmatch(vr):
            vr, code, offset, size = b"", "I", 4, 8
        elif vr in _LONG_VRS:
            code, offset, size = "I", 8, 12
        else:
            code, offset, size = "H", 6, 8
        (length,) = struct.unpack_from(self.order + code, self.data, self.position + offset)
        self.position += size
        return group << 16 | element, vr, length

    def _skip(self, vr: bytes, length: int, depth: int = 0) -> None:
        """Move behind a value."""
        if length != _UNDEFINED:
            self._move(length)
            return
        if depth > _MAX_DEPTH:
            raise damaged("its sequences are nested too deeply")
        outside = self.is_implicit
        self.is_implicit = outside or vr == b"UN"  # by definition of sequences of unknown kind
        while (item := self._head())[0] != _SEQUENCE_END:
            if item[0] != _ITEM:
                raise damaged("a sequence holds other elements than items")
            if item[2] != _UNDEFINED:
                self._move(item[2])
                continue
            while (inner := self._head())[0] != _ITEM_END:
                self._skip(inner[1], inner[2], depth + 1)
        self.is_implicit = outside

    def _move(self, length: int) -> None:
        if length > len(self.data) - self.position:
            raise struct.error("the data ends within a value")
        self.position += length


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
