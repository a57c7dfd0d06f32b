"""What a diagnostic test is judged by, each figure with its interval."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo._leakage import warn_of_seen
from skpneumo.metrics._calibration import (
    expected_calibration_error,
    intercept_interval,
    log_odds,
    slope_interval,
)
from skpneumo.metrics._confusion import confusion_metrics
from skpneumo.metrics._estimators import patients_of, probabilities_of, threshold_of
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._ranking import average_precision_interval, roc_auc_interval
from skpneumo.metrics._study import Study, check_share, check_study

_PARTS = ("estimate", "lower", "upper")
WORDS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "ppv_at_prevalence": "PPV at that prevalence",
    "npv_at_prevalence": "NPV at that prevalence",
    "positive_likelihood_ratio": "Positive likelihood ratio",
    "negative_likelihood_ratio": "Negative likelihood ratio",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "Area under the ROC curve",
    "average_precision": "Average precision",
    "brier_score": "Brier score",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "expected_calibration_error": "Expected calibration error",
}


def diagnostic_report(
    y_true: Any,
    y_proba: Any,
    *,
    threshold: float,
    groups: Any = None,
    prevalence: float | None = None,
    confidence: float = 0.95,
    pos_label: Any = None,
    n_bootstrap: int = 2000,
    random_state: Any = 0,
) -> "DiagnosticReport":
    """Judge probabilities as a diagnostic test is judged, each figure with an interval.

    Images are called positive where their probability is at least `threshold`, as scikit-learn's
    ``TunedThresholdClassifierCV`` calls them. Figures are of single images. Several images of a patient tell less than
    as many patients would, so intervals without `groups` are too narrow for them.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels, two of them.
    y_proba : array-like of shape (n_samples,) or (n_samples, 2)
        Probability of the positive label, or of both in sorted order as ``predict_proba`` gives them.
    threshold : float
        Lowest probability that is called positive, chosen on other patients.
    groups : array-like of shape (n_samples,), default=None
        Patient of each image; None: each image is of its own patient. Both labels may occur in one patient.
    prevalence : float, default=None
        Share of positives where the test is to be used, between 0 and 1. Predictive values are added for it.
    confidence : float, default=0.95
        Share of studies in which an interval is to cover the true value.
    pos_label : int, float, bool or str, default=None
        The positive label. None: 1, if labels are 0 and 1, or -1 and 1.
    n_bootstrap : int, default=2000
        Draws of patients for the interval of the expected calibration error; no other figure needs them.
    random_state : int, RandomState instance or None, default=0
        Makes these draws.

    Returns
    -------
    DiagnosticReport
        Figures, by name: "sensitivity", "specificity", "ppv", "npv", "positive_likelihood_ratio",
        "negative_likelihood_ratio", "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "brier_score",
        "calibration_slope", "calibration_intercept" and "expected_calibration_error"; with `prevalence` also
        "ppv_at_prevalence" and "npv_at_prevalence".

    Raises
    ------
    ValueError
        Labels, probabilities, patients or numbers that cannot be judged, such as labels of one class only. All
        offending items are named.

    See Also
    --------
    DiagnosticReport.from_estimator : The same from a fitted classifier.

    Notes
    -----
    Intervals are

    - Wilson's [1]_ for sensitivity, specificity, predictive values and accuracy; for the Brier score too, on as many
      images as its variance is worth. With `groups` the variance is that between patients, and Student's quantile
      takes the place of the normal one, with fewer degrees of freedom where few patients make up the variance (so for
      other figures, too). Where all images of a figure agree there is no variance; those of a patient
      count as copies of each other then;
    - the combined distances of the limits of sensitivity and specificity, for balanced accuracy;
    - those of the log for likelihood ratios; where a cell of the table is 0, 0.5 is added to each for the limits.
      Predictive values at a stated prevalence follow from these by Bayes;
    - DeLong's [2]_ for the ROC AUC, with `groups` Obuchowski's [3]_, on the logit scale; Newcombe's [4]_ where the
      classes are perfectly separated;
    - linearised on the logit scale for average precision;
    - those of the robust ("sandwich") variance, by leaving out each patient, for the calibration slope, which is the
      coefficient of a logistic regression of the label on the logit of the probability, and the intercept, which is
      that of the same regression with the slope held at 1 [5]_. For the logit, probabilities of 0 and 1 are moved
      inside by the precision of their dtype. Where the classes are perfectly separated the slope is infinite and has
      no interval;
    - cautious ones for the expected calibration error: as far to either side as the errors of its 10 bins add up to in
      a bootstrap of patients. They cover too often where calibration is bad, and a little too seldom where it is
      perfect. Bins hold about equally many images, since bins of equal width are nearly empty but for the
      outermost where probabilities are near 0 and 1. In small samples the estimate lies above the truth: it is
      positive even where calibration is perfect.

    A figure that is not defined is nan, such as the positive predictive value where nothing is called positive.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
       American Statistical Association 22, 1927, doi 10.1080/01621459.1927.10502953.
    .. [2] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the areas under two or more correlated
       receiver operating characteristic curves", Biometrics 44, 1988, doi 10.2307/2531595.
    .. [3] N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997,
       doi 10.2307/2533958.
    .. [4] R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part
       2", Statistics in Medicine 25, 2006, doi 10.1002/sim.2324.
    .. [5] B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019,
       doi 10.1186/s12916-019-1466-7.

    Examples
    --------
    >>> from skpneumo.metrics import diagnostic_report
    >>> report = diagnostic_report([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.7, 0.4, 0.8, 0.9], threshold=0.5)
    >>> print("{:.2f} ({:.2f} to {:.2f}), {}".format(*report["sensitivity"]))
    0.67 (0.21 to 0.94), Wilson
    >>> report.tp, report.fp, report.tn, report.fn
    (2, 1, 2, 1)
    """
    study = check_study(y_true, y_proba, groups, pos_label)
    check_share("threshold", threshold, closed=True)
    check_share("confidence", confidence)
    if prevalence is not None:
        check_share("prevalence", prevalence)
    if not _is_count(n_bootstrap):
        raise ValueError(f"n_bootstrap must be a whole number of at least 1; got {n_bootstrap!r}.")
    called = study.p >= float(threshold)
    return DiagnosticReport(
        figures=(
            *confusion_metrics(study.y, called, study.patients, prevalence, confidence).items(),
            *_figures_of_probabilities(study, confidence, int(n_bootstrap), check_random_state(random_state)).items(),
        ),
        tp=int((study.y & called).sum()),
        fp=int((~study.y & called).sum()),
        tn=int((~study.y & ~called).sum()),
        fn=int((study.y & ~called).sum()),
        n_patients=study.patients.n,
        threshold=float(threshold),
        confidence=float(confidence),
        stated_prevalence=None if prevalence is None else float(prevalence),
        has_groups=groups is not None,
    )


def _figures_of_probabilities(
    study: Study, confidence: float, n_bootstrap: int, random_state: np.random.RandomState
) -> dict[str, Interval]:
    y, p, patients = study
    logits, p = log_odds(p), p.astype(np.float64)
    return {
        "roc_auc": roc_auc_interval(y, p, patients, confidence),
        "average_precision": average_precision_interval(y, p, patients, confidence),
        "brier_score": mean_interval((p - y) ** 2, patients, confidence),
        "calibration_slope": slope_interval(y, logits, patients, confidence),
        "calibration_intercept": intercept_interval(y, logits, patients, confidence),
        "expected_calibration_error": expected_calibration_error(y, p, patients, confidence, n_bootstrap, random_state),
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and value is not True and int(value) >= 1


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True, repr=False)
class DiagnosticReport:
    """The figures of a diagnostic test on one set of images; `diagnostic_report` makes it.

    A figure is read by its name, ``report["sensitivity"]``: a named tuple of ``estimate``, ``lower``, ``upper`` and
    ``method``. Iterating gives the names. Printed, the report is a table.

    Parameters
    ----------
    figures : tuple of (str, named tuple)
        Names and figures.
    tp, fp, tn, fn : int
        Images that are rightly and wrongly called positive, rightly and wrongly called negative.
    n_patients : int
        Number of patients.
    threshold : float
        Lowest probability that is called positive.
    confidence : float
        Share of studies in which an interval is to cover the true value.
    stated_prevalence : float or None
        Prevalence that "ppv_at_prevalence" and "npv_at_prevalence" are for.
    has_groups : bool
        Whether patients were told; otherwise each image counts as a patient.

    See Also
    --------
    diagnostic_report : How each figure and its interval is made.

    Examples
    --------
    >>> from skpneumo.metrics import diagnostic_report
    >>> report = diagnostic_report([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], threshold=0.5)
    >>> report["roc_auc"].estimate, report.n, report.prevalence
    (0.75, 4, 0.5)
    """

    figures: tuple[tuple[str, Interval], ...]
    tp: int
    fp: int
    tn: int
    fn: int
    n_patients: int
    threshold: float
    confidence: float
    stated_prevalence: float | None
    has_groups: bool

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        threshold: float | None = None,
        groups: Any = None,
        prevalence: float | None = None,
        confidence: float = 0.95,
        pos_label: Any = None,
        n_bootstrap: int = 2000,
        random_state: Any = 0,
    ) -> "DiagnosticReport":
        """Judge a fitted classifier on images, or features, that it was not fitted on.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier with ``predict_proba``.
        X : list, tuple, Series, ndarray, matrix or DataFrame
            What the classifier takes: paths of images, or features.
        y : array-like of shape (n_samples,)
            Labels.
        threshold : float, default=None
            Lowest probability that is called positive. None: the threshold of a ``TunedThresholdClassifierCV`` or
            ``FixedThresholdClassifier``, also within a pipeline or search; that by which a ``PneumoniaClassifier``
            with class weights or a sampler predicts; 0.5 of other classifiers.
        groups : array-like of shape (n_samples,), default=None
            Patient of each image. None: read from the names of files as in ``PneumoniaClassifier.fit``, where a file
            whose name does not tell is of its own patient. Where no name tells, or `X` holds features, as if no patient
            were known.
        prevalence, confidence, pos_label, n_bootstrap, random_state
            As in `diagnostic_report`.

        Returns
        -------
        DiagnosticReport
            Figures on `X`.

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
        >>> from skpneumo.metrics import DiagnosticReport
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> clf = GaussianNB().fit(X[::2], y[::2])
        >>> report = DiagnosticReport.from_estimator(clf, X[1::2], y[1::2])
        >>> report.n, round(report["specificity"].estimate, 2)
        (284, 0.86)
        """
        label = _check_pos_label_consistency(pos_label, column_or_1d(y))
        threshold = threshold_of(estimator, label) if threshold is None else threshold
        groups = patients_of(X) if groups is None else groups
        report = diagnostic_report(
            y,
            probabilities_of(estimator, X, label),
            threshold=threshold,
            groups=groups,
            prevalence=prevalence,
            confidence=confidence,
            pos_label=label,
            n_bootstrap=n_bootstrap,
            random_state=random_state,
        )
        warn_of_seen(estimator, X, groups)
        return report

    @property
    def n(self) -> int:
        """Number of images."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def prevalence(self) -> float:
        """Share of the images that are positive."""
        return (self.tp + self.fn) / self.n

    def __getitem__(self, name: str) -> Interval:
        figures = dict(self.figures)
        if name not in figures:
            raise KeyError(f"no figure {name!r}; there are {', '.join(figures)}")
        return figures[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return all that the report holds in plain Python, ready for JSON.

        Returns
        -------
        dict
            Figures under "figures", each a dict of "estimate", "lower", "upper" and "method"; beside it counts and
            settings. What is not defined or has no bound is None, since JSON has no nan and no infinity.

        Examples
        --------
        >>> from skpneumo.metrics import diagnostic_report
        >>> diagnostic_report([0, 1], [0.1, 0.9], threshold=0.5).to_dict()["tp"]
        1
        """
        names = ("tp", "fp", "tn", "fn", "n", "n_patients", "prevalence", "threshold", "confidence")
        figures = {
            name: {**{part: _finite(getattr(figure, part)) for part in _PARTS}, "method": figure.method}
            for name, figure in self.figures
        }
        values = {name: getattr(self, name) for name in (*names, "stated_prevalence", "has_groups")}
        return {"figures": figures, **values}

    def to_frame(self) -> Any:
        """Return the figures as a table.

        Returns
        -------
        DataFrame
            One row a figure, with the columns ``estimate``, ``lower``, ``upper`` and ``method``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> from skpneumo.metrics import diagnostic_report
        >>> diagnostic_report([0, 1], [0.1, 0.9], threshold=0.5).to_frame().loc["sensitivity", "estimate"].item()
        1.0
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas: install it with 'pip install pandas', or call to_dict instead."
            ) from error
        return pd.DataFrame([figure for _, figure in self.figures], index=pd.Index(list(self), name="metric"))

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._table(), "", *self._foot()])

    __repr__ = __str__

    def _head(self) -> list[str]:
        patients = f" of {self.n_patients} patients" if self.has_groups else ""
        width = len(str(self.n))
        return [
            f"{self.n} images{patients}, {self.prevalence:.1%} positive",
            f"Called positive where the probability is at least {self.threshold:g}:",
            f"  of {self.tp + self.fn:{width}} positive, {self.tp:{width}} called positive, {self.fn:{width}} missed",
            f"  of {self.tn + self.fp:{width}} negative, {self.tn:{width}} called negative, {self.fp:{width}} false "
            "alarms",
        ]

    def _table(self) -> list[str]:
        rows = [("", "estimate", f"{100 * self.confidence:g} % interval", "made by")]
        for name, (estimate, lower, upper, method) in self.figures:
            limits = "-" if np.isnan(lower) else f"{_written(lower)} to {_written(upper)}"
            rows.append((WORDS[name], _written(estimate), limits, method))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            f"{name:{widths[0]}}  {estimate:>{widths[1]}}  {limits:>{widths[2]}}  {method}"
            for name, estimate, limits, method in rows
        ]

    def _foot(self) -> list[str]:
        lines = []
        if self.stated_prevalence is not None:
            lines.append(f"That prevalence: {self.stated_prevalence:g}, stated by the user.")
        if not self.has_groups:
            lines.append("Each image counts as a patient; several of one patient make these intervals too narrow.")
        elif self.n_patients < self.n:
            lines.append("Patients: the interval allows for several images of a patient.")
        return [*lines, "These figures are of these images alone; another site has to be measured itself."]


def _written(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 100 or np.isinf(value) else f"{value:.1f}"
