"""One BLAS thread, and blocks of rows, for what must give the same bits whatever number of threads there is."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

_NUMBERS_AT_ONCE = 2**18  # so many stay in a processor's cache between the two products of a pass

_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, int]] = []


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread; the first to come in sets the limit, the last to leave restores what was before.

    BLAS splits a product of matrix and vector between its threads and rounds accordingly, and joblib's processes have
    fewer threads than their parent.

    ``threadpoolctl.threadpool_limits`` alone does not do: the first of two threads to leave would restore the number
    while the second computes, and it looks up the libraries at each call, which takes milliseconds.
    """
    global _inside, _before  # noqa: PLW0603 - the number of BLAS threads is the process's, so is the count
    per_thread = _limit(lib for lib in _blas() if _is_per_thread(lib))
    with _lock:
        if _inside == 0:
            _before = _limit(lib for lib in _blas() if not _is_per_thread(lib))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _restore(_before)
        _restore(per_thread)


@functools.cache
def _blas() -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _is_per_thread(lib: Any) -> bool:
    return getattr(lib, "threading_layer", None) == "openmp"


def _limit(libs: Iterator[Any]) -> list[tuple[Any, int]]:
    before = [(lib, lib.num_threads) for lib in libs]
    for lib, _ in before:
        _set(lib, 1)
    return before


def _restore(before: list[tuple[Any, int]]) -> None:
    for lib, num_threads in before:
        _set(lib, num_threads)


def _set(lib: Any, num_threads: int) -> None:
    # threadpoolctl 3.8 lets one thread of a process set the number and ignores the others; here it does not matter who
    # sets it, since all that are inside want the same.
    getattr(lib, "_real_set_num_threads", lib.set_num_threads)(num_threads)


def row_blocks(features: np.ndarray) -> Iterator[slice]:
    """Split the rows into blocks small enough for a processor's cache, always the same for the same shape."""
    n_rows = max(16, _NUMBERS_AT_ONCE // features.shape[1])
    for start in range(0, max(len(features), 1), n_rows):
        yield slice(start, start + n_rows)
