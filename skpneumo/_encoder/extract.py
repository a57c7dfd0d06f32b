"""From images to the matrix of features: each view of each content is looked up, waited for or computed, once."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skpneumo._encoder.batches import Reasons, passed
from skpneumo._encoder.distributed import is_cluster, spread
from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import FeatureStore, StoreNamespace
from skpneumo._images.decoding import look
from skpneumo._images.sources import Images, Source, digest, label_of, read_bytes, read_content, reason, stamp
from skpneumo._keras import n_cores
from skpneumo._utils.executor import ahead, chunks, threads
from skpneumo.exceptions import ImageReadError

_FILES_A_TASK = 32
_MOST_THREADS = 8  # beyond that they wait for each other more than they decode
_CONTENTS_A_LOOKUP = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between looks at what other processes compute


def extract(
    images: Images,
    spec: FeatureSpec,
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
    extraction = _Extraction(images, spec, store)
    extraction.look_up()
    if n_left := len(extraction.matrix.features) - extraction.matrix.n_placed:
        with progress(n_left, "features", "image" if len(spec.views) == 1 else "view") as task:
            extraction.matrix.on_place = task.update
            if is_cluster(n_jobs):
                extraction.compute_on_cluster(device, n_jobs)
            else:
                extraction.compute(_decoding_threads(n_jobs) if n_left > 1 else 0)
    return extraction.result(), extraction.items()


def contents(images: Images, store: FeatureStore | None, *, keep: bool = False) -> dict[int, bytes]:
    """Return the digests of images by position; there is none of what cannot be read.

    With `keep`, bytes that had to be read are kept for an extraction in the same call.
    """
    files = _Files(images, store)
    with closing(files.read(_decoding_threads(None) if len(images) > 1 else 0, keep=keep)) as read:
        found = {**files.contents, **dict(read)}
    if store is not None and files.digests:
        store.remember(files.digests.items())
    return found


class _Extraction:
    """One call: what its files hold, what the store knows of it, what has come and what cannot come."""

    def __init__(self, images: Images, spec: FeatureSpec, store: FeatureStore | None) -> None:
        self.spec = spec
        self.files = _Files(images, store)
        backbone = spec.backbone
        self.stored = StoreNamespace(store, spec.key(), backbone.n_features, backbone.dtype)
        self.matrix = _Matrix(len(images) * len(spec.views), backbone.n_features, backbone.dtype)
        self.unfit: Reasons = {}
        self._items: dict[int, bytes] = {}

    def items(self) -> list[bytes]:
        """Name the rows of the matrix, once all have come."""
        return [self._items[row] for row in range(len(self.matrix.features))]

    def look_up(self) -> None:
        """Take from the store what it knows of files that are remembered, all in one go."""
        for position, content in self.files.contents.items():
            self._add(position, content)
        self.matrix.place(self.stored.known(list(self.matrix.left), hold=self.spec.backbone.pool_grid is not None))

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
        with closing(self._arriving(n_threads, keep=False)) as arriving:
            items = list(arriving)
        if self.files.failures:
            self._pass(items, n_threads)  # is only decoded, so that one error names all
        elif items:
            for rows, unfit in spread(items, self.files.source_of, self.spec, device=device, n_jobs=n_jobs):
                self.stored.put(rows)
                self.matrix.place(rows)
                self.unfit |= unfit

    def result(self) -> np.ndarray:
        """Return the matrix, or raise the one error that names all that is missing in it."""
        n_views = len(self.spec.views)
        unfit = {i // n_views: why for item, why in self.unfit.items() for i in self.matrix.where(item)}
        self.stored.remember(self.files.digests)
        self.stored.forget([state for i in unfit if (state := self.files.stamps[i])])  # may be wrong about these
        self.files.drop(self.files.source_of)
        images, failures = self.files.images, self.files.failures | unfit
        if failures:
            raise ImageReadError([(images.positions[i], label_of(images[i]), why) for i, why in failures.items()])
        return self.matrix.features

    def _arriving(self, n_threads: int, *, keep: bool = True) -> Generator[bytes, None, None]:
        """Yield items that have no features yet: at first those that are remembered, then as files are read."""
        yield from list(self.matrix.left)
        with closing(self.files.read(n_threads, keep=keep)) as read:
            for some in chunks(read, _CONTENTS_A_LOOKUP):
                new = [item for position, content in some for item in self._add(position, content)]
                self.matrix.place(self.stored.known(new))
                left = [item for item in new if item in self.matrix.left]
                self.files.drop({content for _, content in some}.difference(map(content_of, left)))
                yield from left

    def _add(self, position: int, content: bytes) -> list[bytes]:
        """Note what an image is and where its rows belong; return those of its views that are new."""
        items = dict(enumerate(self.spec.items(content), position * len(self.spec.views)))
        self._items |= items
        return [item for row, item in items.items() if self.matrix.add(row, item)]

    def _claimed(self, items: Iterable[bytes], elsewhere: list[bytes]) -> Iterator[bytes]:
        """Yield those of `items` that nobody else computes; the others go to `elsewhere`."""
        for some in chunks(items, self.spec.backbone.batch_size):
            mine = self.stored.take(some) if self._is_useful() else some
            elsewhere += set(some).difference(mine)
            self.matrix.place(self.stored.known(mine))  # what another has stored since it was looked up
            yield from (item for item in mine if item in self.matrix.left)

    def _pass(self, items: Iterable[bytes], n_threads: int) -> None:
        for rows, unfit in passed(
            items,
            self.files.load,
            self.spec,
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

    def __init__(self, images: Images, store: FeatureStore | None) -> None:
        self.images = images
        self.stamps = list(map(stamp, images)) if store else [None] * len(images)
        remembered = store.recall({state for state in self.stamps if state}) if store else {}
        known = images.reads.digests
        known |= {images[i]: remembered[state] for i, state in enumerate(self.stamps) if state in remembered}
        self.contents = {i: known[image] for i, image in enumerate(images) if image in known}
        self.source_of = {content: images[i] for i, content in self.contents.items()}
        self.failures: dict[int, str] = {}  # why a file cannot be read, by position
        self.digests: dict[bytes, bytes] = {}  # content by state of the file, of those that were read

    def read(self, n_threads: int, *, keep: bool) -> Generator[tuple[int, bytes], None, None]:
        """Yield position and content of the files that are not known; all are read as soon as can be.

        With `keep`, their bytes are kept for `load`, as far as there is room.
        """
        unread: dict[Source, list[int]] = {}
        for position, image in enumerate(self.images):
            if position not in self.contents:
                unread.setdefault(image, []).append(position)
        read = partial(self._read, keep=keep)
        with threads(n_threads) as pool:
            for some in ahead(pool, read, chunks(unread.items(), _FILES_A_TASK), len(unread)):
                yield from some

    def load(self, content: bytes) -> bytes:
        """Return the bytes of an image: those that were kept, or else what its file holds."""
        return self.images.reads.take(content) or read_content(self.source_of[content], content)

    def drop(self, contents: Iterable[bytes]) -> None:
        """Keep bytes no longer that will not be decoded."""
        self.images.reads.drop(contents)

    def _read(self, files: Sequence[tuple[Source, list[int]]], *, keep: bool) -> list[tuple[int, bytes]]:
        contents = []
        for source, positions in files:
            try:
                data = read_bytes(source)
                look(data)
            except (OSError, ValueError) as error:
                self.failures |= dict.fromkeys(positions, reason(error))
                continue
            content = digest(data)
            if keep:
                self.images.reads.keep(content, data)
            self.images.reads.digests[source] = content
            self.source_of[content] = source
            contents += [(position, content) for position in positions]
            state = self.stamps[positions[0]]
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
