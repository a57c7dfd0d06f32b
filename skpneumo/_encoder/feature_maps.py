"""The maps that enter the first trainable layer, one row a view of an image: on disk, and read as they are needed."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skpneumo._encoder.batches import Way, ahead, content_of, threads
from skpneumo._encoder.extract import extract
from skpneumo._feature_store.store import FeatureStore, StoreNamespace
from skpneumo._images.sources import Source, label_of
from skpneumo._training.dataset import Examples
from skpneumo.exceptions import ImageReadError

_BYTES_AT_ONCE = 2**26  # of maps in memory while they are computed
_READ_AHEAD = 2
_TRIAL = b"can this be written?"


@dataclass(frozen=True)
class FeatureRows:
    """Features of examples, row by row, and what they come from.

    Parameters
    ----------
    examples : Examples
        What is known of each row.
    features : ndarray of shape (n_rows, n_features)
        What a head is trained on.
    fingerprint : str or None
        Of the way from the images to the features, or to the maps. None: there were no images.
    items : list of bytes
        What each row is of: the digest of an image, and the name of a view. Empty: there were no images.
    maps : Maps or None
        What trainable layers make the features of. None: there are no such layers.
    weights_digest : str or None
        Of the weights of frozen layers that were read on the way. None: there were none.
    """

    examples: Examples
    features: np.ndarray
    fingerprint: str | None = None
    items: list[bytes] = field(default_factory=list)
    maps: "Maps | None" = None
    weights_digest: str | None = None


class Maps:
    """Rows of maps of the views of images, never all of them in memory.

    Where no layer is frozen the rows are squares, which are cut out of the images anew each time, and a new epoch
    draws new views.

    Parameters
    ----------
    images : sequence of Source
        The images.
    way : Way
        From them to the maps of each of their views.
    store : FeatureStore or None
        Where they lie. None: they are computed each time.
    positions : sequence of int or None
        Where they stand in X, for errors. None: in this order.
    settings : dict
        Of `extract`: device, n_jobs.
    """

    def __init__(
        self,
        images: Sequence[Source],
        way: Way,
        store: FeatureStore | None,
        positions: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        self.images, self.way, self.settings = list(images), way, settings
        self.positions = range(len(images)) if positions is None else positions
        self.store = store if way.backbone.n_layers else None
        self.stored = StoreNamespace(self.store, way.key(), way.backbone.n_features, way.backbone.dtype)
        self.items: list[bytes] = []

    def __len__(self) -> int:
        return len(self.images) * len(self.way.views)

    def first_pass(self, progress: Callable[..., Any]) -> Iterator[np.ndarray]:
        """Compute what is not there yet; yield all rows in order, some at a time.

        Raises
        ------
        ImageReadError
            Names every image that cannot be read.
        """
        n_views, row_bytes = (
            len(self.way.views),
            self.way.backbone.n_features * np.dtype(self.way.backbone.dtype).itemsize,
        )
        size = max(self.way.backbone.batch_size, _BYTES_AT_ONCE // (n_views * row_bytes))
        self.items = []
        failures: list[tuple[int, str, str]] = []
        with progress(len(self), "maps", "image" if n_views == 1 else "view") as task:
            for start in range(0, len(self.images), size):
                some = self.images[start : start + size]
                way, store = (_only_decoded(self.way), None) if failures else (self.way, self.store)
                try:
                    rows, items = extract(some, way, store, progress=_silent, **self.settings)
                except ImageReadError as error:
                    failures += [(int(self.positions[start + i]), path, why) for i, path, why in error.failures]
                if not failures:
                    self.items += items
                    task.update(len(rows))
                    yield rows
        if failures:
            raise ImageReadError(failures)

    def batches(self, batches: Iterable[np.ndarray], epoch: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield numbers of rows, as given, and the rows; the next ones are read meanwhile."""
        with threads(1) as pool:
            yield from ahead(pool, lambda numbers: (numbers, self._read(numbers, epoch)), batches, _READ_AHEAD)

    def _read(self, numbers: np.ndarray, epoch: int) -> np.ndarray:
        rows = np.empty((len(numbers), self.way.backbone.n_features), self.way.backbone.dtype)
        wanted: dict[bytes, list[int]] = {}
        for place, number in enumerate(numbers):
            wanted.setdefault(self.items[number], []).append(place)
        for item, row in self.stored.known(wanted):
            rows[wanted.pop(item)] = row
        missing = np.array(sorted(place for places in wanted.values() for place in places), int)
        images, views = np.divmod(np.asarray(numbers)[missing], len(self.way.views))
        for view in np.unique(views):
            chosen = views == view
            way = replace(self.way, views=(self._view_number(int(view), epoch),))
            rows[missing[chosen]] = self._extract(images[chosen], way, np.asarray(numbers)[missing[chosen]])
        return rows

    def _extract(self, images: np.ndarray, way: Way, numbers: np.ndarray) -> np.ndarray:
        """Compute one view of some images, which may have gone or changed since the first pass."""
        sources = [self.images[image] for image in images]
        try:
            rows, items = extract(sources, way, self.store, progress=_silent, **self.settings)
        except ImageReadError as error:
            failures = [(int(self.positions[images[i]]), path, why) for i, path, why in error.failures]
            raise ImageReadError(list(dict.fromkeys(failures))) from None
        changed = [
            (int(self.positions[image]), label_of(self.images[image]), "changed while the model was trained")
            for image, item, number in zip(images, items, numbers, strict=True)
            if content_of(item) != content_of(self.items[number])
        ]
        if changed:
            raise ImageReadError(list(dict.fromkeys(changed)))
        return rows

    def _view_number(self, view: int, epoch: int) -> int:
        """Keep the plain image in each epoch; draw the other views anew where nothing is stored."""
        number = self.way.views[view]
        n_others = sum(other > 0 for other in self.way.views)
        return number + epoch * n_others if number and self.store is None else number


def _only_decoded(way: Way) -> Way:
    """Return what tells at little cost whether the rest of the images can be read."""
    return replace(way, backbone=replace(way.backbone, n_layers=0))


@contextmanager
def room_for_maps(store: FeatureStore | None) -> Iterator[FeatureStore]:
    """Lend `store`, or a temporary one where there is none that can be written."""
    with ExitStack() as stack:
        if store is not None and store.put([(_TRIAL, np.zeros(0))]):
            yield store
            return
        yield FeatureStore(stack.enter_context(tempfile.TemporaryDirectory(prefix="skpneumo-")), "maps")


@contextmanager
def _silent(*_: Any) -> Iterator[Any]:
    yield _Nobody()


class _Nobody:
    def update(self, n: int) -> None:
        """Say nothing: the pass as a whole has a bar."""
