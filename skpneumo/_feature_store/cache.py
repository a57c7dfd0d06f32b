"""Information about the feature cache, and its deletion."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch
from sklearn.utils._param_validation import HasMethods, validate_params

from skpneumo._feature_store.limit import LOCK_FILE
from skpneumo._feature_store.sqlite import Database
from skpneumo._feature_store.store import TABLES, FeatureStore, open_store
from skpneumo._feature_store.table import Table, forget_cached

_MEMORY = {"memory": [str, os.PathLike, HasMethods("cache")]}
_FILES = re.compile(r"(features|maps|digests|leases|running)(\.sqlite(-journal|-wal|-shm)?|\.broken)")


@validate_params(_MEMORY, prefer_skip_nested_validation=True)
def cache_info(memory: Any = "auto") -> Bunch:
    """Return the size and the contents of the feature cache.

    Parameters
    ----------
    memory : "auto", path or joblib.Memory, default="auto"
        The cache, as in the estimators.

    Returns
    -------
    info : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        folder : str
            The folder of the files.
        n_bytes : int
            Size of all files.
        max_bytes : int or None
            Size above which the least recently used rows are deleted, from the environment variable
            ``SKPNEUMO_CACHE_SIZE``.
        n_rows : int
            Number of rows: one for each view of an image and each set of parameters.
        namespaces : list of dict
            One for each set of parameters, the most recently used first: ``kind`` ("features", or "maps" of trainable
            layers), ``key`` (digest of the parameters and the weights), ``n_rows``, ``n_bytes`` (of the values) and
            ``last_used`` (a datetime in UTC that is exact to the hour, or None if unknown).

    Raises
    ------
    OSError
        If the cache exists but cannot be read.

    Examples
    --------
    >>> from skpneumo import cache_info
    >>> cache_info("folder_without_a_cache").n_rows
    0
    """
    store = _store(memory)
    info = Bunch(folder=str(store.folder), n_bytes=0, max_bytes=store.max_bytes, n_rows=0, namespaces=[])
    with _explained(store):
        info.n_bytes = sum(file.stat().st_size for file in _files(store.folder))
        for kind in TABLES:
            table = Table(store.folder / f"{kind}.sqlite")
            for key, n_rows, n_bytes, used in table.namespaces() if table.file.exists() else ():
                last_used = datetime.fromtimestamp(used, timezone.utc) if used else None
                info.namespaces.append(
                    {"kind": kind, "key": key.hex(), "n_rows": n_rows, "n_bytes": n_bytes, "last_used": last_used}
                )
                info.n_rows += n_rows
    info.namespaces.sort(key=lambda each: each["last_used"].timestamp() if each["last_used"] else 0.0, reverse=True)
    return info


@validate_params(_MEMORY, prefer_skip_nested_validation=True)
def clear_cache(memory: Any = "auto") -> None:
    """Delete the feature cache. Extractions that are running compute deleted features again.

    Parameters
    ----------
    memory : "auto", path or joblib.Memory, default="auto"
        The cache, as in the estimators. Other files in this folder are not deleted.

    Raises
    ------
    OSError
        If the cache cannot be deleted.

    Examples
    --------
    >>> from skpneumo import clear_cache
    >>> clear_cache("folder_without_a_cache")
    """
    store = _store(memory)
    with _explained(store):
        for file in _files(store.folder):
            _delete(file)
        with suppress(OSError):  # it has other files, or another process uses it again
            store.folder.rmdir()
    forget_cached()


def _delete(file: Path) -> None:
    if file.suffix != ".sqlite":
        file.unlink(missing_ok=True)
        return
    is_lock = file.name == LOCK_FILE
    try:
        Database(file).delete(waits=not is_lock)
    except sqlite3.OperationalError:
        if not is_lock:  # the lock of a running extraction stays
            raise


def _store(memory: Any) -> FeatureStore:
    store = None if isinstance(memory, str) and memory == "" else open_store(memory)
    if store is None:
        raise ValueError(f"memory={memory!r} has no folder: pass 'auto', a path or a joblib.Memory with a location.")
    return store


def _files(folder: Path) -> list[Path]:
    """Return the files of a store, databases first: each deletes its own journal."""
    found = [file for file in folder.iterdir() if _FILES.fullmatch(file.name)] if folder.exists() else []
    return sorted(found, key=lambda file: file.suffix != ".sqlite")


@contextmanager
def _explained(store: FeatureStore) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise OSError(f"The feature store in {store.folder} cannot be used: {error}.") from error
