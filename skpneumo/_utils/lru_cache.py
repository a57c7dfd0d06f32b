"""Least recently used (LRU) cache of bytes in memory."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_OVERHEAD = 250  # bytes of an entry in addition to its value


class Cache(Generic[K]):
    """Thread-safe mapping of keys to bytes that drops the least recently used entries first.

    Parameters
    ----------
    max_bytes : int
        Maximum size of all entries. Entries that do not fit together in one `put` are not cached, since they would
        displace each other.

    Examples
    --------
    >>> cache = Cache(max_bytes=1000)
    >>> cache.put({"a": b"1", "b": b"2"})
    >>> cache.get(["a", "c"])
    {'a': b'1'}
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._entries: OrderedDict[K, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[K]) -> dict[K, bytes]:
        """Return the cached entries of `keys`."""
        with self._lock:
            found = {key: self._entries[key] for key in keys if key in self._entries}
            for key in found:
                self._entries.move_to_end(key)
        return found

    def put(self, entries: Mapping[K, bytes]) -> None:
        """Add `entries`, and drop the least recently used ones if necessary."""
        if sum(map(_size, entries.values())) > self.max_bytes:
            return
        with self._lock:
            for key, value in entries.items():
                self.n_bytes += _size(value) - _size(self._entries.pop(key, None))
                self._entries[key] = value
            while self.n_bytes > self.max_bytes:
                self.n_bytes -= _size(self._entries.popitem(last=False)[1])

    def drop(self, keys: Iterable[K]) -> None:
        """Remove `keys`."""
        with self._lock:
            for key in keys:
                self.n_bytes -= _size(self._entries.pop(key, None))

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._entries.clear()
            self.n_bytes = 0


def _size(value: bytes | None) -> int:
    return 0 if value is None else len(value) + _OVERHEAD
