"""Networks that wait to be used again: what has been compiled for one fit serves the next."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)
N = TypeVar("N")


class Pool(Generic[S, N]):
    """Idle networks by shape, least recently used ones first to go.

    Parameters
    ----------
    make : callable
        Makes a network of a shape.
    max_idle : int
        How many are kept.
    """

    def __init__(self, make: Callable[[S], N], max_idle: int) -> None:
        self.make, self.max_idle = make, max_idle
        self._idle: OrderedDict[S, list[N]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self, shape: S) -> Iterator[N]:
        """Lend an idle network of this shape, or a new one; one borrower at a time has it, and after an error none."""
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
