"""Metrics of the confusion matrix at a threshold, and the most confident errors."""

from collections.abc import Sequence

import numpy as np

from skpneumo.metrics._interval import Interval, Patients, mean_interval, undefined

_NO_VARIANCE = 1e-12


def confusion_proportions(
    y: np.ndarray, predicted: np.ndarray, patients: Patients, confidence: float
) -> dict[str, Interval]:
    """Compute sensitivity, specificity, PPV and NPV."""

    def proportion(correct: np.ndarray, rows: np.ndarray) -> Interval:
        return mean_interval(correct[rows].astype(float), patients.among(rows), confidence)

    return {
        "sensitivity": proportion(predicted, y),
        "specificity": proportion(~predicted, ~y),
        "ppv": proportion(y, predicted),
        "npv": proportion(~y, ~predicted),
    }


def confusion_metrics(
    y: np.ndarray, predicted: np.ndarray, patients: Patients, prevalence: float | None, confidence: float
) -> dict[str, Interval]:
    """Compute all metrics of the confusion matrix, with PPV and NPV at `prevalence` if it is given."""
    metrics = confusion_proportions(y, predicted, patients, confidence)
    positive = likelihood_ratio_interval(y, predicted, patients, confidence)
    negative = likelihood_ratio_interval(y, ~predicted, patients, confidence)
    balanced = balanced_accuracy_interval(y, metrics["sensitivity"], metrics["specificity"], predicted, patients)
    if prevalence is not None:
        values = predictive_values(positive, negative, prevalence)
        metrics |= dict(zip(("ppv_at_prevalence", "npv_at_prevalence"), values, strict=True))
    return metrics | {
        "positive_likelihood_ratio": positive,
        "negative_likelihood_ratio": negative,
        "accuracy": mean_interval((y == predicted).astype(float), patients, confidence),
        "balanced_accuracy": balanced,
    }


def surest_errors(y: np.ndarray, p: np.ndarray, predicted: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of at most `n` false negatives and `n` false positives, the most confident first."""
    false_negatives, false_positives = np.flatnonzero(y & ~predicted), np.flatnonzero(~y & predicted)
    return (
        false_negatives[np.argsort(p[false_negatives], kind="stable")][:n],
        false_positives[np.argsort(-p[false_positives], kind="stable")][:n],
    )


def balanced_accuracy_interval(
    y: np.ndarray, sensitivity: Interval, specificity: Interval, predicted: np.ndarray, patients: Patients
) -> Interval:
    """Compute balanced accuracy; its interval combines those of sensitivity and specificity (MOVER)."""
    parts = _influences(y, predicted, sensitivity.estimate, specificity.estimate)
    variances = [patients.variance(part) for part in parts]
    covariance = patients.covariance(*parts) if patients.are_clusters else 0.0
    correlation = covariance / np.sqrt(np.prod(variances)) if min(variances) > 0 else 0.0
    estimate = (sensitivity.estimate + specificity.estimate) / 2

    def half_width(first: float, second: float) -> float:
        return float(np.sqrt(first**2 + second**2 + 2 * correlation * first * second) / 2)

    lower = estimate - half_width(sensitivity.estimate - sensitivity.lower, specificity.estimate - specificity.lower)
    upper = estimate + half_width(sensitivity.upper - sensitivity.estimate, specificity.upper - specificity.estimate)
    method = "MOVER of " + sensitivity.method
    return Interval(estimate, lower, upper, method) if upper - lower > _NO_VARIANCE else undefined(method, estimate)


def _influences(y: np.ndarray, predicted: np.ndarray, sensitivity: float, specificity: float) -> list[np.ndarray]:
    """Return the influence of each image on sensitivity and on specificity."""
    n_positive = np.count_nonzero(y)
    return [
        np.where(y, predicted - sensitivity, 0) / n_positive,
        np.where(y, 0, ~predicted - specificity) / (len(y) - n_positive),
    ]


def likelihood_ratio_interval(y: np.ndarray, predicted: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Divide the rate of `predicted` among positives by that among negatives, with an interval on the log scale."""
    method = "log" + (", patients" if patients.are_clusters else "")
    above, below = float(predicted[y].mean()), float(predicted[~y].mean())
    if above == below == 0:
        return undefined(method)
    with np.errstate(divide="ignore"):
        estimate = float(np.divide(above, below))
    if 0 < above < 1 and 0 < below < 1:
        first, second = _influences(y, predicted, above, 1 - below)
        influence = first / above + second / below
        variance, quantile = patients.variance(influence), patients.quantile(confidence, influence)
        center = np.log(estimate)
        if variance < _NO_VARIANCE:  # with few patients, all may agree by chance
            return undefined(method, estimate)
    else:
        counts = [patients.among(rows).effective_count() for rows in (y, ~y)]
        (above, below), variance = _add_half((above, below), counts)
        center = np.log(above / below)
        quantile = patients.quantile(confidence)
        method += ", 0.5 added"
    if np.isnan(quantile):
        return undefined(method, estimate)
    half_width = quantile * np.sqrt(variance)
    lower = 0.0 if estimate == 0 else float(np.exp(center - half_width))
    upper = np.inf if np.isinf(estimate) else float(np.exp(center + half_width))
    return Interval(estimate, lower, upper, method)


def _add_half(proportions: Sequence[float], counts: Sequence[float]) -> tuple[list[float], float]:
    """Add 0.5 to each cell of the table, so that an empty cell has a variance."""
    cells = [proportion * count + 0.5 for proportion, count in zip(proportions, counts, strict=True)]
    totals = [count + 1 for count in counts]
    variance = sum(1 / cell - 1 / total for cell, total in zip(cells, totals, strict=True))
    return [cell / total for cell, total in zip(cells, totals, strict=True)], variance


def predictive_values(positive: Interval, negative: Interval, prevalence: float) -> tuple[Interval, Interval]:
    """Compute PPV and NPV at a prevalence from both likelihood ratios by Bayes' theorem."""
    odds = prevalence / (1 - prevalence)
    estimate, lower, upper = (1 - 1 / (1 + odds * ratio) for ratio in positive[:3])
    ppv = Interval(estimate, lower, upper, "Bayes, " + positive.method)
    estimate, upper, lower = (1 / (1 + odds * ratio) for ratio in negative[:3])
    return ppv, Interval(estimate, lower, upper, "Bayes, " + negative.method)
