"""The linear probe: L2-penalized logistic regression in few passes over the features."""

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skpneumo._heads.fitted_head import FittedHead, History
from skpneumo._heads.head import Head
from skpneumo._heads.resampling import TrainingRows
from skpneumo._utils.blas import row_blocks, single_blas_thread

_MAX_DIRECTIONS = 64
_MAX_UNKNOWNS = 256  # of the small problem
_MEMORY = 10
_MAX_PASSES = 10_000
_MAX_TRIES = 20
_MAX_ITER = 10_000  # of scikit-learn's solver
_MANY_CLASSES = 10  # from this number on, scikit-learn is faster


def fit_logistic_regression(
    resampled: TrainingRows, mean: np.ndarray, scale: np.ndarray, *, alpha: float
) -> FittedHead:
    """Fit an L2-penalized logistic regression on standardized features, to the tolerance of their precision."""
    features, codes = resampled.features, resampled.codes
    # Weights instead of repeated rows avoid a copy of the matrix.
    sample_weight = resampled.weights * np.bincount(resampled.rows, minlength=len(codes))
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
    return FittedHead(Head(mean, scale, [coef], [intercept]), History(n_iter))


def solve_probe(
    features: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray, *, penalty: float, tol: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Minimize ``sum_i w_i loss_i + penalty / 2 ||W||^2`` with unpenalized intercepts.

    Features of a network are highly correlated. Newton's method therefore first minimizes the loss over the few
    directions of largest variance, which is cheap. L-BFGS continues over all directions, preconditioned with the
    curvature along these few.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        Standardized features. Products with them use their precision, everything else is float64.
    codes : ndarray of int, shape (n_samples,)
        Class indices, from 0.
    sample_weight : ndarray of float64, shape (n_samples,)
        Non-negative weights, not all 0.
    penalty : float
        Strength of the L2 penalty, greater than 0.
    tol : float
        The solver stops when no element of the gradient exceeds `tol` times the sum of weights.

    Returns
    -------
    tuple of ndarray (n_features, n_outputs), ndarray (n_outputs,), int
        Coefficients, intercepts and number of passes over the features. There is one output for two classes,
        otherwise one per class.
    """
    penalty, weight = penalty / sample_weight.sum(), (sample_weight / sample_weight.sum())[:, None]
    n_classes = int(codes.max()) + 1
    targets = (codes[:, None] == (np.arange(n_classes) if n_classes > 2 else 1)).astype(np.float64)
    probabilities = np.empty_like(targets)  # of the last gradient evaluation

    def compute_gradient(solution: np.ndarray) -> np.ndarray:
        coef, intercept = solution[:-1].astype(features.dtype), solution[-1]
        gradient = np.vstack([penalty * solution[:-1], np.zeros_like(intercept)])
        for rows in row_blocks(features):
            probabilities[rows] = _probabilities(features[rows] @ coef + intercept)
            residuals = weight[rows] * (probabilities[rows] - targets[rows])
            gradient[:-1] += features[rows].T @ residuals.astype(features.dtype)
            gradient[-1] += residuals.sum(axis=0)
        return gradient

    directions = _main_directions(features, weight, max(1, _MAX_UNKNOWNS // targets.shape[1]))
    scores = (features @ directions.astype(features.dtype)).astype(np.float64)
    residual_norms = np.einsum("ij,ij->i", features, features) - np.einsum("ij,ij->i", scores, scores)
    n_residual = max(min(features.shape) - directions.shape[1], 1)
    small = _SmallProblem(scores, targets, weight, penalty)

    def preconditioner() -> Callable[[np.ndarray], np.ndarray]:
        factor = cho_factor(small.hessian(probabilities))
        # Three times the mean curvature over the other directions, since those of high curvature matter first.
        curvature = (weight * probabilities * (1 - probabilities)).mean(axis=1)
        diagonal = penalty + 3 * max(curvature @ residual_norms, 0) / n_residual

        def precondition(gradient: np.ndarray) -> np.ndarray:
            projected = np.vstack([directions.T @ gradient[:-1], gradient[-1]])
            step = cho_solve(factor, projected.ravel()).reshape(projected.shape)
            return np.vstack([gradient[:-1] / diagonal + directions @ (step - projected / diagonal)[:-1], step[-1]])

        return precondition

    start = small.solve(tol)
    start = np.vstack([directions @ start[:-1], start[-1]])
    solution, gradient, n_passes = _descend(compute_gradient, _LBFGS(preconditioner), start, tol)
    if not np.abs(gradient).max() <= tol:
        warnings.warn(
            f"The linear probe did not converge, since the gradient has an element of {np.abs(gradient).max():.1e}, "
            f"above {tol:.0e}: choose another alpha.",
            ConvergenceWarning,
            stacklevel=2,
        )
    solution = solution.astype(features.dtype)
    return solution[:-1], solution[-1], n_passes


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _main_directions(features: np.ndarray, weight: np.ndarray, n_directions: int) -> np.ndarray:
    """Return orthonormal directions of large variance: one power iteration from evenly spaced samples."""
    samples = np.flatnonzero(weight)
    n_directions = min(n_directions, _MAX_DIRECTIONS, len(samples))
    samples = samples[np.linspace(0, len(samples) - 1, n_directions).astype(int)]
    scores = weight * (features @ features[samples].T)
    span = (features.T @ scores.astype(features.dtype)).astype(np.float64)
    variances, axes = np.linalg.eigh(span.T @ span)
    is_nonzero = variances > 1e-10 * variances[-1]
    return span @ (axes[:, is_nonzero] / np.sqrt(variances[is_nonzero]))


class _SmallProblem:
    """The problem restricted to a few directions, solved by Newton's method."""

    def __init__(self, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray, penalty: float) -> None:
        self.inputs = np.hstack([scores, np.ones_like(weight)])
        self.targets, self.weight = targets, weight
        self.ridge = np.full((self.inputs.shape[1], targets.shape[1]), penalty)
        self.ridge[-1] = 0

    def solve(self, tol: float) -> np.ndarray:
        return _descend(self._gradient, self._step, np.zeros_like(self.ridge), tol)[0]

    def hessian(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the Hessian matrix for these probabilities of the samples."""
        n_outputs = self.ridge.shape[1]
        blocks = np.empty(self.ridge.shape * 2)
        for one, other in np.ndindex(n_outputs, n_outputs):
            curvature = self.weight * probabilities[:, [one]] * ((one == other) - probabilities[:, [other]])
            blocks[:, one, :, other] = self.inputs.T @ (curvature * self.inputs)
        blocks[-1, :, -1] += n_outputs > 1  # removes the singularity under a shift of all intercepts
        matrix = blocks.reshape(self.ridge.size, self.ridge.size)
        # Keep all eigenvalues positive despite rounding.
        return matrix + np.diag(self.ridge.ravel() + 100 * np.finfo(np.float64).eps * np.trace(matrix))

    def _gradient(self, solution: np.ndarray) -> np.ndarray:
        residuals = _probabilities(self.inputs @ solution) - self.targets
        return self.inputs.T @ (self.weight * residuals) + self.ridge * solution

    def _step(self, solution: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        factor = cho_factor(self.hessian(_probabilities(self.inputs @ solution)))
        return cho_solve(factor, gradient.ravel()).reshape(gradient.shape)


def _descend(
    compute_gradient: Callable[[np.ndarray], np.ndarray],
    compute_step: Callable[[np.ndarray, np.ndarray], np.ndarray],
    solution: np.ndarray,
    tol: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Take steps until no element of the gradient exceeds `tol`; return solution, gradient and number of gradients.

    The line search uses the derivative along the step, since differences of the loss are lost in rounding.
    """
    gradient, n_gradients = compute_gradient(solution), 1
    while np.abs(gradient).max() > tol and n_gradients < _MAX_PASSES:
        step = -compute_step(solution, gradient)
        initial_derivative = np.vdot(gradient, step)
        low, high, length = (0.0, initial_derivative), None, 1.0
        for _ in range(_MAX_TRIES):
            new_gradient = compute_gradient(solution + length * step)
            derivative = np.vdot(new_gradient, step)
            n_gradients += 1
            if abs(derivative) <= -initial_derivative / 2:
                break
            low, high = ((length, derivative), high) if derivative < 0 else (low, (length, derivative))
            if high is None:
                length *= 2
            else:
                length = low[0] + (high[0] - low[0]) * np.clip(low[1] / (low[1] - high[1]), 0.1, 0.9)
        else:
            break  # rounding error prevents further progress
        solution, gradient = solution + length * step, new_gradient
    return solution, gradient, n_gradients


class _LBFGS:
    """Steps of preconditioned L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4)."""

    def __init__(self, preconditioner: Callable[[], Callable[[np.ndarray], np.ndarray]]) -> None:
        self.preconditioner = preconditioner
        self.last: list[np.ndarray] = []
        self.pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)
        self.n_steps = 0

    def __call__(self, solution: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        if self.n_steps % _MEMORY == 0:
            self.precondition = self.preconditioner()
        scale = 1.0
        if self.last:
            move, change = solution - self.last[0], gradient - self.last[1]
            self.pairs.append((move, change, np.vdot(move, change)))
            scale = np.vdot(move, change) / np.vdot(change, self.precondition(change))
        self.last, self.n_steps = [solution, gradient], self.n_steps + 1
        alphas = []
        for move, change, product in reversed(self.pairs):
            alphas.append(np.vdot(move, gradient) / product)
            gradient = gradient - alphas[-1] * change
        step = scale * self.precondition(gradient)
        for (move, change, product), alpha in zip(self.pairs, reversed(alphas), strict=True):
            step += (alpha - np.vdot(change, step) / product) * move
        return step
