"""Synthetic X-rays and features for the benchmarks, generated once per run."""

import functools
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skpneumo import VGG19Features
from skpneumo._images.sources import _SETTLED
from skpneumo.datasets import make_chest_xrays

T = TypeVar("T")

# Parameters that the results depend on are stated, so that they do not change with the defaults.
HEAD = {"n_views": 1, "alpha": 0.05, "class_weight": None}
ALPHAS = [float(alpha) for alpha in np.logspace(-3, 2, 24)]


@dataclass(frozen=True)
class Setting:
    """Size of a run and its temporary folder."""

    quick: bool
    folder: str

    def pick(self, quick: T, full: T) -> T:
        return quick if self.quick else full

    def new_folder(self) -> str:
        return tempfile.mkdtemp(dir=self.folder)


@functools.cache
def drawings(setting: Setting) -> tuple[list[bytes], list[int]]:
    """Generate a few X-rays as large as in the Kaggle collection; return their bytes and labels."""
    paths, y = make_chest_xrays(
        setting.pick(12, 48), setting.new_folder(), image_size=1000, random_state=0, return_X_y=True
    )
    return [Path(path).read_bytes() for path in paths.ravel()], y.tolist()


def large_images(setting: Setting, n_images: int) -> tuple[list[str], np.ndarray]:
    """Write distinct JPEGs of 1,000 px: repeated drawings, each with a number appended to the file."""
    folder = setting.new_folder()
    contents, labels = drawings(setting)
    paths = [os.path.join(folder, f"{i}.jpeg") for i in range(n_images)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(contents[i % len(contents)] + str(i).encode())
    return paths, np.resize(labels, n_images)


def small_settings(setting: Setting) -> dict[str, Any]:
    """Return settings of a fast backbone with a realistic number of features."""
    return {"weights": None, "n_layers": 4, "image_size": 32, "pool_grid": setting.pick(4, 8), "norm": None}


@functools.cache
def small_images(setting: Setting) -> tuple[list[str], np.ndarray, np.ndarray, str]:
    """Generate small X-rays and store their features; return paths, labels, features and the folder of the store."""
    X, y = make_chest_xrays(
        setting.pick(600, 5_000), setting.new_folder(), image_size=40, random_state=0, return_X_y=True
    )
    paths, memory = X.ravel().tolist(), setting.new_folder()
    settle()
    matrix = VGG19Features(**small_settings(setting), memory=memory, n_jobs=-1).fit_transform(paths)
    return paths, y, matrix, memory


def settle() -> None:
    """Wait until new files count as unchanged, because recently written files are read again in each call."""
    time.sleep(_SETTLED + 1)


def search(estimator: Any, grid: dict[str, list[Any]], X: Any, y: Any, folds: int = 5, n_jobs: int = 1) -> GridSearchCV:
    """Fit each candidate on each fold without refit, so that the work is the same for every estimator."""
    return GridSearchCV(
        estimator, grid, cv=StratifiedKFold(folds), refit=False, n_jobs=n_jobs, error_score="raise"
    ).fit(X, y)
