"""Display of training and validation curves."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skpneumo._utils.validation import Finite, validated
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._plot_utils import BLUE, DASHED, SOLID, VERMILLION, grid_of_axes

_MAX_MARKERS = 30
_LOG_RATIO = 10  # ratio of the largest to the smallest loss above which the scale is logarithmic


class TrainingCurveDisplay:
    """Training and validation loss and accuracy by epoch.

    It is recommended to use `from_estimator` to create a `TrainingCurveDisplay`.

    Parameters
    ----------
    loss, accuracy : sequence of float
        ``loss_curve_`` and ``accuracy_curve_`` of a `PneumoniaClassifier`, one value per epoch.
    validation_scores, validation_accuracy : sequence of float, default=None
        ``validation_scores_`` and ``validation_accuracy_curve_``, one value per epoch, preceded by one of epoch 0 if
        training started from a fitted head. None without held-out patients.
    best_iter : int, default=None
        ``best_iter_``, the epoch whose weights were kept. If None, it is not marked.

    Attributes
    ----------
    axes_ : ndarray of shape (2,)
        Axes of the loss and of the accuracy.
    bounding_ax_ : Axes or None
        Axes that were divided into `axes_`.
    figure_ : Figure
        Figure that contains the axes.
    lines_ : dict of str to Line2D
        "loss" and "accuracy" and, with held-out patients, "validation_loss" and "validation_accuracy".
    best_lines_ : list of Line2D
        Vertical lines at the best epoch.

    See Also
    --------
    skpneumo.PneumoniaClassifier : Describes early stopping and the recorded curves.

    Notes
    -----
    Training loss and accuracy are averaged over the batches of an epoch while the weights change, with dropout; the
    loss includes the L2 penalty. Validation loss and accuracy are computed after each epoch, without dropout and
    penalty, on the images of held-out patients and two augmented copies of each. The curves therefore differ even
    without overfitting.

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

    @validated(best_iter=[Finite(Integral, 0, None, closed="left"), None])
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
        """Create a training curve display from a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            Fitted `PneumoniaClassifier` with hidden or trainable layers, or a search or another estimator around one.
        ax : Axes or array-like of two Axes, default=None
            Axes to divide, or two axes. If None, a new figure is created.

        Returns
        -------
        display : TrainingCurveDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If the classifier was not trained in epochs.
        TypeError
            If `estimator` does not contain a single PneumoniaClassifier.
        NotFittedError
            If it is not fitted.

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
                "Expected a classifier trained in epochs; a linear probe has no training curve. Set "
                "hidden_layer_sizes, such as (64,), or n_trainable_layers, such as 2."
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
        """Plot the curves.

        Parameters
        ----------
        ax : Axes or array-like of two Axes, default=None
            Axes to divide, or two axes. If None, a new figure is created.

        Returns
        -------
        display : TrainingCurveDisplay
            The plotted display.

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
        self._draw(self.axes_[0], "loss", "loss (with penalty)", self.loss, scores)
        self._draw(self.axes_[1], "accuracy", "accuracy", self.accuracy, self.validation_accuracy)
        self.axes_[0].set(ylabel="Loss", yscale=_scale([*self.loss, *([] if scores is None else scores)]))
        self.axes_[1].set_ylabel("Accuracy")
        return self

    def _draw(self, ax: Any, name: str, words: str, training: Sequence[float], validation: Any) -> None:
        n_epochs = len(training)
        marker = "." if n_epochs <= _MAX_MARKERS else ""
        look: dict[str, Any] = {"marker": marker, "color": BLUE, "linestyle": SOLID, "label": f"Training {words}"}
        (self.lines_[name],) = ax.plot(np.arange(1, n_epochs + 1), np.asarray(training, dtype=float), **look)
        if validation is not None:
            epochs = np.arange(n_epochs + 1 - len(validation), n_epochs + 1)
            look = {"marker": marker, "color": VERMILLION, "linestyle": DASHED, "label": f"Validation {name}"}
            (self.lines_[f"validation_{name}"],) = ax.plot(epochs, np.asarray(validation, dtype=float), **look)
        if self.best_iter is not None:
            best = (
                "Best epoch: 0 (no gain from fine-tuning)" if self.best_iter == 0 else f"Best epoch: {self.best_iter}"
            )
            self.best_lines_.append(ax.axvline(self.best_iter, color="black", linestyle=":", linewidth=1, label=best))
        ax.set_xlabel("Epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize="small")


def _scale(losses: list[float]) -> str:
    """Return the scale of the loss axis: a large penalty needs a logarithmic scale."""
    finite = [loss for loss in losses if np.isfinite(loss)]
    return "log" if finite and min(finite) > 0 and max(finite) > _LOG_RATIO * min(finite) else "linear"
