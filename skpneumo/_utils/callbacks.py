"""Tasks of a fit, with progress bars and, from scikit-learn 1.9 on, its callbacks."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Placeholder for scikit-learn's class, without callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method unchanged."""
        return method


__all__ = ["CallbackSupportMixin", "FitTasks", "with_callbacks"]

_STEPS = 100

Attributes = Callable[[Any], dict[str, Any]]


class FitTasks:
    """Root task of a fit; calling it opens a subtask.

    Parameters
    ----------
    estimator : estimator
        The estimator, whose `fit` is decorated by `with_callbacks` and creates this object once.
    bar : callable
        Creates a tqdm bar from a total, a description and a unit.
    """

    def __init__(self, estimator: Any, bar: Callable[[int, str, str], Any]) -> None:
        self.estimator = estimator
        self.bar = bar
        has_callbacks = hasattr(estimator, "_init_callback_context")
        self.root: Any = estimator._init_callback_context(max_subtasks=None) if has_callbacks else None
        self.callbacks = getattr(estimator, "_skl_callbacks", [])

    def needs(self, name: str) -> bool:
        """Whether a callback takes this keyword argument, such as "X"."""
        hooks = [hook for each in self.callbacks for hook in (each.on_fit_task_begin, each.on_fit_task_end)]
        return any(name in inspect.signature(hook).parameters for hook in hooks)

    def begin(self, **data: Any) -> None:
        """Notify the callbacks that the fit begins; `data` are keyword arguments of scikit-learn's hooks."""
        if self.root is not None:
            self.root.call_on_fit_task_begin(estimator=self.estimator, **data)

    def end(self, **data: Any) -> None:
        """Notify the callbacks that the fit has ended and the estimator can predict."""
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator, **data, reconstruction_attributes={})

    @contextmanager
    def __call__(
        self, total: int, description: str, unit: str, *, attributes: Attributes | None = None, **data: Any
    ) -> Iterator["Task"]:
        """Open a task of `total` units with a progress bar and, if there are callbacks, a task of theirs.

        `attributes` turns the state after a unit into the attributes of a fitted estimator; `data` are as in `begin`.
        """
        with self.bar(total, description, unit) as bar:
            if not (self.callbacks and total):
                yield Task(bar)
                return
            # Callbacks keep all steps, so tasks without attributes report at most 100 of them.
            size = 1 if attributes else -(-total // _STEPS)
            context = self.root.subcontext(task_name=description, max_subtasks=-(-total // size))
            context.call_on_fit_task_begin(estimator=self.estimator, **data)
            task = CallbackTask(bar, self.estimator, context, unit, total, size, attributes, data)
            yield task
            task.close()
            context.call_on_fit_task_end(estimator=self.estimator, **data)


class Task:
    """A task with a progress bar."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def update(self, n: int = 1, state: Callable[[], Any] | None = None) -> bool:
        """Record that `n` more units are done.

        Parameters
        ----------
        n : int
            Number of units.
        state : callable or None
            Returns the current state, for `attributes`. It is called only if a callback takes a fitted estimator.

        Returns
        -------
        bool
            Whether a callback requests to stop.
        """
        self.bar.update(n)
        return False

    def set_postfix(self, **values: Any) -> None:
        """Show values after the bar, from its next refresh on."""
        self.bar.set_postfix(**values, refresh=False)


class CallbackTask(Task):
    """A task with a progress bar and callbacks, which has one open step until all units are done."""

    def __init__(
        self,
        bar: Any,
        estimator: Any,
        context: Any,
        unit: str,
        total: int,
        size: int,
        attributes: Attributes | None,
        data: dict[str, Any],
    ) -> None:
        super().__init__(bar)
        self.estimator, self.context = estimator, context
        self.unit, self.total, self.size = unit, total, size
        self.attributes, self.data = attributes, data
        self.done = self.until = 0
        self.step: Any = None
        self._begin_step()

    def update(self, n: int = 1, state: Callable[[], Any] | None = None) -> bool:
        super().update(n)
        self.done += n
        while self.step is not None and self.done >= self.until:
            if self._end_step(state) and state is not None:  # a task without a state cannot stop early
                return True
            self._begin_step()
        return False

    def close(self) -> None:
        """End the open step, if fewer units than `total` were done."""
        if self.step is not None:
            self._end_step(None)

    def _begin_step(self) -> None:
        if self.until < self.total:
            self.until = min(self.until + self.size, self.total)
            self.step = self.context.subcontext(task_name=self.unit)
            self.step.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def _end_step(self, state: Callable[[], Any] | None) -> bool:
        step, self.step = self.step, None
        attributes = self.attributes
        return step.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            reconstruction_attributes=(lambda: attributes(state())) if attributes and state else None,
        )
