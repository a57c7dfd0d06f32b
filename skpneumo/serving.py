"""Concurrent calls of a model, gathered into batches."""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from skpneumo.exceptions import ImageReadError

__all__ = ["DynamicBatcher"]


class DynamicBatcher:
    """Gather calls from many threads into batches, and give each caller the rows of its own images.

    A network passes several images at once in less time than one after the other, but the requests of a service bring
    them one by one. Calls that come while a batch is computed make the next one. An idle batcher starts at once, unless
    the last batch held several calls: then it waits until as many have come again, and no longer than `max_delay`.

    Parameters
    ----------
    function : callable
        Takes a list of images and returns an array with a row an image, such as the `predict_proba` or `features` of
        a fitted model. It is called in a thread of the batcher's own, never twice at once.
    max_batch_size : int, default=32
        Images a batch, at most. Calls are not split: one that brings more makes a batch of its own.
    max_delay : float, default=0.01
        Seconds that an idle batcher waits for further calls, at most.
    max_queue : int, default=1024
        Images that may wait, at most, those of the batch that is computed not counted. An empty queue takes any call.

    See Also
    --------
    skpneumo.PneumoniaClassifier : Its `predict_proba` takes a list of images.

    Notes
    -----
    The thread is started by the first call. It ends with `close`, with the batcher itself, or when Python ends, which
    waits for calls that have been made. A process that is forked after the first call has no such thread: calls are a
    RuntimeError there. A pickled copy has the same parameters and starts anew.

    No caller sees an error that another's images made: where a batch fails, its calls are tried once more, each alone.

    `function`, and the callbacks of futures, run in that one thread. They must not wait for the batcher: calling it
    there is a RuntimeError.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo.serving import DynamicBatcher
    >>> with DynamicBatcher(lambda images: np.array([[len(image)] for image in images])) as batcher:
    ...     batcher([b"a film", b"another"])
    array([[6],
           [7]])

    In a service that runs on asyncio:

    >>> import asyncio
    >>> async def answer(batcher, images):
    ...     return await asyncio.wrap_future(batcher.submit(images))
    """

    def __init__(
        self,
        function: Callable[[list[Any]], Any],
        *,
        max_batch_size: int = 32,
        max_delay: float = 0.01,
        max_queue: int = 1024,
    ) -> None:
        if not callable(function):
            raise ValueError(f"function must be callable, but is {function!r}.")
        for name, value in (("max_batch_size", max_batch_size), ("max_queue", max_queue)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be an int of at least 1, but is {value!r}.")
        if not _is_number(max_delay) or not 0 <= max_delay < threading.TIMEOUT_MAX:
            raise ValueError(f"max_delay must be a number of seconds, 0 or more, but is {max_delay!r}.")
        self.function = function
        self.max_batch_size = max_batch_size
        self.max_delay = max_delay
        self.max_queue = max_queue
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="DynamicBatcher")
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._is_at_work = False
        self._is_closed = False
        self._n_last = 1  # calls in the last batch
        self._process: int | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, images: Sequence[Any]) -> np.ndarray:
        """Wait for the rows of some images.

        Parameters
        ----------
        images : list or other sequence of one axis
            What `function` takes, at least one.

        Returns
        -------
        ndarray of shape (n_images, ...)
            Their rows.

        Raises
        ------
        ImageReadError
            Some of these images cannot be read; positions count in `images`. Calls of the same batch do not notice.
        queue.Full
            `max_queue` images wait already.
        RuntimeError
            The batcher is closed, was used before this process was forked, or is called in its own thread.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("This batcher was called in its own thread, which would wait for itself: use `submit`.")
        future = self.submit(images)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # who was interrupted needs no answer
            raise
        finally:
            del future  # its error would hold this frame, and this frame its error

    def submit(self, images: Sequence[Any]) -> "Future[np.ndarray]":
        """Ask for the rows of some images and return at once.

        Parameters
        ----------
        images : list or other sequence of one axis
            What `function` takes, at least one.

        Returns
        -------
        concurrent.futures.Future
            Of the rows, or of what `__call__` would raise. ``asyncio.wrap_future`` makes it awaitable. Where it is
            cancelled before its batch begins, its images are left out.

        Raises
        ------
        queue.Full
            `max_queue` images wait already.
        RuntimeError
            The batcher is closed, or was used before this process was forked.
        """
        call = _Call(_listed(images), Future())
        if self._process not in {None, os.getpid()}:
            raise RuntimeError("This batcher was used before this process was forked: make one in each process.")
        with self._changed:
            self._accept(call)
        return call.future

    def close(self) -> None:
        """Take no more calls, and wait until those that were made are answered."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._executor.shutdown()

    def __enter__(self) -> "DynamicBatcher":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("function", "max_batch_size", "max_delay", "max_queue")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _accept(self, call: "_Call") -> None:
        if self._is_closed:
            raise RuntimeError("This batcher is closed and takes no more calls.")
        n_waiting = self._n_waiting()
        if n_waiting and n_waiting + len(call.images) > self.max_queue:
            raise queue.Full(
                f"{n_waiting} images wait already, and {len(call.images)} more would be above max_queue="
                f"{self.max_queue}: try again later."
            )
        if not self._is_at_work:
            self._executor.submit(self._work)
            self._is_at_work, self._process = True, os.getpid()
        self._waiting.append(call)
        self._changed.notify_all()

    def _n_waiting(self) -> int:
        return sum(len(call.images) for call in self._waiting)

    def _work(self) -> None:
        self._thread = threading.current_thread()
        while calls := self._gathered():
            self._answer(calls)

    def _gathered(self) -> "list[_Call]":
        """Return the calls of the next batch; none where nothing waits, and the work is at an end."""
        with self._changed:
            if self._waiting:
                self._changed.wait_for(self._is_time, self.max_delay)
            calls: list[_Call] = []
            while self._waiting and (not calls or self._fits(calls)):
                call = self._waiting.popleft()
                if call.future.set_running_or_notify_cancel():
                    calls.append(call)
            self._is_at_work = bool(calls)
            self._n_last = len(calls) or self._n_last
            return calls

    def _is_time(self) -> bool:
        return self._is_closed or len(self._waiting) >= self._n_last or self._n_waiting() >= self.max_batch_size

    def _fits(self, calls: "list[_Call]") -> bool:
        return sum(len(call.images) for call in (*calls, self._waiting[0])) <= self.max_batch_size

    def _answer(self, calls: "list[_Call]") -> None:
        batches = [calls]
        while batches:
            batches += self._attempt(batches.pop(0))

    def _attempt(self, calls: "list[_Call]") -> "list[list[_Call]]":
        """Answer a batch; return the batches that are to be tried in its place."""
        try:
            rows = self._rows([image for call in calls for image in call.images])
        except BaseException as error:  # one that stayed here would leave the callers waiting for ever
            return _blame(calls, error)
        else:
            return _hand_out(rows, calls)
        finally:
            del calls  # the traceback of an error must not lead to the futures that hold it

    def _rows(self, images: list[Any]) -> np.ndarray:
        rows = np.asarray(self.function(images))
        if rows.ndim == 0 or len(rows) != len(images):
            raise ValueError(f"function must return a row an image: {len(images)}, but its shape is {rows.shape}.")
        return rows


