"""How well probabilities agree with frequencies: recalibration by logistic regression, and expected error."""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from skpneumo.metrics._interval import Interval, Patients, undefined, wald

N_BINS = 10
_NO_CURVATURE = 1e-9
_MAX_DRAWN = 2_000_000  # weights of patients that are in memory at once


def log_odds(p: np.ndarray) -> np.ndarray:
    """Take logits; 0 and 1 become the next number that has one, as in scikit-learn's log loss."""
    eps = np.finfo(p.dtype).eps
    return logit(np.clip(p, eps, 1 - eps).astype(np.float64))


def intercept_interval(y: np.ndarray, log_odds: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Estimate what has to be added to the logits so that as many positives are expected as there are."""
    base = float(logit(y.mean()))
    low, high = base - log_odds.max(), base - log_odds.min()
    estimate = (
        low
        if low == high
        else float(brentq(lambda shift: (y - expit(shift + log_odds)).sum(), low - 1e-9, high + 1e-9, xtol=1e-12))
    )
    expected = expit(estimate + log_odds)
    steps = _steps_without_each(np.ones((len(y), 1)), y, expected, patients)
    return _jackknife_interval(estimate, steps, patients, confidence)


def slope_interval(y: np.ndarray, log_odds: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Regress labels on logits without penalty."""
    if np.ptp(log_odds) == 0:
        return undefined("none: one probability")
    for sign in (1, -1):
        if (sign * log_odds[y]).min() >= (sign * log_odds[~y]).max():
            return undefined("none: separated", sign * np.inf)
    scale = log_odds.std()
    design = np.column_stack([np.ones(len(y)), (log_odds - log_odds.mean()) / scale])
    coef = _logistic_regression(design, y)
    expected = expit(design @ coef)
    steps = _steps_without_each(design, y, expected, patients)
    return _jackknife_interval(coef[1] / scale, steps / scale, patients, confidence)


def _jackknife_interval(estimate: float, steps: np.ndarray, patients: Patients, confidence: float) -> Interval:
    clustered = patients.are_clusters
    method = "sandwich, patients" if clustered else "sandwich"
    if patients.n < 2 or not np.isfinite(steps).all():
        return undefined(method, float(estimate))
    variance = float(steps @ steps) * (patients.n - 1) / patients.n
    quantile = patients.quantile(confidence, steps[patients.codes] / np.bincount(patients.codes)[patients.codes])
    return Interval(float(estimate), *wald(estimate, variance, quantile), method)


def _steps_without_each(design: np.ndarray, y: np.ndarray, expected: np.ndarray, patients: Patients) -> np.ndarray:
    """Return how far one Newton step moves the last coefficient when a patient is left out (Mancl and DeRouen)."""
    size = design.shape[1]
    scores = np.column_stack([patients.totals((y - expected) * column) for column in design.T])
    curvature = expected * (1 - expected)
    products = [patients.totals(curvature * first * second) for first in design.T for second in design.T]
    parts = np.column_stack(products).reshape(-1, size, size)
    rest = parts.sum(axis=0) - parts
    with np.errstate(divide="ignore", invalid="ignore"):
        if size == 1:  # probabilities that are all 0 or 1 leave nothing to tell an intercept by
            return np.where(rest[:, 0, 0] > _NO_CURVATURE, scores[:, 0] / rest[:, 0, 0], np.inf)
        determinant = rest[:, 0, 0] * rest[:, 1, 1] - rest[:, 0, 1] * rest[:, 1, 0]
        # Logits that are all the same without a patient leave no slope, but for rounding.
        determinant[determinant < 1e-10 * rest[:, 0, 0] * rest[:, 1, 1]] = 0
        return (rest[:, 0, 0] * scores[:, 1] - rest[:, 1, 0] * scores[:, 0]) / determinant


def _logistic_regression(design: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Find the largest likelihood by Newton's steps, halved where they would not raise it."""
    coef = np.array([logit(y.mean()), 0.0])
    loss = _log_loss(design @ coef, y)
    for _ in range(100):
        expected = expit(design @ coef)
        hessian = (design.T * (expected * (1 - expected))) @ design
        step = np.linalg.solve(hessian, design.T @ (y - expected))
        while (new := _log_loss(design @ (coef + step), y)) > loss + 1e-10 * abs(loss):
            step /= 2
        coef, loss = coef + step, new
        if np.abs(step).max() <= 1e-9 * (1 + np.abs(coef).max()):
            break
    return coef


def _log_loss(eta: np.ndarray, y: np.ndarray) -> float:
    return float((np.logaddexp(0, eta) - y * eta).sum())


def expected_calibration_error(
    y: np.ndarray,
    p: np.ndarray,
    patients: Patients,
    confidence: float,
    n_bootstrap: int,
    random_state: np.random.RandomState,
) -> Interval:
    """Average how far probabilities lie from frequencies in bins of about equally many images."""
    gaps = _sums_by_bin(y - p, bins_of(p), patients)
    gap = gaps.sum(axis=0) / len(y)
    estimate = float(np.abs(gap).sum())
    sizes = patients.totals(np.ones(len(y)))[:, None]
    drawn = [
        np.abs(weights @ gaps / (weights @ sizes) - gap).sum(axis=1)
        for weights in _drawn_weights(patients.n, n_bootstrap, random_state)
    ]
    # A sum of absolute values is biased upwards, and quantiles of drawn sums double that: they cover far too seldom.
    # The sum is never off by more than what its bins are off in all, so this reaches further than need be.
    reach = np.quantile(np.concatenate(drawn), confidence)
    method = "bootstrap, cautious" + (", patients" if patients.are_clusters else "")
    if patients.n < 2:  # all draws are the same
        return Interval(estimate, np.nan, np.nan, method)
    return Interval(estimate, float(max(estimate - reach, 0)), float(min(estimate + reach, 1)), method)


def bins_of(p: np.ndarray) -> np.ndarray:
    """Tell the number of the bin that each probability is in; bins hold about equally many."""
    edges = np.unique(np.quantile(p, np.arange(1, N_BINS) / N_BINS))
    return np.searchsorted(edges, p, side="right")


def _sums_by_bin(values: np.ndarray, bins: np.ndarray, patients: Patients) -> np.ndarray:
    n_bins = bins.max() + 1
    sums = np.bincount(patients.codes * n_bins + bins, values, patients.n * n_bins)
    return sums.reshape(patients.n, n_bins)


def _drawn_weights(count: int, n_bootstrap: int, random_state: np.random.RandomState) -> Iterator[np.ndarray]:
    rows = max(1, _MAX_DRAWN // count)
    for start in range(0, n_bootstrap, rows):
        size = min(rows, n_bootstrap - start)
        yield random_state.multinomial(count, np.full(count, 1 / count), size).astype(np.float64)
