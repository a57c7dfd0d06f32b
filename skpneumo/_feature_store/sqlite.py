"""A SQLite file that many processes share: private, made when it is needed, and replaced when it is broken."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")

_PATIENCE = 60.0  # seconds that one process waits for another's write


class Database:
    """One file, one schema; one connection a transaction.

    Parameters
    ----------
    file : path
        Made where it does not exist, readable by its owner only, in a folder that is too.
    schema : str
        A statement that makes the table where there is none.
    is_durable : bool
        Whether what has been written must outlast a loss of power.
    """

    def __init__(self, file: Path, schema: str, *, is_durable: bool) -> None:
        self.file, self.schema = file, schema
        self.synchronous = "NORMAL" if is_durable else "OFF"

    def run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Do `work` in a transaction; a file that is no database makes way for a new one.

        Raises
        ------
        OSError, sqlite3.Error
            It cannot be done.
        """
        self._make_file()
        try:
            return self._transaction(work)
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            self._set_aside()
            return self._transaction(work)

    def _transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        # Nothing is left open: nothing to share between threads, and nothing that a fork inherits.
        with closing(sqlite3.connect(self.file, timeout=_PATIENCE)) as db, db:
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
        # Never a file that is there: closing it would drop the locks that SQLite holds on it in other threads.
        with suppress(FileExistsError):
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _set_aside(self) -> None:
        with suppress(FileNotFoundError):
            os.replace(self.file, self.file.with_suffix(".broken"))
        with suppress(FileNotFoundError):
            os.remove(f"{self.file}-journal")
        self._make_file()


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    text = str(error)
    return "malformed" in text or "not a database" in text or "no such column" in text or "no column" in text
