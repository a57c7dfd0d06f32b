"""Numbers of a report in the order in which a page shows them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_curve

from skpneumo.metrics import sensitivity_at_specificity
from skpneumo.metrics._calibration import bins_of
from skpneumo.metrics._confusion import confusion_proportions
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._report import WORDS
from skpneumo.metrics._study import Study, check_study
from skpneumo.reporting._evaluation import Evaluation

_MEANINGS = {
    "sensitivity": "of the ill, the share that is called ill",
    "specificity": "of the others, the share that is not called ill",
    "ppv": "of those called ill, the share that is ill, where as many are ill as among these images",
    "npv": "of those not called ill, the share that is not, where as many are ill as among these images",
    "ppv_at_prevalence": "the same at the prevalence that was stated",
    "npv_at_prevalence": "the same at the prevalence that was stated",
    "positive_likelihood_ratio": "by what the odds of illness rise where an image is called ill",
    "negative_likelihood_ratio": "by what the odds of illness fall where it is not",
    "accuracy": "of all images, the share that is called rightly",
    "balanced_accuracy": "the mean of sensitivity and specificity",
    "roc_auc": "how often one of the ill has a higher probability than one of the others",
    "average_precision": "the mean share of the ill among those called ill, over all thresholds",
    "brier_score": "the mean squared distance of probability and truth; 0 is best",
    "calibration_slope": "1 is best; below 1, probabilities are too extreme",
    "calibration_intercept": "0 is best; below 0, probabilities are too high",
    "expected_calibration_error": "the mean distance of probability and frequency; 0 is best",
}
_SPECIFICITIES = (0.8, 0.9, 0.95, 0.99)
_RECALLS = (0.8, 0.9, 0.95, 0.99)
_RATES = (0.01, 0.05, 0.1, 0.2)
_THRESHOLDS = tuple(round(0.1 * number, 1) for number in range(1, 10))
_BARS = 10
CALLS = ("sensitivity", "specificity", "ppv", "npv")


class Number(NamedTuple):
    """A number, as it is and as it is written, under a name that no other number of the page has."""

    name: str
    value: float
    written: str


class Figure(NamedTuple):
    """A number with its interval."""

    estimate: Number
    lower: Number | None
    upper: Number | None
    method: str


class Table(NamedTuple):
    """Rows of words, numbers and figures; the first cell of each names it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class FigureRow(NamedTuple):
    """A figure with its words."""

    words: str
    meaning: str
    figure: Figure


def count(name: str, value: int) -> Number:
    """Return a whole number."""
    return Number(name, int(value), f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}"))


def decimal(name: str, value: float, digits: int = 3) -> Number:
    """Return a number with decimals; written as one word where it is none."""
    value = float(value)
    if np.isnan(value):
        return Number(name, value, "not defined")
    if np.isinf(value):
        return Number(name, value, "infinite" if value > 0 else "minus infinite")
    return Number(name, value, f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.1f}")


def cut(name: str, value: float) -> Number:
    """Return a threshold: one near 0 or 1 would be written as 0 or 1 with decimals alone."""
    digits = next(digits for digits in range(4, 18) if value == 1 or f"{value:.{digits}g}" != "1")
    return Number(name, float(value), f"{value:.{digits}g}")


def figure(name: str, interval: Interval) -> Figure:
    """Return an estimate with its limits, where it has some."""
    has_limits = not np.isnan(interval.lower)
    lower, upper = (
        decimal(f"{name}.{end}", getattr(interval, end)) if has_limits else None for end in ("lower", "upper")
    )
    return Figure(decimal(name, interval.estimate), lower, upper, interval.method)


def study_of(evaluation: Evaluation) -> Study:
    """Return what was judged, with patients by number."""
    return check_study(evaluation.y, evaluation.proba, evaluation.patients, True)


def figure_rows(evaluation: Evaluation) -> list[FigureRow]:
    """Return all figures of the performance."""
    return [
        FigureRow(WORDS[name], _MEANINGS[name], figure(name, interval))
        for name, interval in evaluation.performance.figures
    ]


