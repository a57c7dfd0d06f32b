"""Images through decoding, the network and storing, all three at once, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from skpneumo._backbone import Backbone
from skpneumo._images import Square
from skpneumo._inputs import digest, read_bytes
from skpneumo._shelf import Rows

T = TypeVar("T")
R = TypeVar("R")


def passed(
    contents: Iterable[bytes],
    paths: Mapping[bytes, str],
    square: Square,
    backbone: Backbone,
    unfit: dict[bytes, str],
    *,
    n_threads: int,
    put: Callable[[Rows], None] = lambda rows: None,
    is_useful: Callable[[], bool] = lambda: True,
) -> Iterator[Rows]:
    """Decode, pass and put, each some steps ahead of the next; yield what has been put, batch by batch.

    Parameters
    ----------
    contents : iterable of bytes
        Digests of images, drawn as they are needed.
    paths : mapping
        A file of each.
    square, backbone
        What is made of it.
    unfit : dict
        Takes the contents that cannot be decoded, with the reason.
    n_threads : int
        Threads that decode; 0: everything is done in this one.
    put : callable
        Called with the rows of each batch, in a thread of its own.
    is_useful : callable
        Asked before each batch: whether it shall pass the network. It is decoded in any case.
    """

    def forward(batch: list[tuple[bytes, np.ndarray]]) -> Rows:
        if not is_useful():
            return []
        rows = backbone.forward()(np.stack([gray for _, gray in batch]))
        return [(content, row) for (content, _), row in zip(batch, rows, strict=True)]

    def keep(rows: Rows) -> Rows:
        put(rows)
        return rows

    size = backbone.batch_size
    n_calls = 2 if backbone.device == "gpu" else 1  # the next one waits on the GPU itself, not for Python
    with threads(min(n_calls, n_threads)) as device, threads(min(1, n_threads)) as disk:
        squares = decoded(contents, paths, square, unfit, n_threads=n_threads, n_ahead=2 * size)
        yield from ahead(disk, keep, ahead(device, forward, chunks(squares, size), n_calls + 1), 2)


def decoded(
    contents: Iterable[bytes],
    paths: Mapping[bytes, str],
    square: Square,
    unfit: dict[bytes, str],
    *,
    n_threads: int,
    n_ahead: int,
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield contents with their squares; those that cannot be decoded go to `unfit`."""

    def decode(content: bytes) -> tuple[bytes, np.ndarray] | None:
        try:
            data = read_bytes(paths[content])
            if digest(data) != content:
                raise ValueError("changed while it was being read")
            return content, square.decode(data)
        except (OSError, ValueError) as error:
            unfit[content] = reason(error)
            return None

    with threads(n_threads) as pool:
        yield from filter(None, ahead(pool, decode, contents, n_ahead))


class _Here(Executor):
    """No thread but this one: for a single image, where starting others costs more than they save."""

    def submit(self, function: Callable[..., R], /, *items: Any, **options: Any) -> Future[R]:
        future: Future[R] = Future()
        future.set_result(function(*items, **options))
        return future


@contextmanager
def threads(n_threads: int) -> Iterator[Executor]:
    """Lend a pool of threads, with 0 of them this thread; after an error nothing more of what waits is done."""
    pool = ThreadPoolExecutor(n_threads) if n_threads else _Here()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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


def reason(error: Exception) -> str:
    """Say why a file cannot be read, without its name."""
    return getattr(error, "strerror", None) or str(error)
