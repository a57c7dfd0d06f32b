"""What a process holds in its memory of what lies on disk: the most recently used, under a bound."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_OVERHEAD = 250  # bytes that an entry takes beside its value


class Cache(Generic[K]):
    """Bytes under keys, least recently used ones first to go; safe with threads.

    Parameters
    ----------
    max_bytes : int
        Bound of all entries together. What does not fit as a whole is not held at all: in turn, its entries would
        push each other out.

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
        """Return what is held of `keys`."""
        with self._lock:
            found = {key: self._entries[key] for key in keys if key in self._entries}
            for key in found:
                self._entries.move_to_end(key)
        return found

    def put(self, entries: Mapping[K, bytes]) -> None:
        """Hold `entries`, and let others go for them."""
        if sum(map(_size, entries.values())) > self.max_bytes:
            return
        with self._lock:
            for key, value in entries.items():
                self.n_bytes += _size(value) - _size(self._entries.pop(key, None))
                self._entries[key] = value
            while self.n_bytes > self.max_bytes:
                self.n_bytes -= _size(self._entries.popitem(last=False)[1])

    def drop(self, keys: Iterable[K]) -> None:
        """Let go of `keys`."""
        with self._lock:
            for key in keys:
                self.n_bytes -= _size(self._entries.pop(key, None))


def _size(value: bytes | None) -> int:
    return 0 if value is None else len(value) + _OVERHEAD
