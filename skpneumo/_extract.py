"""From paths to the matrix of features: each content is looked up, waited for or computed, once."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from skpneumo._backbone import Backbone
from skpneumo._cluster import is_cluster, spread
from skpneumo._device import n_cores
from skpneumo._images import Square, look
from skpneumo._inputs import digest, read_bytes, stamp
from skpneumo._pipeline import ahead, chunks, decoded, passed, reason
from skpneumo._shelf import Shelf
from skpneumo._store import FeatureStore
from skpneumo.exceptions import ImageReadError

_READ_AHEAD = 64  # files
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
        Names every image that cannot be read. Where a look at the files is enough it comes before the pass, otherwise
        after it, when all the others are stored.
    """
    shelf = Shelf(store, digest(square.key() + backbone.key()), backbone.n_features)
    n_threads = _decoding_threads(n_jobs)
    files = _identify(paths, store, n_threads, progress)
    matrix = _Matrix(paths, files.contents, backbone.n_features)
    matrix.place(shelf.known(list(matrix.left)))
    left = dict(matrix.left)
    unfit = {content: why for content, why in files.unfit.items() if content in left}
    if files.failures or unfit:  # the rest is only decoded, so that one error names all
        fit = [content for content in left if content not in unfit]
        deque(decoded(fit, left, square, unfit, n_threads=n_threads, n_ahead=2 * n_threads), maxlen=0)
    elif left:
        with progress(len(left), "features", "image") as task:
            matrix.on_place = task.update
            if is_cluster(n_jobs):
                for rows in spread(left, square, backbone, unfit, device=device, n_jobs=n_jobs):
                    shelf.put(rows)
                    matrix.place(rows)
            else:
                _compute(matrix, left, square, backbone, shelf, unfit, n_threads)

    failures = files.failures | {i: why for content, why in unfit.items() for i in matrix.positions[content]}
    if failures:
        raise ImageReadError([(i, paths[i], why) for i, why in failures.items()])
    shelf.remember(files.digests)
    return matrix.features


class _Matrix:
    """The features of one call, and what is still left of them."""

    def __init__(self, paths: Sequence[str], contents: Mapping[int, bytes], n_features: int) -> None:
        self.features = np.empty((len(paths), n_features), np.float32)
        self.positions: dict[bytes, list[int]] = {}
        for position, content in contents.items():
            self.positions.setdefault(content, []).append(position)
        self.left = {content: paths[where[0]] for content, where in self.positions.items()}
        self.on_place: Callable[[int], object] = lambda n_rows: None

    def place(self, rows: Iterable[tuple[bytes, np.ndarray]]) -> None:
        """Put rows where their content stands, and take it off what is left."""
        n_before = len(self.left)
        for content, row in rows:
            self.features[self.positions[content]] = row
            del self.left[content]
        self.on_place(n_before - len(self.left))


@dataclass
class _Files:
    """What the files of one call hold, as far as a look tells."""

    contents: dict[int, bytes] = field(default_factory=dict)  # by position
    failures: dict[int, str] = field(default_factory=dict)  # why a file cannot be read, by position
    unfit: dict[bytes, str] = field(default_factory=dict)  # why a content cannot be decoded
    digests: dict[bytes, bytes] = field(default_factory=dict)  # content by state of the file, of those that were read


def _identify(paths: Sequence[str], store: FeatureStore | None, n_threads: int, progress: Callable[..., Any]) -> _Files:
    """Name the content of each file: as remembered where it has not changed, by reading it otherwise."""
    stamps = dict(enumerate(map(stamp, paths))) if store else {}
    remembered = store.recall({state for state in stamps.values() if state}) if store else {}
    files = _Files({i: remembered[state] for i, state in stamps.items() if state in remembered})

    def read(position: int) -> None:
        try:
            data = read_bytes(paths[position])
        except (OSError, ValueError) as error:
            files.failures[position] = reason(error)
            return
        content = files.contents[position] = digest(data)
        state = stamps.get(position)
        try:
            look(data)
        except ValueError as error:
            files.unfit[content] = reason(error)
        else:
            if state is not None:
                files.digests[state] = content

    unread = [i for i in range(len(paths)) if i not in files.contents]
    with ThreadPoolExecutor(n_threads) as pool, progress(len(unread), "reading", "image") as task:
        for _ in ahead(pool, read, unread, _READ_AHEAD):
            task.update()
    return files


def _compute(
    matrix: _Matrix,
    paths: Mapping[bytes, str],
    square: Square,
    backbone: Backbone,
    shelf: Shelf,
    unfit: dict[bytes, str],
    n_threads: int,
) -> None:
    """Compute what no other process computes at this moment, and wait for the rest."""

    def claimed(contents: Sequence[bytes], elsewhere: list[bytes]) -> Iterator[bytes]:
        for some in chunks(contents, backbone.batch_size):
            mine = shelf.take(some)
            elsewhere += set(some).difference(mine)
            matrix.place(shelf.known(mine))  # what another has stored since it was looked up
            yield from (content for content in mine if content in matrix.left)

    options: dict[str, Any] = {"n_threads": n_threads, "put": shelf.put, "is_useful": shelf.keeps}
    contents, pause = list(paths), _FIRST_PAUSE
    try:
        while contents:
            elsewhere: list[bytes] = []
            for rows in passed(claimed(contents, elsewhere), paths, square, backbone, unfit, **options):
                matrix.place(rows)
            matrix.place(shelf.known(elsewhere))
            n_before, contents = len(contents), [content for content in elsewhere if content in matrix.left]
            if contents:
                pause = _FIRST_PAUSE if len(contents) < n_before else min(2 * pause, _LONGEST_PAUSE)
                time.sleep(pause)
    finally:
        shelf.release_all()


def _decoding_threads(n_jobs: int | None) -> int:
    """As many as asked for; by default as many as keep the device busy."""
    n_threads = effective_n_jobs(n_jobs)
    return n_cores() if n_jobs is None and n_threads == 1 else n_threads
