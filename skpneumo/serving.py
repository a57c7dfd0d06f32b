"""Dynamic batching of concurrent prediction requests."""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from skpneumo._utils.containers import advice_for
from skpneumo.exceptions import ImageReadError

__all__ = ["DynamicBatcher"]


class DynamicBatcher:
    """Combine calls from several threads into batches.

    A network processes a batch of images faster than single images, but a service receives them in separate requests.
    Calls that arrive while a batch is computed form the next batch. If no batch is being computed, a call starts
    immediately, except after a batch of several calls: then the batcher waits for the same number of calls, for at most
    `max_delay` seconds.

    Parameters
    ----------
    function : callable
        Function that takes a list of images and returns an array with one row per image, such as `predict_proba` or
        `features` of a fitted model. It is called in a separate thread, one batch at a time.
    max_batch_size : int, default=32
        Maximum number of images per batch. Calls are not split: a larger call forms a batch of its own.
    max_delay : float, default=0.01
        Maximum time in seconds to wait for further calls.
    max_queue : int, default=1024
        Maximum number of waiting images, without those of the current batch. An empty queue accepts any call.

    See Also
    --------
    skpneumo.PneumoniaClassifier : Classifier whose `predict_proba` takes a list of images.

    Notes
    -----
    The first call starts the thread. It ends with `close`, when the batcher is deleted, or at the exit of Python, which
    waits for pending calls. A process forked after the first call lacks the thread, so that calls raise a RuntimeError
    there. A pickled copy has the same parameters and its own thread.

    If a batch fails, each of its calls is repeated alone, so that a call only raises errors caused by its own images.

    `function` and the callbacks of futures run in the thread of the batcher and must not wait for it: calling the
    batcher there raises a RuntimeError.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo.serving import DynamicBatcher
    >>> with DynamicBatcher(lambda images: np.array([[len(image)] for image in images])) as batcher:
    ...     batcher([b"image", b"another"])
    array([[5],
           [7]])

    In a service that uses asyncio:

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
            raise ValueError(f"function must be callable, but got {function!r}.")
        for name, value in (("max_batch_size", max_batch_size), ("max_queue", max_queue)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be an int of at least 1, but got {value!r}.")
        if not _is_number(max_delay) or not 0 <= max_delay < threading.TIMEOUT_MAX:
            raise ValueError(f"max_delay must be a number of seconds of at least 0, but got {max_delay!r}.")
        self.function = function
        self.max_batch_size = max_batch_size
        self.max_delay = max_delay
        self.max_queue = max_queue
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="DynamicBatcher")
        self._changed = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._is_running = False
        self._is_closed = False
        self._n_last = 1  # number of calls in the last batch
        self._process: int | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, images: Sequence[Any]) -> np.ndarray:
        """Compute the rows of the images and wait for the result.

        Parameters
        ----------
        images : list or other one-dimensional sequence
            At least one image, as accepted by `function`.

        Returns
        -------
        ndarray of shape (n_images, ...)
            One row per image.

        Raises
        ------
        ImageReadError
            If any of these images cannot be read. Positions refer to `images`. Other calls are not affected.
        queue.Full
            If the queue is full.
        RuntimeError
            If the batcher is closed, was used before this process was forked, or is called in its own thread.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("A batcher cannot be called in its own thread, which would wait for itself: use submit.")
        future = self.submit(images)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller no longer needs the result
            raise
        finally:
            del future  # avoids a reference cycle between the error and this frame

    def submit(self, images: Sequence[Any]) -> "Future[np.ndarray]":
        """Schedule the images and return a future.

        Parameters
        ----------
        images : list or other one-dimensional sequence
            At least one image, as accepted by `function`.

        Returns
        -------
        concurrent.futures.Future
            Future of the rows; it raises the same errors as `__call__`. Use ``asyncio.wrap_future`` to await it. If it
            is cancelled before its batch starts, its images are skipped.

        Raises
        ------
        queue.Full
            If the queue is full.
        RuntimeError
            If the batcher is closed, or was used before this process was forked.
        """
        call = _Call(_to_list(images), Future())
        if self._process not in {None, os.getpid()}:
            raise RuntimeError("This batcher was used before the process was forked: create one in each process.")
        with self._changed:
            self._enqueue(call)
        return call.future

    def close(self) -> None:
        """Reject new calls and wait for pending ones."""
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

    def _enqueue(self, call: "_Call") -> None:
        if self._is_closed:
            raise RuntimeError("This batcher is closed: create a new one.")
        n_waiting = self._n_waiting()
        if n_waiting and n_waiting + len(call.images) > self.max_queue:
            raise queue.Full(
                f"The queue holds {n_waiting} images, and {len(call.images)} more would exceed max_queue="
                f"{self.max_queue}: try again later."
            )
        if not self._is_running:
            self._executor.submit(self._work)
            self._is_running, self._process = True, os.getpid()
        self._waiting.append(call)
        self._changed.notify_all()

    def _n_waiting(self) -> int:
        return sum(len(call.images) for call in self._waiting)

    def _work(self) -> None:
        self._thread = threading.current_thread()
        while calls := self._next_batch():
            self._process_batch(calls)

    def _next_batch(self) -> "list[_Call]":
        """Return the calls of the next batch, or an empty list to end the thread."""
        with self._changed:
            if self._waiting:
                self._changed.wait_for(self._is_due, self.max_delay)
            calls: list[_Call] = []
            while self._waiting and (not calls or self._fits(calls)):
                call = self._waiting.popleft()
                if call.future.set_running_or_notify_cancel():
                    calls.append(call)
            self._is_running = bool(calls)
            self._n_last = len(calls) or self._n_last
            return calls

    def _is_due(self) -> bool:
        return self._is_closed or len(self._waiting) >= self._n_last or self._n_waiting() >= self.max_batch_size

    def _fits(self, calls: "list[_Call]") -> bool:
        return sum(len(call.images) for call in (*calls, self._waiting[0])) <= self.max_batch_size

    def _process_batch(self, calls: "list[_Call]") -> None:
        batches = [calls]
        while batches:
            batches += self._try_batch(batches.pop(0))

    def _try_batch(self, calls: "list[_Call]") -> "list[list[_Call]]":
        """Compute a batch, and return the batches to repeat if it failed."""
        try:
            rows = self._rows([image for call in calls for image in call.images])
        except BaseException as error:  # otherwise the callers would wait forever
            return _assign_error(calls, error)
        else:
            return _assign_rows(rows, calls)
        finally:
            del calls  # avoids a reference cycle between the error and its future

    def _rows(self, images: list[Any]) -> np.ndarray:
        rows = np.asarray(self.function(images))
        if rows.ndim == 0 or len(rows) != len(images):
            raise ValueError(f"function must return one row per image: expected {len(images)}, got shape {rows.shape}.")
        return rows


