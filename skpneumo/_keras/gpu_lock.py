"""Lock of the GPU for one process: a process frees GPU memory only when it ends, so workers cannot share a GPU."""

import hashlib
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout

_IN_USE = (
    "Another process on this machine uses the GPU, whose memory may not suffice for two processes. Set n_jobs=1 in the "
    "search, which still computes each image only once; or fit once before the search, so that all features are "
    "stored; or set device='cpu'; or give each worker its own GPU by CUDA_VISIBLE_DEVICES."
)

_lock = threading.Lock()
_locks: list[FileLock] = []
_tried: list[bool] = []  # a process that is not a worker tries once


def acquire() -> None:
    """Lock the visible GPUs for this process until it ends.

    Raises
    ------
    RuntimeError
        If this process is a worker and another process has the lock.
    """
    is_worker = multiprocessing.parent_process() is not None
    with _lock:
        if _locks or (not is_worker and _tried):
            return
        _tried.append(True)
        # The operating system releases the lock when the process ends for any reason. All threads share it, since the
        # thread that acquires it may end before the others.
        lock = FileLock(_file(), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            if is_worker:
                raise RuntimeError(_IN_USE) from None
        except (OSError, NotImplementedError):  # without file locks, every process may use the GPU
            pass
        else:
            _locks.append(lock)


def release() -> None:
    """Release the lock, which requires that this process has not used the GPUs."""
    with _lock:
        _tried.clear()
        while _locks:
            _locks.pop().release()


def _file() -> Path:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    name = hashlib.blake2b(f"{user} {visible}".encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"skpneumo-gpu-{name}.lock"
