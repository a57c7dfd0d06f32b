"""How well pneumonia is told under each change, with intervals by a bootstrap over patients."""

from collections.abc import Sequence

import numpy as np

METRICS = ("AUC", "accuracy", "sensitivity", "specificity")
N_DRAWS = 1000

Site = tuple[str, int]


def draw_weights(patients: Sequence[str], n_draws: int = N_DRAWS) -> np.ndarray:
    """Draw patients with replacement, and their films with them.

    Parameters
    ----------
    patients : sequence of str
        Patient of each film.
    n_draws : int
        Number of draws.

    Returns
    -------
    ndarray of shape (1 + n_draws, n_films)
        How often each film counts: once in the first row, as drawn in the others. The same films have the same draws,
        so what is measured by these can be subtracted draw by draw.
    """
    names, patient_of = np.unique(np.asarray(patients, str), return_inverse=True)
    counts = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws)
    return np.vstack([np.ones(len(patient_of)), counts[:, patient_of.ravel()]])


def measure(y: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the metrics, at a probability of one half where they need a threshold, in each draw.

    Parameters
    ----------
    y : ndarray of shape (n_films,)
        1 is pneumonia, 0 is not.
    logits : ndarray of shape (n_films,)
        Log odds of pneumonia.
    weights : ndarray of shape (n_draws, n_films)
        From `draw_weights`.

    Returns
    -------
    ndarray of shape (4, n_draws)
        In the order of `METRICS`. NaN where a draw holds one class only.
    """
    order = np.argsort(logits, kind="stable")
    y, logits, weights = np.asarray(y)[order], np.asarray(logits)[order], weights[:, order]
    ill, well = weights * (y == 1), weights * (y == 0)
    below = np.cumsum(np.pad(well, ((0, 0), (1, 0))), axis=1)
    ranked = (below[:, np.searchsorted(logits, logits)] + below[:, np.searchsorted(logits, logits, "right")]) / 2
    found, cleared = ill @ (logits > 0), well @ (logits <= 0)
    n_ill, n_well = ill.sum(axis=1), well.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                (ill * ranked).sum(axis=1) / (n_ill * n_well),
                (found + cleared) / (n_ill + n_well),
                found / n_ill,
                cleared / n_well,
            ]
        )


def summarise(sites: dict[Site, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum up the metrics over changes, in each draw.

    Parameters
    ----------
    sites : dict of ndarray of shape (4, n_draws)
        Metrics by change and strength; ("plain", 0) are the films as they are.

    Returns
    -------
    dict of ndarray of shape (4, n_draws)
        "plain"; "mean" over the single changes; "worst" of these, which is chosen for each metric by all films;
        "combined", the mean of the combined changes. What was not measured is absent.
    """
    plain = [figures for (name, _), figures in sites.items() if name == "plain"]
    combined = [figures for (name, _), figures in sites.items() if name.startswith("combined")]
    single = np.array([f for (name, _), f in sites.items() if name != "plain" and not name.startswith("combined")])
    summary = {"plain": plain[0]}
    if len(single):
        summary["mean"] = single.mean(axis=0)
        worst = single[:, :, 0].argmin(axis=0)
        summary["worst"] = single[worst, np.arange(len(METRICS))]
    if combined:
        summary["combined"] = np.mean(combined, axis=0)
    return summary


def lost(summary: dict[str, np.ndarray]) -> np.ndarray:
    """Specificity that the combined changes take, in each draw."""
    specificity = METRICS.index("specificity")
    return summary["plain"][specificity] - summary["combined"][specificity]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the first value, and between which bounds 95 % of the others lie."""
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return float(values[0]), float(low), float(high)
