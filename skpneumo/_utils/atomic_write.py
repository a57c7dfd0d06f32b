"""Write files atomically."""

import os
import tempfile
from pathlib import Path


def check_parent(path: str | os.PathLike[str]) -> Path:
    """Return `path`, with links resolved, if a file can be written there; otherwise raise OSError or a subclass."""
    path, given = Path(os.path.realpath(path)), os.fspath(path)  # a link is kept, and the file it refers to replaced
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {given!r} does not exist. Create it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{given!r} is a folder. Pass the path of a file.")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{given!r} is not a regular file. Pass the path of a file.")
    try:
        with _temporary_folder_beside(path):
            return path
    except OSError as error:
        raise OSError(error.errno, f"{given!r} cannot be written: {error.strerror}") from error


def _temporary_folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".skpneumo-", dir=path.parent)


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the content of a file in one step, so that an interruption leaves either the old or the new content."""
    path = check_parent(path)
    # os.replace is atomic only within one file system.
    with _temporary_folder_beside(path) as folder:
        new = Path(folder) / "new"
        with open(new, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure could leave an empty file under the new name
        os.replace(new, path)
