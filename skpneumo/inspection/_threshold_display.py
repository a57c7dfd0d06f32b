"""Display of diagnostic metrics against the threshold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_pos_label_consistency, check_is_fitted, column_or_1d

from skpneumo._leakage import warn_of_seen
from skpneumo._utils.target_names import name_classes
from skpneumo._utils.validation import Constraints, validated
from skpneumo.inspection._plot_utils import (
    BLUE,
    DASH_DOTTED,
    DASHED,
    DOTTED,
    GREEN,
    PURPLE,
    SOLID,
    VERMILLION,
    escape_mathtext,
    one_axes,
)
from skpneumo.metrics._confusion import confusion_proportions
from skpneumo.metrics._estimators import check_asked, patients_of, positive_label, probabilities_of, threshold_of
from skpneumo.metrics._study import SHARE, THRESHOLD, check_study

_STYLES = {
    "sensitivity": ("True positive rate (sensitivity)", BLUE, SOLID, "o"),
    "specificity": ("True negative rate (specificity)", VERMILLION, DASHED, "s"),
    "ppv": ("Positive predictive value (PPV)", GREEN, DASH_DOTTED, "^"),
    "npv": ("Negative predictive value (NPV)", PURPLE, DOTTED, "v"),
}
_PARAMETERS: Constraints = {"threshold": [*THRESHOLD, None], "confidence": SHARE}
_HALF = 98  # thresholds chosen by rank, and by value; fewer than 200 with 0, 1 and the operating point


class ThresholdDisplay:
    """Sensitivity, specificity, PPV and NPV against the threshold, with confidence intervals.

    It is recommended to use `from_estimator` or `from_predictions` to create a `ThresholdDisplay`. The metrics are
    those of `diagnostic_report` at each threshold.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Lowest probabilities that are predicted positive, increasing from 0 to 1.
    figures : mapping of str to ndarray of shape (n_thresholds, 3)
        Estimate and limits of "sensitivity", "specificity", "ppv" and "npv" at each threshold; nan if undefined.
    threshold : float, default=None
        Operating point, one of `thresholds`. If None, no operating point is marked.
    confidence : float, default=0.95
        Confidence level of the intervals.
    pos_label : int, float, bool or str, default=None
        The label of the positive class, or its name. If None, it is not shown.

    Attributes
    ----------
    ax_ : Axes
        Axes with the curves.
    figure_ : Figure
        Figure that contains the axes.
    lines_ : dict of str to Line2D
        Estimates by metric.
    bands_ : dict of str to PolyCollection
        Intervals by metric.
    threshold_line_ : Line2D or None
        Vertical line at the operating point.
    markers_ : dict of str to Line2D
        Markers at the operating point by metric. Empty without an operating point.

    See Also
    --------
    skpneumo.metrics.diagnostic_report : Compute these and other metrics at one threshold.
    sklearn.metrics.RocCurveDisplay : ROC Curve visualization.

    Notes
    -----
    Curves are step functions: between two thresholds, metrics are those of the higher one. With more than 196 distinct
    probabilities, at most 196 thresholds are shown, half of them evenly spaced by rank and half by value.

    PPV and NPV hold at the prevalence in these images. Intervals are pointwise. Evaluate a threshold chosen from these
    curves on other patients.

    Examples
    --------
    >>> from skpneumo.inspection import ThresholdDisplay
    >>> display = ThresholdDisplay.from_predictions([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], threshold=0.5)
    >>> display.thresholds
    array([0. , 0.1, 0.4, 0.5, 0.6, 0.9, 1. ])
    >>> display.figures["sensitivity"][3].round(2)
    array([0.5 , 0.09, 0.91])
    """

    @validated(**_PARAMETERS)
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
    @validated(**_PARAMETERS)
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
        target_names: Any = None,
        ax: Any = None,
    ) -> "ThresholdDisplay":
        """Create a threshold display from a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier with ``predict_proba``.
        X : list, tuple, Series, ndarray, matrix or DataFrame
            Images or features that the classifier was not fitted on.
        y : array-like of shape (n_samples,)
            True binary labels.
        threshold : float, default=None
            Operating point. If None, use the threshold of the classifier as in `DiagnosticReport.from_estimator`.
        groups : array-like of shape (n_samples,) or str, default=None
            Patient of each image, or a pattern that finds it in the path. If None, read patients from file names as in
            `DiagnosticReport.from_estimator`.
        confidence : float, default=0.95
            Confidence level of the intervals.
        pos_label : int, float, bool or str, default=None
            The label of the positive class. If None and labels are in {0, 1} or {-1, 1}, it is 1; otherwise an error is
            raised.
        target_names : array-like of shape (2,), default=None
            Names of the classes, in the order of ``estimator.classes_``. If None, labels are shown.
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Warns
        -----
        LeakageWarning
            If a ``PneumoniaClassifier`` in the estimator was trained on some of these images or patients.

        Raises
        ------
        TypeError, ValueError
            As in `DiagnosticReport.from_estimator`.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skpneumo.inspection import ThresholdDisplay
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = GaussianNB().fit(X[::2], y[::2])
        >>> display = ThresholdDisplay.from_estimator(clf, X[1::2], y[1::2])
        >>> display.threshold, display.ax_.get_xlabel()
        (0.5, 'Threshold on the probability (positive label: 1)')
        """
        label = positive_label(estimator, y, pos_label)
        check_is_fitted(estimator)
        check_asked(estimator, label)
        names = name_classes(estimator.classes_, target_names)
        groups = patients_of(X, groups)
        display = cls._of_predictions(
            y,
            probabilities_of(estimator, X, label),
            threshold=threshold_of(estimator, label) if threshold is None else threshold,
            groups=groups,
            confidence=confidence,
            pos_label=label,
        )
        display.pos_label = names[label]
        warn_of_seen(estimator, X, groups)
        return display.plot(ax=ax)

    @classmethod
    @validated(**_PARAMETERS)
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: Any,
        *,
        threshold: float | None = None,
        groups: Any = None,
        confidence: float = 0.95,
        pos_label: Any = None,
        target_names: Any = None,
        ax: Any = None,
    ) -> "ThresholdDisplay":
        """Create a threshold display from predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True binary labels.
        y_proba : array-like of shape (n_samples,) or (n_samples, 2)
            Probability of the positive class, or of both classes in sorted order as returned by ``predict_proba``.
        threshold : float, default=None
            Operating point, chosen on other patients. If None, no operating point is marked.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image. If None, each image counts as a separate patient.
        confidence, pos_label, ax
            As in `from_estimator`.
        target_names : array-like of shape (2,), default=None
            Names of the classes, in sorted order of the labels. If None, labels are shown.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ValueError
            As in `diagnostic_report`.

        Examples
        --------
        >>> from skpneumo.inspection import ThresholdDisplay
        >>> display = ThresholdDisplay.from_predictions([0, 1, 1], [0.1, 0.6, 0.9], confidence=0.9)
        >>> display.ax_.get_ylabel()
        'Proportion, with 90% confidence interval'
        """
        display = cls._of_predictions(
            y_true, y_proba, threshold=threshold, groups=groups, confidence=confidence, pos_label=pos_label
        )
        display.pos_label = name_classes(np.unique(column_or_1d(y_true)), target_names)[display.pos_label]
        return display.plot(ax=ax)

    @classmethod
    def _of_predictions(
        cls, y_true: Any, y_proba: Any, *, threshold: Any, groups: Any, confidence: Any, pos_label: Any
    ) -> "ThresholdDisplay":
        y, p, patients = check_study(y_true, y_proba, groups, pos_label)
        threshold = None if threshold is None else float(threshold)
        thresholds = _grid(p, threshold)
        figures = [confusion_proportions(y, p >= each, patients, confidence) for each in thresholds.tolist()]
        return cls(
            thresholds,
            {name: np.array([each[name][:3] for each in figures]) for name in _STYLES},
            threshold=threshold,
            confidence=float(confidence),
            pos_label=_check_pos_label_consistency(pos_label, column_or_1d(y_true)),
        )

    def plot(self, *, ax: Any = None) -> "ThresholdDisplay":
        """Plot the curves.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

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
        for name, (label, color, style, _) in _STYLES.items():
            estimates, lower, upper = self.figures[name].T
            look = {"color": color, "linestyle": style, "drawstyle": "steps-pre", "linewidth": 1.8}
            (self.lines_[name],) = ax.plot(self.thresholds, estimates, label=label, **look)
            self.bands_[name] = ax.fill_between(
                self.thresholds, lower, upper, step="pre", color=color, alpha=0.15, linewidth=0
            )
        self.threshold_line_ = None if self.threshold is None else self._mark(ax, self.threshold)
        positive = "" if self.pos_label is None else f" (positive label: {self.pos_label})"
        ax.set(
            xlabel=escape_mathtext(f"Threshold on the probability{positive}"),
            ylabel=f"Proportion, with {100 * self.confidence:g}% confidence interval",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        ax.legend(loc="lower center", fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _mark(self, ax: Any, threshold: float) -> Any:
        """Mark the operating point."""
        line = ax.axvline(threshold, color="black", linewidth=1, label=f"Operating point: {threshold:.3g}")
        row = int(np.searchsorted(self.thresholds, threshold))
        for name, (_, color, _, marker) in _STYLES.items():
            point = [threshold], [self.figures[name][row, 0]]
            look = {"color": color, "marker": marker, "markeredgecolor": "black", "clip_on": False}
            (self.markers_[name],) = ax.plot(*point, linestyle="", **look)
        return line


def _grid(p: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return the thresholds: 0, 1, the operating point, and all or some of the probabilities."""
    values = np.unique(p).astype(np.float64)
    if len(values) > 2 * _HALF:
        by_rank = np.linspace(0, len(values) - 1, _HALF).round().astype(int)
        by_value = np.searchsorted(values, np.linspace(0, values[-1], _HALF))
        values = values[np.union1d(by_rank, by_value)]
    return np.union1d(values, [0.0, 1.0] if threshold is None else [0.0, 1.0, threshold])
