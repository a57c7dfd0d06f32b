"""Features on disk, one row per view of an image; safe with concurrent processes and if a process is killed."""

import os
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from skpneumo._feature_store.leases import Leases
from skpneumo._feature_store.limit import LIMIT_VARIABLE, evict, extraction, max_bytes
from skpneumo._feature_store.table import Table
from skpneumo._images.sources import DIGEST_SIZE
from skpneumo._utils.messages import stacklevel_of_user
from skpneumo._utils.paths import absolute_path
from skpneumo.exceptions import FeatureStoreWarning

ENVIRONMENT_VARIABLE = "SKPNEUMO_CACHE"

Rows = list[tuple[bytes, np.ndarray]]  # keys of views, and their features

FOLDER = "skpneumo-features"
TABLES = ("features", "maps")  # names of files with rows

_DIGESTS_FILE = "digests.sqlite"


class FeatureStore:
    """Rows of features in a SQLite file, and digests of image files in another.

    A store only avoids repeated work: if it cannot be read or written, it warns, and features are computed again.

    Parameters
    ----------
    folder : str or path
        Folder in which the store creates a subfolder for its files, accessible to its owner only.
    name : str
        Name of the SQLite file of the rows, without its suffix.
    is_read_only : bool
        Whether to ignore writes of rows.
    max_bytes : int or None
        Size above which `evict` deletes rows.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = FeatureStore(folder)
    ...     kept = store.put([(b"one", np.ones(2, np.float32))])
    ...     dict(store.get([b"one", b"two"], 2))
    {b'one': array([1., 1.], dtype=float32)}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str = "features",
        *,
        is_read_only: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        self.is_read_only, self.max_bytes = is_read_only, max_bytes
        self.folder = Path(absolute_path(folder, "memory")) / FOLDER
        self.file = self.folder / f"{name}.sqlite"
        self._rows = Table(self.file)
        self._digests = Table(self.folder / _DIGESTS_FILE, is_durable=False)
        self._n_failures = count()

    def get(
        self, keys: Iterable[bytes], n_features: int, *, dtype: str = "<f4", hold: bool = False
    ) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield the stored rows of `keys`, skipping corrupt ones.

        With `hold`, rows are also cached in memory if all of them fit.
        """
        try:
            for key, value in self._rows.read(keys, np.dtype(dtype).itemsize * n_features, hold=hold):
                yield key, np.frombuffer(value, dtype)
        except (OSError, sqlite3.Error) as error:
            self._warn(error)

    def put(self, rows: Iterable[tuple[bytes, np.ndarray]], *, dtype: str = "<f4") -> bool:
        """Store rows in one transaction; return whether they are stored."""
        if self.is_read_only:
            return False
        try:
            self._rows.write((key, np.ascontiguousarray(row, dtype).tobytes()) for key, row in rows)
        except (OSError, sqlite3.Error) as error:
            self._warn(error)
            return False
        return True

    def recall(self, stamps: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the stored content digests for these states of files."""
        with suppress(OSError, sqlite3.Error):
            return dict(self._digests.read(stamps, DIGEST_SIZE, hold=True))
        return {}

    def remember(self, digests: Iterable[tuple[bytes, bytes]]) -> None:
        """Store pairs of a file state and a content digest, if possible."""
        with suppress(OSError, sqlite3.Error):
            self._digests.write(digests)

    def forget(self, stamps: Sequence[bytes]) -> None:
        """Delete the content digests of these states of files, if possible."""
        with suppress(OSError, sqlite3.Error):
            self._digests.remove(stamps)

    def extraction(self) -> AbstractContextManager[None]:
        """Keep all rows while an extraction runs."""
        return extraction(self.folder)

    def evict(self) -> None:
        """Delete the least recently used rows if the store is larger than its limit and no extraction is running."""
        was_used = False
        with suppress(OSError, sqlite3.Error):  # another extraction is running, and evicts at its end
            if self.max_bytes is not None and n_bytes(self.folder) > self.max_bytes:
                was_used = evict(
                    self.folder, [Table(self.folder / f"{name}.sqlite") for name in TABLES], self.max_bytes
                )
        if was_used:
            warnings.warn(
                f"The features used within the last hour exceed the limit of the feature store in {self.folder}, "
                f"{self.max_bytes} bytes. Some of them were deleted and will be computed again. Set {LIMIT_VARIABLE} "
                "to a larger size.",
                FeatureStoreWarning,
                stacklevel=stacklevel_of_user(),
            )

    def _warn(self, error: Exception) -> None:
        if next(self._n_failures) == 0:
            warnings.warn(
                f"The feature store in {self.folder} cannot be used: {error}. Features are computed, but not stored. "
                f"Pass another folder as memory, set {ENVIRONMENT_VARIABLE}, or pass memory=None.",
                FeatureStoreWarning,
                stacklevel=3,
            )


class StoreNamespace:
    """Rows of a store for one preprocessing and one backbone, keyed by view, with leases on missing rows.

    Parameters
    ----------
    store : FeatureStore or None
        If None, nothing is stored or leased.
    prefix : bytes
        Key of the preprocessing and the backbone, with which all keys begin.
    n_features : int
        Length of a row.
    dtype : str
        Data type of a row.
    """

    def __init__(self, store: FeatureStore | None, prefix: bytes, n_features: int, dtype: str = "<f4") -> None:
        self.store, self.prefix, self.n_features, self.dtype = store, prefix, n_features, dtype
        self.is_writable = store is not None
        self.leases = None if store is None or store.is_read_only else Leases(store.folder)

    def known(self, items: Iterable[bytes], *, hold: bool = False) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield the stored rows of `items`; with `hold`, cache them in memory."""
        if self.store is not None:
            for key, row in self.store.get(self._keys(items), self.n_features, dtype=self.dtype, hold=hold):
                yield key[len(self.prefix) :], row

    def put(self, rows: Rows) -> None:
        """Store rows and release the leases on them."""
        keys = self._keys(item for item, _ in rows)
        if self.store is not None and self.is_writable:  # after an error, the store has warned and is not used again
            self.is_writable = self.store.put(zip(keys, (row for _, row in rows), strict=True), dtype=self.dtype)
        if self.leases is not None:
            self.leases.release(keys)

    def remember(self, digests: Mapping[bytes, bytes]) -> None:
        """Store the content digests of files, keyed by file state."""
        if self.store is not None and self.is_writable and digests:
            self.store.remember(digests.items())

    def forget(self, stamps: Sequence[bytes]) -> None:
        """Delete the content digests of these states of files."""
        if self.store is not None and stamps:
            self.store.forget(stamps)

    def take(self, items: Sequence[bytes]) -> list[bytes]:
        """Lease `items`; return those that no other process computes."""
        if self.leases is None:
            return list(items)
        return [key[len(self.prefix) :] for key in self.leases.take(self._keys(items))]

    def release_all(self) -> None:
        """Release all leases."""
        if self.leases is not None:
            self.leases.release_all()

    def _keys(self, items: Iterable[bytes]) -> list[bytes]:
        return [self.prefix + item for item in items]


def open_store(memory: Any, name: str = "features", *, is_read_only: bool = False) -> FeatureStore | None:
    """Open the store of the `memory` parameter: "auto", None, a folder or a joblib ``Memory``."""
    folder = folder_of(memory)
    return None if folder is None else FeatureStore(folder, name, is_read_only=is_read_only, max_bytes=max_bytes())


def folder_of(memory: Any) -> str | None:
    """Return the absolute path of the folder that the `memory` parameter refers to, or None if there is none."""
    if isinstance(memory, str) and memory == "auto":
        folder = os.environ.get(ENVIRONMENT_VARIABLE) or platformdirs.user_cache_dir("skpneumo", appauthor=False)
        return absolute_path(folder, ENVIRONMENT_VARIABLE)
    location = getattr(memory, "location", memory)
    return None if location is None else absolute_path(location, "memory")


def n_bytes(folder: Path) -> int:
    """Return the size of all files of a store."""
    return sum(file.stat().st_size for file in folder.iterdir())
