"""Images through decoding, the network and storing, all three at once, in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np

from skpneumo._feature_store.store import Rows
from skpneumo._images.augmentation import XRAY, Augmentation
from skpneumo._images.decoding import Square
from skpneumo._images.sources import DIGEST_SIZE, Source, digest, read_bytes, reason
from skpneumo._vgg19.backbone import Backbone

T = TypeVar("T")
R = TypeVar("R")

Reasons = dict[bytes, str]  # items that cannot be decoded, and why


@dataclass(frozen=True)
class Way:
    """The way from the bytes of an image to a row of features for each of its views.

    An item is what makes one row: the digest of an image, followed by the name of a view if it is not the plain one.
    """

    square: Square
    backbone: Backbone
    views: tuple[int, ...] = (0,)
    augmentation: Augmentation = XRAY

    def key(self) -> bytes:
        """Name everything that shapes the features of an item."""
        return digest(self.square.key() + self.backbone.key())

    def fingerprint(self) -> str:
        """Name everything that shapes the features but rounding: models are fitted on those of one name."""
        return digest(self.square.key() + self.backbone.identity()).hex()

    def items(self, content: bytes) -> list[bytes]:
        """Name the views of an image."""
        return [self.augmentation.item(content, number) for number in self.views]

    def squares(self, data: bytes, items: Iterable[bytes]) -> list[np.ndarray]:
        """Decode an image once, and cut all of `items` out of it.

        Raises
        ------
        ValueError
            The reason why it cannot be done.
        """
        gray = self.square.gray(data)
        return [self.square.cut(gray, self.augmentation.view(item, content_of(item))) for item in items]


def content_of(item: bytes) -> bytes:
    """Return the digest of the image that an item is a view of."""
    return item[:DIGEST_SIZE]


def passed(
    items: Iterable[bytes],
    sources: Mapping[bytes, Source],
    way: Way,
    *,
    n_threads: int,
    put: Callable[[Rows], None] = lambda rows: None,
    is_useful: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Rows, Reasons]]:
    """Decode, pass and put, each some steps ahead of the next.

    Parameters
    ----------
    items : iterable of bytes
        Views of images, drawn as they are needed; those of one image are decoded together where they are neighbours.
    sources : mapping
        Where each content is found.
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
        for item, square in images:
            if isinstance(square, str):
                unfit[item] = square
            else:
                yield item, square

    def forward(batch: list[tuple[bytes, np.ndarray]]) -> Rows:
        if not is_useful():
            return []
        rows = way.backbone.forward()(np.stack([square for _, square in batch]))
        return [(item, row) for (item, _), row in zip(batch, rows, strict=True)]

    def keep(rows: Rows) -> Rows:
        put(rows)
        return rows

    size = way.backbone.batch_size
    n_calls = 2 if way.backbone.device == "gpu" else 1  # the next one waits on the GPU itself, not for Python
    with (
        threads(min(1, n_threads), finishes=True) as disk,
        threads(min(n_calls, n_threads)) as device,
        closing(decoded(items, sources, way, n_threads=n_threads, n_ahead=2 * size)) as images,
    ):
        batches = ahead(device, forward, chunks(squares(images), size), n_calls + 1)
        for rows in ahead(disk, keep, batches, 2):
            yield rows, unfit
    yield [], unfit


def decoded(
    items: Iterable[bytes], sources: Mapping[bytes, Source], way: Way, *, n_threads: int, n_ahead: int
) -> Generator[tuple[bytes, np.ndarray | str], None, None]:
    """Yield items, each with its square, or with the reason why there is none."""

    def decode(items: list[bytes]) -> list[tuple[bytes, np.ndarray | str]]:
        content = content_of(items[0])
        try:
            data = read_bytes(sources[content])
            if digest(data) != content:
                raise ValueError("changed while it was being read")
            return list(zip(items, way.squares(data, items), strict=True))
        except (OSError, ValueError) as error:
            return [(item, reason(error)) for item in items]

    images = (list(views) for _, views in groupby(items, content_of))
    with threads(n_threads) as pool:
        for squares in ahead(pool, decode, images, -(-n_ahead // len(way.views))):
            yield from squares


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