@dataclass(frozen=True, eq=False)
class _Call:
    images: list[Any]
    future: "Future[np.ndarray]"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _listed(images: Sequence[Any]) -> list[Any]:
    """Return images as a list; refuse what would fall apart into other things, such as a table into its columns."""
    kind = type(images).__name__
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise ValueError(f"images must be a list; got a bare {kind}. For one image pass [image].")
    is_sequence = hasattr(images, "__len__") and hasattr(images, "__getitem__") and not isinstance(images, Mapping)
    if not is_sequence or getattr(images, "ndim", 1) != 1:
        raise ValueError(f"images must be a list or another sequence of one axis; got {kind}: pass a list of images.")
    if not len(images):
        raise ValueError("images must hold at least one image; got none.")
    return list(images)


def _offsets(calls: list[_Call]) -> list[int]:
    return np.cumsum([0, *(len(call.images) for call in calls)])[:-1].tolist()


def _blame(calls: list[_Call], error: BaseException) -> list[list[_Call]]:
    """Tell an error to whom it belongs; return what is to be tried in the place of the batch."""
    if isinstance(error, ImageReadError):
        readable = _without_unreadable(calls, error)
        if len(readable) < len(calls):
            return [readable] if readable else []
    if len(calls) > 1:  # it does not say whose it is
        return [[call] for call in calls]
    calls[0].future.set_exception(error)
    return []


def _without_unreadable(calls: list[_Call], error: ImageReadError) -> list[_Call]:
    """Tell callers of their own unreadable images; return the calls that have none."""
    readable = []
    for call, first in zip(calls, _offsets(calls), strict=True):
        own = [(i - first, path, why) for i, path, why in error.failures if 0 <= i - first < len(call.images)]
        if own:
            call.future.set_exception(ImageReadError(own))
        else:
            readable.append(call)
    return readable


def _hand_out(rows: np.ndarray, calls: list[_Call]) -> list[list[_Call]]:
    """Give each caller a copy, which does not keep the rows of the others alive; nothing is left to try."""
    for call, first in zip(calls, _offsets(calls), strict=True):
        call.future.set_result(rows[first : first + len(call.images)].copy())
    return []
