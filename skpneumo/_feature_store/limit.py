"""Limit on the size of a store: parsed from the environment, and kept by deleting rows that no extraction needs."""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path

from skpneumo._feature_store.sqlite import Database
from skpneumo._feature_store.table import REFRESH, Table
from skpneumo._utils.executor import chunks

LIMIT_VARIABLE = "SKPNEUMO_CACHE_SIZE"
DEFAULT = "50 GB"
LOCK_FILE = "running.sqlite"  # always empty

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE | re.ASCII)
_REMAINING = 0.9  # of the limit, so that not each call deletes rows
_ROWS_PER_STEP = 500


def max_bytes() -> int | None:
    """Return the limit in bytes from the environment; None if there is none.

    Raises
    ------
    ValueError
        If it is not a size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip() or DEFAULT
    if text.lower() == "none":
        return None
    if (match := _SIZE.fullmatch(text)) is None:
        raise ValueError(
            f"The environment variable {LIMIT_VARIABLE} must be a size in bytes, kB, MB, GB or TB, such as "
            f"'{DEFAULT}', or 'none' for no limit; got {text!r}."
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def evict(folder: Path, tables: Iterable[Table], limit: int) -> bool:
    """Delete the rows that have not been used for longest until the tables of a folder are below the limit.

    Damaged files that were replaced are deleted first. Deletion stops if an extraction starts.

    Returns
    -------
    bool
        Whether rows were deleted that were used within the last hour.

    Raises
    ------
    OSError, sqlite3.Error
        If the files cannot be used, or an extraction is running.
    """
    lock = Database(folder / LOCK_FILE)
    lock.run(_exclusive, waits=False)
    for broken in folder.glob("*.broken"):
        broken.unlink()
    existing = [table for table in tables if table.file.exists()]
    if sum(table.n_bytes() for table in existing) <= limit:
        for table in existing:  # whose deletion was stopped before
            table.shrink()
        return False
    ages = sorted(
        (used, number, n_rows, bytes_per_row)
        for number, table in enumerate(existing)
        for bytes_per_row, some in [table.ages()]
        for used, n_rows in some
    )
    excess = sum(n_rows * bytes_per_row for _, _, n_rows, bytes_per_row in ages) - _REMAINING * limit
    n_excess, last_used = [0] * len(existing), 0
    for used, number, n_rows, bytes_per_row in ages:
        if excess <= 0:
            break
        n_removed = min(n_rows, ceil(excess / bytes_per_row))
        n_excess[number] += n_removed
        excess -= n_removed * bytes_per_row
        last_used = used
    for table, n_rows in zip(existing, n_excess, strict=True):
        for some in chunks(table.oldest(n_rows), _ROWS_PER_STEP):
            lock.run(partial(_exclusive, work=partial(table.remove, some)), waits=False)
        table.shrink()
    return last_used > time.time() - REFRESH


@contextmanager
def extraction(folder: Path) -> Iterator[None]:
    """Keep all rows of a folder while an extraction runs: a shared lock, which also ends with the process."""
    with Database(folder / LOCK_FILE).shared_lock():
        yield


def _exclusive(lock: sqlite3.Connection, work: Callable[[], None] = lambda: None) -> None:
    lock.execute("BEGIN EXCLUSIVE")
    work()
