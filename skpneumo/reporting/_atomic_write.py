"""Write text files atomically."""

import os
import tempfile
from pathlib import Path


def check_parent(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it can be written, otherwise raise OSError or one of its subclasses."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {str(path)!r} does not exist. Create it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Pass the path of a file.")
    try:
        with _temporary_folder_beside(path):
            return path
    except OSError as error:
        raise OSError(error.errno, f"{str(path)!r} cannot be written: {error.strerror}") from error


def _temporary_folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".skpneumo-", dir=path.parent)


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Replace the content of a file in one step."""
    path = check_parent(path)
    # os.replace is atomic only within one file system.
    with _temporary_folder_beside(path) as folder:
        new = Path(folder) / "new"
        new.write_text(text, encoding="utf-8", newline="\n")
        os.replace(new, path)
