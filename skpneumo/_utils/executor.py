"""Threads that work some items ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Here(Executor):
    """No thread but this one: for a single image, where starting others costs more than they save."""

    def submit(self, function: Callable[..., R], /, *items: Any, **options: Any) -> Future[R]:
        future: Future[R] = Future()
        future.set_result(function(*items, **options))
        return future


@contextmanager
def threads(n_threads: int, *, finishes: bool = False) -> Iterator[Executor]:
    """Lend a pool of threads, with 0 of them this thread; after an error, only one that `finishes` does what waits."""
    pool = ThreadPoolExecutor(n_threads) if n_threads else _Here()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=not finishes)


def ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T], n_ahead: int) -> Iterator[R]:
    """Map in order, with `n_ahead` items under way."""
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
