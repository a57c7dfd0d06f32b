"""Calibration slope and intercept by logistic recalibration, and expected calibration error."""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from skpneumo.metrics._interval import Interval, Patients, undefined, wald

N_BINS = 10
_NO_CURVATURE = 1e-9
_MAX_WEIGHTS = 2_000_000  # bootstrap weights in memory at once


def log_odds(p: np.ndarray) -> np.ndarray:
    """Compute logits, with probabilities of 0 and 1 clipped as in scikit-learn's log loss."""
    eps = np.finfo(p.dtype).eps
    return logit(np.clip(p, eps, 1 - eps).astype(np.float64))


def intercept_interval(y: np.ndarray, log_odds: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Estimate the calibration intercept: the shift of the logits that equates expected and observed positives."""
    base = float(logit(y.mean()))
    low, high = base - log_odds.max(), base - log_odds.min()
    estimate = (
        low
        if low == high
        else float(brentq(lambda shift: (y - expit(shift + log_odds)).sum(), low - 1e-9, high + 1e-9, xtol=1e-12))
    )
    expected = expit(estimate + log_odds)
    steps = _jackknife_steps(np.ones((len(y), 1)), y, expected, patients)
    return _jackknife_interval(estimate, steps, patients, confidence)


def slope_interval(y: np.ndarray, log_odds: np.ndarray, patients: Patients, confidence: float) -> Interval:
    """Estimate the calibration slope by unpenalized logistic regression of the labels on the logits."""
    if np.ptp(log_odds) == 0:
        return undefined("none: constant probability")
    for sign in (1, -1):
        if (sign * log_odds[y]).min() >= (sign * log_odds[~y]).max():
            return undefined("none: perfect separation", sign * np.inf)
    scale = log_odds.std()
    design = np.column_stack([np.ones(len(y)), (log_odds - log_odds.mean()) / scale])
    coef = _logistic_regression(design, y)
    expected = expit(design @ coef)
    steps = _jackknife_steps(design, y, expected, patients)
    return _jackknife_interval(coef[1] / scale, steps / scale, patients, confidence)


def _jackknife_interval(estimate: float, steps: np.ndarray, patients: Patients, confidence: float) -> Interval:
    clustered = patients.are_clusters
    method = "sandwich, patients" if clustered else "sandwich"
    if patients.n < 2 or not np.isfinite(steps).all():
        return undefined(method, float(estimate))
    variance = float(steps @ steps) * (patients.n - 1) / patients.n
    quantile = patients.quantile(confidence, steps[patients.codes] / np.bincount(patients.codes)[patients.codes])
    return Interval(float(estimate), *wald(estimate, variance, quantile), method)


def _jackknife_steps(design: np.ndarray, y: np.ndarray, expected: np.ndarray, patients: Patients) -> np.ndarray:
    """Return the Newton step of the last coefficient when each patient is left out (Mancl and DeRouen)."""
    size = design.shape[1]
    scores = np.column_stack([patients.totals((y - expected) * column) for column in design.T])
    curvature = expected * (1 - expected)
    products = [patients.totals(curvature * first * second) for first in design.T for second in design.T]
    parts = np.column_stack(products).reshape(-1, size, size)
    rest = parts.sum(axis=0) - parts
    with np.errstate(divide="ignore", invalid="ignore"):
        if size == 1:  # the intercept is not identified if all probabilities are 0 or 1
            return np.where(rest[:, 0, 0] > _NO_CURVATURE, scores[:, 0] / rest[:, 0, 0], np.inf)
        determinant = rest[:, 0, 0] * rest[:, 1, 1] - rest[:, 0, 1] * rest[:, 1, 0]
        # Without this, rounding would give a slope where the remaining logits are constant.
        determinant[determinant < 1e-10 * rest[:, 0, 0] * rest[:, 1, 1]] = 0
        return (rest[:, 0, 0] * scores[:, 1] - rest[:, 1, 0] * scores[:, 0]) / determinant


def _logistic_regression(design: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Maximize the likelihood by Newton steps, halved while they increase the loss."""
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
    """Compute the expected calibration error in bins of about equal counts."""
    gaps = _sums_by_bin(y - p, bins_of(p), patients)
    gap = gaps.sum(axis=0) / len(y)
    estimate = float(np.abs(gap).sum())
    sizes = patients.totals(np.ones(len(y)))[:, None]
    deviations = [
        np.abs(weights @ gaps / (weights @ sizes) - gap).sum(axis=1)
        for weights in _bootstrap_weights(patients.n, n_bootstrap, random_state)
    ]
    # The estimate is biased upward and percentile intervals double the bias, so their coverage is far too low. The
    # error of the estimate is at most the sum of the errors of its bins, so this interval is conservative.
    half_width = np.quantile(np.concatenate(deviations), confidence)
    method = "bootstrap, conservative" + (", patients" if patients.are_clusters else "")
    if patients.n < 2:  # all bootstrap samples are the same
        return Interval(estimate, np.nan, np.nan, method)
    return Interval(estimate, float(max(estimate - half_width, 0)), float(min(estimate + half_width, 1)), method)


def bins_of(p: np.ndarray) -> np.ndarray:
    """Return the bin index of each probability, with about equally many probabilities per bin."""
    edges = np.unique(np.quantile(p, np.arange(1, N_BINS) / N_BINS))
    return np.searchsorted(edges, p, side="right")


def _sums_by_bin(values: np.ndarray, bins: np.ndarray, patients: Patients) -> np.ndarray:
    n_bins = bins.max() + 1
    sums = np.bincount(patients.codes * n_bins + bins, values, patients.n * n_bins)
    return sums.reshape(patients.n, n_bins)


def _bootstrap_weights(count: int, n_bootstrap: int, random_state: np.random.RandomState) -> Iterator[np.ndarray]:
    rows = max(1, _MAX_WEIGHTS // count)
    for start in range(0, n_bootstrap, rows):
        size = min(rows, n_bootstrap - start)
        yield random_state.multinomial(count, np.full(count, 1 / count), size).astype(np.float64)
