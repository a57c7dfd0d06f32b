"""Diagnostic accuracy metrics with confidence intervals."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skpneumo._leakage import warn_of_seen
from skpneumo._utils.validation import COUNT, RANDOM_STATE, Constraints, validated
from skpneumo.metrics._calibration import (
    expected_calibration_error,
    intercept_interval,
    log_odds,
    slope_interval,
)
from skpneumo.metrics._confusion import confusion_metrics
from skpneumo.metrics._estimators import patients_of, positive_label, probabilities_of, threshold_of
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._ranking import average_precision_interval, roc_auc_interval
from skpneumo.metrics._study import SHARE, THRESHOLD, Study, check_study

_PARTS = ("estimate", "lower", "upper")
WORDS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value (PPV)",
    "npv": "Negative predictive value (NPV)",
    "ppv_at_prevalence": "PPV at the stated prevalence",
    "npv_at_prevalence": "NPV at the stated prevalence",
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


_PARAMETERS: Constraints = {
    "prevalence": [*SHARE, None],
    "confidence": SHARE,
    "n_bootstrap": COUNT,
    "random_state": RANDOM_STATE,
}


@validated(threshold=THRESHOLD, **_PARAMETERS)
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
    """Compute diagnostic accuracy metrics with confidence intervals.

    An image is predicted positive if its probability is at least `threshold`, as in scikit-learn's
    ``TunedThresholdClassifierCV``. Metrics are computed per image. If patients have several images, intervals without
    `groups` are too narrow.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels.
    y_proba : array-like of shape (n_samples,) or (n_samples, 2)
        Probability of the positive class, or of both classes in sorted order as returned by ``predict_proba``.
    threshold : float
        Lowest probability that is predicted positive. Choose it on other patients.
    groups : array-like of shape (n_samples,), default=None
        Patient of each image. If None, each image counts as a separate patient. A patient may have images of both
        classes.
    prevalence : float, default=None
        Prevalence where the test will be used, between 0 and 1. PPV and NPV at this prevalence are added.
    confidence : float, default=0.95
        Confidence level of the intervals.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. If None and labels are in {0, 1} or {-1, 1}, it is 1; otherwise an error is
        raised.
    n_bootstrap : int, default=2000
        Number of bootstrap samples of patients for the interval of the expected calibration error. No other metric
        uses them.
    random_state : int, RandomState instance or None, default=0
        Controls the randomness of the bootstrap. Pass an int for reproducible output across multiple function calls.

    Returns
    -------
    report : DiagnosticReport
        Metrics, by name: "sensitivity", "specificity", "ppv", "npv", "positive_likelihood_ratio",
        "negative_likelihood_ratio", "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "brier_score",
        "calibration_slope", "calibration_intercept" and "expected_calibration_error"; with `prevalence` also
        "ppv_at_prevalence" and "npv_at_prevalence".

    Raises
    ------
    ValueError
        If labels, probabilities, patients or other parameters are invalid, such as labels of one class only.

    See Also
    --------
    DiagnosticReport.from_estimator : Compute the metrics of a fitted classifier.

    Notes
    -----
    Confidence intervals:

    - Sensitivity, specificity, PPV, NPV and accuracy: Wilson [1]_. Brier score: Wilson with the effective sample size
      implied by its variance. With `groups`, intervals use the variance between patients and quantiles of
      Student's t distribution, with fewer degrees of freedom if few patients dominate the variance. If this variance
      is 0, the images of a patient count as copies of each other.
    - Balanced accuracy: the intervals of sensitivity and specificity combined (MOVER).
    - Likelihood ratios: Wald on the log scale. If a cell of the confusion matrix is 0, 0.5 is added to each cell for
      the limits. PPV and NPV at a stated prevalence follow from the likelihood ratios by Bayes' theorem.
    - ROC AUC: DeLong [2]_ or, with `groups`, Obuchowski [3]_, on the logit scale; Newcombe [4]_ if the classes are
      perfectly separated.
    - Average precision: linearization (delta method) on the logit scale.
    - Calibration slope and intercept: robust (sandwich) variance by the jackknife over patients. The slope is the
      coefficient of a logistic regression of the label on the logit of the probability; the intercept is that of the
      same regression with the slope fixed at 1 [5]_. Probabilities of 0 and 1 are clipped to the precision of their
      dtype. If the classes are perfectly separated, the slope is infinite and has no interval.
    - Expected calibration error: conservative; the half-width is a quantile of the summed absolute errors of its 10
      bins in a bootstrap of patients. Coverage is too high if calibration is poor and slightly too low if it is
      perfect. Bins contain about equally many images, since most bins of equal width are nearly empty if
      probabilities are near 0 and 1. In small samples the estimate is biased upward: it is positive even if
      calibration is perfect.

    Undefined metrics are nan, such as PPV if no image is predicted positive.

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
    predicted = study.p >= float(threshold)
    return DiagnosticReport(
        figures=(
            *confusion_metrics(study.y, predicted, study.patients, prevalence, confidence).items(),
            *_probability_metrics(study, confidence, int(n_bootstrap), check_random_state(random_state)).items(),
        ),
        tp=int((study.y & predicted).sum()),
        fp=int((~study.y & predicted).sum()),
        tn=int((~study.y & ~predicted).sum()),
        fn=int((study.y & ~predicted).sum()),
        n_patients=study.patients.n,
        threshold=float(threshold),
        confidence=float(confidence),
        stated_prevalence=None if prevalence is None else float(prevalence),
        has_groups=groups is not None,
    )


