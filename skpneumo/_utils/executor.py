"""Thread pools that process items ahead of their use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Here(Executor):
    """Executor that runs in the calling thread, since starting threads for a single image is slower."""

    def submit(self, function: Callable[..., R], /, *items: Any, **options: Any) -> Future[R]:
        future: Future[R] = Future()
        future.set_result(function(*items, **options))
        return future


@contextmanager
def threads(n_threads: int, *, finishes: bool = False) -> Iterator[Executor]:
    """Yield a pool of threads, or the calling thread if 0; after an error, run pending tasks only if `finishes`."""
    pool = ThreadPoolExecutor(n_threads) if n_threads else _Here()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=not finishes)


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T], n_ahead: int) -> Iterator[R]:
    """Map in order, with up to `n_ahead` items in progress."""
    remaining = iter(items)
    waiting: deque[Future[R]] = deque()
    while True:
        waiting.extend(pool.submit(function, item) for item in islice(remaining, n_ahead - len(waiting)))
        if not waiting:
            return
        yield waiting.popleft().result()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last may be shorter."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
