"""What is trained on features: a linear probe, or dense layers; and what it says of new ones, in numpy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.logistic_regression import row_blocks, solve_probe
from skpneumo._heads.mlp import Weights, train_dense
from skpneumo._heads.resampling import Drawn
from skpneumo._utils.blas import single_blas_thread

_MAX_ITER = 10_000
_MANY_CLASSES = 10  # from here on scikit-learn is faster


@dataclass(frozen=True)
class Head:
    """Standardisation, then layers: each maps ``h`` to ``relu(h @ coef + intercept)``, the last without relu.

    With `layers`, these are the tuned layers of VGG19 that its features come from. `validation_scores`,
    `validation_accuracies` and `best_iter` tell of early stopping, `moments` is what Adam goes on with.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    accuracy_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    best_iter: int | None = None
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    moments: list[np.ndarray] | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n_samples, 1) for two classes, (n_samples, n_classes) for more."""
        with single_blas_thread():
            return np.concatenate([self._logits(features[rows]) for rows in row_blocks(features)])

    def slopes(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Differentiate weighted sums of logits by the features: `weights` are (n_samples, n_outputs)."""
        with single_blas_thread():
            return np.concatenate([self._slopes(features[rows], weights[rows]) for rows in row_blocks(features)])

    def _logits(self, features: np.ndarray) -> np.ndarray:
        return self._hidden(features)[-1] @ self.coefs[-1] + self.intercepts[-1]

    def _slopes(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        slopes = weights @ self.coefs[-1].T
        for hidden, coef in zip(self._hidden(features)[:0:-1], self.coefs[-2::-1], strict=True):
            slopes = (slopes * (hidden > 0)) @ coef.T
        return slopes / self.scale

    def _hidden(self, features: np.ndarray) -> list[np.ndarray]:
        """Return what enters each layer."""
        hidden = [(features - self.mean) / self.scale]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            hidden.append(np.maximum(hidden[-1] @ coef + intercept, 0))
        return hidden


def standardize(
    features: np.ndarray, sample_weight: np.ndarray, *, overwrite: bool, start: Head | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring each feature to mean 0 and standard deviation 1; return the features, the means and the deviations.

    With `start`, its means and deviations are used, which its weights were trained for.
    """
    # By blocks of rows, since StandardScaler takes several times the matrix that it is given, and longer.
    mean, scale = (start.mean, start.scale) if start else mean_and_scale(features, sample_weight)
    standardized = features if overwrite else np.empty(features.shape, features.dtype)
    for rows in row_blocks(features):
        np.divide(features[rows] - mean, scale, out=standardized[rows], casting="same_kind")
    return standardized, mean, scale


def mean_and_scale(features: np.ndarray, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of each feature; 1 for the deviation of a constant one."""
    share = sample_weight / sample_weight.sum()
    mean, variance = np.zeros((2, features.shape[1]))
    with single_blas_thread():
        for rows in row_blocks(features):
            mean += share[rows] @ features[rows].astype(np.float64, copy=False)
        for rows in row_blocks(features):
            variance += share[rows] @ (features[rows] - mean) ** 2
    # What StandardScaler takes for constant too: a variance that rounding alone explains.
    variance[np.sqrt(variance) <= len(features) * np.finfo(np.float64).eps * np.abs(mean)] = 1
    return mean, np.sqrt(variance)


def fit_probe(drawn: Drawn, mean: np.ndarray, scale: np.ndarray, *, alpha: float) -> Head:
    """Solve the L2-penalised logistic regression on standardised features, to what their precision allows."""
    features, codes = drawn.features, drawn.codes
    # A row that was drawn twice weighs twice; the matrix stays as it is.
    sample_weight = drawn.weights * np.bincount(drawn.rows, minlength=len(codes))
    tol = 1e-8 if features.dtype == np.float64 else 1e-5
    with single_blas_thread():
        if alpha and codes.max() < _MANY_CLASSES:
            penalty = alpha * features.shape[1]
            coef, intercept, n_iter = solve_probe(features, codes, sample_weight, penalty=penalty, tol=tol)
        else:
            solver = LogisticRegression(
                C=1 / (alpha * features.shape[1]) if alpha else np.inf, tol=tol, max_iter=_MAX_ITER
            )
            solver.fit(features, codes, sample_weight=sample_weight)
            coef, intercept, n_iter = solver.coef_.T.copy(), solver.intercept_, int(np.max(solver.n_iter_))
    return Head(mean, scale, [coef], [intercept], n_iter=n_iter)


def fit_dense(
    draws: Iterator[Drawn],
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    max_iter: int,
    start: Head | None = None,
    held: Any = None,
    stopping: EarlyStopping[Head] | None = None,
    progress: Callable[..., Any],
    **parameters: Any,
) -> Head:
    """Train dense ReLU layers by Adam, from random weights and zero biases or from `start`.

    Each epoch is trained on what `draws` gives for it, standardised.
    A task of `progress` is told of each epoch with the head as it stands, and may stop the training; so may `stopping`,
    told how the head does on the rows `held`.
    """
    loss_curve: list[float] = []
    accuracy_curve: list[float] = []

    def head(weights: Weights) -> Head:
        return Head(mean, scale, *weights, len(loss_curve), loss_curve[:], accuracy_curve[:])

    with progress(max_iter, "head", "epoch") as task:

        def on_epoch(loss: float, accuracy: float, weights: Callable[[], Weights]) -> bool:
            loss_curve.append(float(loss))
            accuracy_curve.append(float(accuracy))
            task.set_postfix(loss=loss, accuracy=accuracy)
            is_over = False
            if stopping is not None:
                now = head(weights())
                score, accuracy = held.examples.judge(now.logits(held.features))
                is_over = stopping.add(score, now, accuracy)
            return task.update(state=lambda: head(weights())) or is_over

        weights, moments = train_dense(
            draws,
            max_iter=max_iter,
            on_epoch=on_epoch,
            start=(start.coefs, start.intercepts) if start else None,
            state=start.moments if start else None,
            **parameters,
        )
    last = replace(head(weights), moments=moments)
    trained = last if stopping is None else stopped(last, stopping, first=1)
    check_finite(trained, "learning_rate_init", parameters["learning_rate_init"])
    return trained


def prior_shift(logits: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Solve the intercepts anew on images as they are, with all else held: what has to be added to the logits.

    Nothing where some class has no image of any weight: there is no such intercept.
    """
    present, n_outputs = np.unique(codes[sample_weight > 0]), logits.shape[1]
    if len(present) < max(n_outputs, 2):
        return np.zeros(n_outputs)
    weight = (sample_weight / sample_weight.sum())[:, np.newaxis]
    targets = codes[:, np.newaxis] == (np.arange(n_outputs) if n_outputs > 1 else 1)

    def slope(shift: np.ndarray) -> np.ndarray:
        proba = expit(logits + shift) if n_outputs == 1 else softmax(logits + shift, axis=1)
        return (weight * (proba - targets)).sum(axis=0)

    if n_outputs == 1:
        furthest = np.abs(logits).max() + 50
        return np.array([brentq(lambda shift: slope(np.array([shift]))[0], -furthest, furthest)])

    def loss(shift: np.ndarray) -> float:
        return -float((weight * targets * log_softmax(logits + shift, axis=1)).sum())

    shift = minimize(loss, np.zeros(n_outputs), jac=slope, method="BFGS", options={"gtol": 1e-8}).x
    return shift - shift.mean()


def check_finite(head: Head, name: str, rate: float) -> None:
    """Refuse weights that training has driven to infinity; `name` is the parameter that set its rate."""
    if not all(np.isfinite(array).all() for array in [*head.coefs, *head.intercepts, *head.layers.values()]):
        raise ValueError(
            f"training has left the finite numbers: choose a {name} below {rate}, or check that the features are of a "
            "reasonable scale."
        )


def stopped(last: Head, stopping: EarlyStopping[Head], first: int) -> Head:
    """Take the weights of the best epoch, and all else of the last; `first` is the number of the first epoch."""
    best = stopping.best or last
    return replace(
        last,
        coefs=best.coefs,
        intercepts=best.intercepts,
        layers=best.layers,
        validation_scores=stopping.scores,
        validation_accuracies=stopping.accuracies,
        best_iter=stopping.best_iter + first,
    )
