"""Tables and numbers of the report."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_curve

from skpneumo.metrics import sensitivity_at_specificity
from skpneumo.metrics._calibration import bins_of
from skpneumo.metrics._confusion import confusion_proportions
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._study import Study, check_study
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._model_facts import METRIC_NAMES

_MEANINGS = {
    "sensitivity": "proportion of positive images that are predicted positive, at the threshold",
    "specificity": "proportion of negative images that are predicted negative, at the threshold",
    "ppv": "proportion of images predicted positive that are positive, at the prevalence in the test data",
    "npv": "proportion of images predicted negative that are negative, at the prevalence in the test data",
    "ppv_at_prevalence": "by Bayes' theorem",
    "npv_at_prevalence": "by Bayes' theorem",
    "positive_likelihood_ratio": "sensitivity / (1 \N{MINUS SIGN} specificity)",
    "negative_likelihood_ratio": "(1 \N{MINUS SIGN} sensitivity) / specificity",
    "accuracy": "proportion of correct predictions",
    "balanced_accuracy": "mean of sensitivity and specificity",
    "roc_auc": "probability that a positive image has a higher predicted probability than a negative image",
    "average_precision": "mean PPV over all thresholds, weighted by the increase in sensitivity",
    "brier_score": "mean squared difference of predicted probability and outcome; 0 is best",
    "calibration_slope": "1 is ideal; below 1, probabilities are too extreme",
    "calibration_intercept": "0 is ideal; below 0, probabilities are too high",
    "expected_calibration_error": "mean difference of predicted probability and observed frequency; 0 is best",
}
_SPECIFICITIES = (0.8, 0.9, 0.95, 0.99)
_SENSITIVITIES = (0.8, 0.9, 0.95, 0.99)
_RATES = (0.01, 0.05, 0.1, 0.2)
_THRESHOLDS = tuple(round(0.1 * number, 1) for number in range(1, 10))
_N_BARS = 10
THRESHOLD_METRICS = ("sensitivity", "specificity", "ppv", "npv")


class Number(NamedTuple):
    """A number, its formatted text, and its name, which is unique in the report."""

    name: str
    value: float
    text: str


class Metric(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: Number
    lower: Number | None
    upper: Number | None
    method: str


class Table(NamedTuple):
    """Rows of texts, numbers and metrics; the first cell of a row is its header."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class MetricRow(NamedTuple):
    """A metric with its name and meaning."""

    name: str
    meaning: str
    metric: Metric


