"""Decode images, pass them through the network and store the features, all at the same time in bounded memory."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from itertools import groupby

import numpy as np

from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import Rows
from skpneumo._images.sources import reason
from skpneumo._utils.executor import ahead, chunks, threads

Reasons = dict[bytes, str]  # why items cannot be decoded


def compute_batches(
    items: Iterable[bytes],
    load: Callable[[bytes], bytes],
    spec: FeatureSpec,
    *,
    n_threads: int,
    put: Callable[[Rows], None] = lambda rows: None,
    is_useful: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Rows, Reasons]]:
    """Decode, encode and store images; each step works ahead of the next one.

    Parameters
    ----------
    items : iterable of bytes
        Views of images, consumed lazily. Consecutive views of one image are decoded together.
    load : callable
        Returns the bytes of an image by its digest; raises OSError or ValueError if they cannot be read.
    spec : FeatureSpec
        Preprocessing, network and views.
    n_threads : int
        Number of decoding threads. If 0, everything runs in the calling thread.
    put : callable
        Called with the rows of each batch, in a separate thread.
    is_useful : callable
        Called before each batch. If it returns False, the batch is decoded but not passed through the network.

    Yields
    ------
    list of (bytes, ndarray), dict
        The rows of a batch after `put`; all items that could not be decoded so far, with the reasons.
    """
    unreadable: Reasons = {}

    def readable(images: Iterable[tuple[bytes, np.ndarray | str]]) -> Iterator[tuple[bytes, np.ndarray]]:
        for item, image in images:
            if isinstance(image, str):
                unreadable[item] = image
            else:
                yield item, image

    def forward(batch: list[tuple[bytes, np.ndarray]]) -> Future[Rows]:
        """Compute rows and submit them to the disk: they are also stored if the caller is interrupted."""
        if not is_useful():
            return disk.submit(list)
        features = spec.backbone.forward()(np.stack([image for _, image in batch]))
        rows = [(item, row) for (item, _), row in zip(batch, features, strict=True)]
        return disk.submit(store_rows, rows)

    def store_rows(rows: Rows) -> Rows:
        put(rows)
        return rows

    size = spec.backbone.batch_size
    n_calls = 2 if spec.backbone.device == "gpu" else 1  # the second call waits on the GPU itself, not for Python
    with (
        threads(min(1, n_threads), finishes=True) as disk,
        threads(min(n_calls, n_threads)) as device,
        closing(preprocess_images(items, load, spec, n_threads=n_threads, n_ahead=2 * size)) as images,
    ):
        batches = ahead(device, forward, chunks(readable(images), size), n_calls + 1)
        for stored in batches:
            yield stored.result(), unreadable
    yield [], unreadable


def preprocess_images(
    items: Iterable[bytes], load: Callable[[bytes], bytes], spec: FeatureSpec, *, n_threads: int, n_ahead: int
) -> Generator[tuple[bytes, np.ndarray | str], None, None]:
    """Yield each item with its preprocessed image, or with the reason why it cannot be decoded."""

    def decode(items: list[bytes]) -> list[tuple[bytes, np.ndarray | str]]:
        try:
            return list(zip(items, spec.preprocess(load(content_of(items[0])), items), strict=True))
        except (OSError, ValueError) as error:
            return [(item, reason(error)) for item in items]

    images = (list(views) for _, views in groupby(items, content_of))
    with threads(n_threads) as pool:
        for preprocessed in ahead(pool, decode, images, -(-n_ahead // len(spec.views))):
            yield from preprocessed
