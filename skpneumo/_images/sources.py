"""Where the bytes of an image come from: a file, memory, or a URL; and what they hold, by content."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skpneumo._utils.lru_cache import Cache

MAX_FILE_BYTES = 2**30
DIGEST_SIZE = 20  # bytes
MAX_KEPT_BYTES = 2**28

# Seconds after which a change of a file shows in its times for sure: some file systems count in steps of two.
_SETTLED = 3.0

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+::)*[A-Za-z][A-Za-z0-9+.-]+://")
_NO_FSSPEC = "a URL, which needs fsspec: pip install 'skpneumo[fsspec]'"


@dataclass(frozen=True)
class Held:
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


class Lent:
    """An image whose bytes have to be made, or fetched, at some cost.

    It is read twice, to name it by its content and to decode it: what was read is kept from the first time to the
    second, as long as all that is kept stays below a bound.

    Parameters
    ----------
    make : callable
        Returns the bytes, or raises ValueError with the reason why it cannot.
    label, name : str, str or None
        As of `Held`.
    kept : Cache, default=None
        Where bytes are kept meanwhile, under the number `key`.
    """

    def __init__(
        self,
        make: Callable[[], bytes],
        label: str,
        name: str | None = None,
        kept: Cache[int] | None = None,
        key: int = 0,
    ) -> None:
        self.make, self.label, self.name, self.kept, self.key = make, label, name, kept, key

    def read(self) -> bytes:
        """Return the bytes."""
        if self.kept is None:
            return self.make()
        if data := self.kept.get([self.key]).get(self.key):
            self.kept.drop([self.key])
            return data
        data = self.make()
        self.kept.put({self.key: data})
        return data

    def __reduce__(self) -> Any:
        return Lent, (self.make, self.label, self.name)


Source = str | Held | Lent  # a str is a path, or a URL


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
