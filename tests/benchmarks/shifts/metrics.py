"""Diagnostic metrics under domain shift, with bootstrap confidence intervals clustered by patient."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

METRICS = (
    "AUC",
    "accuracy",
    "balanced accuracy",
    "sensitivity",
    "specificity",
    "Brier score",
    "calibration slope",
    "calibration intercept",
    "accuracy at probability 0.5",
)
IDEAL = (1, 1, 1, 1, 1, 0, 1, 0, 1)
N_DRAWS = 1000

Site = tuple[str, int]


def draw_weights(patients: Sequence[str], n_draws: int = N_DRAWS) -> np.ndarray:
    """Draw bootstrap samples of patients.

    Parameters
    ----------
    patients : sequence of str
        Patient of each image.
    n_draws : int
        Number of bootstrap samples.

    Returns
    -------
    ndarray of shape (1 + n_draws, n_images)
        Weights of the images: 1 in the first row, bootstrap counts in the others. The same images always get the same
        weights, so differences between models are paired.
    """
    names, patient_of = np.unique(np.asarray(patients, str), return_inverse=True)
    counts = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    return np.vstack([np.ones(len(patient_of)), counts[:, patient_of.ravel()]])


def measure(y: np.ndarray, logits: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the metrics in each bootstrap sample.

    Parameters
    ----------
    y : ndarray of shape (n_images,)
        Labels, 1 for pneumonia and 0 otherwise.
    logits : ndarray of shape (n_images,)
        Values of `decision_function`, positive if pneumonia is predicted.
    log_odds : ndarray of shape (n_images,)
        Log-odds of the probabilities of `predict_proba`.
    weights : ndarray of shape (n_draws, n_images)
        From `draw_weights`.

    Returns
    -------
    ndarray of shape (n_metrics, n_draws)
        In the order of `METRICS`. NaN if a sample has a single class or, for the calibration, if it has no finite
        solution.
    """
    total = weights.sum(axis=1)
    tp, tn = weights @ ((y == 1) & (logits > 0)), weights @ ((y == 0) & (logits <= 0))
    with np.errstate(invalid="ignore"):
        sensitivity, specificity = tp / (weights @ (y == 1)), tn / (weights @ (y == 0))
    probability = expit(log_odds)
    return np.stack(
        [
            auc(y, logits, weights),
            (tp + tn) / total,
            (sensitivity + specificity) / 2,
            sensitivity,
            specificity,
            weights @ (probability - y) ** 2 / total,
            *calibration(y, log_odds, weights),
            weights @ ((probability > 0.5) == y) / total,
        ]
    )


def auc(y: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the area under the ROC curve in each bootstrap sample; NaN if it has a single class."""
    order = np.argsort(scores, kind="stable")
    y, scores, weights = y[order], scores[order], weights[:, order]
    positive, negative = weights * (y == 1), weights * (y == 0)
    below = np.cumsum(np.pad(negative, ((0, 0), (1, 0))), axis=1)
    ranked = (below[:, np.searchsorted(scores, scores)] + below[:, np.searchsorted(scores, scores, "right")]) / 2
    with np.errstate(invalid="ignore"):
        return (positive * ranked).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))


def calibration(y: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the calibration slope and intercept in each bootstrap sample, as `diagnostic_report` does.

    The slope is that of a logistic regression of the labels on the log-odds. The intercept is that of a regression with
    a slope of 1.
    """
    scale = max(float(log_odds.std()), 1e-12)
    ones = np.ones_like(log_odds)
    slope = (
        _logistic_regression(y, np.column_stack([ones, (log_odds - log_odds.mean()) / scale]), 0 * ones, weights)[:, 1]
        / scale
    )
    return slope, _logistic_regression(y, ones[:, None], log_odds, weights)[:, 0]


def _logistic_regression(y: np.ndarray, X: np.ndarray, offset: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit a logistic regression in each bootstrap sample, starting from that of all images."""
    coef = _newton(y, X, offset, weights[:1], np.zeros((1, X.shape[1])))
    return _newton(y, X, offset, weights, np.repeat(np.nan_to_num(coef), len(weights), axis=0))


def _newton(y: np.ndarray, X: np.ndarray, offset: np.ndarray, weights: np.ndarray, coef: np.ndarray) -> np.ndarray:
    """Improve the coefficients of each sample by Newton's method; NaN if it does not converge."""
    n_columns = X.shape[1]
    products = (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)
    active = np.arange(len(weights))
    for _ in range(30):
        probability = expit(coef[active] @ X.T + offset)
        gradient = (weights * (y - probability)) @ X
        hessian = ((weights * probability * (1 - probability)) @ products).reshape(-1, n_columns, n_columns)
        hessian += 1e-12 * np.eye(n_columns)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0].clip(-4, 4)
        coef[active] += step
        unfinished = abs(step).max(axis=1) > 1e-4  # the error of the last step is the square of its length
        active, weights = active[unfinished], weights[unfinished]
        if not len(active):
            break
    coef[active] = np.nan
    return coef


def summarize(sites: dict[Site, np.ndarray]) -> dict[str, np.ndarray]:
    """Summarize the metrics over changes in each bootstrap sample.

    Parameters
    ----------
    sites : dict of ndarray of shape (n_metrics, n_draws)
        Metrics by change and strength; ("plain", 0) is the original.

    Returns
    -------
    dict of ndarray of shape (n_metrics, n_draws)
        "plain"; "mean" over the single changes; "worst" single change, the farthest from `IDEAL`, chosen for each
        metric on all images; "combined", the mean over the combined changes. Entries without measurements are missing.
    """
    combined = [metrics for (name, _), metrics in sites.items() if name.startswith("combined")]
    single = np.array([m for (name, _), m in sites.items() if name != "plain" and not name.startswith("combined")])
    summary = {"plain": sites["plain", 0]}
    if len(single):
        summary["mean"] = _mean(single)
        worst = np.nan_to_num(abs(single[:, :, 0] - IDEAL)).argmax(axis=0)
        summary["worst"] = single[worst, np.arange(len(METRICS))]
    if combined:
        summary["combined"] = _mean(np.array(combined))
    return summary


def _mean(values: np.ndarray) -> np.ndarray:
    """Average over the first axis without NaN."""
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=0) / np.sum(~np.isnan(values), axis=0)


def specificity_loss(summary: dict[str, np.ndarray]) -> np.ndarray:
    """Compute the loss of specificity under the combined changes in each bootstrap sample."""
    specificity = METRICS.index("specificity")
    return summary["plain"][specificity] - summary["combined"][specificity]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the first value and the 95 % percentile interval of the others without NaN."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(draws, (0.025, 0.975)) if len(draws) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)
