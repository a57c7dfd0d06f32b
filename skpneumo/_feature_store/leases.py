"""Leases on features, so that processes that share a store do not compute the same features."""

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from skpneumo._feature_store.sqlite import Database

_FILE = "leases.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS leases (key BLOB PRIMARY KEY, owner TEXT NOT NULL, beat INTEGER NOT NULL)"
_TIMEOUT = 60.0  # seconds without a heartbeat after which a lease expires


class Leases:
    """Leases of one extraction on keys, in a SQLite file shared with other processes.

    A lease ends with `release`. It expires if its owner, a process of this machine, has ended, or if its owner has had
    no heartbeat for a minute. Leases only avoid repeated work: if the file cannot be used, all leases are granted.

    Parameters
    ----------
    folder : path
        Folder of the file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, other = Leases(folder), Leases(folder)
    ...     one.take([b"a"]), other.take([b"a", b"b"])
    ([b'a'], [b'b'])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.file = Path(folder) / _FILE
        self._database = Database(self.file, _SCHEMA, is_durable=False)  # no lease is valid after a power failure
        self.owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._leased: set[bytes] = set()
        self._beat = 0
        self._last_beats: dict[str, tuple[int, float]] = {}  # beat of other owners, and when first seen
        self._is_usable = True

    def take(self, keys: Sequence[bytes]) -> list[bytes]:
        """Lease the keys that are free; return them."""
        leased = list(keys)

        def lease(db: sqlite3.Connection) -> None:
            leased[:] = [key for key in keys if self._is_free(db, key)]
            rows = [(key, self.owner, self._beat) for key in leased]
            db.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", rows)

        self._run(lease)
        self._leased |= set(leased)
        return leased

    def release(self, keys: Iterable[bytes]) -> None:
        """Release the leases on `keys`."""
        rows = [(key, self.owner) for key in keys]
        if rows:
            self._run(lambda db: db.executemany("DELETE FROM leases WHERE key = ? AND owner = ?", rows))
            self._leased -= {key for key, _ in rows}

    def release_all(self) -> None:
        """Release all leases of this extraction."""
        self.release(list(self._leased))

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Update the heartbeat and run `work` in one transaction; stop using the file after an error."""

        def beat_and_work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            self._beat += 1
            db.execute("UPDATE leases SET beat = ? WHERE owner = ?", [self._beat, self.owner])
            work(db)

        if self._is_usable:
            try:
                self._database.run(beat_and_work)
            except (OSError, sqlite3.Error):
                self._is_usable = False

    def _is_free(self, db: sqlite3.Connection, key: bytes) -> bool:
        lease = db.execute("SELECT owner, beat FROM leases WHERE key = ?", [key]).fetchone()
        return lease is None or lease[0] == self.owner or self._is_expired(*lease)

    def _is_expired(self, owner: str, beat: int) -> bool:
        host, process, _ = owner.rsplit(" ", 2)
        if host == socket.gethostname() and not _is_running(int(process)):
            return True
        now = time.monotonic()
        last, since = self._last_beats.get(owner, (None, now))
        self._last_beats[owner] = (beat, since if beat == last else now)
        return now - self._last_beats[owner][1] > _TIMEOUT


def _is_running(process: int) -> bool:
    """Return whether a process of this machine is running; True on systems where a check could stop the process."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