def roc_table(evaluation: Evaluation) -> Table:
    """Return the best sensitivity at some specificities."""
    rows = []
    for specificity in _SPECIFICITIES:
        best = sensitivity_at_specificity(evaluation.y, evaluation.proba, specificity=specificity)
        rows.append((f"{specificity:g}", decimal(f"roc.sensitivity_at_specificity_{specificity:g}", best)))
    return Table(
        "Best sensitivity at a specificity", ("Specificity at least", "Sensitivity, best threshold for it"), rows
    )


def precision_recall_table(precision: np.ndarray, recall: np.ndarray) -> Table:
    """Return the best precision at some recalls."""
    rows = [
        (f"{least:g}", decimal(f"precision_recall.precision_at_recall_{least:g}", precision[recall >= least].max()))
        for least in _RECALLS
    ]
    return Table("Best PPV at a sensitivity", ("Sensitivity at least", "PPV, best threshold for it"), rows)


def det_table(evaluation: Evaluation) -> Table:
    """Return the fewest missed at some rates of false alarms."""
    fpr, tpr, _ = roc_curve(evaluation.y, evaluation.proba)
    rows = [
        (f"{most:g}", decimal(f"det.missed_at_false_alarms_{most:g}", 1 - tpr[fpr <= most].max())) for most in _RATES
    ]
    return Table("Fewest missed at a rate of false alarms", ("False alarms at most", "Missed, best threshold"), rows)


def calibration_bins(evaluation: Evaluation) -> list[tuple[float, Interval, int]]:
    """Return mean probability, share of the ill and number of images in bins of about equally many images."""
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
    """Return the bins."""
    rows = [
        (
            decimal(f"calibration.{number}.probability", probability),
            figure(f"calibration.{number}.ill", ill),
            count(f"calibration.{number}.n", n),
        )
        for number, (probability, ill, n) in enumerate(bins)
    ]
    return Table("Calibration in bins", ("Mean probability", "Share of the ill", "Images"), rows)


def histogram(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return edges of bins of equal width, and how many of the ill and of the others are in each."""
    edges = np.linspace(0, 1, _BARS + 1)
    ill, others = (np.histogram(evaluation.proba[rows], edges)[0] for rows in (evaluation.y, ~evaluation.y))
    return edges, ill, others


def histogram_table(edges: np.ndarray, ill: np.ndarray, others: np.ndarray) -> Table:
    """Return the bins."""
    rows = [
        (
            f"{edges[number]:.1f} to {edges[number + 1]:.1f}",
            count(f"histogram.{number}.ill", ill[number]),
            count(f"histogram.{number}.others", others[number]),
        )
        for number in range(len(ill))
    ]
    return Table("Images by probability", ("Probability", "Ill", "Others"), rows)


def threshold_table(evaluation: Evaluation) -> Table:
    """Return what calls would be worth at other thresholds."""
    performance = evaluation.performance
    in_use = cut("", performance.threshold).written
    chosen = sorted([performance.threshold, *(each for each in _THRESHOLDS if cut("", each).written != in_use)])
    y, p, patients = study_of(evaluation)
    rows: list[list[Any]] = []
    for threshold in chosen:
        there = confusion_proportions(y, p >= threshold, patients, performance.confidence)
        mark = " (in use)" if threshold == performance.threshold else ""
        rows.append(
            [
                f"{cut('', threshold).written}{mark}",
                *(figure(f"threshold.{threshold!r}.{name}", there[name]) for name in CALLS),
            ]
        )
    return Table("Other thresholds", ("Threshold", "Sensitivity", "Specificity", "PPV", "NPV"), rows)


def confusion_table(evaluation: Evaluation) -> Table:
    """Return the counts of calls."""
    performance = evaluation.performance
    names = (("Ill", "tp", "fn"), ("Others", "fp", "tn"))
    rows = [
        (word, *(count(f"confusion.{name}", getattr(performance, name)) for name in columns))
        for word, *columns in names
    ]
    return Table("Images by label and call", ("", "Called ill", "Not called ill"), rows)


def epoch_table(curves: Mapping[str, Sequence[float]], first_held_out: int) -> Table:
    """Return the first, the best and the last value of each curve; of held-out patients there may be an epoch 0."""
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
    return Table("Epochs", ("", "First", "Best", "In epoch", "Last"), rows)
