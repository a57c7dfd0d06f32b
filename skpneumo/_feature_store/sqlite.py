"""SQLite file shared by processes: private to its owner, created on demand and replaced if corrupt."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")

_LOCK_TIMEOUT = 60.0  # seconds


class Database:
    """SQLite file with one table; each transaction opens its own connection.

    Parameters
    ----------
    file : path
        Created if it does not exist. The file and its folder are accessible to their owner only.
    schema : str
        Statement that creates the table if it does not exist.
    is_durable : bool
        Whether committed data must survive a power failure.
    """

    def __init__(self, file: Path, schema: str, *, is_durable: bool) -> None:
        self.file, self.schema = file, schema
        self.synchronous = "NORMAL" if is_durable else "OFF"

    def run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run `work` in a transaction, replacing a corrupt file by a new one.

        Raises
        ------
        OSError, sqlite3.Error
            If the file cannot be used.
        """
        self._make_file()
        try:
            return self._transaction(work)
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            self._replace_file()
            return self._transaction(work)

    def _transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        # Open connections must not be shared between threads or inherited by a fork.
        with closing(sqlite3.connect(self.file, timeout=_LOCK_TIMEOUT)) as db, db:
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            db.execute(self.schema)
            return work(db)

    def _make_file(self) -> None:
        if os.path.exists(self.file):
            return
        folder = self.file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != 0o700:
            folder.chmod(0o700)
        # Closing an existing file would release the locks that SQLite holds on it in other threads.
        with suppress(FileExistsError):
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _replace_file(self) -> None:
        with suppress(FileNotFoundError):
            os.replace(self.file, self.file.with_suffix(".broken"))
        with suppress(FileNotFoundError):
            os.remove(f"{self.file}-journal")
        self._make_file()


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    message = str(error)
    return (
        "malformed" in message or "not a database" in message or "no such column" in message or "no column" in message
    )
