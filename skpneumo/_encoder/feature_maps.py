"""Feature maps that enter the first trainable layer: stored on disk, one row per view, and read batch by batch."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from skpneumo._encoder.extract import extract
from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import FeatureStore, StoreNamespace
from skpneumo._images.sources import Images, label_of
from skpneumo._utils.executor import ahead, threads
from skpneumo.exceptions import ImageReadError

_BYTES_AT_ONCE = 2**26  # of maps held in memory during the first pass
_READ_AHEAD = 2
_TRIAL = b"can this be written?"


class FeatureMaps:
    """Feature maps of the views of images, never all of them in memory.

    If no layer is frozen, the rows are preprocessed images, which are computed again each time, and each epoch has new
    views.

    Parameters
    ----------
    images : Images
        The images.
    spec : FeatureSpec
        Specification of the maps of each view.
    store : FeatureStore or None
        Store of the maps. If None, they are computed each time.
    settings : dict
        Keyword arguments of `extract`: device, n_jobs.
    """

    def __init__(self, images: Images, spec: FeatureSpec, store: FeatureStore | None, **settings: Any) -> None:
        self.images, self.spec, self.settings = images, spec, settings
        self.store = store if spec.backbone.n_layers else None
        self.stored = StoreNamespace(self.store, spec.key(), spec.backbone.n_features, spec.backbone.dtype)
        self.items: list[bytes] = []

    def __len__(self) -> int:
        return len(self.images) * len(self.spec.views)

    def first_pass(self, progress: Callable[..., Any]) -> Iterator[np.ndarray]:
        """Compute the maps that are not stored; yield all rows in order, in blocks.

        Raises
        ------
        ImageReadError
            If images cannot be read. It lists all of them.
        """
        n_views, row_bytes = (
            len(self.spec.views),
            self.spec.backbone.n_features * np.dtype(self.spec.backbone.dtype).itemsize,
        )
        size = max(self.spec.backbone.batch_size, _BYTES_AT_ONCE // (n_views * row_bytes))
        self.items = []
        failures: list[tuple[int, str, str]] = []
        with (
            nullcontext() if self.store is None else self.store.extraction(),
            progress(len(self), "maps", "image" if n_views == 1 else "view") as task,
        ):
            for start in range(0, len(self.images), size):
                some = self.images.take(range(start, min(start + size, len(self.images))))
                spec, store = (_only_decoded(self.spec), None) if failures else (self.spec, self.store)
                try:
                    rows, items = extract(some, spec, store, progress=_no_progress, **self.settings)
                except ImageReadError as error:
                    failures += error.failures
                if not failures:
                    self.items += items
                    task.update(len(rows))
                    yield rows
        if failures:
            raise ImageReadError(failures)

    def batches(self, batches: Iterable[np.ndarray], epoch: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield each batch of row numbers with its rows, reading the next batches ahead."""
        with threads(1) as pool:
            yield from ahead(pool, lambda numbers: (numbers, self._read(numbers, epoch)), batches, _READ_AHEAD)

    def _read(self, numbers: np.ndarray, epoch: int) -> np.ndarray:
        rows = np.empty((len(numbers), self.spec.backbone.n_features), self.spec.backbone.dtype)
        wanted: dict[bytes, list[int]] = {}
        for place, number in enumerate(numbers):
            wanted.setdefault(self.items[number], []).append(place)
        for item, row in self.stored.known(wanted):
            rows[wanted.pop(item)] = row
        missing = np.array(sorted(place for places in wanted.values() for place in places), int)
        images, views = np.divmod(np.asarray(numbers)[missing], len(self.spec.views))
        for view in np.unique(views):
            chosen = views == view
            spec = replace(self.spec, views=(self._view_number(int(view), epoch),))
            rows[missing[chosen]] = self._extract(images[chosen], spec, np.asarray(numbers)[missing[chosen]])
        return rows

    def _extract(self, chosen: np.ndarray, spec: FeatureSpec, numbers: np.ndarray) -> np.ndarray:
        """Compute one view of some images; raise if an image is missing or changed since the first pass."""
        images = self.images.take(chosen).anew()
        try:
            rows, items = extract(images, spec, self.store, progress=_no_progress, **self.settings)
        except ImageReadError as error:
            raise ImageReadError(list(dict.fromkeys(error.failures))) from None
        changed = [
            (position, label_of(image), "changed during training")
            for position, image, item, number in zip(images.positions, images, items, numbers, strict=True)
            if content_of(item) != content_of(self.items[number])
        ]
        if changed:
            raise ImageReadError(list(dict.fromkeys(changed)))
        return rows

    def _view_number(self, view: int, epoch: int) -> int:
        """Return the plain image in each epoch, and new other views in each epoch if nothing is stored."""
        number = self.spec.views[view]
        n_others = sum(other > 0 for other in self.spec.views)
        return number + epoch * n_others if number and self.store is None else number


def _only_decoded(spec: FeatureSpec) -> FeatureSpec:
    """Return a cheap specification that only decodes images, to find the other unreadable ones."""
    return replace(spec, backbone=replace(spec.backbone, n_layers=0))


@contextmanager
def maps_store(store: FeatureStore | None) -> Iterator[FeatureStore]:
    """Yield `store` if it is writable, otherwise a temporary store."""
    with ExitStack() as stack:
        if store is None or not store.put([(_TRIAL, np.zeros(0))]):
            store = FeatureStore(stack.enter_context(tempfile.TemporaryDirectory(prefix="skpneumo-")), "maps")
        with store.extraction():
            yield store
        store.evict()


@contextmanager
def _no_progress(*_: Any) -> Iterator[Any]:
    yield _NoTask()


class _NoTask:
    def update(self, n: int) -> None:
        """Do nothing, since the whole pass has a progress bar."""
