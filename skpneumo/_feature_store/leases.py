"""Leases on features, so that processes that share a store do not compute the same features."""

import os
import re
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from skpneumo._feature_store.sqlite import Database

_FILE = "leases.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS leases (key BLOB PRIMARY KEY, owner TEXT NOT NULL, beat INTEGER NOT NULL);"
# Leases can be released on a full disk. A killed process or a power failure may damage the file, which is replaced.
_PRAGMAS = ("synchronous = OFF", "journal_mode = MEMORY")
_TIMEOUT = 60.0  # seconds without a heartbeat after which a lease expires
_OWNER = re.compile(r"(\S+) (\d{1,9}) (\d*|-) \S+", re.ASCII)  # host, process, its start, extraction

_ACTIVE: "WeakValueDictionary[str, Leases]" = WeakValueDictionary()  # by owner, in this process


class Leases:
    """Leases of one extraction on keys, in a SQLite file shared with other processes.

    A lease ends with `release`. It expires if its owner, an extraction in a process of this machine, has ended, or if
    its owner has had no heartbeat for a minute. Leases only avoid repeated work: if the file cannot be used, all leases
    are granted.

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
        self._database = Database(self.file, _SCHEMA, _PRAGMAS)
        self.owner = f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())} {uuid.uuid4().hex}"
        self._beat = 0
        self._last_beats: dict[str, tuple[int, float]] = {}  # beat of other owners, and when first seen

    def take(self, keys: Sequence[bytes]) -> list[bytes]:
        """Lease the keys that are free; return them."""
        _ACTIVE[self.owner] = self
        leased = list(keys)

        def lease(db: sqlite3.Connection) -> None:
            leased[:] = [key for key in keys if self._is_free(db, key)]
            rows = [(key, self.owner, self._beat) for key in leased]
            db.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", rows)

        return leased if self._run(lease) else list(keys)

    def release(self, keys: Iterable[bytes]) -> None:
        """Release the leases on `keys`."""
        rows = [(key, self.owner) for key in keys]
        if rows:
            self._run(lambda db: db.executemany("DELETE FROM leases WHERE key = ? AND owner = ?", rows))

    def release_all(self) -> None:
        """Release all leases of this extraction; in this process, they end even if the file cannot be written."""
        if _ACTIVE.pop(self.owner, None) is not None:
            self._run(lambda db: db.execute("DELETE FROM leases WHERE owner = ?", [self.owner]))

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> bool:
        """Update the heartbeat and run `work` in one transaction; return whether the file can be used."""

        def beat_and_work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            self._beat += 1
            db.execute("UPDATE leases SET beat = ? WHERE owner = ?", [self._beat, self.owner])
            work(db)

        with suppress(OSError, sqlite3.Error):
            self._database.run(beat_and_work)
            return True
        return False

    def _is_free(self, db: sqlite3.Connection, key: bytes) -> bool:
        lease = db.execute("SELECT owner, beat FROM leases WHERE key = ?", [key]).fetchone()
        return lease is None or lease[0] == self.owner or self._is_expired(*lease)

    def _is_expired(self, owner: str, beat: int) -> bool:
        if (parts := _OWNER.fullmatch(str(owner))) is None:
            return True
        host, process, start = parts.groups()
        if host == socket.gethostname():
            if int(process) == os.getpid():
                return owner not in _ACTIVE
            if not _is_running(int(process), start):
                return True
        now = time.monotonic()
        last, since = self._last_beats.get(owner, (None, now))
        self._last_beats[owner] = (beat, since if beat == last else now)
        return now - self._last_beats[owner][1] > _TIMEOUT


def _is_running(process: int, start: str) -> bool:
    """Return whether a process of this machine is running; True on systems where a check could stop the process."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start == _start_time(process)  # another process may have the same id


def _start_time(process: int) -> str:
    """Return when a process started, in clock ticks since the start of the system; "-" if unknown or ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return "-"
    return "-" if state in b"ZX" else fields[18].decode()
