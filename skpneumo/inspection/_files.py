"""Text to a file, all of it or nothing."""

import os
import uuid
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file beside its place and move it there: who reads the place sees the old text or the new one.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        Its folder does not exist, or it is a folder itself.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder '{path.parent}' to write '{path.name}' to: make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder: name a file in it.")
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
