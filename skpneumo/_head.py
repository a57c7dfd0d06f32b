"""What is trained on features: a linear probe, or dense layers; and what it says of new ones, in numpy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skpneumo._dense import Weights, train_dense
from skpneumo._threads import single_blas_thread

_ROWS_AT_ONCE = 1024
_COLUMNS_AT_ONCE = 32
_PROBE_MAX_ITER = 10_000


@dataclass(frozen=True)
class Head:
    """Standardisation, then layers: each maps ``h`` to ``relu(h @ coef + intercept)``, the last without relu."""

    mean: np.ndarray
    scale: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    accuracy_curve: list[float] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n_samples, 1) for two classes, (n_samples, n_classes) for more."""
        with single_blas_thread():
            return np.concatenate([self._logits(features[rows]) for rows in _row_blocks(len(features))])

    def _logits(self, features: np.ndarray) -> np.ndarray:
        hidden = (features - self.mean) / self.scale
        *inner, last = zip(self.coefs, self.intercepts, strict=True)
        for coef, intercept in inner:
            hidden = np.maximum(hidden @ coef + intercept, 0)
        return hidden @ last[0] + last[1]


def standardize(
    features: np.ndarray, sample_weight: np.ndarray, *, overwrite: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring each feature to mean 0 and standard deviation 1; return the features, the means and the deviations."""
    # By blocks of columns, since StandardScaler takes several times the matrix that it is given.
    columns = [slice(start, start + _COLUMNS_AT_ONCE) for start in range(0, features.shape[1], _COLUMNS_AT_ONCE)]
    # Weights can bring the variance of a constant to a hair below zero, which StandardScaler mends, but not silently.
    with single_blas_thread(), np.errstate(invalid="ignore"):
        scalers = [StandardScaler().fit(features[:, block], sample_weight=sample_weight) for block in columns]
    mean = np.concatenate([scaler.mean_ for scaler in scalers])
    scale = np.concatenate([scaler.scale_ for scaler in scalers])
    standardized = features if overwrite else features.copy()
    standardized -= mean
    standardized /= scale
    return standardized, mean, scale


def _row_blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, max(n_rows, 1), _ROWS_AT_ONCE):
        yield slice(start, start + _ROWS_AT_ONCE)


def fit_probe(
    features: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    alpha: float,
) -> Head:
    """Solve the L2-penalised logistic regression on standardised features, to what their precision allows."""
    solver = LogisticRegression(
        C=1 / (alpha * features.shape[1]) if alpha else np.inf,
        tol=1e-8 if features.dtype == np.float64 else 1e-5,
        max_iter=_PROBE_MAX_ITER,
    )
    with single_blas_thread():
        solver.fit(features, codes, sample_weight=sample_weight)
    return Head(
        mean,
        scale,
        [solver.coef_.T.copy()],
        [solver.intercept_],
        n_iter=int(np.max(solver.n_iter_)),
    )


def fit_dense(
    features: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    max_iter: int,
    progress: Callable[..., Any],
    **parameters: Any,
) -> Head:
    """Train dense ReLU layers on standardised features by Adam, from random weights and zero biases.

    A task of `progress` is told of each epoch with the head as it stands, and may stop the training.
    """
    loss_curve: list[float] = []
    accuracy_curve: list[float] = []

    def head(coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> Head:
        return Head(mean, scale, coefs, intercepts, len(loss_curve), loss_curve[:], accuracy_curve[:])

    with progress(max_iter, "head", "epoch") as task:

        def on_epoch(loss: float, accuracy: float, weights: Weights) -> bool:
            loss_curve.append(float(loss))
            accuracy_curve.append(float(accuracy))
            task.set_postfix(loss=loss, accuracy=accuracy)
            return task.update(state=lambda: head(*weights()))

        coefs, intercepts = train_dense(
            features, codes, sample_weight, max_iter=max_iter, on_epoch=on_epoch, **parameters
        )
    return head(coefs, intercepts)
