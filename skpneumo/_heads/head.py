"""The head in numpy: standardization, layers, logits and their gradients."""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax, softmax

from skpneumo._utils.blas import row_blocks, single_blas_thread


@dataclass(frozen=True)
class Head:
    """Standardization, then layers: each maps ``h`` to ``relu(h @ coef + intercept)``, the last without relu.

    `layers` are the trained layers of VGG19 that compute the features, if there are any.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    layers: dict[str, np.ndarray] = field(default_factory=dict)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits, (n_samples, 1) for two classes or (n_samples, n_classes) for more."""
        with single_blas_thread():
            return np.concatenate([self._logits(features[rows]) for rows in row_blocks(features)])

    def gradients(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradients of weighted sums of logits with respect to the features.

        `weights` has shape (n_samples, n_outputs).
        """
        with single_blas_thread():
            return np.concatenate([self._gradients(features[rows], weights[rows]) for rows in row_blocks(features)])

    def _logits(self, features: np.ndarray) -> np.ndarray:
        return self._hidden(features)[-1] @ self.coefs[-1] + self.intercepts[-1]

    def _gradients(self, features: np.ndarray, weights: np.ndarray) -> np.ndarray:
        gradients = weights @ self.coefs[-1].T
        for hidden, coef in zip(self._hidden(features)[:0:-1], self.coefs[-2::-1], strict=True):
            gradients = (gradients * (hidden > 0)) @ coef.T
        return gradients / self.scale

    def _hidden(self, features: np.ndarray) -> list[np.ndarray]:
        """Return the inputs of each layer."""
        hidden = [(features - self.mean) / self.scale]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            hidden.append(np.maximum(hidden[-1] @ coef + intercept, 0))
        return hidden


def standardize(
    features: np.ndarray, sample_weight: np.ndarray, *, overwrite: bool, start: Head | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale each feature to mean 0 and standard deviation 1; return the features, the means and the deviations.

    With `start`, use its means and deviations, for which its weights were trained.
    """
    # StandardScaler needs several times the memory of the matrix, and more time.
    mean, scale = (start.mean, start.scale) if start else mean_and_scale(features, sample_weight)
    standardized = features if overwrite else np.empty(features.shape, features.dtype)
    for rows in row_blocks(features):
        np.divide(features[rows] - mean, scale, out=standardized[rows], casting="same_kind")
    return standardized, mean, scale


def mean_and_scale(features: np.ndarray, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and standard deviation of each feature; the latter is 1 for constant features."""
    weight = sample_weight / sample_weight.sum()
    mean, variance = np.zeros((2, features.shape[1]))
    with single_blas_thread():
        for rows in row_blocks(features):
            mean += weight[rows] @ features[rows].astype(np.float64, copy=False)
        for rows in row_blocks(features):
            variance += weight[rows] @ (features[rows] - mean) ** 2
    # Like StandardScaler, treat a variance within rounding error as that of a constant feature.
    variance[np.sqrt(variance) <= len(features) * np.finfo(np.float64).eps * np.abs(mean)] = 1
    return mean, np.sqrt(variance)


def prior_shift(logits: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Fit the intercepts without class weights and resampling, at fixed coefficients; return the shift of the logits.

    The shift is 0 if a class has no image of positive weight, since its intercept is not finite.
    """
    present, n_outputs = np.unique(codes[sample_weight > 0]), logits.shape[1]
    if len(present) < max(n_outputs, 2):
        return np.zeros(n_outputs)
    weight = (sample_weight / sample_weight.sum())[:, np.newaxis]
    targets = codes[:, np.newaxis] == (np.arange(n_outputs) if n_outputs > 1 else 1)

    def gradient(shift: np.ndarray) -> np.ndarray:
        proba = expit(logits + shift) if n_outputs == 1 else softmax(logits + shift, axis=1)
        return (weight * (proba - targets)).sum(axis=0)

    if n_outputs == 1:
        share = max(min(weight[targets].sum(), weight[~targets].sum()), np.finfo(np.float64).tiny)
        bound = np.abs(logits).max() + max(50, -np.log(share))
        return np.array([brentq(lambda shift: gradient(np.array([shift]))[0], -bound, bound)])

    def loss(shift: np.ndarray) -> float:
        return -float((weight * targets * log_softmax(logits + shift, axis=1)).sum())

    shift = minimize(loss, np.zeros(n_outputs), jac=gradient, method="BFGS", options={"gtol": 1e-8}).x
    return shift - shift.mean()


def check_finite(head: Head, name: str, rate: float) -> None:
    """Raise if the weights are not finite; `name` is the parameter of the learning rate."""
    if not all(np.isfinite(array).all() for array in [*head.coefs, *head.intercepts, *head.layers.values()]):
        raise ValueError(
            f"Training diverged, and the weights are not finite: choose a {name} below {rate}, or check the scale of "
            "the features."
        )
