"""List the files of a folder and its subfolders, and recognize images by their first bytes."""

import os
import posixpath
import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from skpneumo._images.decoding import N_FIRST_BYTES, kind_of
from skpneumo._images.dicom import DICOM, check_path
from skpneumo._utils.files import open_file
from skpneumo._utils.messages import shortened

_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"})
# Also "lungMask" and "LungMasks", but not "masked", "unmasked" or names such as "Maske".
_MASK = re.compile(r"(?i:(?<![a-z])(lung)?(masks?|segmentations?)(?![a-z]))|(?<=[a-z])(Masks?|Segmentations?)(?![a-z])")

_EMPTY, _TEXT, _DOCUMENT, _UNKNOWN = "empty file", "text file", "document or archive", "unknown format"
# Files that are expected beside the folders of images: a README, a table, a saved model.
NOT_IMAGES = frozenset({_EMPTY, _TEXT, _DOCUMENT, _UNKNOWN})
_OTHER_FORMATS = {
    b"GIF8": "GIF image",
    b"\0\0\0\x0cjP": "JPEG 2000 image",
    b"%PDF": _DOCUMENT,
    b"PK\x03\x04": _DOCUMENT,  # also Excel and Word
    b"\x1f\x8b": _DOCUMENT,
}


def absolute(name: str, path: Any) -> str:
    """Return the absolute path of a parameter, with "~" expanded; raise TypeError if it is no path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path (str or pathlib.Path); got {shortened(repr(path))}.")
    return os.path.abspath(os.path.expanduser(os.fsdecode(path)))


class Exclusion:
    """Files and folders to leave out: hidden ones, junk of file managers, and given names.

    Parameters
    ----------
    names : str, path-like, list or tuple of them, or None
        Names, absolute paths, or ends of paths such as ``COVID/masks``, in any case; ``*`` and ``?`` are wildcards.
    """

    def __init__(self, names: Any = None) -> None:
        listed = [] if names is None else [names] if isinstance(names, (str, os.PathLike)) else names
        if not isinstance(listed, Collection) or not all(isinstance(name, (str, os.PathLike)) for name in listed):
            raise TypeError(
                "exclude must be a name of files or folders, such as 'masks', or a list of names; got "
                f"{shortened(repr(names))}."
            )
        self.names = [_parts(os.fsdecode(name)) for name in listed]

    def __call__(self, path: str) -> bool:
        """Return whether to leave out a file or folder."""
        parts = path.lower().split(os.sep)
        is_junk = parts[-1].startswith(".") or parts[-1] in _JUNK
        return is_junk or any(
            len(each) <= len(parts) and all(map(fnmatchcase, parts[-len(each) :], each)) for each in self.names
        )


def _parts(name: str) -> list[str]:
    """Return the patterns of the parts of a path, which may end with a separator or contain backslashes."""
    return posixpath.normpath(name.replace("\\", "/")).lower().replace("[", "[[]").split("/")


def walk(
    folder: str, excluded: Exclusion, seen: set[str], *, without: Collection[str] = ()
) -> Iterator[tuple[str, str | None]]:
    """Yield the files in a folder and its subfolders, and why each is not a supported image (None if it is one).

    Names in `without` are left out at the top. `seen` has the real paths of folders that are listed elsewhere, and is
    extended. Symbolic links to them, or to a folder that contains the link, are not followed.
    """
    real = Path(os.path.realpath(folder))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, _unreadable(error)
        return
    for entry in entries:
        if excluded(entry.path) or entry.name in without:
            continue
        if not _is_folder(entry):
            yield entry.path, why_no_image(entry.path)
        elif (target := os.path.realpath(entry.path)) in seen or real.is_relative_to(target):
            yield entry.path, "link to a folder that is listed elsewhere"
        else:
            seen.add(target)
            yield from walk(entry.path, excluded, seen)


def why_no_image(path: str) -> str | None:
    """Return why a file is not an image in a supported format, by its first bytes or header; None if it is one."""
    try:
        with open_file(path) as file:
            start = file.read(N_FIRST_BYTES) or b""
    except FileNotFoundError:
        return "broken link"
    except OSError as error:
        return _unreadable(error)
    kind = kind_of(start)
    if kind == DICOM:
        return check_path(path)
    return None if kind else _describe(start)


def mask_in(name: str) -> str | None:
    """Return the word by which a name is that of a mask, an image of regions instead of an X-ray; None for others."""
    match = _MASK.search(name)
    return match and ("mask" if "mask" in match[0].lower() else "segmentation")


def subfolders(folder: str, excluded: Exclusion) -> list[str]:
    """Return the names of the subfolders, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if not excluded(entry.path) and _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # The method of an entry saves a system call, but raises an error for a link that refers to itself.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"


def _describe(start: bytes) -> str:
    """Return the kind of a file that is no supported image from its first bytes."""
    if not start:
        return _EMPTY
    for first, kind in _OTHER_FORMATS.items():
        if start.startswith(first):
            return kind
    if start[4:8] == b"ftyp":
        return "HEIC or AVIF image, or video"
    return _UNKNOWN if b"\0" in start else _TEXT
