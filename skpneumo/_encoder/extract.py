"""Extract the matrix of features: look up, wait for or compute each distinct view once."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skpneumo._encoder.batches import Reasons, compute_batches
from skpneumo._encoder.distributed import is_cluster, spread
from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import FeatureStore, StoreNamespace
from skpneumo._images.decoding import look
from skpneumo._images.sources import Images, Source, digest, label_of, read_bytes, read_content, reason, stamp
from skpneumo._keras import n_cores
from skpneumo._utils.executor import ahead, chunks, threads
from skpneumo.exceptions import ImageReadError

_FILES_PER_TASK = 32
_MAX_THREADS = 8  # more threads spend their time waiting for each other
_CONTENTS_PER_LOOKUP = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between look-ups of features that other processes compute


def extract(
    images: Images,
    spec: FeatureSpec,
    store: FeatureStore | None,
    *,
    device: str = "auto",
    n_jobs: int | None = None,
    progress: Callable[..., Any],
) -> tuple[np.ndarray, list[bytes]]:
    """Return the matrix of features and the item of each of its rows.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them. After an error in reading a file, no more images pass the
        network; after an error in decoding an image, the features of the other images are still computed and stored.
    """
    extraction = _Extraction(images, spec, store)
    extraction.look_up()
    if n_left := len(extraction.matrix.features) - extraction.matrix.n_placed:
        unit = "image" if len(spec.views) == 1 else "view"
        with progress(n_left, "features", unit) as task, nullcontext() if store is None else store.extraction():
            extraction.matrix.on_place = task.update
            try:
                if is_cluster(n_jobs):
                    extraction.compute_on_cluster(device, n_jobs)
                else:
                    extraction.compute(_decoding_threads(n_jobs) if n_left > 1 else 0)
            finally:  # also after an interruption
                extraction.remember_digests()
        if store is not None:
            store.evict()
    return extraction.result(), extraction.items()


def contents(images: Images, store: FeatureStore | None, *, keep: bool = False) -> dict[int, bytes]:
    """Return the digests of images by position, without those that cannot be read.

    With `keep`, the bytes that are read are kept for an extraction in the same call.
    """
    files = _Files(images, store)
    with closing(files.read(_decoding_threads(None) if len(images) > 1 else 0, keep=keep)) as read:
        found = {**files.contents, **dict(read)}
    if store is not None and files.digests:
        store.remember(files.digests.items())
    return found


class _Extraction:
    """State of one call: its files, its stored features, the rows computed so far and the unreadable images."""

    def __init__(self, images: Images, spec: FeatureSpec, store: FeatureStore | None) -> None:
        self.spec = spec
        self.files = _Files(images, store)
        backbone = spec.backbone
        self.stored = StoreNamespace(store, spec.key(), backbone.n_features, backbone.dtype)
        self.matrix = _Matrix(len(images) * len(spec.views), backbone.n_features, backbone.dtype)
        self.unreadable: Reasons = {}
        self._items: dict[int, bytes] = {}

    def remember_digests(self) -> None:
        """Store the digests of the files that were read."""
        self.stored.remember(self.files.digests)

    def items(self) -> list[bytes]:
        """Return the item of each row of the complete matrix."""
        return [self._items[row] for row in range(len(self.matrix.features))]

    def look_up(self) -> None:
        """Read the stored features of all files with a stored digest, in one query."""
        for position, content in self.files.contents.items():
            self._add(position, content)
        self.matrix.place(self.stored.known(list(self.matrix.left), hold=self.spec.backbone.pool_grid is not None))

    def compute(self, n_threads: int) -> None:
        """Compute the features that no other process is computing, and wait for the others."""
        pause = _FIRST_PAUSE
        with closing(self._missing_items(n_threads)) as missing:
            items: Iterable[bytes] = missing
            try:
                while True:
                    n_before, elsewhere = len(self.matrix.left), list[bytes]()
                    self._compute(self._leased(items, elsewhere), n_threads)
                    self.matrix.place(self.stored.known(elsewhere))
                    items = [item for item in elsewhere if item in self.matrix.left]
                    if not items:
                        return
                    self.stored.release_all()  # other processes may wait for features that could not be stored
                    pause = _FIRST_PAUSE if len(self.matrix.left) < n_before else min(2 * pause, _LONGEST_PAUSE)
                    time.sleep(pause)
            finally:
                self.stored.release_all()

    def compute_on_cluster(self, device: str, n_jobs: int | None) -> None:
        """Compute features on the workers of a cluster, and store each result as it arrives."""
        n_threads = _decoding_threads(None)
        with closing(self._missing_items(n_threads, keep=False)) as missing:
            items = list(missing)
        if self.files.failures:
            self._compute(items, n_threads)  # decodes only, so that one error lists all unreadable images
        elif items:
            for rows, unreadable in spread(items, self.files.source_of, self.spec, device=device, n_jobs=n_jobs):
                self.stored.put(rows)
                self.matrix.place(rows)
                self.unreadable |= unreadable

    def result(self) -> np.ndarray:
        """Return the matrix, or raise one error that lists all unreadable images."""
        n_views = len(self.spec.views)
        unreadable = {i // n_views: why for item, why in self.unreadable.items() for i in self.matrix.rows_of(item)}
        self.stored.forget([state for i in unreadable if (state := self.files.stamps[i])])  # may be wrong
        self.files.drop(self.files.source_of)
        images, failures = self.files.images, self.files.failures | unreadable
        if failures:
            raise ImageReadError([(images.positions[i], label_of(images[i]), why) for i, why in failures.items()])
        return self.matrix.features

    def _missing_items(self, n_threads: int, *, keep: bool = True) -> Generator[bytes, None, None]:
        """Yield items without features: first those with a stored digest, then the others as files are read."""
        yield from list(self.matrix.left)
        with closing(self.files.read(n_threads, keep=keep)) as read:
            for some in chunks(read, _CONTENTS_PER_LOOKUP):
                new = [item for position, content in some for item in self._add(position, content)]
                self.matrix.place(self.stored.known(new))
                left = [item for item in new if item in self.matrix.left]
                self.files.drop({content for _, content in some}.difference(map(content_of, left)))
                yield from left

    def _add(self, position: int, content: bytes) -> list[bytes]:
        """Register the digest of an image and its rows; return those of its items that are new."""
        items = dict(enumerate(self.spec.items(content), position * len(self.spec.views)))
        self._items |= items
        return [item for row, item in items.items() if self.matrix.add(row, item)]

    def _leased(self, items: Iterable[bytes], elsewhere: list[bytes]) -> Iterator[bytes]:
        """Yield the items whose lease this call obtains; append the others to `elsewhere`."""
        for some in chunks(items, self.spec.backbone.batch_size):
            mine = self.stored.take(some) if self._is_useful() else some
            elsewhere += set(some).difference(mine)
            self.matrix.place(self.stored.known(mine))  # another process may have stored them since the look-up
            yield from (item for item in mine if item in self.matrix.left)

    def _compute(self, items: Iterable[bytes], n_threads: int) -> None:
        for rows, unreadable in compute_batches(
            items,
            self.files.load,
            self.spec,
            n_threads=n_threads,
            put=self.stored.put,
            is_useful=self._is_useful,
        ):
            self.matrix.place(rows)
            self.unreadable |= unreadable

    def _is_useful(self) -> bool:
        """Whether features computed from now on are returned, or at least stored."""
        return not self.files.failures and (self.stored.is_writable or not self.unreadable)


class _Files:
    """Contents of the files of one call: from stored digests for unchanged files, read otherwise."""

    def __init__(self, images: Images, store: FeatureStore | None) -> None:
        self.images = images
        self.stamps = list(map(stamp, images)) if store else [None] * len(images)
        remembered = store.recall({state for state in self.stamps if state}) if store else {}
        known = images.reads.digests
        known |= {images[i]: remembered[state] for i, state in enumerate(self.stamps) if state in remembered}
        self.contents = {i: known[image] for i, image in enumerate(images) if image in known}
        self.source_of = {content: images[i] for i, content in self.contents.items()}
        self.failures: dict[int, str] = {}  # reasons why files cannot be read, by position
        self.digests: dict[bytes, bytes] = {}  # digests of the files that were read, by the state of the file

    def read(self, n_threads: int, *, keep: bool) -> Generator[tuple[int, bytes], None, None]:
        """Yield position and digest of the files without a stored digest, reading all of them ahead.

        With `keep`, their bytes are kept for `load` as far as memory allows.
        """
        unread: dict[Source, list[int]] = {}
        for position, image in enumerate(self.images):
            if position not in self.contents:
                unread.setdefault(image, []).append(position)
        read = partial(self._read, keep=keep)
        with threads(n_threads) as pool:
            for some in ahead(pool, read, chunks(unread.items(), _FILES_PER_TASK), len(unread)):
                yield from some

    def load(self, content: bytes) -> bytes:
        """Return the bytes of an image, kept from an earlier read or read from its file."""
        return self.images.reads.take(content) or read_content(self.source_of[content], content)

    def drop(self, contents: Iterable[bytes]) -> None:
        """Free the bytes of images that will not be decoded."""
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
    """Matrix of features of one call, filled row by row."""

    def __init__(self, n_rows: int, n_features: int, dtype: str) -> None:
        self.features = np.empty((n_rows, n_features), dtype)
        self.left: dict[bytes, list[int]] = {}  # rows of the items that have no features yet
        self.n_placed = 0
        self.on_place: Callable[[int], object] = lambda n_rows: None
        self._placed: dict[bytes, int] = {}  # first rows of the other items

    def add(self, row: int, item: bytes) -> bool:
        """Register the item of `row`; return whether it is new."""
        if item in self._placed:
            self._copy(self.features[self._placed[item]], [row])
            return False
        self.left.setdefault(item, []).append(row)
        return len(self.left[item]) == 1

    def rows_of(self, item: bytes) -> list[int]:
        """Return the rows of an item without features, or the first row of an item with features."""
        return self.left[item] if item in self.left else [self._placed[item]]

    def place(self, rows: Iterable[tuple[bytes, np.ndarray]]) -> None:
        """Write features into all rows of their item."""
        for item, features in rows:
            places = self.left.pop(item)
            self._placed[item] = places[0]
            self._copy(features, places)

    def _copy(self, features: np.ndarray, places: Sequence[int]) -> None:
        self.features[places] = features
        self.n_placed += len(places)
        self.on_place(len(places))


def _decoding_threads(n_jobs: int | None) -> int:
    """Return `n_jobs`, or by default one thread per core up to a maximum."""
    n_threads = effective_n_jobs(n_jobs)
    return min(n_cores(), _MAX_THREADS) if n_jobs is None and n_threads == 1 else n_threads
