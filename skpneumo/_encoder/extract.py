"""From images to the matrix of features: each view of each content is looked up, waited for or computed, once."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skpneumo._encoder.batches import Reasons, Way, ahead, chunks, passed, threads
from skpneumo._encoder.distributed import is_cluster, spread
from skpneumo._feature_store.store import FeatureStore, StoreNamespace
from skpneumo._images.decoding import look
from skpneumo._images.sources import Source, digest, label_of, read_bytes, reason, stamp
from skpneumo._keras import n_cores
from skpneumo.exceptions import ImageReadError

_FILES_A_TASK = 32
_MOST_THREADS = 8  # beyond that they wait for each other more than they decode
_CONTENTS_A_LOOKUP = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between looks at what other processes compute


def extract(
    sources: Sequence[Source],
    way: Way,
    store: FeatureStore | None,
    *,
    device: str = "auto",
    n_jobs: int | None = None,
    progress: Callable[..., Any],
) -> tuple[np.ndarray, list[bytes]]:
    """Fill the matrix of features; return also what its rows are named by in the store.

    Raises
    ------
    ImageReadError
        Names every image that cannot be read. Nothing more passes the network once a look at a file tells that there
        will be an error; what is seen in decoding alone costs the other images nothing, they are stored.
    """
    extraction = _Extraction(sources, way, store)
    extraction.look_up()
    if n_left := len(extraction.matrix.features) - extraction.matrix.n_placed:
        with progress(n_left, "features", "image" if len(way.views) == 1 else "view") as task:
            extraction.matrix.on_place = task.update
            if is_cluster(n_jobs):
                extraction.compute_on_cluster(device, n_jobs)
            else:
                extraction.compute(_decoding_threads(n_jobs) if n_left > 1 else 0)
    return extraction.result(), extraction.items()


def contents(sources: Sequence[Source], store: FeatureStore | None) -> dict[int, bytes]:
    """Return the digests of images by position; there is none of what cannot be read."""
    files = _Files(sources, store)
    with closing(files.read(_decoding_threads(None) if len(sources) > 1 else 0)) as read:
        return {**files.contents, **dict(read)}


class _Extraction:
    """One call: what its files hold, what the store knows of it, what has come and what cannot come."""

    def __init__(self, sources: Sequence[Source], way: Way, store: FeatureStore | None) -> None:
        self.way = way
        self.files = _Files(sources, store)
        backbone = way.backbone
        self.stored = StoreNamespace(store, way.key(), backbone.n_features, backbone.dtype)
        self.matrix = _Matrix(len(sources) * len(way.views), backbone.n_features, backbone.dtype)
        self.unfit: Reasons = {}
        self._items: dict[int, bytes] = {}

    def items(self) -> list[bytes]:
        """Name the rows of the matrix, once all have come."""
        return [self._items[row] for row in range(len(self.matrix.features))]

    def look_up(self) -> None:
        """Take from the store what it knows of files that are remembered, all in one go."""
        for position, content in self.files.contents.items():
            self._add(position, content)
        self.matrix.place(self.stored.known(list(self.matrix.left), hold=self.way.backbone.pool_grid is not None))

    def compute(self, n_threads: int) -> None:
        """Compute what no other process computes at this moment, and wait for the rest."""
        pause = _FIRST_PAUSE
        with closing(self._arriving(n_threads)) as arriving:
            items: Iterable[bytes] = arriving
            try:
                while True:
                    n_before, elsewhere = len(self.matrix.left), list[bytes]()
                    self._pass(self._claimed(items, elsewhere), n_threads)
                    self.matrix.place(self.stored.known(elsewhere))
                    items = [item for item in elsewhere if item in self.matrix.left]
                    if not items:
                        return
                    self.stored.release_all()  # what is not stored by now never will be, and others may wait for it
                    pause = _FIRST_PAUSE if len(self.matrix.left) < n_before else min(2 * pause, _LONGEST_PAUSE)
                    time.sleep(pause)
            finally:
                self.stored.release_all()

    def compute_on_cluster(self, device: str, n_jobs: int | None) -> None:
        """Let workers compute, and store what they bring back as it comes."""
        n_threads = _decoding_threads(None)
        with closing(self._arriving(n_threads)) as arriving:
            items = list(arriving)
        if self.files.failures:
            self._pass(items, n_threads)  # is only decoded, so that one error names all
        elif items:
            for rows, unfit in spread(items, self.files.source_of, self.way, device=device, n_jobs=n_jobs):
                self.stored.put(rows)
                self.matrix.place(rows)
                self.unfit |= unfit

    def result(self) -> np.ndarray:
        """Return the matrix, or raise the one error that names all that is missing in it."""
        n_views = len(self.way.views)
        unfit = {i // n_views: why for item, why in self.unfit.items() for i in self.matrix.where(item)}
        self.stored.remember(self.files.digests)
        self.stored.forget([state for i in unfit if (state := self.files.stamps[i])])  # may be wrong about these
        failures = self.files.failures | unfit
        if failures:
            raise ImageReadError([(i, label_of(self.files.sources[i]), why) for i, why in failures.items()])
        return self.matrix.features

    def _arriving(self, n_threads: int) -> Generator[bytes, None, None]:
        """Yield items that have no features yet: at first those that are remembered, then as files are read."""
        yield from list(self.matrix.left)
        with closing(self.files.read(n_threads)) as read:
            for some in chunks(read, _CONTENTS_A_LOOKUP):
                new = [item for position, content in some for item in self._add(position, content)]
                self.matrix.place(self.stored.known(new))
                yield from (item for item in new if item in self.matrix.left)

    def _add(self, position: int, content: bytes) -> list[bytes]:
        """Note what an image is and where its rows belong; return those of its views that are new."""
        items = dict(enumerate(self.way.items(content), position * len(self.way.views)))
        self._items |= items
        return [item for row, item in items.items() if self.matrix.add(row, item)]

    def _claimed(self, items: Iterable[bytes], elsewhere: list[bytes]) -> Iterator[bytes]:
        """Yield those of `items` that nobody else computes; the others go to `elsewhere`."""
        for some in chunks(items, self.way.backbone.batch_size):
            mine = self.stored.take(some) if self._is_useful() else some
            elsewhere += set(some).difference(mine)
            self.matrix.place(self.stored.known(mine))  # what another has stored since it was looked up
            yield from (item for item in mine if item in self.matrix.left)

    def _pass(self, items: Iterable[bytes], n_threads: int) -> None:
        for rows, unfit in passed(
            items,
            self.files.source_of,
            self.way,
            n_threads=n_threads,
            put=self.stored.put,
            is_useful=self._is_useful,
        ):
            self.matrix.place(rows)
            self.unfit |= unfit

    def _is_useful(self) -> bool:
        """Tell whether what passes the network will be of use: returned, or at least stored."""
        return not self.files.failures and (self.stored.is_writable or not self.unfit)


class _Files:
    """What the files of one call hold: as remembered where a file has not changed, by reading it otherwise."""

    def __init__(self, sources: Sequence[Source], store: FeatureStore | None) -> None:
        self.sources = sources
        self.stamps = list(map(stamp, sources)) if store else [None] * len(sources)
        remembered = store.recall({state for state in self.stamps if state}) if store else {}
        self.contents = {i: remembered[state] for i, state in enumerate(self.stamps) if state in remembered}
        self.source_of = {content: sources[i] for i, content in self.contents.items()}
        self.failures: dict[int, str] = {}  # why a file cannot be read, by position
        self.digests: dict[bytes, bytes] = {}  # content by state of the file, of those that were read

    def read(self, n_threads: int) -> Generator[tuple[int, bytes], None, None]:
        """Yield position and content of the files that are not remembered; all are read as soon as can be."""
        unread = [i for i in range(len(self.sources)) if i not in self.contents]
        with threads(n_threads) as pool:
            for some in ahead(pool, self._read, chunks(unread, _FILES_A_TASK), len(unread)):
                yield from some

    def _read(self, positions: Sequence[int]) -> list[tuple[int, bytes]]:
        contents = []
        for position in positions:
            try:
                data = read_bytes(self.sources[position])
                look(data)
            except (OSError, ValueError) as error:
                self.failures[position] = reason(error)
                continue
            content = digest(data)
            contents.append((position, content))
            self.source_of[content] = self.sources[position]
            state = self.stamps[position]
            if state is not None:
                self.digests[state] = content
        return contents


class _Matrix:
    """The features of one call as they come."""

    def __init__(self, n_rows: int, n_features: int, dtype: str) -> None:
        self.features = np.empty((n_rows, n_features), dtype)
        self.left: dict[bytes, list[int]] = {}  # where the items belong that have no features yet
        self.n_placed = 0
        self.on_place: Callable[[int], object] = lambda n_rows: None
        self._placed: dict[bytes, int] = {}  # where the others are found

    def add(self, row: int, item: bytes) -> bool:
        """Note what belongs in `row`; tell whether it is new."""
        if item in self._placed:
            self._copy(self.features[self._placed[item]], [row])
            return False
        self.left.setdefault(item, []).append(row)
        return len(self.left[item]) == 1

    def where(self, item: bytes) -> list[int]:
        """Return the rows where an item belongs, or the first one where it is."""
        return self.left[item] if item in self.left else [self._placed[item]]

    def place(self, rows: Iterable[tuple[bytes, np.ndarray]]) -> None:
        """Put features in the rows where their item belongs."""
        for item, features in rows:
            places = self.left.pop(item)
            self._placed[item] = places[0]
            self._copy(features, places)

    def _copy(self, features: np.ndarray, places: Sequence[int]) -> None:
        self.features[places] = features
        self.n_placed += len(places)
        self.on_place(len(places))


def _decoding_threads(n_jobs: int | None) -> int:
    """As many as asked for; by default one a core, as long as Python lets them run side by side."""
    n_threads = effective_n_jobs(n_jobs)
    return min(n_cores(), _MOST_THREADS) if n_jobs is None and n_threads == 1 else n_threads
