"""Pool of compiled networks, to be used again by later fits."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)
N = TypeVar("N")


class Pool(Generic[S, N]):
    """Pool of idle networks by shape, which drops the least recently used ones first.

    Parameters
    ----------
    make : callable
        Creates a network of a shape.
    max_idle : int
        Maximum number of idle networks.
    """

    def __init__(self, make: Callable[[S], N], max_idle: int) -> None:
        self.make, self.max_idle = make, max_idle
        self._idle: OrderedDict[S, list[N]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, shape: S) -> Iterator[N]:
        """Yield an idle or new network of this shape, exclusively; after an error it does not return to the pool."""
        with self._lock:
            idle = self._idle.pop(shape, [])
            network = idle.pop() if idle else None
            if idle:
                self._idle[shape] = idle
        if network is None:
            network = self.make(shape)
        yield network
        with self._lock:
            self._idle.setdefault(shape, []).append(network)
            self._idle.move_to_end(shape)
            while sum(map(len, self._idle.values())) > self.max_idle:
                oldest, networks = next(iter(self._idle.items()))
                networks.pop()
                if not networks:
                    del self._idle[oldest]
