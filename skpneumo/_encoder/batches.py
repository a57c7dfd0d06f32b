"""Images through decoding, the network and storing, all three at once, in bounded memory."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import groupby

import numpy as np

from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import Rows
from skpneumo._images.sources import reason
from skpneumo._utils.executor import ahead, chunks, threads

Reasons = dict[bytes, str]  # items that cannot be decoded, and why


def passed(
    items: Iterable[bytes],
    load: Callable[[bytes], bytes],
    spec: FeatureSpec,
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
    load : callable
        Returns the bytes of an image by its digest; raises OSError or ValueError where it cannot.
    spec : FeatureSpec
        What is made of them.
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
        rows = spec.backbone.forward()(np.stack([square for _, square in batch]))
        return [(item, row) for (item, _), row in zip(batch, rows, strict=True)]

    def keep(rows: Rows) -> Rows:
        put(rows)
        return rows

    size = spec.backbone.batch_size
    n_calls = 2 if spec.backbone.device == "gpu" else 1  # the next one waits on the GPU itself, not for Python
    with (
        threads(min(1, n_threads), finishes=True) as disk,
        threads(min(n_calls, n_threads)) as device,
        closing(decoded(items, load, spec, n_threads=n_threads, n_ahead=2 * size)) as images,
    ):
        batches = ahead(device, forward, chunks(squares(images), size), n_calls + 1)
        for rows in ahead(disk, keep, batches, 2):
            yield rows, unfit
    yield [], unfit


def decoded(
    items: Iterable[bytes], load: Callable[[bytes], bytes], spec: FeatureSpec, *, n_threads: int, n_ahead: int
) -> Generator[tuple[bytes, np.ndarray | str], None, None]:
    """Yield items, each with its square, or with the reason why there is none."""

    def decode(items: list[bytes]) -> list[tuple[bytes, np.ndarray | str]]:
        try:
            return list(zip(items, spec.preprocess(load(content_of(items[0])), items), strict=True))
        except (OSError, ValueError) as error:
            return [(item, reason(error)) for item in items]

    images = (list(views) for _, views in groupby(items, content_of))
    with threads(n_threads) as pool:
        for squares in ahead(pool, decode, images, -(-n_ahead // len(spec.views))):
            yield from squares
