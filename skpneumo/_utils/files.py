"""Reading of regular files, in bounded memory."""

import errno
import os
import stat
from typing import Any

NOT_REGULAR = "not a regular file"


def open_file(path: str | os.PathLike[str]) -> Any:
    """Open a file for reading, without a buffer; raise OSError if it is a pipe, a device or a socket.

    Reading from a pipe might never end, and a device such as /dev/zero has no end.

    Examples
    --------
    >>> with open_file(os.devnull) as file:
    ...     file.read()
    Traceback (most recent call last):
        ...
    OSError: [Errno 22] not a regular file: '/dev/null'
    """
    return open(path, "rb", buffering=0, opener=_open_regular)


def read_at_most(file: Any, n_bytes: int) -> bytes:
    """Read a file of `open_file` to its end, or one byte more than `n_bytes`, though its size may change meanwhile."""
    parts, n_left = [], n_bytes + 1
    size = os.fstat(file.fileno()).st_size or 2**16  # of files of the kernel, 0 is given
    while n_left and (part := file.read(min(size + 1, n_left))):
        parts.append(part)
        n_left -= len(part)
    return b"".join(parts)


def _open_regular(path: str, flags: int) -> int:
    # Without waiting for the other end of a pipe; whoever replaces the file after a check of its path gains nothing.
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, NOT_REGULAR, path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # open() itself raises an error for a folder
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, NOT_REGULAR, path)
