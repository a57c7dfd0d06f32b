"""Run of one recipe: fit on original images, predictions for original and changed held-out images, and cost."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.shifts.data import Dataset
from tests.benchmarks.shifts.recipes import classifier
from tests.benchmarks.shifts.records import Record

Fold = tuple[Dataset, Dataset, dict[tuple[str, int], list[str]]]


@dataclass(frozen=True)
class Source:
    """Folds of a source, and the parameters that all recipes use for it.

    A fold consists of training images, held-out images, and paths of the changed held-out images by change and
    strength.
    """

    folds: list[Fold]
    parameters: dict[str, Any]


def run(
    name: str,
    parameters: Mapping[str, Any],
    sources: Mapping[str, Source],
    log: Callable[[str], None],
    n_cost: int = 0,
) -> Record:
    """Fit a recipe on each fold of each source and compute the logits of all held-out images.

    Parameters
    ----------
    name : str
        Name of the recipe.
    parameters : mapping
        Parameters of the classifier.
    sources : mapping of Source
        The sources by name.
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
    return {
        "recipe": name,
        "parameters": {key: repr(value) for key, value in parameters.items()},
        "sources": {
            place: _held_out(f"{name}, {place}", {**parameters, **source.parameters}, source.folds, log)
            for place, source in sources.items()
        },
        "cost": _cost(parameters, next(iter(sources.values())).folds[0], n_cost) if n_cost else None,
    }


def _held_out(title: str, parameters: Mapping[str, Any], folds: list[Fold], log: Callable[[str], None]) -> Record:
    """Fit on each fold; return the held-out images, their logits, and the shifts of `predict_proba` by fold."""
    sites = [("plain", 0), *folds[0][2]]
    logits, shifts, seconds = [], [], []
    for i, (fit, held, changed) in enumerate(folds):
        paths = [*held.paths, *(path for key in sites[1:] for path in changed[key])]
        model, times, values = _timed(parameters, fit, paths)
        logits.append(values.reshape(len(sites), len(held)))
        shifts.append(float(model.prior_shift_[0]))
        seconds.append(list(times))
        log(
            f"{title}, fold {i + 1} of {len(folds)}: fit {times[0]:.1f} s on {len(fit)} images "
            f"({model.n_iter_} iterations), predict {times[1]:.1f} s on {len(paths)}"
        )
    held_out = [held for _, held, _ in folds]
    return {
        "sites": [list(site) for site in sites],
        "images": [path.replace("\\", "/").rsplit("/", 1)[-1] for held in held_out for path in held.paths],
        "folds": [i for i, held in enumerate(held_out) for _ in range(len(held))],
        "patients": [str(patient) for held in held_out for patient in held.patients],
        "y": [int(label) for held in held_out for label in held.y],
        "logits": [[float(f"{value:.6g}") for value in row] for row in np.hstack(logits)],
        "shifts": shifts,
        "seconds": seconds,
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
