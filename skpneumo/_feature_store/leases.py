"""Who computes which features just now, so that processes that share a store compute nothing twice."""

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
_LIFELESS = 60.0  # seconds without a sign after which an owner counts as dead


class Leases:
    """Leases of one extraction on keys, in a SQLite file that it shares with others.

    A lease ends with `release`. That of an owner whose process has ended on this machine, or that has shown no sign of
    life for a minute, anyone may take. Leases only ever save work: where the file cannot be used, all are granted.

    Parameters
    ----------
    folder : path
        Where the file lies.

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
        self._database = Database(self.file, _SCHEMA, is_durable=False)  # after a loss of power no lease is of use
        self.owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._mine: set[bytes] = set()
        self._beat = 0
        self._seen: dict[str, tuple[int, float]] = {}  # beat of others, and when it was first seen
        self._is_usable = True

    def take(self, keys: Sequence[bytes]) -> list[bytes]:
        """Lease `keys`; return those that are now this extraction's own."""
        mine = list(keys)

        def work(db: sqlite3.Connection) -> None:
            mine[:] = [key for key in keys if self._is_free(db, key)]
            rows = [(key, self.owner, self._beat) for key in mine]
            db.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", rows)

        self._run(work)
        self._mine |= set(mine)
        return mine

    def release(self, keys: Iterable[bytes]) -> None:
        """Give leases on `keys` up."""
        rows = [(key, self.owner) for key in keys]
        if rows:
            self._run(lambda db: db.executemany("DELETE FROM leases WHERE key = ? AND owner = ?", rows))
            self._mine -= {key for key, _ in rows}

    def release_all(self) -> None:
        """Give all leases of this extraction up."""
        self.release(list(self._mine))

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do `work` in a transaction that shows a sign of life; what cannot be done is not tried again."""

        def sign_and_work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            self._beat += 1
            db.execute("UPDATE leases SET beat = ? WHERE owner = ?", [self._beat, self.owner])
            work(db)

        if self._is_usable:
            try:
                self._database.run(sign_and_work)
            except (OSError, sqlite3.Error):
                self._is_usable = False

    def _is_free(self, db: sqlite3.Connection, key: bytes) -> bool:
        lease = db.execute("SELECT owner, beat FROM leases WHERE key = ?", [key]).fetchone()
        return lease is None or lease[0] == self.owner or self._is_dead(*lease)

    def _is_dead(self, owner: str, beat: int) -> bool:
        host, process, _ = owner.rsplit(" ", 2)
        if host == socket.gethostname() and not _is_running(int(process)):
            return True
        now = time.monotonic()
        last, since = self._seen.get(owner, (None, now))
        self._seen[owner] = (beat, since if beat == last else now)
        return now - self._seen[owner][1] > _LIFELESS


def _is_running(process: int) -> bool:
    """Tell whether a process of this machine runs, where that can be asked without harm."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
