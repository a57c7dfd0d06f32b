"""Run of one recipe: fit on original images, predictions for original and changed held-out images, and cost."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.benchmarks.shifts.data import Dataset
from tests.benchmarks.shifts.recipes import classifier
from tests.benchmarks.shifts.records import Record

Fold = tuple[Dataset, Dataset, dict[tuple[str, int], list[str]]]


def run(
    name: str, parameters: Mapping[str, Any], folds: list[Fold], log: Callable[[str], None], n_cost: int = 0
) -> Record:
    """Fit a recipe on each fold and compute the log-odds of all held-out images.

    Parameters
    ----------
    name : str
        Name of the recipe.
    parameters : mapping
        Parameters of the classifier.
    folds : list of tuple
        Training images, held-out images, and paths of the changed held-out images by change and strength.
    log : callable
        Called with a message after each fold.
    n_cost : int
        Number of images for measuring the cost without a feature store. If 0, the cost is not measured.

    Returns
    -------
    dict
        The record without its setting.
    """
    classifier(parameters)  # fail early if the recipe is not available
    sites = [("plain", 0), *folds[0][2]]
    logits, seconds = [], []
    for i, (fit, held, changed) in enumerate(folds):
        paths = [*held.paths, *(path for key in sites[1:] for path in changed[key])]
        model, times, values = _timed(parameters, fit, paths)
        logits.append(values.reshape(len(sites), len(held)))
        seconds.append(list(times))
        log(
            f"{name}, fold {i + 1} of {len(folds)}: fit {times[0]:.1f} s on {len(fit)} images "
            f"({model.n_iter_} iterations), predict {times[1]:.1f} s on {len(paths)}"
        )
    held_out = [held for _, held, _ in folds]
    return {
        "recipe": name,
        "parameters": {key: repr(value) for key, value in parameters.items()},
        "sites": [list(site) for site in sites],
        "images": [path.replace("\\", "/").rsplit("/", 1)[-1] for held in held_out for path in held.paths],
        "folds": [i for i, held in enumerate(held_out) for _ in range(len(held))],
        "patients": [str(patient) for held in held_out for patient in held.patients],
        "y": [int(label) for held in held_out for label in held.y],
        "logits": [[float(f"{value:.6g}") for value in row] for row in np.hstack(logits)],
        "seconds": seconds,
        "cost": _cost(parameters, folds[0], n_cost) if n_cost else None,
    }


def _timed(
    parameters: Mapping[str, Any], fit: Dataset, paths: list[str]
) -> tuple[Any, tuple[float, float], np.ndarray]:
    begun = time.perf_counter()
    model = classifier(parameters).fit(fit.paths, fit.y)
    fitted = time.perf_counter()
    values = model.decision_function(paths)
    return model, (fitted - begun, time.perf_counter() - fitted), values


def _cost(parameters: Mapping[str, Any], fold: Fold, n_images: int) -> dict[str, float]:
    """Time a fit and a prediction with an empty store, after a small warm-up run."""
    fit, held, _ = fold
    for n in (8, n_images):
        few = fit[np.sort(np.concatenate([np.flatnonzero(fit.y == label)[: n // 2] for label in (0, 1)]))]
        with tempfile.TemporaryDirectory() as store:
            _, seconds, _ = _timed({**parameters, "memory": store}, few, held.paths[:n].tolist())
    return {"n_fit": len(few), "n_predict": len(held.paths[:n_images]), "fit": seconds[0], "predict": seconds[1]}
