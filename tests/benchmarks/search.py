"""Cold search relative to feature extraction, and warm search relative to scikit-learn."""

import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.datasets import load_chest_xrays
from tests.benchmarks.data import ALPHAS, HEAD, Setting, large_images, search, settle, small_images, small_settings
from tests.benchmarks.table import Measurement, Row, compare, seconds

TOL = 1e-5  # reachable in float32; the gradients in the note should be similar
UNITS, BATCH = 128, 200


def rows(setting: Setting) -> list[Row]:
    found = [
        Row("cold search / extraction + warm search", "<= 1.10", partial(cold, setting)),
        Row("warm search, probe / scikit-learn", "<= 1.0", partial(probe, setting)),
        Row("warm search, probe / scikit-learn, 1 thread", "<= 1.0", partial(probe, setting, n_threads=1)),
        Row("warm search, dense layer / scikit-learn", "<= 1.0", partial(dense, setting)),
    ]
    if "SKPNEUMO_SHARED" in os.environ:
        real = partial(probe_on_real_images, setting)
        found.insert(3, Row("warm search, probe, real X-rays / 1 thread", "<= 1.0", real))
    return found


def cold(setting: Setting) -> Measurement:
    paths, y = large_images(setting, setting.pick(120, 1_000))
    settings = setting.pick({"n_layers": 4, "image_size": 96}, {"n_layers": 16, "image_size": 224})
    settings = {"weights": None, "norm": None, "n_jobs": -1, **settings}
    grid = {"alpha": ALPHAS}

    def ours(memory: str) -> None:
        search(PneumoniaClassifier(**settings, **HEAD, memory=memory), grid, paths, y)

    def separately(memory: str) -> None:
        VGG19Features(**settings, memory=memory).fit_transform(paths)
        search(PneumoniaClassifier(**settings, **HEAD, memory=memory), grid, paths, y)

    settle()
    VGG19Features(**settings, memory=None).fit_transform(paths[:1])
    return compare(
        lambda: seconds(ours, setting.new_folder()),
        lambda: seconds(separately, setting.new_folder()),
        3,
        note=f"{len(paths)} JPEGs of 1,000 px, {settings['n_layers']} layers, {settings['image_size']} px, "
        f"{len(ALPHAS)} candidates x 5 folds, linear probe.",
    )


def probe(setting: Setting, n_threads: int | None = None) -> Measurement:
    """Compare with scikit-learn on all BLAS threads, or on one, which is often faster for small matrices."""
    paths, y, matrix, memory = small_images(setting)
    clf = PneumoniaClassifier(**small_settings(setting), **HEAD, memory=memory)
    description = "synthetic X-rays, untrained network"
    return _probe(clf, paths, matrix, y, 1 if setting.quick and not n_threads else 2, description, n_threads)


def probe_on_real_images(setting: Setting) -> Measurement:
    shared = Path(os.environ["SKPNEUMO_SHARED"])
    xrays = load_chest_xrays(shared / "xrays" / "kermany", random_state=0)
    chosen = slice(setting.pick(500, None))
    paths, y = xrays.data[chosen].ravel().tolist(), xrays.target[chosen]
    settings = {
        "weights": shared / "weights" / "vgg19_imagenet_first_8_layers.npz",
        "n_layers": 8,
        "image_size": setting.pick(64, 224),
        "norm": None,
        "memory": setting.new_folder(),
        "n_jobs": -1,
    }
    matrix = VGG19Features(**settings).fit_transform(paths)
    description = "real X-rays, first 8 ImageNet layers"
    return _probe(PneumoniaClassifier(**settings, **HEAD), paths, matrix, y, 2, description, n_threads=1)


