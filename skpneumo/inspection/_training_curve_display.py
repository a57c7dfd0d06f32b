"""How a training went, epoch by epoch, to look at."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._plot_utils import BLUE, DASHED, SOLID, VERMILLION, grid_of_axes

_MOST_MARKERS = 30
_WIDE = 10  # of the largest loss to the smallest
_HELD_OUT = "held-out patients,\nand changed copies"


class TrainingCurveDisplay:
    """Loss and accuracy of each epoch, over training images and over those of held-out patients.

    It is made by `from_estimator`.

    Parameters
    ----------
    loss, accuracy : sequence of float
        ``loss_curve_`` and ``accuracy_curve_`` of a `PneumoniaClassifier`, one an epoch.
    validation_scores, validation_accuracy : sequence of float, default=None
        ``validation_scores_`` and ``validation_accuracy_curve_``: one an epoch, and at first one of epoch 0 where the
        training went on from a fitted head. None: nobody was held out.
    best_iter : int, default=None
        ``best_iter_``, the epoch whose weights were kept. None: those of the last.

    Attributes
    ----------
    axes_ : ndarray of shape (2,)
        What it was drawn on: axes of the loss and of the accuracy.
    bounding_ax_ : Axes or None
        Axes whose place these took.
    figure_ : Figure
        The figure of both.
    lines_ : dict of str to Line2D
        "loss" and "accuracy"; with held-out patients "validation_loss" and "validation_accuracy" too.
    best_lines_ : list of Line2D
        The epoch that was kept, on both axes.

    See Also
    --------
    skpneumo.PneumoniaClassifier : What is held out (`early_stopping`), and what is noted of each epoch.

    Notes
    -----
    Loss and accuracy over training images are those of the images as they passed, while the weights changed, with
    `dropout` where there is any, and the loss holds its penalty. Those over held-out patients are of the weights after
    an epoch, without dropout and penalty, over their images and two changed copies of each. So the two do not meet even
    where nothing is overfitted.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.inspection import TrainingCurveDisplay
    >>> random = np.random.RandomState(0)
    >>> X, y = random.normal(size=(20, 4)), np.arange(20) % 2
    >>> clf = PneumoniaClassifier(hidden_layer_sizes=3, max_iter=5, random_state=0).fit(X, y)
    >>> display = TrainingCurveDisplay.from_estimator(clf)
    >>> display.lines_["loss"].get_xdata()
    array([1, 2, 3, 4, 5])
    """

    def __init__(
        self,
        loss: Sequence[float],
        accuracy: Sequence[float],
        *,
        validation_scores: Sequence[float] | None = None,
        validation_accuracy: Sequence[float] | None = None,
        best_iter: int | None = None,
    ) -> None:
        self.loss = loss
        self.accuracy = accuracy
        self.validation_scores = validation_scores
        self.validation_accuracy = validation_accuracy
        self.best_iter = best_iter

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> "TrainingCurveDisplay":
        """Draw the training of a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            Fitted `PneumoniaClassifier` with hidden layers or trainable layers, or a search or another estimator
            around one.
        ax : Axes or array-like of two Axes, default=None
            What to draw on: axes that are divided, or two. None: a new figure.

        Returns
        -------
        TrainingCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            The classifier was not trained in epochs.
        TypeError, NotFittedError
            There is no fitted classifier.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo import PneumoniaClassifier
        >>> from skpneumo.inspection import TrainingCurveDisplay
        >>> X, y = np.random.RandomState(0).normal(size=(20, 4)), np.arange(20) % 2
        >>> clf = PneumoniaClassifier(hidden_layer_sizes=3, max_iter=5, random_state=0).fit(X, y)
        >>> TrainingCurveDisplay.from_estimator(clf).axes_.shape
        (2,)
        """
        clf = check_inner(estimator)
        if not clf.loss_curve_:
            raise ValueError(
                "There is no training curve: a linear probe is solved at once, not in epochs. Fit with "
                "hidden_layer_sizes, such as (64,), or with n_trainable_layers, such as 2."
            )
        display = cls(
            clf.loss_curve_,
            clf.accuracy_curve_,
            validation_scores=clf.validation_scores_,
            validation_accuracy=clf.validation_accuracy_curve_,
            best_iter=clf.best_iter_,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> "TrainingCurveDisplay":
        """Draw it.

        Parameters
        ----------
        ax : Axes or array-like of two Axes, default=None
            What to draw on: axes that are divided, or two. None: a new figure.

        Returns
        -------
        TrainingCurveDisplay
            This display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from skpneumo.inspection import TrainingCurveDisplay
        >>> display = TrainingCurveDisplay([0.7, 0.5], [0.5, 0.8], validation_scores=[-0.7, -0.6], best_iter=2)
        >>> display.plot().lines_["validation_loss"].get_ydata()
        array([0.7, 0.6])
        """
        check_consistent_length(self.loss, self.accuracy)
        self.bounding_ax_, axes = grid_of_axes(ax, [3.6], 2, width=9, caller=f"{type(self).__name__}.plot")
        self.axes_ = axes.ravel()
        self.figure_ = self.axes_[0].figure
        self.lines_: dict[str, Any] = {}
        self.best_lines_: list[Any] = []
        scores = None if self.validation_scores is None else -np.asarray(self.validation_scores, dtype=float)
        self._draw(self.axes_[0], "loss", "training, with penalty", self.loss, scores)
        self._draw(self.axes_[1], "accuracy", "training", self.accuracy, self.validation_accuracy)
        self.axes_[0].set(ylabel="Log loss", yscale=_scale([*self.loss, *([] if scores is None else scores)]))
        self.axes_[1].set_ylabel("Share of the images called rightly")
        return self

    def _draw(self, ax: Any, name: str, words: str, trained: Sequence[float], held_out: Any) -> None:
        n_epochs = len(trained)
        marker = "." if n_epochs <= _MOST_MARKERS else ""
        look: dict[str, Any] = {"marker": marker, "color": BLUE, "linestyle": SOLID, "label": words}
        (self.lines_[name],) = ax.plot(np.arange(1, n_epochs + 1), np.asarray(trained, dtype=float), **look)
        if held_out is not None:
            epochs = np.arange(n_epochs + 1 - len(held_out), n_epochs + 1)
            look = {"marker": marker, "color": VERMILLION, "linestyle": DASHED, "label": _HELD_OUT}
            (self.lines_[f"validation_{name}"],) = ax.plot(epochs, np.asarray(held_out, dtype=float), **look)
        if self.best_iter is not None:
            kept = "kept: epoch 0, no gain by tuning" if self.best_iter == 0 else f"kept: epoch {self.best_iter}"
            self.best_lines_.append(ax.axvline(self.best_iter, color="black", linestyle=":", linewidth=1, label=kept))
        ax.set_xlabel("Epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize="small")


def _scale(losses: list[float]) -> str:
    """Choose the scale that losses are told apart on: a penalty may be a multiple of the loss itself."""
    finite = [loss for loss in losses if np.isfinite(loss)]
    return "log" if finite and min(finite) > 0 and max(finite) > _WIDE * min(finite) else "linear"
