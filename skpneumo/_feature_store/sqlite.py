"""SQLite file shared by processes: private to its owner, created on demand and replaced if damaged."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")

_LOCK_TIMEOUT = 10.0  # seconds; transactions take milliseconds
_SHORT_TIMEOUT = 0.2  # in a folder where a wait was in vain, since each call would wait again

# Errors that do not come from the content of the file.
_ENVIRONMENT = ("locked", "readonly", "full", "I/O error", "unable to open", "interrupted")

_LOCKED: set[Path] = set()  # files whose last transaction in this process waited for a lock in vain


class Database:
    """SQLite file; each transaction opens its own connection.

    A transaction waits for those of other processes. After a wait in vain, further transactions of this object do not
    wait until one succeeds, so that a locked file delays a call only once.

    Parameters
    ----------
    file : path
        Created if it does not exist. The file and its folder are accessible to their owner only.
    schema : str, default=""
        Statements that create the tables that do not exist.
    pragmas : sequence of str, default=()
        Settings of each connection.
    """

    def __init__(self, file: Path, schema: str = "", pragmas: Sequence[str] = ()) -> None:
        self.file, self.schema, self.pragmas = file, schema, pragmas
        self._has_waited = False

    def run(self, work: Callable[[sqlite3.Connection], R], *, waits: bool = True) -> R:
        """Run `work` in a transaction, replacing a damaged file by a new one.

        Parameters
        ----------
        work : callable
            Called with the connection; twice if its tables do not exist or the file is replaced.
        waits : bool, default=True
            Whether to wait for the transactions of other processes.

        Raises
        ------
        OSError, sqlite3.Error
            If the file cannot be used.
        """
        for is_last in (False, True):
            inode = None
            try:
                inode = self._make_file()
                with self._waiting() if waits else nullcontext(0.0) as timeout, _decoded():
                    return self._transaction(work, timeout)
            except (FileNotFoundError, sqlite3.DatabaseError) as error:
                if is_last or not self._is_replaced(inode, error):
                    raise
        raise AssertionError("unreachable")

    def delete(self, *, waits: bool = True) -> None:
        """Delete the file when no other process uses it.

        Raises
        ------
        OSError, sqlite3.Error
            If the file cannot be deleted.
        """
        with closing(sqlite3.connect(self.file, timeout=_LOCK_TIMEOUT if waits else 0.0)) as db:
            try:
                db.execute("BEGIN EXCLUSIVE")
            except sqlite3.DatabaseError as error:
                if not self._is_damaged(error):
                    raise
            if os.name == "nt":  # open files cannot be deleted
                db.close()
            self._remove_journal()
            os.remove(self.file)

    @contextmanager
    def shared_lock(self) -> Iterator[None]:
        """Prevent exclusive transactions of all processes, if the file can be used."""
        with ExitStack() as stack:
            with suppress(OSError, sqlite3.Error), self._waiting() as timeout:
                self._make_file()
                db = sqlite3.connect(self.file, timeout=timeout, isolation_level=None, check_same_thread=False)
                stack.enter_context(closing(db))
                db.execute("BEGIN")
                db.execute("SELECT * FROM sqlite_master").fetchall()
            yield

    @contextmanager
    def _waiting(self) -> Iterator[float]:
        """Yield how long to wait for a lock, and note whether it was in vain."""
        is_slow = any(file.parent == self.file.parent for file in list(_LOCKED))
        try:
            yield 0.0 if self._has_waited else _SHORT_TIMEOUT if is_slow else _LOCK_TIMEOUT
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                self._has_waited = True
                _LOCKED.add(self.file)
            raise
        self._has_waited = False
        _LOCKED.discard(self.file)

    def _transaction(self, work: Callable[[sqlite3.Connection], R], timeout: float) -> R:
        # Open connections must not be shared between threads or inherited by a fork.
        with closing(sqlite3.connect(self.file, timeout=timeout)) as db, db:
            for pragma in self.pragmas:
                db.execute(f"PRAGMA {pragma}")
            try:
                return work(db)
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
            db.rollback()
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has no effect on a file that has tables
            db.executescript(self.schema)
            return work(db)

    def _make_file(self) -> int:
        """Create the file if it does not exist; return its inode."""
        with suppress(FileNotFoundError):
            return os.stat(self.file).st_ino
        folder = self.file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != 0o700:
            folder.chmod(0o700)
        # Closing an existing file would release the locks that SQLite holds on it in other threads.
        with suppress(FileExistsError):
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return os.stat(self.file).st_ino

    def _is_replaced(self, inode: int | None, error: Exception) -> bool:
        """Whether the file of a failed transaction was replaced, by another process or here because it is damaged."""
        try:
            if os.stat(self.file).st_ino != inode:
                return True
        except FileNotFoundError:
            return True
        if isinstance(error, sqlite3.DatabaseError) and self._is_damaged(error):
            self._remove_journal()
            with suppress(FileNotFoundError):
                os.replace(self.file, self.file.with_suffix(".broken"))
            return True
        return False

    def _is_damaged(self, error: sqlite3.DatabaseError) -> bool:
        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.NotSupportedError)):
            return False
        if "readonly" in str(error) and os.access(self.file, os.W_OK) and os.access(self.file.parent, os.W_OK):
            return True  # in its header, the file has a version that SQLite cannot write
        return not any(part in str(error) for part in _ENVIRONMENT)

    def _remove_journal(self) -> None:
        for suffix in ("-journal", "-wal", "-shm"):  # a damaged header can switch to the journal "WAL"
            with suppress(FileNotFoundError):
                os.remove(f"{self.file}{suffix}")


@contextmanager
def _decoded() -> Iterator[None]:
    """Raise the right error for a damaged file if the message of SQLite contains damaged text."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError("database disk image is malformed") from error
