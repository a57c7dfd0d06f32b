"""FeatureStore: features on disk, one row an image, safe with many processes and a kill at any moment."""

import os
import sqlite3
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from skpneumo._feature_store.leases import Leases
from skpneumo._feature_store.sqlite import Database
from skpneumo._images.sources import DIGEST_SIZE
from skpneumo._utils.lru_cache import Cache
from skpneumo.exceptions import FeatureStoreWarning

ENVIRONMENT_VARIABLE = "SKPNEUMO_CACHE"

Rows = list[tuple[bytes, np.ndarray]]  # views of images, and the features of each

_FOLDER, _DIGESTS_FILE = "skpneumo-features", "digests.sqlite"
_ROWS_A_QUERY = 500
_HELD: Cache[tuple[str, bytes]] = Cache(max_bytes=2**28)  # of all stores of this process
_SCHEMA = "CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)"


class FeatureStore:
    """Rows of numbers under keys of bytes in one SQLite file; in another, what files held when they were read.

    A store only ever saves work: where it cannot be read or written, one warning says so and the work is done again.

    Parameters
    ----------
    folder : str or path
        Made where it does not exist, readable by its owner only. The files lie in a folder of its own inside it.
    name : str
        What is kept: the name of its file.
    is_read_only : bool
        Whether what is put shall not be kept.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = FeatureStore(folder)
    ...     kept = store.put([(b"one", np.ones(2, np.float32))])
    ...     dict(store.get([b"one", b"two"], 2))
    {b'one': array([1., 1.], dtype=float32)}
    """

    def __init__(self, folder: str | os.PathLike[str], name: str = "features", *, is_read_only: bool = False) -> None:
        self.is_read_only = is_read_only
        self.folder = Path(folder).expanduser().absolute() / _FOLDER
        self.file = self.folder / f"{name}.sqlite"
        self._rows = _Table(self.file, is_durable=True)
        self._digests = _Table(self.folder / _DIGESTS_FILE, is_durable=False)

    def get(
        self, keys: Iterable[bytes], n_features: int, *, dtype: str = "<f4", hold: bool = False
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield the rows that are known and whole; a broken one is as good as unknown.

        With `hold`, they stay in the memory of the process if all of them fit in there.
        """
        try:
            for key, value in self._rows.read(keys, np.dtype(dtype).itemsize * n_features, hold=hold):
                yield key, np.frombuffer(value, dtype)
        except (OSError, sqlite3.Error) as error:
            self._warn(error)

    def put(self, rows: Iterable[tuple[bytes, np.ndarray]], *, dtype: str = "<f4") -> bool:
        """Keep rows, all of them in one transaction; tell whether they are kept."""
        if self.is_read_only:
            return False
        try:
            self._rows.write((key, np.ascontiguousarray(row, dtype).tobytes()) for key, row in rows)
        except (OSError, sqlite3.Error) as error:
            self._warn(error)
            return False
        return True

    def recall(self, stamps: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the digests of content that are known for these states of files."""
        with suppress(OSError, sqlite3.Error):
            return dict(self._digests.read(stamps, DIGEST_SIZE, hold=True))
        return {}

    def remember(self, digests: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep pairs of a state of a file and the digest of its content, if that can be done."""
        with suppress(OSError, sqlite3.Error):
            self._digests.write(digests)

    def forget(self, stamps: Sequence[bytes]) -> None:
        """Do away with what these states of files are said to hold."""
        with suppress(OSError, sqlite3.Error):
            self._digests.remove(stamps)

    def _warn(self, error: Exception) -> None:
        warnings.warn(
            f"features cannot be kept in {self.folder}: {error}. They are computed, but not stored; pass another "
            f"folder as memory, set {ENVIRONMENT_VARIABLE}, or pass memory=None.",
            FeatureStoreWarning,
            stacklevel=3,
        )


class StoreNamespace:
    """The rows of a store of one preprocessing and one backbone, by image and view; leases on those to come.

    Parameters
    ----------
    store : FeatureStore or None
        None: nothing is known, nothing is kept, and nobody else computes anything.
    prefix : bytes
        Names the preprocessing and the backbone; keys begin with it.
    n_features : int
        Length of a row.
    dtype : str
        Type of its numbers.
    """

    def __init__(self, store: FeatureStore | None, prefix: bytes, n_features: int, dtype: str = "<f4") -> None:
        self.store, self.prefix, self.n_features, self.dtype = store, prefix, n_features, dtype
        self.is_writable = store is not None
        self.leases = None if store is None or store.is_read_only else Leases(store.folder)

    def known(self, items: Iterable[bytes], *, hold: bool = False) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield what is there; `hold` it in the memory of the process for the next time."""
        if self.store is not None:
            for key, row in self.store.get(self._keys(items), self.n_features, dtype=self.dtype, hold=hold):
                yield key[len(self.prefix) :], row

    def put(self, rows: Rows) -> None:
        """Keep rows, and end the leases on them."""
        keys = self._keys(item for item, _ in rows)
        if self.store is not None and self.is_writable:  # a store that fails has said why, and is not tried again
            self.is_writable = self.store.put(zip(keys, (row for _, row in rows), strict=True), dtype=self.dtype)
        if self.leases is not None:
            self.leases.release(keys)

    def remember(self, digests: Mapping[bytes, bytes]) -> None:
        """Keep what files hold, by their state."""
        if self.store is not None and self.is_writable and digests:
            self.store.remember(digests.items())

    def forget(self, stamps: Sequence[bytes]) -> None:
        """Do away with what files in these states are said to hold."""
        if self.store is not None and stamps:
            self.store.forget(stamps)

    def take(self, items: Sequence[bytes]) -> list[bytes]:
        """Lease `items`; return those that nobody else computes."""
        if self.leases is None:
            return list(items)
        return [key[len(self.prefix) :] for key in self.leases.take(self._keys(items))]

    def release_all(self) -> None:
        """End all leases."""
        if self.leases is not None:
            self.leases.release_all()

    def _keys(self, items: Iterable[bytes]) -> list[bytes]:
        return [self.prefix + item for item in items]


class _Table:
    """Values of bytes under keys of bytes, with checksums, in a file of their own."""

    def __init__(self, file: Path, *, is_durable: bool) -> None:
        self.file = file
        self.database = Database(file, _SCHEMA, is_durable=is_durable)

    def read(self, keys: Iterable[bytes], n_bytes: int, *, hold: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yield whole values of that size: from memory what is held there, the rest from the file, some at a time."""
        try:
            file = self._name()
        except OSError:
            return
        keys = list(keys)
        held = _HELD.get((file, key) for key in keys)
        found = {key: value for (_, key), value in held.items() if len(value) == n_bytes}
        yield from found.items()
        missing = [key for key in keys if key not in found]
        fits = hold and len(missing) * n_bytes <= _HELD.max_bytes
        read: dict[tuple[str, bytes], bytes] = {}
        for key, value in self._fetch(missing, n_bytes):
            if fits:
                read[file, key] = value
            yield key, value
        _HELD.put(read)

    def write(self, values: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values, all of them in one transaction."""
        entries = [(key, value, _checksum(key, value)) for key, value in values]
        insert = "INSERT OR REPLACE INTO features (key, value, checksum) VALUES (?, ?, ?)"
        self.database.run(lambda db: db.executemany(insert, entries))

    def remove(self, keys: Sequence[bytes]) -> None:
        """Forget values."""
        _HELD.drop((self._name(), key) for key in keys)
        self.database.run(lambda db: db.executemany("DELETE FROM features WHERE key = ?", [(key,) for key in keys]))

    def _name(self) -> str:
        return f"{self.file} {self.file.stat().st_ino}"  # what is held of a file goes with it

    def _fetch(self, keys: Sequence[bytes], n_bytes: int) -> Iterator[tuple[bytes, bytes]]:
        for start in range(0, len(keys), _ROWS_A_QUERY):
            some = keys[start : start + _ROWS_A_QUERY]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, value, checksum FROM features WHERE key IN ({marks})"  # noqa: S608 - marks only
            for key, value, checksum in self.database.run(partial(_fetch_all, query, some)):
                if isinstance(value, bytes) and len(value) == n_bytes and checksum == _checksum(key, value):
                    yield key, value


def _fetch_all(query: str, arguments: Sequence[bytes], db: sqlite3.Connection) -> list[tuple[bytes, Any, int]]:
    return db.execute(query, arguments).fetchall()


def open_store(memory: Any, name: str = "features", *, is_read_only: bool = False) -> FeatureStore | None:
    """Turn the parameter `memory` into a store: "auto", None, a folder, or a joblib ``Memory``."""
    if memory is None:
        return None
    if isinstance(memory, str) and memory == "auto":
        folder = os.environ.get(ENVIRONMENT_VARIABLE) or platformdirs.user_cache_dir("skpneumo", appauthor=False)
        return FeatureStore(folder, name, is_read_only=is_read_only)
    location = getattr(memory, "location", memory)
    return None if location is None else FeatureStore(location, name, is_read_only=is_read_only)


def _checksum(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))
