"""Single-threaded BLAS and blocks of rows, for results that do not depend on the number of threads."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

_BLOCK_SIZE = 2**18  # numbers that stay in a processor's cache between the two products of a pass

_lock = threading.Lock()
_n_active = 0
_previous: list[tuple[Any, int]] = []


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread; the first thread to enter sets the limit, the last one to exit restores it.

    The rounding of a product of matrix and vector depends on the number of BLAS threads, and processes of joblib have
    fewer threads than their parent.

    ``threadpoolctl.threadpool_limits`` is not sufficient: the first of two threads to exit would restore the number
    while the second one computes, and it searches the libraries at each call, which takes milliseconds.
    """
    global _n_active, _previous  # noqa: PLW0603 - the number of BLAS threads is global to the process
    per_thread = _limit(lib for lib in _blas() if _is_per_thread(lib))
    with _lock:
        if _n_active == 0:
            _previous = _limit(lib for lib in _blas() if not _is_per_thread(lib))
        _n_active += 1
    try:
        yield
    finally:
        with _lock:
            _n_active -= 1
            if _n_active == 0:
                _restore(_previous)
        _restore(per_thread)


@functools.cache
def _blas() -> list[Any]:
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _is_per_thread(lib: Any) -> bool:
    return getattr(lib, "threading_layer", None) == "openmp"


def _limit(libs: Iterator[Any]) -> list[tuple[Any, int]]:
    previous = [(lib, lib.num_threads) for lib in libs]
    for lib, _ in previous:
        _set(lib, 1)
    return previous


def _restore(previous: list[tuple[Any, int]]) -> None:
    for lib, num_threads in previous:
        _set(lib, num_threads)


def _set(lib: Any, num_threads: int) -> None:
    # threadpoolctl 3.8 lets only one thread of a process set the number; here any thread may set it, since all set the
    # same value.
    getattr(lib, "_real_set_num_threads", lib.set_num_threads)(num_threads)


def row_blocks(features: np.ndarray) -> Iterator[slice]:
    """Yield slices of rows that fit in a processor's cache, which depend on the shape only."""
    n_rows = max(16, _BLOCK_SIZE // features.shape[1])
    for start in range(0, max(len(features), 1), n_rows):
        yield slice(start, start + n_rows)
