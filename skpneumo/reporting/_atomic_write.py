"""Text to a file that is whole or is not there."""

import os
import tempfile
from pathlib import Path


def check_parent(path: str | os.PathLike[str]) -> Path:
    """Return a path that can be written.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        Its folder does not exist; it is a folder itself; nothing can be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {str(path)!r} does not exist: make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file in it.")
    try:
        with _folder_beside(path):
            return path
    except OSError as error:
        raise OSError(error.errno, f"{str(path)!r} cannot be written: {error.strerror}") from error


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".skpneumo-", dir=path.parent)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in one step: who looks at the file sees what was there before, or all of it."""
    path = check_parent(path)
    # Beside the file, since a file is moved in one step within a file system alone.
    with _folder_beside(path) as folder:
        new = Path(folder) / "new"
        new.write_text(text, encoding="utf-8", newline="\n")
        os.replace(new, path)
