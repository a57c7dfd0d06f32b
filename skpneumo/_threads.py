"""One BLAS thread for what must give the same bits whatever number of threads there is."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread; the first to come in sets the limit, the last to leave restores what was before.

    BLAS splits a product of matrix and vector between its threads and rounds accordingly, and joblib's processes have
    fewer threads than their parent.
    """
    global _inside, _limits  # noqa: PLW0603 - the number of BLAS threads is the process's, so is the count
    with _lock:
        if _inside == 0:
            _limits = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
