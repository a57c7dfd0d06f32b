"""What each threshold would be worth, to look at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo._leakage import warn_of_seen
from skpneumo.inspection._plot_utils import (
    BLUE,
    DASH_DOTTED,
    DASHED,
    DOTTED,
    GREEN,
    PURPLE,
    SOLID,
    VERMILLION,
    literal,
    one_axes,
)
from skpneumo.metrics._confusion import confusion_proportions
from skpneumo.metrics._estimators import patients_of, probabilities_of, threshold_of
from skpneumo.metrics._study import check_share, check_study

_LOOKS = {
    "sensitivity": ("sensitivity", BLUE, SOLID, "o"),
    "specificity": ("specificity", VERMILLION, DASHED, "s"),
    "ppv": ("positive predictive value", GREEN, DASH_DOTTED, "^"),
    "npv": ("negative predictive value", PURPLE, DOTTED, "v"),
}
_HALF = 98  # of the thresholds: these by rank, as many by place; with both ends and the operating point below 200


class ThresholdDisplay:
    """Sensitivity, specificity and predictive values against the threshold, each with its interval.

    It is made by `from_estimator` or `from_predictions`. The figures are those of `diagnostic_report` at each
    threshold.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Lowest probabilities that are called positive, rising from 0 to 1.
    figures : mapping of str to ndarray of shape (n_thresholds, 3)
        "sensitivity", "specificity", "ppv" and "npv": the estimates and both limits at each threshold. Nan where one is
        not defined.
    threshold : float, default=None
        The operating point, one of `thresholds`. None: none is marked.
    confidence : float, default=0.95
        Share of studies in which an interval is to cover the true value.
    pos_label : int, float, bool or str, default=None
        The positive label. None: it is not named.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        What it was drawn on.
    lines_, bands_ : dict of str to Line2D, dict of str to PolyCollection
        Estimates and intervals, by the name of the figure.
    threshold_line_ : Line2D or None
        The operating point.
    markers_ : dict of str to Line2D
        Where it cuts each line. Empty without an operating point.

    See Also
    --------
    skpneumo.metrics.diagnostic_report : The figures at one threshold, and more of them.
    sklearn.metrics.RocCurveDisplay : Sensitivity against specificity, without the threshold.

    Notes
    -----
    Between two thresholds a figure is that of the higher one, hence the steps. Of more than 196 distinct probabilities
    that many are chosen: half of them evenly by their rank, and the nearest above places that lie evenly between 0 and
    1.

    Predictive values are those at the share of positives among these images. Intervals hold for each threshold by
    itself. A threshold that is chosen where this curve is best has to be judged on other patients.

    Examples
    --------
    >>> from skpneumo.inspection import ThresholdDisplay
    >>> display = ThresholdDisplay.from_predictions([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], threshold=0.5)
    >>> display.thresholds
    array([0. , 0.1, 0.4, 0.5, 0.6, 0.9, 1. ])
    >>> display.figures["sensitivity"][3].round(2)
    array([0.5 , 0.09, 0.91])
    """

    def __init__(
        self,
        thresholds: np.ndarray,
        figures: Mapping[str, np.ndarray],
        *,
        threshold: float | None = None,
        confidence: float = 0.95,
        pos_label: Any = None,
    ) -> None:
        self.thresholds = thresholds
        self.figures = figures
        self.threshold = threshold
        self.confidence = confidence
        self.pos_label = pos_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        threshold: float | None = None,
        groups: Any = None,
        confidence: float = 0.95,
        pos_label: Any = None,
        ax: Any = None,
    ) -> "ThresholdDisplay":
        """Judge a fitted classifier at all thresholds, on images or features that it was not fitted on, and draw it.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier with ``predict_proba``.
        X : list, tuple, Series, ndarray, matrix or DataFrame
            What the classifier takes: paths of images, or features.
        y : array-like of shape (n_samples,)
            Labels, two of them.
        threshold : float, default=None
            Operating point. None: that by which the classifier predicts, as in `DiagnosticReport.from_estimator`.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image. None: read from the names of files, as in `DiagnosticReport.from_estimator`.
        confidence : float, default=0.95
            Share of studies in which an interval is to cover the true value.
        pos_label : int, float, bool or str, default=None
            The positive label. None: 1, if labels are 0 and 1, or -1 and 1.
        ax : Axes, default=None
            What to draw on. None: a new figure.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Warns
        -----
        LeakageWarning
            A ``PneumoniaClassifier`` in the estimator saw some of these images, or of these patients, in its training.

        Raises
        ------
        ValueError
            As from `diagnostic_report`, or a threshold that is not one of the probability of `pos_label`.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skpneumo.inspection import ThresholdDisplay
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = GaussianNB().fit(X[::2], y[::2])
        >>> display = ThresholdDisplay.from_estimator(clf, X[1::2], y[1::2])
        >>> display.threshold, display.ax_.get_xlabel()
        (0.5, 'Threshold: lowest probability called positive (positive label: 1)')
        """
        label = _check_pos_label_consistency(pos_label, column_or_1d(y))
        groups = patients_of(X) if groups is None else groups
        display = cls._of_predictions(
            y,
            probabilities_of(estimator, X, label),
            threshold=threshold_of(estimator, label) if threshold is None else threshold,
            groups=groups,
            confidence=confidence,
            pos_label=label,
        )
        warn_of_seen(estimator, X, groups)
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        threshold: float | None = None,
        groups: Any = None,
        confidence: float = 0.95,
        pos_label: Any = None,
        ax: Any = None,
    ) -> "ThresholdDisplay":
        """Judge probabilities at all thresholds, and draw it.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels, two of them.
        y_proba : array-like of shape (n_samples,) or (n_samples, 2)
            Probability of the positive label, or of both in sorted order as ``predict_proba`` gives them.
        threshold : float, default=None
            Operating point, chosen on other patients. None: none is marked.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image; None: each image is of its own patient.
        confidence, pos_label, ax
            As in `from_estimator`.

        Returns
        -------
        ThresholdDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As from `diagnostic_report`.

        Examples
        --------
        >>> from skpneumo.inspection import ThresholdDisplay
        >>> display = ThresholdDisplay.from_predictions([0, 1, 1], [0.1, 0.6, 0.9], confidence=0.9)
        >>> display.ax_.get_ylabel()
        'Share of the images, with its 90 % interval'
        """
        display = cls._of_predictions(
            y_true, y_proba, threshold=threshold, groups=groups, confidence=confidence, pos_label=pos_label
        )
        return display.plot(ax=ax)

    @classmethod
    def _of_predictions(
        cls, y_true: Any, y_proba: Any, *, threshold: Any, groups: Any, confidence: Any, pos_label: Any
    ) -> "ThresholdDisplay":
        y, p, patients = check_study(y_true, y_proba, groups, pos_label)
        check_share("confidence", confidence)
        if threshold is not None:
            check_share("threshold", threshold, closed=True)
            threshold = float(threshold)
        thresholds = _grid(p, threshold)
        figures = [confusion_proportions(y, p >= each, patients, confidence) for each in thresholds.tolist()]
        return cls(
            thresholds,
            {name: np.array([each[name][:3] for each in figures]) for name in _LOOKS},
            threshold=threshold,
            confidence=float(confidence),
            pos_label=_check_pos_label_consistency(pos_label, column_or_1d(y_true)),
        )

    def plot(self, *, ax: Any = None) -> "ThresholdDisplay":
        """Draw it.

        Parameters
        ----------
        ax : Axes, default=None
            What to draw on. None: a new figure.

        Returns
        -------
        ThresholdDisplay
            This display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from skpneumo.inspection import ThresholdDisplay
        >>> display = ThresholdDisplay.from_predictions([0, 1, 1], [0.1, 0.6, 0.9], threshold=0.5)
        >>> sorted(display.plot().lines_)
        ['npv', 'ppv', 'sensitivity', 'specificity']
        """
        ax = one_axes(ax, caller=f"{type(self).__name__}.plot", size=(6.4, 4.8))
        self.lines_: dict[str, Any] = {}
        self.bands_: dict[str, Any] = {}
        self.markers_: dict[str, Any] = {}
        for name, (words, color, style, _) in _LOOKS.items():
            estimates, lower, upper = self.figures[name].T
            look = {"color": color, "linestyle": style, "drawstyle": "steps-pre", "linewidth": 1.8}
            (self.lines_[name],) = ax.plot(self.thresholds, estimates, label=words, **look)
            self.bands_[name] = ax.fill_between(
                self.thresholds, lower, upper, step="pre", color=color, alpha=0.15, linewidth=0
            )
        self.threshold_line_ = None if self.threshold is None else self._mark(ax, self.threshold)
        of_label = "" if self.pos_label is None else f" (positive label: {self.pos_label})"
        ax.set(
            xlabel=literal(f"Threshold: lowest probability called positive{of_label}"),
            ylabel=f"Share of the images, with its {100 * self.confidence:g} % interval",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        ax.legend(loc="lower center", fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mark(self, ax: Any, threshold: float) -> Any:
        """Mark the operating point."""
        line = ax.axvline(threshold, color="black", linewidth=1, label=f"operating point, {threshold:.3g}")
        row = int(np.searchsorted(self.thresholds, threshold))
        for name, (_, color, _, marker) in _LOOKS.items():
            point = [threshold], [self.figures[name][row, 0]]
            look = {"color": color, "marker": marker, "markeredgecolor": "black", "clip_on": False}
            (self.markers_[name],) = ax.plot(*point, linestyle="", **look)
        return line


def _grid(p: np.ndarray, threshold: float | None) -> np.ndarray:
    """Choose thresholds: 0, 1, the operating point, and probabilities, of which nothing but steps lies in between."""
    values = np.unique(p).astype(np.float64)
    if len(values) > 2 * _HALF:
        by_rank = np.linspace(0, len(values) - 1, _HALF).round().astype(int)
        by_place = np.searchsorted(values, np.linspace(0, values[-1], _HALF))
        values = values[np.union1d(by_rank, by_place)]
    return np.union1d(values, [0.0, 1.0] if threshold is None else [0.0, 1.0, threshold])
