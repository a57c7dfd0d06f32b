"""Where the bytes of an image come from: a file, memory, or a URL; and what they hold, by content."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_FILE_BYTES = 2**30
DIGEST_SIZE = 20  # bytes
MAX_KEPT_BYTES = 2**28

# Seconds after which a change of a file shows in its times for sure: some file systems count in steps of two.
_SETTLED = 3.0

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
_NO_FSSPEC = "a URL, which needs fsspec: pip install 'skpneumo[fsspec]'"


@dataclass(frozen=True)
class ImageBytes:
    """An image whose bytes are in memory.

    Parameters
    ----------
    data : bytes
        As a file would hold them.
    label : str
        What errors call it.
    name : str or None
        Of the file that it came from, where that is known.
    """

    data: bytes
    label: str
    name: str | None = None

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(frozen=True, eq=False)
class LazyImage:
    """An image whose bytes have to be made, or fetched, at some cost.

    Parameters
    ----------
    make : callable
        Returns the bytes, or raises ValueError with the reason why it cannot.
    label, name : str, str or None
        As of `ImageBytes`.
    """

    make: Callable[[], bytes]
    label: str
    name: str | None = None

    def read(self) -> bytes:
        """Return the bytes."""
        return self.make()


Source = str | ImageBytes | LazyImage  # a str is a path, or a URL


class Reads:
    """What is known of images within one call: digests, and bytes that were read but not decoded yet, under a bound.

    Parameters
    ----------
    max_bytes : int
        Bound of all bytes that are kept; what is beyond it is read again where it is decoded.
    """

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self.digests: dict[Source, bytes] = {}
        self.max_bytes = max_bytes
        self._bytes: dict[bytes, bytes] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def keep(self, content: bytes, data: bytes) -> None:
        """Keep the bytes of an image under their digest, if they fit."""
        with self._lock:
            if content not in self._bytes and self._n_bytes + len(data) <= self.max_bytes:
                self._bytes[content] = data
                self._n_bytes += len(data)

    def take(self, content: bytes) -> bytes | None:
        """Return the bytes and keep them no longer; None where they are not kept."""
        with self._lock:
            data = self._bytes.pop(content, None)
            self._n_bytes -= len(data or b"")
        return data

    def drop(self, contents: Iterable[bytes]) -> None:
        """Keep the bytes of these images no longer."""
        for content in contents if self._bytes else ():
            self.take(content)


class Images(list[Source]):
    """The images of one call, parsed; what is learnt of a file in the call is kept here, so that it is read once.

    Parameters
    ----------
    sources : iterable of Source
        Where the bytes of each come from.
    positions : iterable of int, default=None
        Where they stand in `X`, for errors. None: in this order.
    frame : DataFrame or None, default=None
        What they were a column of, for the name of this column.
    reads : Reads, default=None
        What the call knows already.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        positions: Iterable[int] | None = None,
        frame: Any = None,
        reads: Reads | None = None,
    ) -> None:
        super().__init__(sources)
        self.positions = list(range(len(self)) if positions is None else positions)
        self.frame = frame
        self.reads = reads or Reads()

    def take(self, rows: Iterable[int]) -> "Images":
        """Return some of them, in the same call."""
        rows = list(rows)
        return Images([self[i] for i in rows], [self.positions[i] for i in rows], reads=self.reads)

    def anew(self) -> "Images":
        """Return the same of which nothing is known: files may have changed."""
        return Images(self, self.positions)

    def __reduce__(self) -> Any:
        return Images, (list(self), self.positions, self.frame)


def label_of(source: Source) -> str:
    """Return what errors call an image."""
    return shortened(source if isinstance(source, str) else source.label)


def name_of(source: Source) -> str | None:
    """Return the name of the file of an image, where it has one."""
    return source if isinstance(source, str) else source.name


def base_name(path: Any) -> str:
    """Return the name of a file without its folders, of which a name may be that of a patient."""
    return str(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def some_of(items: Sequence[str], most: int = 10, letters: int = 100) -> str:
    """Name items that may be a whole data set, given in the wrong place: the first of them, and how many more."""
    rest = len(items) - most
    named = ", ".join(shortened(item, letters) for item in items[:most])
    return f"{named} and {rest} more" if rest > 0 else named


def shortened(text: str, most: int = 300) -> str:
    """Leave out the middle of a text that is too long for an error."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def without_secrets(url: str) -> str:
    """Leave out what gives access: the query of a signed URL, and a password."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def is_url(text: str) -> bool:
    """Tell whether fsspec, and not the file system, is to be asked for it."""
    return _URL.match(text) is not None


def read_bytes(source: Source) -> bytes:
    """Read a whole image; what stands in the way is said in the words of `ImageReadError`."""
    data = _read_named(source) if isinstance(source, str) else source.read()
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"absurdly large: more than {MAX_FILE_BYTES} bytes")
    if not data:
        raise ValueError("an empty file")
    return data


def _read_named(path: str) -> bytes:
    if is_url(path):
        return fetch(path)
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ValueError(f"absurdly large: {size} bytes, more than {MAX_FILE_BYTES}")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("no such file") from None
    except OSError:
        if os.path.isdir(path):
            raise ValueError("a folder, not an image") from None
        raise


def fetch(url: str) -> bytes:
    """Read what a URL names, through fsspec."""
    try:
        import fsspec
    except ImportError:
        raise ValueError(_NO_FSSPEC) from None
    try:
        with fsspec.open(url, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except Exception as error:  # each of its file systems has errors of its own
        raise ValueError(f"cannot be fetched: {f'{error}' or type(error).__name__}") from error


def read_content(source: Source, content: bytes) -> bytes:
    """Read an image that is known by its digest; one that has changed is refused."""
    data = read_bytes(source)
    if digest(data) != content:
        raise ValueError("changed while it was being read")
    return data


def digest(data: bytes) -> bytes:
    """Name content by its content: 20 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def stamp(source: Source) -> bytes | None:
    """Name a state of a file by its path, number, size and times; None where it has changed just now, or is no file."""
    if not isinstance(source, str) or is_url(source):
        return None
    try:
        state = os.stat(source)
    except (OSError, ValueError):
        return None
    if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED:
        return None
    name = f"{os.path.abspath(source)}\0{state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return digest(os.fsencode(name))


def reason(error: Exception) -> str:
    """Say why a file cannot be read, without its name."""
    return getattr(error, "strerror", None) or str(error)
