"""Bound on the memory of all images that are decoded at the same time in this process."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MAX_BYTES = 2**30  # of all images that are decoded at the same time; a larger one is decoded alone
MAX_IMAGE_BYTES = 2**32
_LARGE = 2**27


class Budget:
    """Bytes that threads share.

    Parameters
    ----------
    n_bytes : int
        The number of bytes.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = n_bytes
        self.reset()

    def reset(self) -> None:
        """Make all bytes available."""
        self._n_free = self.n_bytes
        self._is_freed = threading.Condition()
        self._turn = threading.Lock()  # so that small images do not overtake a large one for ever

    @contextmanager
    def hold(self, n_bytes: int) -> Iterator[None]:
        """Wait for bytes and hold them; if they are more than all bytes, wait until no others are held.

        A thread that holds bytes must not hold further ones, since it might wait for itself.
        """
        n_bytes = min(n_bytes, self.n_bytes)
        is_freed = self._is_freed
        with self._turn, is_freed:
            is_freed.wait_for(lambda: n_bytes <= self._n_free)
            self._n_free -= n_bytes
        try:
            yield
        finally:
            with is_freed:
                self._n_free += n_bytes
                is_freed.notify_all()


_budget = Budget(MAX_BYTES)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_budget.reset)  # threads that hold bytes do not exist in the child


@contextmanager
def memory_for(width: int, height: int, n_bytes: int) -> Iterator[None]:
    """Wait until an image of `width` x `height` pixels can be decoded, for which `n_bytes` are needed.

    Raises
    ------
    ValueError
        If more bytes are needed than one image may take.
    """
    if n_bytes > MAX_IMAGE_BYTES:
        raise ValueError(
            f"too large: {width} x {height} pixels need about {n_bytes} bytes of memory, more than {MAX_IMAGE_BYTES}"
        )
    with _budget.hold(n_bytes):
        try:
            yield
        finally:
            if n_bytes > _LARGE:
                _trim()


def _trim() -> None:
    """Return freed memory to the system, where the C library keeps it for each thread, as that of GNU does."""
    with suppress(AttributeError, OSError, TypeError):  # TypeError on Windows
        ctypes.CDLL(None).malloc_trim(0)
