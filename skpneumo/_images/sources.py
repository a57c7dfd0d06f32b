"""Sources of image bytes (files, memory, URLs) and digests of their content."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from skpneumo._utils.files import NOT_REGULAR, open_file, read_at_most
from skpneumo._utils.messages import shortened
from skpneumo._utils.paths import absolute_paths

MAX_FILE_BYTES = 2**30
DIGEST_SIZE = 20  # bytes
MAX_KEPT_BYTES = 2**28

# Age in seconds from which a further change alters the time stamps: some file systems have a resolution of two seconds.
_SETTLED = 3.0

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
_BYTES_OF_PATH = re.compile(rb"[^\x00-\x1f]{1,1024}\.(bmp|dcm|jpe?g|png|tiff?|webp)", re.IGNORECASE)
_LOCAL_URL = re.compile(r"(.*::)?((file|local)://)?")
_FSSPEC_MISSING = "a URL, which needs fsspec: pip install 'skpneumo[fsspec]'"


@dataclass(frozen=True)
class ImageBytes:
    """Image whose bytes are in memory.

    Parameters
    ----------
    data : bytes
        Content of an image file.
    label : str
        Name of the image in errors.
    name : str or None
        Name of the file it came from, if known.
    """

    data: bytes
    label: str
    name: str | None = None

    def read(self) -> bytes:
        """Return the bytes."""
        if _BYTES_OF_PATH.fullmatch(self.data):
            raise ValueError("bytes of a path, not of an image: pass it as str, for example os.fsdecode(path)")
        return self.data


@dataclass(frozen=True, eq=False)
class LazyImage:
    """Image whose bytes are encoded or fetched on demand.

    Parameters
    ----------
    make : callable
        Returns the bytes, or raises ValueError with the reason of the failure.
    label, name : str, str or None
        As in `ImageBytes`.
    """

    make: Callable[[], bytes]
    label: str
    name: str | None = None

    def read(self) -> bytes:
        """Return the bytes."""
        return self.make()


class ResolvedPath(str):
    """Absolute path of a file that was given by a relative path.

    Parameters
    ----------
    path : str
        Absolute path.
    given : str
        Relative path, by which the file is named in errors, and which the pattern of a patient refers to.
    """

    given: str

    def __new__(cls, path: str, given: str) -> "ResolvedPath":
        """Create the path."""
        resolved = super().__new__(cls, path)
        resolved.given = given
        return resolved

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.given)


Source = str | ImageBytes | LazyImage  # a str is a path or a URL


class Reads:
    """Digests of the images of one call, and a bounded cache of bytes that are read but not yet decoded.

    Parameters
    ----------
    max_bytes : int
        Bound on the cached bytes. Images beyond it are read again when they are decoded.
    """

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self.digests: dict[Source, bytes] = {}
        self.max_bytes = max_bytes
        self._bytes: dict[bytes, bytes] = {}
        self._n_bytes = 0
        self._lock = threading.Lock()

    def keep(self, content: bytes, data: bytes) -> None:
        """Cache the bytes of an image under their digest if they fit."""
        with self._lock:
            if content not in self._bytes and self._n_bytes + len(data) <= self.max_bytes:
                self._bytes[content] = data
                self._n_bytes += len(data)

    def take(self, content: bytes) -> bytes | None:
        """Remove bytes from the cache and return them; return None if they are not cached."""
        with self._lock:
            data = self._bytes.pop(content, None)
            self._n_bytes -= len(data or b"")
        return data

    def drop(self, contents: Iterable[bytes]) -> None:
        """Remove the bytes of these images from the cache."""
        for content in contents if self._bytes else ():
            self.take(content)


class Images(list[Source]):
    """Validated images of one call, with the digests and bytes read so far, so that each file is read once.

    Parameters
    ----------
    sources : iterable of Source
        Source of the bytes of each image.
    positions : iterable of int, default=None
        Positions in `X`, for errors. If None, 0, 1, 2 and so on.
    frame : DataFrame or None, default=None
        DataFrame that held the images, for the name of its column.
    reads : Reads, default=None
        Digests and bytes that this call has read already.
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
        """Return a subset that shares the digests and bytes read so far."""
        rows = list(rows)
        return Images([self[i] for i in rows], [self.positions[i] for i in rows], reads=self.reads)

    def anew(self) -> "Images":
        """Return the same images without digests and bytes, because files may have changed."""
        return Images(self, self.positions)

    def __reduce__(self) -> Any:
        return Images, (list(self), self.positions, self.frame)