def _probe(
    clf: PneumoniaClassifier,
    paths: list[str],
    matrix: np.ndarray,
    y: np.ndarray,
    repeats: int,
    description: str,
    n_threads: int | None = None,
) -> Measurement:
    C = [1 / (alpha * matrix.shape[1]) for alpha in ALPHAS]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=TOL, max_iter=10_000))
    gradients = _gradient_note(clf, pipeline, matrix, y)

    def peer() -> float:
        with threadpool_limits(n_threads, user_api="blas"):
            return seconds(search, pipeline, {"logisticregression__C": C}, matrix, y)

    return compare(
        lambda: seconds(search, clf, {"alpha": ALPHAS}, paths, y),
        peer,
        repeats,
        note=f"{len(paths):,} images x {matrix.shape[1]:,} features ({description}), {len(ALPHAS)} candidates x 5 "
        f"folds; skpneumo on paths, scikit-learn on the matrix with {n_threads or 'all'} BLAS threads. {gradients}",
    )


def _gradient_note(clf: PneumoniaClassifier, pipeline: Any, matrix: np.ndarray, y: np.ndarray) -> str:
    alphas = [ALPHAS[0], ALPHAS[len(ALPHAS) // 2], ALPHAS[-1]]
    ours, theirs = zip(*(_gradients(clf, pipeline, matrix, y, alpha) for alpha in alphas), strict=True)
    return (
        f"Maximum norm of the gradient per image at alpha {', '.join(f'{alpha:.2g}' for alpha in alphas)}: skpneumo "
        f"{', '.join(f'{norm:.0e}' for norm in ours)}; scikit-learn (tol={TOL:.0e}) "
        f"{', '.join(f'{norm:.0e}' for norm in theirs)}."
    )


def _gradients(
    clf: PneumoniaClassifier, pipeline: Any, matrix: np.ndarray, y: np.ndarray, alpha: float
) -> tuple[float, float]:
    """Return the gradient norms of both models for the same objective."""
    ours = PneumoniaClassifier(**clf.get_params()).set_params(alpha=alpha).fit(matrix, y)
    scaler, model = (
        pipeline.set_params(logisticregression__C=1 / (alpha * matrix.shape[1])).fit(matrix, y).named_steps.values()
    )
    fitted = [
        (ours.feature_mean_, ours.feature_scale_, ours.coefs_[0][:, 0], ours.intercepts_[0][0]),
        (scaler.mean_, scaler.scale_, model.coef_[0], model.intercept_[0]),
    ]
    first, second = (_gradient(matrix, y == ours.classes_[1], alpha, *state) for state in fitted)
    return first, second


def _gradient(
    matrix: np.ndarray,
    positive: np.ndarray,
    alpha: float,
    mean: np.ndarray,
    scale: np.ndarray,
    coef: np.ndarray,
    intercept: float,
) -> float:
    """Compute the maximum norm of the gradient of the penalized loss per image in float64."""
    standardized = (matrix.astype(np.float64) - mean) / scale
    residuals = expit(standardized @ coef.astype(np.float64) + intercept) - positive
    gradient = standardized.T @ residuals + alpha * matrix.shape[1] * coef
    return float(max(np.abs(gradient).max(), abs(residuals.sum())) / len(matrix))


def dense(setting: Setting) -> Measurement:
    paths, y, matrix, memory = small_images(setting)
    epochs, candidates = setting.pick(5, 20), [0.01, 0.1]
    clf = PneumoniaClassifier(
        **small_settings(setting),
        **HEAD,
        memory=memory,
        hidden_layer_sizes=(UNITS,),
        batch_size=BATCH,
        max_iter=epochs,
        random_state=0,
    )
    mlp = MLPClassifier(
        (UNITS,), batch_size=BATCH, max_iter=epochs, tol=0, n_iter_no_change=epochs, shuffle=True, random_state=0
    )
    pipeline = make_pipeline(StandardScaler(), mlp)

    def peer(pipeline: BaseEstimator) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search(pipeline, {"mlpclassifier__alpha": candidates}, matrix, y)

    PneumoniaClassifier(**clf.get_params()).fit(matrix[:BATCH], y[:BATCH])
    return compare(
        lambda: seconds(search, clf, {"alpha": candidates}, paths, y),
        lambda: seconds(peer, pipeline),
        setting.pick(2, 3),
        note=f"{len(paths):,} images x {matrix.shape[1]:,} features, {len(candidates)} candidates x 5 folds, one layer "
        f"of {UNITS} units, {epochs} epochs, batches of {BATCH}; skpneumo on paths, MLPClassifier on the matrix.",
    )
