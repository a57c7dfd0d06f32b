"""Figures of the confusion matrix at a threshold: proportions, ratios of them, and the surest errors."""

from collections.abc import Sequence

import numpy as np

from skpneumo.metrics._interval import Interval, Patients, mean_interval, undefined

_NO_VARIANCE = 1e-12


def confusion_proportions(
    y: np.ndarray, predicted: np.ndarray, patients: Patients, confidence: float
) -> dict[str, Interval]:
    """Compute sensitivity, specificity and both predictive values."""

    def share(right: np.ndarray, rows: np.ndarray) -> Interval:
        return mean_interval(right[rows].astype(float), patients.among(rows), confidence)

    return {
        "sensitivity": share(predicted, y),
        "specificity": share(~predicted, ~y),
        "ppv": share(y, predicted),
        "npv": share(~y, ~predicted),
    }


def confusion_metrics(
    y: np.ndarray, predicted: np.ndarray, patients: Patients, prevalence: float | None, confidence: float
) -> dict[str, Interval]:
    """Compute all figures of the confusion matrix, with predictive values at another prevalence where one is given."""
    figures = confusion_proportions(y, predicted, patients, confidence)
    positive = likelihood_ratio_interval(y, predicted, patients, confidence)
    negative = likelihood_ratio_interval(y, ~predicted, patients, confidence)
    balanced = balanced_accuracy_interval(y, figures["sensitivity"], figures["specificity"], predicted, patients)
    if prevalence is not None:
        values = predictive_values(positive, negative, prevalence)
        figures |= dict(zip(("ppv_at_prevalence", "npv_at_prevalence"), values, strict=True))
    return figures | {
        "positive_likelihood_ratio": positive,
        "negative_likelihood_ratio": negative,
        "accuracy": mean_interval((y == predicted).astype(float), patients, confidence),
        "balanced_accuracy": balanced,
    }


def surest_errors(y: np.ndarray, p: np.ndarray, predicted: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of positives that are missed and of false alarms, at most `n` of each, the surest first."""
    missed, alarms = np.flatnonzero(y & ~predicted), np.flatnonzero(~y & predicted)
    return (
        missed[np.argsort(p[missed], kind="stable")][:n],
        alarms[np.argsort(-p[alarms], kind="stable")][:n],
    )


def balanced_accuracy_interval(
    y: np.ndarray, sensitivity: Interval, specificity: Interval, predicted: np.ndarray, patients: Patients
) -> Interval:
    """Combine the distances of two limits from their estimates (MOVER), as they would combine if they were errors."""
    parts = _influences(y, predicted, sensitivity.estimate, specificity.estimate)
    variances = [patients.variance(part) for part in parts]
    shared = patients.covariance(*parts) if patients.are_clusters else 0.0
    correlation = shared / np.sqrt(np.prod(variances)) if min(variances) > 0 else 0.0
    estimate = (sensitivity.estimate + specificity.estimate) / 2

    def reach(first: float, second: float) -> float:
        return float(np.sqrt(first**2 + second**2 + 2 * correlation * first * second) / 2)

    lower = estimate - reach(sensitivity.estimate - sensitivity.lower, specificity.estimate - specificity.lower)
    upper = estimate + reach(sensitivity.upper - sensitivity.estimate, specificity.upper - specificity.estimate)
    method = "MOVER of " + sensitivity.method
    return Interval(estimate, lower, upper, method) if upper - lower > _NO_VARIANCE else undefined(method, estimate)


def _influences(y: np.ndarray, predicted: np.ndarray, sensitivity: float, specificity: float) -> list[np.ndarray]:
    """Return what each image adds to sensitivity and to specificity."""
    n_positive = np.count_nonzero(y)
    return [
        np.where(y, predicted - sensitivity, 0) / n_positive,
        np.where(y, 0, ~predicted - specificity) / (len(y) - n_positive),
    ]


def likelihood_ratio_interval(y: np.ndarray, predicted: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Divide the share predicted positive among positives by that among negatives; the interval is one of its log."""
    method = "log" + (", patients" if patients.are_clusters else "")
    hits, alarms = predicted[y], predicted[~y]
    above, below = float(hits.mean()), float(alarms.mean())
    if above == below == 0:
        return undefined(method)
    with np.errstate(divide="ignore"):
        estimate = float(np.divide(above, below))
    if 0 < above < 1 and 0 < below < 1:
        first, second = _influences(y, predicted, above, 1 - below)
        influence = first / above + second / below
        variance, quantile = patients.variance(influence), patients.quantile(confidence, influence)
        centre = np.log(estimate)
        if variance < _NO_VARIANCE:  # patients so few that they agree by chance
            return undefined(method, estimate)
    else:
        counts = [patients.among(rows).effective_count() for rows in (y, ~y)]
        (above, below), variance = _with_halves((above, below), counts)
        centre = np.log(above / below)
        quantile = patients.quantile(confidence)
        method += ", 0.5 added"
    if np.isnan(quantile):
        return undefined(method, estimate)
    reach = quantile * np.sqrt(variance)
    lower = 0.0 if estimate == 0 else float(np.exp(centre - reach))
    upper = np.inf if np.isinf(estimate) else float(np.exp(centre + reach))
    return Interval(estimate, lower, upper, method)


def _with_halves(shares: Sequence[float], counts: Sequence[float]) -> tuple[list[float], float]:
    """Add half an image to each cell of the table, where an empty one leaves no variance."""
    cells = [share * count + 0.5 for share, count in zip(shares, counts, strict=True)]
    totals = [count + 1 for count in counts]
    variance = sum(1 / cell - 1 / total for cell, total in zip(cells, totals, strict=True))
    return [cell / total for cell, total in zip(cells, totals, strict=True)], variance


def predictive_values(positive: Interval, negative: Interval, prevalence: float) -> tuple[Interval, Interval]:
    """Turn the odds of a prevalence by both likelihood ratios into probabilities."""
    odds = prevalence / (1 - prevalence)
    estimate, lower, upper = (1 - 1 / (1 + odds * ratio) for ratio in positive[:3])
    ppv = Interval(estimate, lower, upper, "Bayes, " + positive.method)
    estimate, upper, lower = (1 / (1 + odds * ratio) for ratio in negative[:3])
    return ppv, Interval(estimate, lower, upper, "Bayes, " + negative.method)
