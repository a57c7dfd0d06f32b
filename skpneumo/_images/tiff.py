"""Directories of TIFF files and of EXIF data, without the entries of which Pillow would warn.

Filters for warnings belong to the whole process. Depending on them, Pillow would read a file or raise an error.
"""

import struct
from typing import NamedTuple

from PIL import TiffTags

_PREFIXES = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_N_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # by type
_STRINGS = {1, 2, 7}
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_DIRECTORIES = {34665, 34853, 40965}  # of EXIF data, GPS and interoperability
_PHOTOMETRIC = 262
_OF_PIXELS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 338, 339, 347}
)
_MAX_ENTRIES = 4096
_EXIF = b"Exif\0\0"


class Directory(NamedTuple):
    """First directory of a TIFF file.

    Parameters
    ----------
    data : bytes
        The file, whose first directory holds valid entries only, and is followed by no other directory.
    numbers : dict of int to list of int
        Values of entries of a single number, and the number of values of others, as (first value, count), by tag.
    has_next : bool
        Whether another directory followed, which is that of a further image.
    """

    data: bytes
    numbers: dict[int, tuple[int, int]]
    has_next: bool


def read_directory(data: bytes, *, is_image: bool = True) -> Directory:
    """Read the first directory of a TIFF file; if not `is_image`, of EXIF data, any part of which may be missing.

    Raises
    ------
    ValueError
        If there is none, if it has too many entries, or if those of an image are damaged.
    """
    if not data.startswith(_PREFIXES):
        raise ValueError("not a TIFF file")
    order = "<" if data.startswith(b"II") else ">"
    # As in Pillow, which does not read files of the second kind in the other byte order.
    form = _Form(order, "Q", "HHQ", "Q") if data[2] == 43 else _Form(order, "H", "HHI", "I")
    start = form.number(form.offset, data, 8 if form.offset == "Q" else 4) or 0
    n_entries = form.number(form.counter, data, start)
    if start < 8 or n_entries is None:
        raise ValueError("a damaged TIFF file: it has no directory")
    if n_entries > _MAX_ENTRIES:
        raise ValueError(f"a damaged TIFF file: its directory has {n_entries} entries, more than {_MAX_ENTRIES}")
    first = start + struct.calcsize(form.counter)
    end = first + n_entries * form.size
    if is_image and end > len(data):
        raise ValueError("a damaged TIFF file: it ends within its directory")
    entries = []
    numbers = dict[int, tuple[int, int]]()
    n_outside = 0
    for position in range(first, min(end, len(data) - form.size + 1), form.size):
        entry = data[position : position + form.size]
        tag, kind, count = form.head_of(entry)
        value, is_inside = entry[-form.n_inline :], True
        n_bytes = _N_BYTES.get(kind, 0) * count
        if n_bytes > form.n_inline:
            place = form.number(form.offset, value, 0) or 0
            n_outside += n_bytes
            is_inside = place + n_bytes <= len(data) and n_outside <= len(data)
            value = data[place : place + 8]
        if not is_inside and tag in _OF_PIXELS and is_image:
            raise ValueError(f"a damaged TIFF file: its tag {tag} is outside of it")
        if tag == _PHOTOMETRIC and count != 1 and is_image:  # versions of Pillow take the first one, or 0
            raise ValueError(f"a damaged TIFF file: its tag {tag} has {count} values")
        if not is_inside and not is_image and n_outside <= len(data):
            break  # as in Pillow
        if not is_inside or tag in _DIRECTORIES:
            continue
        if n_bytes:
            code = _NUMBERS.get(kind)
            numbers.setdefault(tag, ((form.number(code, value, 0) or 0) if code else 0, count))
        entries.append(_of_one_value(form, entry, value))
    following = form.number(form.offset, data, end) or 0
    clean = struct.pack(order + form.counter, len(entries)) + b"".join(entries) + bytes(form.n_inline)
    if data[start : start + len(clean)] != clean:
        data = data[:start] + clean + data[start + len(clean) :]
    return Directory(data, numbers, following not in {0, start})


class _Form(NamedTuple):
    """Codes of `struct` for a directory."""

    order: str
    counter: str  # of entries
    head: str  # of an entry: tag, type and number of values
    offset: str

    @property
    def n_inline(self) -> int:
        """Size of the values within an entry in bytes."""
        return struct.calcsize(self.offset)

    @property
    def size(self) -> int:
        """Size of an entry in bytes."""
        return struct.calcsize(self.order + self.head) + self.n_inline

    def head_of(self, entry: bytes) -> tuple[int, int, int]:
        """Return tag, type and number of values of an entry."""
        tag, kind, count = struct.unpack_from(self.order + self.head, entry)
        return tag, kind, count

    def number(self, code: str, data: bytes, position: int) -> int | None:
        """Return the number at a position, or None if there is none."""
        if position + struct.calcsize(code) > len(data):
            return None
        return int(struct.unpack_from(self.order + code, data, position)[0])


def _of_one_value(form: _Form, entry: bytes, value: bytes) -> bytes:
    """Return an entry with its first value only, if it should have one value and Pillow would warn of more."""
    tag, kind, count = form.head_of(entry)
    n_bytes = _N_BYTES.get(kind, 0)
    if count < 2 or not n_bytes or kind in _STRINGS or TiffTags.lookup(tag).length != 1:
        return entry
    inline = value[:n_bytes].ljust(form.n_inline, b"\0") if n_bytes <= form.n_inline else entry[-form.n_inline :]
    return struct.pack(form.order + form.head, tag, kind, 1) + inline


def clean_exif(exif: bytes) -> bytes:
    """Return EXIF data without the entries of which Pillow would warn; unchanged if it cannot be read at all."""
    data = exif
    while data.startswith(_EXIF):
        data = data[len(_EXIF) :]
    try:
        return _EXIF + read_directory(data, is_image=False).data
    except ValueError:
        if len(data) < 8 or not data.startswith(_PREFIXES):
            return exif  # refused by Pillow without a warning
        return _EXIF + (b"II*\0\x08\0\0\0" if data.startswith(b"II") else b"MM\0*\0\0\0\x08") + bytes(6)
