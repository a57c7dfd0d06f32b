"""Who computes which features just now, so that processes that share a store compute nothing twice."""

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from skpneumo._database import Database

_FILE = "claims.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL, beat INTEGER NOT NULL)"
_LIFELESS = 60.0  # seconds without a sign after which an owner counts as dead


class Claims:
    """Claims of one extraction on keys, in a SQLite file that it shares with others.

    A claim ends with `release`. That of an owner whose process has ended on this machine, or that has shown no sign of
    life for a minute, anyone may take. Claims only ever save work: where the file cannot be used, all are granted.

    Parameters
    ----------
    folder : path
        Where the file lies.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, other = Claims(folder), Claims(folder)
    ...     one.take([b"a"]), other.take([b"a", b"b"])
    ([b'a'], [b'b'])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.file = Path(folder) / _FILE
        self._database = Database(self.file, _SCHEMA, is_durable=False)  # after a loss of power no claim is of use
        self.owner = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._mine: set[bytes] = set()
        self._beat = 0
        self._seen: dict[str, tuple[int, float]] = {}  # beat of others, and when it was first seen
        self._is_usable = True

    def take(self, keys: Sequence[bytes]) -> list[bytes]:
        """Claim `keys`; return those that are now this extraction's own."""
        mine = list(keys)

        def work(db: sqlite3.Connection) -> None:
            mine[:] = [key for key in keys if self._is_free(db, key)]
            rows = [(key, self.owner, self._beat) for key in mine]
            db.executemany("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", rows)

        self._run(work)
        self._mine |= set(mine)
        return mine

    def release(self, keys: Iterable[bytes]) -> None:
        """Give claims on `keys` up."""
        rows = [(key, self.owner) for key in keys]
        if rows:
            self._run(lambda db: db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", rows))
            self._mine -= {key for key, _ in rows}

    def release_all(self) -> None:
        """Give all claims of this extraction up."""
        self.release(list(self._mine))

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do `work` in a transaction that shows a sign of life; what cannot be done is not tried again."""

        def sign_and_work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            self._beat += 1
            db.execute("UPDATE claims SET beat = ? WHERE owner = ?", [self._beat, self.owner])
            work(db)

        if self._is_usable:
            try:
                self._database.run(sign_and_work)
            except (OSError, sqlite3.Error):
                self._is_usable = False

    def _is_free(self, db: sqlite3.Connection, key: bytes) -> bool:
        claim = db.execute("SELECT owner, beat FROM claims WHERE key = ?", [key]).fetchone()
        return claim is None or claim[0] == self.owner or self._is_dead(*claim)

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