def _probability_metrics(
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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True, repr=False)
class DiagnosticReport:
    """Diagnostic accuracy metrics on one set of images.

    It is recommended to use `diagnostic_report` or `DiagnosticReport.from_estimator` to create a `DiagnosticReport`.
    ``report["sensitivity"]`` returns a metric as a named tuple of ``estimate``, ``lower``, ``upper`` and ``method``.
    Iterating yields the names of the metrics; printing shows a table.

    Parameters
    ----------
    figures : tuple of (str, named tuple)
        Names and values of the metrics.
    tp, fp, tn, fn : int
        Number of true positives, false positives, true negatives and false negatives.
    n_patients : int
        Number of patients.
    threshold : float
        Lowest probability that is predicted positive.
    confidence : float
        Confidence level of the intervals.
    stated_prevalence : float or None
        Prevalence of "ppv_at_prevalence" and "npv_at_prevalence".
    has_groups : bool
        Whether patients were given; otherwise each image counts as a separate patient.

    See Also
    --------
    diagnostic_report : Compute the metrics from probabilities; describes their intervals.

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
    @validated(threshold=[*THRESHOLD, None], **_PARAMETERS)
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
        """Compute diagnostic accuracy metrics of a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier with ``predict_proba``.
        X : list, tuple, Series, ndarray, matrix or DataFrame
            Images or features that the classifier was not fitted on.
        y : array-like of shape (n_samples,)
            True binary labels.
        threshold : float, default=None
            Lowest probability that is predicted positive. If None, use the threshold of a
            ``TunedThresholdClassifierCV`` or ``FixedThresholdClassifier``, also within a pipeline or search; the
            threshold of a ``PneumoniaClassifier`` fitted with class weights or a sampler; 0.5 for other classifiers.
        groups : array-like of shape (n_samples,) or str, default=None
            Patient of each image, or a pattern that finds it in the path, as in
            :func:`~skpneumo.model_selection.patient_ids`. If None, read patients from file names or DICOM
            headers as ``PneumoniaClassifier.fit`` does; an image without a patient counts as a separate patient. If
            there are no patients, or `X` contains features, they are unknown.
        prevalence, confidence, pos_label, n_bootstrap, random_state
            As in `diagnostic_report`.

        Returns
        -------
        report : DiagnosticReport
            Metrics on `X`.

        Warns
        -----
        LeakageWarning
            If a ``PneumoniaClassifier`` in the estimator was trained on some of these images or patients.

        Raises
        ------
        TypeError
            If the estimator has no ``predict_proba``.
        ValueError
            As in `diagnostic_report`, or if the threshold of the estimator does not apply to the probability of
            `pos_label`.

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
        label = positive_label(estimator, y, pos_label)
        threshold = threshold_of(estimator, label) if threshold is None else threshold
        groups = patients_of(X, groups)
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
        """Proportion of positive images."""
        return (self.tp + self.fn) / self.n

    def __getitem__(self, name: str) -> Interval:
        figures = dict(self.figures)
        if name not in figures:
            raise KeyError(f"no metric {name!r}; expected one of {', '.join(figures)}")
        return figures[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict of plain Python values, ready for JSON.

        Returns
        -------
        report : dict
            Metrics under "figures", each a dict of "estimate", "lower", "upper" and "method", and counts and settings.
            Nan and infinity become None, since JSON has neither.

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
        """Return the metrics as a DataFrame.

        Returns
        -------
        frame : DataFrame
            One row per metric, with the columns ``estimate``, ``lower``, ``upper`` and ``method``.

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
                "to_frame requires pandas. Install it with 'pip install pandas', or use to_dict."
            ) from error
        return pd.DataFrame([figure for _, figure in self.figures], index=pd.Index(list(self), name="metric"))

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._table(), "", *self._foot()])

    __repr__ = __str__

    def _head(self) -> list[str]:
        patients = f" of {self.n_patients} patients" if self.has_groups else ""
        n_positive, n_negative, width = self.tp + self.fn, self.tn + self.fp, len(str(self.n))
        return [
            f"{self.n} images{patients}, {self.prevalence:.1%} positive",
            f"Predicted positive if the probability is at least {self.threshold:g}:",
            f"  {n_positive:{width}} positive: {self.tp:{width}} true positives, {self.fn:{width}} false negatives",
            f"  {n_negative:{width}} negative: {self.tn:{width}} true negatives, {self.fp:{width}} false positives",
        ]

    def _table(self) -> list[str]:
        rows = [("", "estimate", f"{100 * self.confidence:g}% CI", "method")]
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
            lines.append(f"Stated prevalence: {self.stated_prevalence:g}.")
        if not self.has_groups:
            lines.append("Each image counts as a separate patient; intervals are too narrow if a patient has several.")
        elif self.n_patients < self.n:
            lines.append('Method with "patients": the interval accounts for several images per patient.')
        return [*lines, "These metrics hold for these images only; evaluate the model separately at every other site."]


def _written(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 100 or np.isinf(value) else f"{value:.1f}"