@dataclass(frozen=True, eq=False)
class _Call:
    images: list[Any]
    future: "Future[np.ndarray]"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _to_list(images: Sequence[Any]) -> list[Any]:
    """Convert a one-dimensional sequence of images to a list."""
    kind = type(images).__name__
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike):
        raise ValueError(f"images must be a list, but got {kind}. For a single image, pass [image].")
    if advice_for(images) is not None or getattr(images, "ndim", 1) != 1:
        advice = advice_for(images, "images") or "Pass a list of images."
        raise ValueError(f"images must be a one-dimensional sequence, but got {kind}. {advice}")
    if not len(images):
        raise ValueError("images must contain at least one image, but is empty.")
    return list(images)


def _offsets(calls: list[_Call]) -> list[int]:
    return np.cumsum([0, *(len(call.images) for call in calls)])[:-1].tolist()


def _assign_error(calls: list[_Call], error: BaseException) -> list[list[_Call]]:
    """Set an error on the call that caused it, and return the batches to repeat."""
    if isinstance(error, ImageReadError):
        readable = _readable_calls(calls, error)
        if len(readable) < len(calls):
            return [readable] if readable else []
    if len(calls) > 1:  # the cause is unknown
        return [[call] for call in calls]
    calls[0].future.set_exception(error)
    return []


def _readable_calls(calls: list[_Call], error: ImageReadError) -> list[_Call]:
    """Set the error on calls with unreadable images, and return the other calls."""
    readable = []
    for call, first in zip(calls, _offsets(calls), strict=True):
        own = [(i - first, path, why) for i, path, why in error.failures if 0 <= i - first < len(call.images)]
        if own:
            call.future.set_exception(ImageReadError(own))
        else:
            readable.append(call)
    return readable


def _assign_rows(rows: np.ndarray, calls: list[_Call]) -> list[list[_Call]]:
    """Set a copy of its rows on each call, so that rows of other calls are freed."""
    for call, first in zip(calls, _offsets(calls), strict=True):
        call.future.set_result(rows[first : first + len(call.images)].copy())
    return []
