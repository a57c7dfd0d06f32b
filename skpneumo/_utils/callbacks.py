"""A fit as a tree of tasks: bars show them, and scikit-learn's callbacks watch them where its version has callbacks."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands where scikit-learn's class would: no callbacks can be set."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "FitTasks", "with_callbacks"]

_STEPS = 100

Attributes = Callable[[Any], dict[str, Any]]


class FitTasks:
    """The root of the tree; called, it opens one task below it.

    Parameters
    ----------
    estimator : estimator
        Whose `fit`, decorated by `with_callbacks`, makes this object once.
    bar : callable
        Makes a tqdm bar of a total, a description and a unit.
    """

    def __init__(self, estimator: Any, bar: Callable[[int, str, str], Any]) -> None:
        self.estimator = estimator
        self.bar = bar
        has_callbacks = hasattr(estimator, "_init_callback_context")
        self.root: Any = estimator._init_callback_context(max_subtasks=None) if has_callbacks else None
        self.callbacks = getattr(estimator, "_skl_callbacks", [])

    def wants(self, name: str) -> bool:
        """Tell whether a callback asks for this keyword, such as "X"."""
        hooks = [hook for each in self.callbacks for hook in (each.on_fit_task_begin, each.on_fit_task_end)]
        return any(name in inspect.signature(hook).parameters for hook in hooks)

    def begin(self, **data: Any) -> None:
        """Tell callbacks that the fit begins; `data` are keywords of scikit-learn's hooks."""
        if self.root is not None:
            self.root.call_on_fit_task_begin(estimator=self.estimator, **data)

    def end(self, **data: Any) -> None:
        """Tell callbacks that the fit has ended, and that the estimator predicts."""
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator, **data, reconstruction_attributes={})

    @contextmanager
    def __call__(
        self, total: int, description: str, unit: str, *, attributes: Attributes | None = None, **data: Any
    ) -> Iterator["Task"]:
        """Open a task of `total` units, a bar and, if there are callbacks, a task of theirs.

        `attributes` makes those of a fitted estimator of the state after a unit; `data` are as in `begin`.
        """
        with self.bar(total, description, unit) as bar:
            if not (self.callbacks and total):
                yield Task(bar)
                return
            # Callbacks keep every step and walk through them: what leaves nothing to look at is told by the percent.
            size = 1 if attributes else -(-total // _STEPS)
            context = self.root.subcontext(task_name=description, max_subtasks=-(-total // size))
            context.call_on_fit_task_begin(estimator=self.estimator, **data)
            task = WatchedTask(bar, self.estimator, context, unit, total, size, attributes, data)
            yield task
            task.close()
            context.call_on_fit_task_end(estimator=self.estimator, **data)


class Task:
    """A task with a bar."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def update(self, n: int = 1, state: Callable[[], Any] | None = None) -> bool:
        """Note that `n` more units are done.

        Parameters
        ----------
        n : int
            How many.
        state : callable or None
            Returns what has been learnt by now, for `attributes`. It is called only if a callback wants to predict.

        Returns
        -------
        bool
            Whether a callback asks to stop here.
        """
        self.bar.update(n)
        return False

    def set_postfix(self, **figures: Any) -> None:
        """Show figures behind the bar, from its next refresh on."""
        self.bar.set_postfix(**figures, refresh=False)


class WatchedTask(Task):
    """A task with a bar and callbacks; of its steps, one is under way until all units are done."""

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
            if self._end_step(state) and state is not None:  # what has no state yet cannot do with less
                return True
            self._begin_step()
        return False

    def close(self) -> None:
        """End the step under way, if any: fewer units than `total` were needed."""
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
