"""Images through decoding, the network and storing, all three at once, in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from skpneumo._backbone import Backbone
from skpneumo._images import Square
from skpneumo._inputs import digest, read_bytes
from skpneumo._shelf import Rows

T = TypeVar("T")
R = TypeVar("R")

Reasons = dict[bytes, str]  # contents that cannot be decoded, and why


@dataclass(frozen=True)
class Way:
    """The way from the bytes of an image to a row of features."""

    square: Square
    backbone: Backbone

    def key(self) -> bytes:
        """Name everything that shapes the features."""
        return digest(self.square.key() + self.backbone.key())


def passed(
    contents: Iterable[bytes],
    paths: Mapping[bytes, str],
    way: Way,
    *,
    n_threads: int,
    put: Callable[[Rows], None] = lambda rows: None,
    is_useful: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Rows, Reasons]]:
    """Decode, pass and put, each some steps ahead of the next.

    Parameters
    ----------
    contents : iterable of bytes
        Digests of images, drawn as they are needed.
    paths : mapping
        A file of each.
    way : Way
        What is made of it.
    n_threads : int
        Threads that decode; 0: everything is done in this one.
    put : callable
        Called with the rows of each batch, in a thread of its own.
    is_useful : callable
        Asked before each batch: whether it shall pass the network. It is decoded in any case.

    Yields
    ------
    list of (bytes, ndarray), dict
        What has been put, batch by batch; and all that could not be decoded so far, with the reason.
    """
    unfit: Reasons = {}

    def squares(images: Iterable[tuple[bytes, np.ndarray | str]]) -> Iterator[tuple[bytes, np.ndarray]]:
        for content, square in images:
            if isinstance(square, str):
                unfit[content] = square
            else:
                yield content, square

    def forward(batch: list[tuple[bytes, np.ndarray]]) -> Rows:
        if not is_useful():
            return []
        rows = way.backbone.forward()(np.stack([square for _, square in batch]))
        return [(content, row) for (content, _), row in zip(batch, rows, strict=True)]

    def keep(rows: Rows) -> Rows:
        put(rows)
        return rows

    size = way.backbone.batch_size
    n_calls = 2 if way.backbone.device == "gpu" else 1  # the next one waits on the GPU itself, not for Python
    with (
        threads(min(1, n_threads), finishes=True) as disk,
        threads(min(n_calls, n_threads)) as device,
        closing(decoded(contents, paths, way.square, n_threads=n_threads, n_ahead=2 * size)) as images,
    ):
        batches = ahead(device, forward, chunks(squares(images), size), n_calls + 1)
        for rows in ahead(disk, keep, batches, 2):
            yield rows, unfit
    yield [], unfit


def decoded(
    contents: Iterable[bytes], paths: Mapping[bytes, str], square: Square, *, n_threads: int, n_ahead: int
) -> Generator[tuple[bytes, np.ndarray | str], None, None]:
    """Yield contents, each with its square, or with the reason why there is none."""

    def decode(content: bytes) -> tuple[bytes, np.ndarray | str]:
        try:
            data = read_bytes(paths[content])
            if digest(data) != content:
                raise ValueError("changed while it was being read")
            return content, square.decode(data)
        except (OSError, ValueError) as error:
            return content, reason(error)

    with threads(n_threads) as pool:
        yield from ahead(pool, decode, contents, n_ahead)


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


def reason(error: Exception) -> str:
    """Say why a file cannot be read, without its name."""
    return getattr(error, "strerror", None) or str(error)