def count(name: str, value: int) -> Number:
    """Format a count."""
    return Number(name, int(value), f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"))


def decimal(name: str, value: float, digits: int = 3) -> Number:
    """Format a number with decimals, or in words if it is not finite."""
    value = float(value)
    if np.isnan(value):
        return Number(name, value, "not defined")
    if np.isinf(value):
        return Number(name, value, "infinite" if value > 0 else "minus infinite")
    return Number(name, value, f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}")


def threshold_number(name: str, value: float) -> Number:
    """Format a threshold with enough digits to tell it from 0 and 1."""
    digits = next(digits for digits in range(4, 18) if value == 1 or f"{value:.{digits}g}" != "1")
    return Number(name, float(value), f"{value:.{digits}g}")


def metric(name: str, interval: Interval) -> Metric:
    """Format an estimate and the limits of its interval, if any."""
    has_limits = not np.isnan(interval.lower)
    lower, upper = (
        decimal(f"{name}.{end}", getattr(interval, end)) if has_limits else None for end in ("lower", "upper")
    )
    return Metric(decimal(name, interval.estimate), lower, upper, interval.method)


def study_of(evaluation: Evaluation) -> Study:
    """Return the labels, probabilities and encoded patients."""
    return check_study(evaluation.y, evaluation.proba, evaluation.patients, True)


def metric_rows(evaluation: Evaluation) -> list[MetricRow]:
    """Return all metrics."""
    return [
        MetricRow(METRIC_NAMES[name], _MEANINGS[name], metric(name, interval))
        for name, interval in evaluation.performance.figures
    ]


def roc_table(evaluation: Evaluation) -> Table:
    """Return the highest sensitivity at given specificities."""
    rows = []
    for specificity in _SPECIFICITIES:
        best = sensitivity_at_specificity(evaluation.y, evaluation.proba, specificity=specificity)
        rows.append((f"{specificity:g}", decimal(f"roc.sensitivity_at_specificity_{specificity:g}", best)))
    return Table("Highest sensitivity at a given specificity", ("Specificity at least", "Sensitivity"), rows)


def precision_recall_table(precision: np.ndarray, recall: np.ndarray) -> Table:
    """Return the highest PPV at given sensitivities."""
    rows = [
        (f"{least:g}", decimal(f"precision_recall.precision_at_recall_{least:g}", precision[recall >= least].max()))
        for least in _SENSITIVITIES
    ]
    return Table("Highest PPV at a given sensitivity", ("Sensitivity at least", "PPV"), rows)


def det_table(evaluation: Evaluation) -> Table:
    """Return the lowest false negative rate at given false positive rates."""
    fpr, tpr, _ = roc_curve(evaluation.y, evaluation.proba)
    rows = [
        (f"{most:g}", decimal(f"det.missed_at_false_alarms_{most:g}", 1 - tpr[fpr <= most].max())) for most in _RATES
    ]
    return Table(
        "Lowest false negative rate at a given false positive rate",
        ("False positive rate at most", "False negative rate"),
        rows,
    )


def calibration_bins(evaluation: Evaluation) -> list[tuple[float, Interval, int]]:
    """Return mean predicted probability, observed frequency and count of bins with about equally many images."""
    study = study_of(evaluation)
    bins = bins_of(study.p)
    chosen = [bins == number for number in np.unique(bins)]
    confidence = evaluation.performance.confidence
    return [
        (
            float(study.p[rows].mean()),
            mean_interval(study.y[rows].astype(float), study.patients.among(rows), confidence),
            int(rows.sum()),
        )
        for rows in chosen
    ]


def calibration_table(bins: Sequence[tuple[float, Interval, int]]) -> Table:
    """Return the bins as a table."""
    rows = [
        (
            decimal(f"calibration.{number}.probability", probability),
            metric(f"calibration.{number}.ill", frequency),
            count(f"calibration.{number}.n", n),
        )
        for number, (probability, frequency, n) in enumerate(bins)
    ]
    return Table("Calibration by bin", ("Mean predicted probability", "Observed frequency", "Images"), rows)


def histogram(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return edges of bins of equal width, and counts of positive and of negative images."""
    edges = np.linspace(0, 1, _N_BARS + 1)
    positive, negative = (np.histogram(evaluation.proba[rows], edges)[0] for rows in (evaluation.y, ~evaluation.y))
    return edges, positive, negative


def histogram_table(edges: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> Table:
    """Return the bins as a table."""
    rows = [
        (
            f"{edges[number]:.1f} to {edges[number + 1]:.1f}",
            count(f"histogram.{number}.ill", positive[number]),
            count(f"histogram.{number}.others", negative[number]),
        )
        for number in range(len(positive))
    ]
    return Table("Images by predicted probability", ("Predicted probability", "Positive", "Negative"), rows)


def threshold_table(evaluation: Evaluation) -> Table:
    """Return sensitivity, specificity and predictive values at several thresholds."""
    performance = evaluation.performance
    in_use = threshold_number("", performance.threshold).text
    chosen = sorted(
        [performance.threshold, *(each for each in _THRESHOLDS if threshold_number("", each).text != in_use)]
    )
    y, p, patients = study_of(evaluation)
    rows: list[list[Any]] = []
    for threshold in chosen:
        metrics = confusion_proportions(y, p >= threshold, patients, performance.confidence)
        mark = " (operating point)" if threshold == performance.threshold else ""
        rows.append(
            [
                f"{threshold_number('', threshold).text}{mark}",
                *(metric(f"threshold.{threshold!r}.{name}", metrics[name]) for name in THRESHOLD_METRICS),
            ]
        )
    return Table("Metrics by threshold", ("Threshold", "Sensitivity", "Specificity", "PPV", "NPV"), rows)


def confusion_table(evaluation: Evaluation) -> Table:
    """Return the confusion matrix."""
    performance = evaluation.performance
    negative, positive = evaluation.target_names
    names = ((f"{positive} (positive)", "tp", "fn"), (f"{negative} (negative)", "fp", "tn"))
    rows = [
        (label, *(count(f"confusion.{name}", getattr(performance, name)) for name in columns))
        for label, *columns in names
    ]
    return Table("Confusion matrix", ("Label", "Predicted positive", "Predicted negative"), rows)


def epoch_table(curves: Mapping[str, Sequence[float]], first_held_out: int) -> Table:
    """Return the first, best and last value of each curve; those of held-out images may start at epoch 0."""
    rows = []
    for name, values in curves.items():
        is_loss, is_held_out = name.startswith("Loss"), name.endswith("held out")
        best = int(np.argmin(values) if is_loss else np.argmax(values))
        key = f"training.{name.lower().replace(', ', '.').replace(' ', '_')}"
        rows.append(
            (
                name,
                decimal(f"{key}.first", values[0]),
                decimal(f"{key}.best", values[best]),
                count(f"{key}.best_epoch", best + (first_held_out if is_held_out else 1)),
                decimal(f"{key}.last", values[-1]),
            )
        )
    return Table("Training by epoch", ("", "First", "Best", "Best epoch", "Last"), rows)
