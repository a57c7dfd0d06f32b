"""Diagnostic metrics under domain shift, with bootstrap confidence intervals clustered by patient."""

from collections.abc import Sequence

import numpy as np

METRICS = ("AUC", "accuracy", "sensitivity", "specificity")
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


def measure(y: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the metrics in each bootstrap sample, with a probability threshold of 0.5.

    Parameters
    ----------
    y : ndarray of shape (n_images,)
        Labels, 1 for pneumonia and 0 otherwise.
    logits : ndarray of shape (n_images,)
        Log-odds of pneumonia.
    weights : ndarray of shape (n_draws, n_images)
        From `draw_weights`.

    Returns
    -------
    ndarray of shape (4, n_draws)
        In the order of `METRICS`. NaN if a sample has a single class.
    """
    order = np.argsort(logits, kind="stable")
    y, logits, weights = np.asarray(y)[order], np.asarray(logits)[order], weights[:, order]
    positive, negative = weights * (y == 1), weights * (y == 0)
    below = np.cumsum(np.pad(negative, ((0, 0), (1, 0))), axis=1)
    ranked = (below[:, np.searchsorted(logits, logits)] + below[:, np.searchsorted(logits, logits, "right")]) / 2
    tp, tn = positive @ (logits > 0), negative @ (logits <= 0)
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                (positive * ranked).sum(axis=1) / (n_positive * n_negative),
                (tp + tn) / (n_positive + n_negative),
                tp / n_positive,
                tn / n_negative,
            ]
        )


def summarize(sites: dict[Site, np.ndarray]) -> dict[str, np.ndarray]:
    """Summarize the metrics over changes in each bootstrap sample.

    Parameters
    ----------
    sites : dict of ndarray of shape (4, n_draws)
        Metrics by change and strength; ("plain", 0) is the original.

    Returns
    -------
    dict of ndarray of shape (4, n_draws)
        "plain"; "mean" over the single changes; "worst" single change, chosen for each metric on all images;
        "combined", the mean over the combined changes. Entries without measurements are missing.
    """
    plain = [metrics for (name, _), metrics in sites.items() if name == "plain"]
    combined = [metrics for (name, _), metrics in sites.items() if name.startswith("combined")]
    single = np.array([m for (name, _), m in sites.items() if name != "plain" and not name.startswith("combined")])
    summary = {"plain": plain[0]}
    if len(single):
        summary["mean"] = single.mean(axis=0)
        worst = single[:, :, 0].argmin(axis=0)
        summary["worst"] = single[worst, np.arange(len(METRICS))]
    if combined:
        summary["combined"] = np.mean(combined, axis=0)
    return summary


def specificity_loss(summary: dict[str, np.ndarray]) -> np.ndarray:
    """Compute the loss of specificity under the combined changes in each bootstrap sample."""
    specificity = METRICS.index("specificity")
    return summary["plain"][specificity] - summary["combined"][specificity]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the first value and the 95 % percentile interval of the others."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return float(values[0]), float(low), float(high)
