"""What calls at a threshold are worth: proportions of the confusion matrix, and ratios of them."""

from collections.abc import Sequence

import numpy as np

from skpneumo.metrics._interval import Interval, Patients, mean_interval, undefined

_NO_VARIANCE = 1e-12


def shares_of_calls(y: np.ndarray, called: np.ndarray, patients: Patients, confidence: float) -> dict[str, Interval]:
    """Return the four proportions that say how often calls are right."""

    def share(right: np.ndarray, rows: np.ndarray) -> Interval:
        return mean_interval(right[rows].astype(float), patients.among(rows), confidence)

    return {
        "sensitivity": share(called, y),
        "specificity": share(~called, ~y),
        "ppv": share(y, called),
        "npv": share(~y, ~called),
    }


def figures_of_calls(
    y: np.ndarray, called: np.ndarray, patients: Patients, prevalence: float | None, confidence: float
) -> dict[str, Interval]:
    """Return these proportions, those at another prevalence, likelihood ratios and accuracy."""
    figures = shares_of_calls(y, called, patients, confidence)
    positive = likelihood_ratio_interval(y, called, patients, confidence)
    negative = likelihood_ratio_interval(y, ~called, patients, confidence)
    balanced = balanced_accuracy_interval(y, figures["sensitivity"], figures["specificity"], called, patients)
    if prevalence is not None:
        values = predictive_values(positive, negative, prevalence)
        figures |= dict(zip(("ppv_at_prevalence", "npv_at_prevalence"), values, strict=True))
    return figures | {
        "positive_likelihood_ratio": positive,
        "negative_likelihood_ratio": negative,
        "accuracy": mean_interval((y == called).astype(float), patients, confidence),
        "balanced_accuracy": balanced,
    }


def surest_errors(y: np.ndarray, p: np.ndarray, called: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of positives that are missed and of false alarms, at most `n` of each, the surest first."""
    missed, alarms = np.flatnonzero(y & ~called), np.flatnonzero(~y & called)
    return (
        missed[np.argsort(p[missed], kind="stable")][:n],
        alarms[np.argsort(-p[alarms], kind="stable")][:n],
    )


def balanced_accuracy_interval(
    y: np.ndarray, sensitivity: Interval, specificity: Interval, called: np.ndarray, patients: Patients
) -> Interval:
    """Combine the distances of two limits from their estimates (MOVER), as they would combine if they were errors."""
    parts = _influences(y, called, sensitivity.estimate, specificity.estimate)
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


def _influences(y: np.ndarray, called: np.ndarray, sensitivity: float, specificity: float) -> list[np.ndarray]:
    """Return what each image adds to sensitivity and to specificity."""
    n_positive = np.count_nonzero(y)
    return [
        np.where(y, called - sensitivity, 0) / n_positive,
        np.where(y, 0, ~called - specificity) / (len(y) - n_positive),
    ]


def likelihood_ratio_interval(y: np.ndarray, called: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Divide the share of positives that are called by the share of negatives; the interval is one of its log."""
    method = "log" + (", patients" if patients.are_clusters else "")
    hits, alarms = called[y], called[~y]
    above, below = float(hits.mean()), float(alarms.mean())
    if above == below == 0:
        return undefined(method)
    with np.errstate(divide="ignore"):
        estimate = float(np.divide(above, below))
    if 0 < above < 1 and 0 < below < 1:
        first, second = _influences(y, called, above, 1 - below)
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
