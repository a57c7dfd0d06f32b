"""Table of keys and values in a SQLite file, with checksums and the times of last use."""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from skpneumo._feature_store.sqlite import Database
from skpneumo._utils.executor import chunks
from skpneumo._utils.lru_cache import Cache

PREFIX_SIZE = 20  # bytes at the beginning of a key that are the same for all rows of a namespace
REFRESH = 3600.0  # seconds until a use is recorded again, so that most reads write nothing

_ROWS_PER_QUERY = 500
_PAGES_PER_STEP = 1000  # in between, other processes can write
_CACHE: Cache[tuple[str, bytes]] = Cache(max_bytes=2**28)  # in memory, shared by all tables of this process
_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS uses (key BLOB PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID;
"""


class Table:
    """SQLite file of keys and values, both bytes.

    Parameters
    ----------
    file : path
        The file.
    is_durable : bool, default=True
        Whether committed rows must survive a power failure, and the time of their last use is recorded.
    """

    def __init__(self, file: Path, *, is_durable: bool = True) -> None:
        self.file, self.records_uses = file, is_durable
        self.database = Database(file, _SCHEMA, [f"synchronous = {'NORMAL' if is_durable else 'OFF'}"])

    def read(self, keys: Iterable[bytes], n_bytes: int, *, hold: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yield intact values of `n_bytes`: first those cached in memory, then those of the file in batches."""
        try:
            file = self._file_id()
        except OSError:
            return
        keys = list(keys)
        cached = _CACHE.get((file, key) for key in keys)
        found = {key: value for (_, key), value in cached.items() if len(value) == n_bytes}
        yield from found.items()
        missing = [key for key in keys if key not in found]
        fits = hold and len(missing) * n_bytes <= _CACHE.max_bytes
        read: dict[tuple[str, bytes], bytes] = {}
        unrecorded: list[bytes] = []
        for key, value in self._fetch(missing, n_bytes, unrecorded):
            if fits:
                read[file, key] = value
            yield key, value
        _CACHE.put(read)
        if unrecorded and self.records_uses:
            with suppress(OSError, sqlite3.Error):  # the next call can record it
                self.database.run(partial(_record_uses, unrecorded), waits=False)

    def write(self, values: Iterable[tuple[bytes, bytes]]) -> None:
        """Store values in one transaction."""
        entries = [(key, value, _checksum(key, value)) for key, value in values]

        def insert(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO features (key, value, checksum) VALUES (?, ?, ?)", entries)
            if self.records_uses:
                _record_uses([key for key, *_ in entries], db)

        self.database.run(insert)

    def remove(self, keys: Iterable[bytes]) -> None:
        """Delete values."""
        keys = list(keys)
        _CACHE.drop((self._file_id(), key) for key in keys)
        self.database.run(partial(_remove, keys))

    def n_bytes(self) -> int:
        """Return the size of the file without its free pages."""
        return self.database.run(_n_bytes)

    def ages(self) -> tuple[float, list[tuple[int, int]]]:
        """Return the mean size of a row on disk, and numbers of rows by time of last use, 0 if that is unknown."""
        query = "SELECT coalesce(time, 0), count(*) FROM features LEFT JOIN uses USING (key) GROUP BY 1"
        n_bytes, ages = self.database.run(lambda db: (_n_bytes(db), db.execute(query).fetchall()))
        return n_bytes / max(1, sum(n_rows for _, n_rows in ages)), ages

    def oldest(self, n_rows: int) -> list[bytes]:
        """Return the keys of the rows that have not been used for longest."""
        query = "SELECT key FROM features LEFT JOIN uses USING (key) ORDER BY time LIMIT ?"  # NULL is first
        return [key for (key,) in self.database.run(lambda db: db.execute(query, [n_rows]).fetchall())]

    def shrink(self) -> None:
        """Give free pages back to the file system; files of earlier versions use them again instead."""
        while self.database.run(_give_back):
            pass

    def namespaces(self) -> list[tuple[bytes, int, int, int]]:
        """Return prefix, number of rows, bytes of values and time of last use of each namespace."""
        query = f"""
            SELECT prefix, n, n * (SELECT length(value) FROM features WHERE key = first), coalesce(last, 0) FROM (
                SELECT substr(key, 1, {PREFIX_SIZE}) AS prefix, count(*) AS n, min(key) AS first, max(time) AS last
                FROM features LEFT JOIN uses USING (key) GROUP BY 1)
        """  # noqa: S608 - a constant
        return self.database.run(lambda db: db.execute(query).fetchall())

    def _file_id(self) -> str:
        # A new file under the same name must not use the cached values of the old one. Cached values expire, so that
        # the use of their rows is recorded again.
        return f"{self.file} {self.file.stat().st_ino} {time.time() // REFRESH}"

    def _fetch(self, keys: Sequence[bytes], n_bytes: int, unrecorded: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Yield each intact value once; collect the keys whose use is not recorded."""
        for some in chunks(keys, _ROWS_PER_QUERY):
            left = set(some)
            rows, recorded = self.database.run(partial(_select, some))
            for key, value, checksum in rows:
                is_intact = isinstance(value, bytes) and len(value) == n_bytes
                if key in left and is_intact and checksum == _checksum(key, value):
                    left.remove(key)
                    if key not in recorded:
                        unrecorded.append(key)
                    yield key, value


def forget_cached() -> None:
    """Drop all values that are cached in memory."""
    _CACHE.clear()


def _select(keys: Sequence[bytes], db: sqlite3.Connection) -> tuple[list[tuple[Any, Any, Any]], set[bytes]]:
    keys_in = f"key IN ({','.join('?' * len(keys))})"
    rows = db.execute(f"SELECT key, value, checksum FROM features WHERE {keys_in}", keys).fetchall()  # noqa: S608
    uses = f"SELECT key FROM uses WHERE {keys_in} AND abs(time - ?) < ?"  # noqa: S608 - only "?"
    try:
        return rows, {key for (key,) in db.execute(uses, [*keys, time.time(), REFRESH])}
    except sqlite3.OperationalError:  # a file without this table; if it is read-only, its rows can still be read
        return rows, set()


def _record_uses(keys: Sequence[bytes], db: sqlite3.Connection) -> None:
    now = int(time.time())
    db.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?)", [(key, now) for key in keys])


def _remove(keys: Sequence[bytes], db: sqlite3.Connection) -> None:
    for table in ("features", "uses"):
        db.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])  # noqa: S608 - constants


def _n_bytes(db: sqlite3.Connection) -> int:
    size, n_pages, n_free = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
    )
    return size * (n_pages - n_free)


def _give_back(db: sqlite3.Connection) -> bool:
    """Shrink the file by some free pages; return whether to continue."""
    n_free = db.execute("PRAGMA freelist_count").fetchone()[0]
    db.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
    return 0 < int(db.execute("PRAGMA freelist_count").fetchone()[0]) < int(n_free)


def _checksum(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))
