"""Directories of TIFF files and of EXIF data, without the entries of which Pillow would warn.

Filters for warnings belong to the whole process. Depending on them, Pillow would read a file or raise an error.
"""

import struct
from typing import NamedTuple

from PIL import TiffTags

_PREFIXES = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_N_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # by type
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
    if not data.startswith(_PREFIXES) or len(data) < 8:
        raise ValueError("not a TIFF file")
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2] == 43  # as in Pillow, which does not read files of this kind in the other byte order
    offset, head, size, n_inline, n_head = ("Q", "HHQ", 20, 8, 8) if is_big else ("I", "HHI", 12, 4, 2)
    start = _unpack(order + offset, data, 8 if is_big else 4)
    n_entries = None if start is None else _unpack(order + ("Q" if is_big else "H"), data, start)
    if start is None or start < 8 or n_entries is None:
        raise ValueError("a damaged TIFF file: it has no directory")
    if n_entries > _MAX_ENTRIES:
        raise ValueError(f"a damaged TIFF file: its directory has {n_entries} entries, more than {_MAX_ENTRIES}")
    end = start + n_head + n_entries * size
    if is_image and end > len(data):
        raise ValueError("a damaged TIFF file: it ends within its directory")
    entries, numbers, n_outside = [], dict[int, tuple[int, int]](), 0
    for position in range(start + n_head, min(end, len(data) - size + 1), size):
        entry = data[position : position + size]
        tag, kind, count = struct.unpack_from(order + head, entry)
        n_bytes = _N_BYTES.get(kind, 0) * count
        if not n_bytes or tag in numbers or tag in _DIRECTORIES:
            continue
        value = entry[size - n_inline :]
        if n_bytes > n_inline:
            (place,) = struct.unpack(order + offset, value)
            n_outside += n_bytes
            if place + n_bytes > len(data) or n_outside > len(data):
                if is_image and tag in _OF_PIXELS:
                    raise ValueError(f"a damaged TIFF file: its tag {tag} is outside of it")
                continue
            value = data[place : place + 8]
        if count > 1 and kind not in {1, 2, 7} and tag != _PHOTOMETRIC and TiffTags.lookup(tag).length == 1:
            count, n_bytes = 1, _N_BYTES[kind]
            inline = value[:n_bytes].ljust(n_inline, b"\0") if n_bytes <= n_inline else entry[size - n_inline :]
            entry = struct.pack(order + head, tag, kind, count) + inline
        code = _NUMBERS.get(kind)
        numbers[tag] = (struct.unpack_from(order + code, value)[0] if code else 0, count)
        entries.append(entry)
    following = _unpack(order + offset, data, end) or 0
    clean = struct.pack(order + ("Q" if is_big else "H"), len(entries)) + b"".join(entries) + bytes(n_inline)
    if data[start : start + len(clean)] != clean:
        data = data[:start] + clean + data[start + len(clean) :]
    return Directory(data, numbers, following not in {0, start})


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


def _unpack(code: str, data: bytes, position: int) -> int | None:
    if position + struct.calcsize(code) > len(data):
        return None
    return int(struct.unpack_from(code, data, position)[0])
