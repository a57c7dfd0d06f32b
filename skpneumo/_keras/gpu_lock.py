"""One process a GPU: its memory is given back only when the process ends, so workers of a search cannot share it."""

import hashlib
import multiprocessing
import os
import sqlite3
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

_TAKEN = (
    "Another process of this machine computes on the GPU, and its memory is not enough for two for sure. Ways out: "
    "n_jobs=1 in the search, whose images are computed once on the GPU all the same; one fit before the search, so "
    "that all features are stored; device='cpu'; or a GPU for each worker, by CUDA_VISIBLE_DEVICES."
)

_lock = threading.Lock()
_held: list[sqlite3.Connection] = []
_asked: list[bool] = []  # a process that is no worker asks once


def hold() -> None:
    """Take the visible GPUs for this process until it ends.

    Raises
    ------
    RuntimeError
        This process is a worker of another one, and a third has them.
    """
    with _lock:
        if _held or (multiprocessing.parent_process() is None and _asked):
            return
        _asked.append(True)
        with suppress(sqlite3.OperationalError):  # where no lock can be made, nobody is kept out
            # A transaction ends with its process, however that ends, on every system.
            connection = sqlite3.connect(_file(), timeout=0, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                connection.close()
                if "locked" in str(error) and multiprocessing.parent_process() is not None:
                    raise RuntimeError(_TAKEN) from None
            else:
                _held.append(connection)


def release() -> None:
    """Let others have them; only for what has not used them."""
    with _lock:
        _asked.clear()
        while _held:
            _held.pop().close()


def _file() -> Path:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = hashlib.blake2b(f"{user} {visible}".encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"skpneumo-gpu-{name}.lock"
