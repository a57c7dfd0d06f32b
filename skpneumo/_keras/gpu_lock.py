"""One process a GPU: its memory is given back only when the process ends, so workers of a search cannot share it."""

import hashlib
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout

_TAKEN = (
    "Another process of this machine computes on the GPU, and its memory is not enough for two for sure. Ways out: "
    "n_jobs=1 in the search, whose images are computed once on the GPU all the same; one fit before the search, so "
    "that all features are stored; device='cpu'; or a GPU for each worker, by CUDA_VISIBLE_DEVICES."
)

_lock = threading.Lock()
_held: list[FileLock] = []
_asked: list[bool] = []  # a process that is no worker asks once


def hold() -> None:
    """Take the visible GPUs for this process until it ends.

    Raises
    ------
    RuntimeError
        This process is a worker of another one, and a third has them.
    """
    is_worker = multiprocessing.parent_process() is not None
    with _lock:
        if _held or (not is_worker and _asked):
            return
        _asked.append(True)
        # The operating system frees it when the process ends, however that ends. It belongs to all threads, since the
        # one that takes it may end before the others have computed.
        lock = FileLock(_file(), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            if is_worker:
                raise RuntimeError(_TAKEN) from None
        except (OSError, NotImplementedError):  # where no lock can be made, every process may use the GPU
            pass
        else:
            _held.append(lock)


def release() -> None:
    """Let others have them; only for a process that has not used them."""
    with _lock:
        _asked.clear()
        while _held:
            _held.pop().release()


def _file() -> Path:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = hashlib.blake2b(f"{user} {visible}".encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"skpneumo-gpu-{name}.lock"
