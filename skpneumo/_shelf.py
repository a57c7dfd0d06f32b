"""What a store holds of images after one preprocessing and one backbone; and who computes what of it just now."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from skpneumo._claims import Claims
from skpneumo._store import FeatureStore

Rows = list[tuple[bytes, np.ndarray]]  # views of images, and the features of each


class Shelf:
    """The part of a store that belongs to one way from images to features, by image and view.

    Parameters
    ----------
    store : FeatureStore or None
        None: nothing is known, nothing is kept, and nobody else computes anything.
    way : bytes
        Name of the preprocessing and the backbone.
    n_features : int
        Length of a row.
    dtype : str
        Type of its numbers.
    """

    def __init__(self, store: FeatureStore | None, way: bytes, n_features: int, dtype: str = "<f4") -> None:
        self.store, self.way, self.n_features, self.dtype = store, way, n_features, dtype
        self.is_writable = store is not None
        self.claims = None if store is None or store.is_read_only else Claims(store.folder)

    def known(self, items: Iterable[bytes], *, hold: bool = False) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield what is there; `hold` it in the memory of the process for the next time."""
        if self.store is not None:
            for key, row in self.store.get(self._keys(items), self.n_features, dtype=self.dtype, hold=hold):
                yield key[len(self.way) :], row

    def put(self, rows: Rows) -> None:
        """Keep rows, and end the claims on them."""
        keys = self._keys(item for item, _ in rows)
        if self.store is not None and self.is_writable:  # a store that fails has said why, and is not tried again
            self.is_writable = self.store.put(zip(keys, (row for _, row in rows), strict=True), dtype=self.dtype)
        if self.claims is not None:
            self.claims.release(keys)

    def remember(self, digests: Mapping[bytes, bytes]) -> None:
        """Keep what files hold, by their state."""
        if self.store is not None and self.is_writable and digests:
            self.store.remember(digests.items())

    def forget(self, stamps: Sequence[bytes]) -> None:
        """Do away with what files in these states are said to hold."""
        if self.store is not None and stamps:
            self.store.forget(stamps)

    def take(self, items: Sequence[bytes]) -> list[bytes]:
        """Claim `items`; return those that nobody else computes."""
        if self.claims is None:
            return list(items)
        return [key[len(self.way) :] for key in self.claims.take(self._keys(items))]

    def release_all(self) -> None:
        """End all claims."""
        if self.claims is not None:
            self.claims.release_all()

    def _keys(self, items: Iterable[bytes]) -> list[bytes]:
        return [self.way + item for item in items]
