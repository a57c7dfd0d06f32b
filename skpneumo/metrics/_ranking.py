"""ROC AUC and average precision, with intervals from the influence of each image."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import rankdata

from skpneumo.metrics._interval import Interval, Patients, undefined, wald_of_logit

_NO_VARIANCE = 1e-20


def roc_auc_interval(y: np.ndarray, p: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Compute the ROC AUC, with the variance of DeLong or, if patients have several images, of Obuchowski."""
    positive, negative = placements(y, p)
    area = float(positive.mean())
    if min(area, 1 - area) < 1e-12:
        area = round(area)
        return Interval(area, *_newcombe_limits(area, y, patients, confidence), "Newcombe")
    influence = np.zeros((2, len(y)))
    influence[1, y] = (positive - area) / len(positive)
    influence[0, ~y] = (negative - area) / len(negative)
    variance = _area_variance(y, influence, patients)
    method = "Obuchowski, logit" if patients.are_clusters else "DeLong, logit"
    if not variance > _NO_VARIANCE:  # with few patients, all may agree by chance
        return undefined(method, area)
    limits = wald_of_logit(area, variance, patients.quantile(confidence, influence.sum(axis=0)))
    return Interval(area, *limits, method)


def placements(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the proportion of negatives below each positive, and of positives above each negative."""
    ranks = rankdata(p)
    positive = (ranks[y] - rankdata(p[y])) / np.count_nonzero(~y)
    negative = 1 - (ranks[~y] - rankdata(p[~y])) / np.count_nonzero(y)
    return positive, negative


def _area_variance(y: np.ndarray, influence: np.ndarray, patients: Patients) -> float:
    totals = [patients.totals(row) for row in influence]
    variance = 2 * (totals[0] @ totals[1]) * patients.n / max(patients.n - 1, 1)
    for label, total in enumerate(totals):
        count = len(np.unique(patients.codes[y == label]))
        variance += total @ total * count / (count - 1) if count > 1 else np.nan
    return float(variance)


def _newcombe_limits(area: float, y: np.ndarray, patients: Patients, confidence: float) -> tuple[float, float]:
    """Return the limits of an AUC of 0 or 1 by method 5 of Newcombe (2006)."""
    counts = [patients.among(y == label).effective_count() for label in (0, 1)]
    square = patients.quantile(confidence) ** 2
    if np.isnan(square):
        return np.nan, np.nan
    spread = sum(counts) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + spread * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float((1 - theta) * np.prod(counts) - square * theta * shape)

    limit = float(brentq(excess, 0, 1))
    return (limit, 1.0) if area == 1 else (0.0, 1 - limit)


def average_precision_interval(y: np.ndarray, p: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Compute average precision, with a variance from its derivative by the weight of each image."""
    method = "linearized, logit" + (", patients" if patients.are_clusters else "")
    _, place = np.unique(-p, return_inverse=True)
    size = place.max() + 1
    positives, negatives = np.bincount(place[y], minlength=size), np.bincount(place[~y], minlength=size)
    tp, fp = positives.cumsum(), negatives.cumsum()
    predicted = tp + fp
    precision = tp / predicted
    total = tp[-1]
    estimate = float(positives @ precision / total)
    if estimate > 1 - 1e-12:
        return undefined(method, 1.0)
    gain = _reverse_cumsum(positives * fp / predicted**2)[place]
    loss = _reverse_cumsum(positives * tp / predicted**2)[place]
    influence = np.where(y, precision[place] - estimate + gain, -loss) / total
    limits = wald_of_logit(estimate, patients.variance(influence), patients.quantile(confidence, influence))
    return Interval(estimate, *limits, method)


def _reverse_cumsum(values: np.ndarray) -> np.ndarray:
    return values[::-1].cumsum()[::-1]
