"""From paths to the matrix of features: each content is looked up, waited for or computed, once."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skpneumo._backbone import Backbone
from skpneumo._cluster import is_cluster, spread
from skpneumo._device import n_cores
from skpneumo._images import Square, look
from skpneumo._inputs import digest, read_bytes, stamp
from skpneumo._pipeline import ahead, chunks, decoded, passed, reason, threads
from skpneumo._shelf import Shelf
from skpneumo._store import FeatureStore
from skpneumo.exceptions import ImageReadError

_FILES_A_TASK = 32
_MOST_THREADS = 8  # beyond that they wait for each other more than they decode
_CONTENTS_A_LOOKUP = 256
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # seconds between looks at what other processes compute


def extract(
    paths: Sequence[str],
    square: Square,
    backbone: Backbone,
    store: FeatureStore | None,
    *,
    device: str = "auto",
    n_jobs: int | None = None,
    progress: Callable[..., Any],
) -> np.ndarray:
    """Fill the matrix of features.

    Raises
    ------
    ImageReadError
        Names every image that cannot be read. Nothing more passes the network once a look at a file tells that there
        will be an error; what is seen in decoding alone costs the other images nothing, they are stored.
    """
    files = _Files(paths, store)
    shelf = Shelf(store, digest(square.key() + backbone.key()), backbone.n_features)
    matrix = _Matrix(len(paths), backbone.n_features)
    for position, content in files.contents.items():
        matrix.add(position, content)
    matrix.place(shelf.known(list(matrix.left), hold=True))
    unfit: dict[bytes, str] = {}  # why a content cannot be decoded
    if matrix.n_placed < len(paths):
        with progress(len(paths) - matrix.n_placed, "features", "image") as task:
            matrix.on_place = task.update
            n_threads = _decoding_threads(n_jobs) if len(paths) - matrix.n_placed > 1 else 0
            contents = _arriving(files, matrix, shelf, n_threads)
            if not is_cluster(n_jobs):
                _compute(contents, files, square, backbone, shelf, matrix, unfit, n_threads)
            elif some := list(contents):
                _compute_on_cluster(some, files, square, backbone, shelf, matrix, unfit, n_threads, device, n_jobs)
    failures = files.failures | {i: why for content, why in unfit.items() for i in matrix.left[content]}
    if failures:
        raise ImageReadError([(i, paths[i], why) for i, why in failures.items()])
    shelf.remember(files.digests)
    return matrix.features


class _Files:
    """What the files of one call hold: as remembered where a file has not changed, by reading it otherwise."""

    def __init__(self, paths: Sequence[str], store: FeatureStore | None) -> None:
        self.paths = paths
        self.stamps = list(map(stamp, paths)) if store else [None] * len(paths)
        remembered = store.recall({state for state in self.stamps if state}) if store else {}
        self.contents = {i: remembered[state] for i, state in enumerate(self.stamps) if state in remembered}
        self.path_of = {content: paths[i] for i, content in self.contents.items()}
        self.failures: dict[int, str] = {}  # why a file cannot be read, by position
        self.digests: dict[bytes, bytes] = {}  # content by state of the file, of those that were read

    def read(self, n_threads: int) -> Iterator[tuple[int, bytes]]:
        """Yield position and content of the files that are not remembered; all are read as soon as can be."""
        unread = [i for i in range(len(self.paths)) if i not in self.contents]
        with threads(n_threads) as pool:
            for some in ahead(pool, self._read, chunks(unread, _FILES_A_TASK), len(unread)):
                yield from some

    def _read(self, positions: Sequence[int]) -> list[tuple[int, bytes]]:
        contents = []
        for position in positions:
            try:
                data = read_bytes(self.paths[position])
                look(data)
            except (OSError, ValueError) as error:
                self.failures[position] = reason(error)
                continue
            content = digest(data)
            contents.append((position, content))
            self.path_of[content] = self.paths[position]
            state = self.stamps[position]
            if state is not None:
                self.digests[state] = content
        return contents


class _Matrix:
    """The features of one call as they come."""

    def __init__(self, n_images: int, n_features: int) -> None:
        self.features = np.empty((n_images, n_features), np.float32)
        self.left: dict[bytes, list[int]] = {}  # where the contents belong that have no features yet
        self.n_placed = 0
        self.on_place: Callable[[int], object] = lambda n_images: None
        self._placed: dict[bytes, int] = {}  # where the others are found

    def add(self, position: int, content: bytes) -> bool:
        """Note what belongs at `position`; tell whether it is new."""
        if content in self._placed:
            self._copy(self.features[self._placed[content]], [position])
            return False
        self.left.setdefault(content, []).append(position)
        return len(self.left[content]) == 1

    def place(self, rows: Iterable[tuple[bytes, np.ndarray]]) -> None:
        """Put rows where their content belongs."""
        for content, row in rows:
            positions = self.left.pop(content)
            self._placed[content] = positions[0]
            self._copy(row, positions)

    def _copy(self, row: np.ndarray, positions: Sequence[int]) -> None:
        self.features[positions] = row
        self.n_placed += len(positions)
        self.on_place(len(positions))


def _arriving(files: _Files, matrix: _Matrix, shelf: Shelf, n_threads: int) -> Iterator[bytes]:
    """Yield contents that have no features yet: at first those that are remembered, then as files are read."""
    yield from list(matrix.left)
    for some in chunks(files.read(n_threads), _CONTENTS_A_LOOKUP):
        new = [content for position, content in some if matrix.add(position, content)]
        matrix.place(shelf.known(new))
        yield from (content for content in new if content in matrix.left)


def _compute(
    contents: Iterable[bytes],
    files: _Files,
    square: Square,
    backbone: Backbone,
    shelf: Shelf,
    matrix: _Matrix,
    unfit: dict[bytes, str],
    n_threads: int,
) -> None:
    """Compute what no other process computes at this moment, and wait for the rest."""

    def claimed(contents: Iterable[bytes], elsewhere: list[bytes]) -> Iterator[bytes]:
        for some in chunks(contents, backbone.batch_size):
            mine = shelf.take(some)
            elsewhere += set(some).difference(mine)
            matrix.place(shelf.known(mine))  # what another has stored since it was looked up
            yield from (content for content in mine if content in matrix.left)

    def is_useful() -> bool:
        return not files.failures and (shelf.keeps() or not unfit)

    pause = _FIRST_PAUSE
    try:
        while True:
            elsewhere: list[bytes] = []
            todo = claimed(contents, elsewhere)
            n_before = len(matrix.left)
            for rows in passed(
                todo, files.path_of, square, backbone, unfit, n_threads=n_threads, put=shelf.put, is_useful=is_useful
            ):
                matrix.place(rows)
            matrix.place(shelf.known(elsewhere))
            contents = [content for content in elsewhere if content in matrix.left]
            if not contents:
                return
            pause = _FIRST_PAUSE if len(matrix.left) < n_before else min(2 * pause, _LONGEST_PAUSE)
            time.sleep(pause)
    finally:
        shelf.release_all()


def _compute_on_cluster(
    contents: Sequence[bytes],
    files: _Files,
    square: Square,
    backbone: Backbone,
    shelf: Shelf,
    matrix: _Matrix,
    unfit: dict[bytes, str],
    n_threads: int,
    device: str,
    n_jobs: int | None,
) -> None:
    """Let workers compute, and store what they bring back as it comes."""
    if files.failures:  # the rest is only decoded, so that one error names all
        squares = decoded(contents, files.path_of, square, unfit, n_threads=n_threads, n_ahead=2 * n_threads + 1)
        deque(squares, maxlen=0)
        return
    paths = {content: files.path_of[content] for content in contents}
    for rows in spread(paths, square, backbone, unfit, device=device, n_jobs=n_jobs):
        shelf.put(rows)
        matrix.place(rows)


def _decoding_threads(n_jobs: int | None) -> int:
    """As many as asked for; by default one a core, as long as Python lets them run side by side."""
    n_threads = effective_n_jobs(n_jobs)
    return min(n_cores(), _MOST_THREADS) if n_jobs is None and n_threads == 1 else n_threads