def label_of(source: Source) -> str:
    """Return the name of an image in errors."""
    return shortened(_given(source) if isinstance(source, str) else source.label)


def name_of(source: Source) -> str | None:
    """Return the file name of an image, or None if it has none."""
    return _given(source) if isinstance(source, str) else source.name


def _given(path: str) -> str:
    return path.given if isinstance(path, ResolvedPath) else path


def base_name(path: Any) -> str:
    """Return the name of a file without its folders, whose names may identify patients."""
    return str(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def without_secrets(url: str) -> str:
    """Remove the password and the query, which may hold a signature, from a URL."""
    return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])


def is_url(text: str) -> bool:
    """Return whether a text is a URL for fsspec rather than a path."""
    return _URL.match(text) is not None


def absolute_sources(paths: Sequence[str]) -> list[str]:
    """Resolve relative paths, also those in URLs of local files, before they are read in other threads or processes."""
    prefixes = list(map(_before_path, paths))
    absolute = absolute_paths([path[len(prefix) :] for path, prefix in zip(paths, prefixes, strict=True)], "X")
    sources = [prefix + path for prefix, path in zip(prefixes, absolute, strict=True)]
    return [
        source if source == given else ResolvedPath(source, given) for source, given in zip(sources, paths, strict=True)
    ]


def _before_path(text: str) -> str:
    """Return the part of a path or URL that precedes the path of a local file: all of it if there is no such file."""
    if not is_url(text):
        return ""
    match = _LOCAL_URL.match(text)
    prefix = match[0] if match else ""
    return text if "://" in text[len(prefix) :] or text.startswith("~", len(prefix)) else prefix


def read_bytes(source: Source) -> bytes:
    """Read the bytes of an image; errors hold the reason as `ImageReadError` shows it."""
    data = _read_named(source) if isinstance(source, str) else source.read()
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"too large: more than {MAX_FILE_BYTES} bytes")
    if not data:
        raise ValueError("an empty file")
    return data


def _read_named(path: str) -> bytes:
    if is_url(path):
        return fetch(path)
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ValueError(f"too large: {size} bytes, more than {MAX_FILE_BYTES}")
            return read_at_most(file, MAX_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("no such file") from None
    except OSError as error:
        if os.path.isdir(path):
            raise ValueError("a folder, not an image") from None
        raise ValueError(reason(error)) from error


def fetch(url: str) -> bytes:
    """Read a URL through fsspec."""
    try:
        import fsspec
    except ImportError:
        raise ValueError(_FSSPEC_MISSING) from None
    if any(os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)) for path in _local_paths(url)):
        raise ValueError(NOT_REGULAR)
    try:
        with fsspec.open(url, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except Exception as error:  # each file system of fsspec raises its own errors
        raise ValueError(f"cannot be fetched: {f'{error}' or type(error).__name__}") from error


def _local_paths(url: str) -> list[str]:
    """Return the paths of local files in a URL."""
    parts = [part.removeprefix("file://").removeprefix("local://") for part in url.split("::")]
    return [part for part in parts if "://" not in part]


def read_content(source: Source, content: bytes) -> bytes:
    """Read an image whose digest is known; raise ValueError if its content has changed."""
    data = read_bytes(source)
    if digest(data) != content:
        raise ValueError("changed while it was being read")
    return data


def digest(data: bytes) -> bytes:
    """Return the BLAKE2b digest of some bytes, 20 bytes long."""
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE).digest()


def stamp(source: Source) -> bytes | None:
    """Return a digest of the path, inode, size and times of a file; None for no file or one changed just now."""
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
    """Return why a file cannot be read, without its name."""
    return getattr(error, "strerror", None) or str(error)
