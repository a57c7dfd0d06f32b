"""The linear probe: L2-penalised logistic regression in few passes over the features."""

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
from skpneumo._heads.resampling import Drawn
from skpneumo._utils.blas import row_blocks, single_blas_thread

_MOST_DIRECTIONS = 64
_MOST_UNKNOWNS = 256  # of the small problem
_MEMORY = 10
_MAX_PASSES = 10_000
_MAX_TRIES = 20
_MAX_ITER = 10_000  # of scikit-learn's solver
_MANY_CLASSES = 10  # from here on scikit-learn is faster


def fit_logistic_regression(drawn: Drawn, mean: np.ndarray, scale: np.ndarray, *, alpha: float) -> FittedHead:
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
    return FittedHead(Head(mean, scale, [coef], [intercept]), History(n_iter))


def solve_probe(
    features: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray, *, penalty: float, tol: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Minimise ``sum_i w_i loss_i + penalty / 2 ||W||^2`` until no derivative exceeds `tol`; intercepts are free.

    Features that come out of a network are highly correlated. So the loss is first minimised over the few directions
    in which they vary most, by Newton's method, which costs next to nothing. L-BFGS goes on from there over all
    directions, and is told the curvature along the few.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        Standardised. Products with them are computed in their precision, all else in float64.
    codes : ndarray of int, shape (n_samples,)
        Classes, from 0.
    sample_weight : ndarray of float64, shape (n_samples,)
        Not negative, not all 0.
    penalty : float
        Above 0.
    tol : float
        Relative to the sum of weights.

    Returns
    -------
    tuple of ndarray (n_features, n_outputs), ndarray (n_outputs,), int
        Coefficients, intercepts, passes over the features. One output for two classes, otherwise one a class.
    """
    penalty, weight = penalty / sample_weight.sum(), (sample_weight / sample_weight.sum())[:, None]
    n_classes = int(codes.max()) + 1
    targets = (codes[:, None] == (np.arange(n_classes) if n_classes > 2 else 1)).astype(np.float64)
    probabilities = np.empty_like(targets)  # at the last gradient

    def gradient(solution: np.ndarray) -> np.ndarray:
        coef, intercept = solution[:-1].astype(features.dtype), solution[-1]
        slopes = np.vstack([penalty * solution[:-1], np.zeros_like(intercept)])
        for rows in row_blocks(features):
            probabilities[rows] = _probabilities(features[rows] @ coef + intercept)
            residuals = weight[rows] * (probabilities[rows] - targets[rows])
            slopes[:-1] += features[rows].T @ residuals.astype(features.dtype)
            slopes[-1] += residuals.sum(axis=0)
        return slopes

    directions = _main_directions(features, weight, max(1, _MOST_UNKNOWNS // targets.shape[1]))
    scores = (features @ directions.astype(features.dtype)).astype(np.float64)
    unseen = np.einsum("ij,ij->i", features, features) - np.einsum("ij,ij->i", scores, scores)
    n_unseen = max(min(features.shape) - directions.shape[1], 1)
    small = _SmallProblem(scores, targets, weight, penalty)

    def preconditioner() -> Callable[[np.ndarray], np.ndarray]:
        factor = cho_factor(small.hessian(probabilities))
        # The mean curvature over the other directions, threefold: of these, the steep ones come first.
        curvature = (weight * probabilities * (1 - probabilities)).mean(axis=1)
        flat = penalty + 3 * max(curvature @ unseen, 0) / n_unseen

        def precondition(slopes: np.ndarray) -> np.ndarray:
            inside = np.vstack([directions.T @ slopes[:-1], slopes[-1]])
            step = cho_solve(factor, inside.ravel()).reshape(inside.shape)
            return np.vstack([slopes[:-1] / flat + directions @ (step - inside / flat)[:-1], step[-1]])

        return precondition

    start = small.solve(tol)
    start = np.vstack([directions @ start[:-1], start[-1]])
    solution, slopes, n_passes = _descend(gradient, _LBFGS(preconditioner), start, tol)
    if not np.abs(slopes).max() <= tol:
        warnings.warn(
            f"the linear probe stopped where the loss still has a derivative of {np.abs(slopes).max():.1e}, above "
            f"{tol:.0e}: choose another alpha.",
            ConvergenceWarning,
            stacklevel=2,
        )
    solution = solution.astype(features.dtype)
    return solution[:-1], solution[-1], n_passes


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _main_directions(features: np.ndarray, weight: np.ndarray, at_most: int) -> np.ndarray:
    """Find orthonormal directions of large variance: one power iteration from evenly spaced samples."""
    samples = np.flatnonzero(weight)
    at_most = min(at_most, _MOST_DIRECTIONS, len(samples))
    samples = samples[np.linspace(0, len(samples) - 1, at_most).astype(int)]
    scores = weight * (features @ features[samples].T)
    span = (features.T @ scores.astype(features.dtype)).astype(np.float64)
    variances, axes = np.linalg.eigh(span.T @ span)
    kept = variances > 1e-10 * variances[-1]
    return span @ (axes[:, kept] / np.sqrt(variances[kept]))


class _SmallProblem:
    """The same problem over a few directions, solved by Newton's method."""

    def __init__(self, scores: np.ndarray, targets: np.ndarray, weight: np.ndarray, penalty: float) -> None:
        self.inputs = np.hstack([scores, np.ones_like(weight)])
        self.targets, self.weight = targets, weight
        self.ridge = np.full((self.inputs.shape[1], targets.shape[1]), penalty)
        self.ridge[-1] = 0

    def solve(self, tol: float) -> np.ndarray:
        return _descend(self._gradient, self._step, np.zeros_like(self.ridge), tol)[0]

    def hessian(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the matrix of second derivatives where the samples have these probabilities."""
        n_outputs = self.ridge.shape[1]
        blocks = np.empty(self.ridge.shape * 2)
        for one, other in np.ndindex(n_outputs, n_outputs):
            curvature = self.weight * probabilities[:, [one]] * ((one == other) - probabilities[:, [other]])
            blocks[:, one, :, other] = self.inputs.T @ (curvature * self.inputs)
        blocks[-1, :, -1] += n_outputs > 1  # a shift of all intercepts changes nothing
        matrix = blocks.reshape(self.ridge.size, self.ridge.size)
        # Rounding must not bring an eigenvalue below zero.
        return matrix + np.diag(self.ridge.ravel() + 100 * np.finfo(np.float64).eps * np.trace(matrix))

    def _gradient(self, solution: np.ndarray) -> np.ndarray:
        residuals = _probabilities(self.inputs @ solution) - self.targets
        return self.inputs.T @ (self.weight * residuals) + self.ridge * solution

    def _step(self, solution: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        factor = cho_factor(self.hessian(_probabilities(self.inputs @ solution)))
        return cho_solve(factor, slopes.ravel()).reshape(slopes.shape)


def _descend(
    gradient: Callable[[np.ndarray], np.ndarray],
    step: Callable[[np.ndarray, np.ndarray], np.ndarray],
    solution: np.ndarray,
    tol: float,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Follow `step` until no slope exceeds `tol`; return the solution, the slopes there and the number of gradients.

    The loss is convex: its slope along a step tells when that goes too far, where its value would drown in rounding.
    """
    slopes, n_gradients = gradient(solution), 1
    while np.abs(slopes).max() > tol and n_gradients < _MAX_PASSES:
        move = -step(solution, slopes)
        downhill = np.vdot(slopes, move)
        low, high, length = (0.0, downhill), None, 1.0
        for _ in range(_MAX_TRIES):
            ahead = gradient(solution + length * move)
            slope = np.vdot(ahead, move)
            n_gradients += 1
            if abs(slope) <= -downhill / 2:
                break
            low, high = ((length, slope), high) if slope < 0 else (low, (length, slope))
            if high is None:
                length *= 2
            else:
                length = low[0] + (high[0] - low[0]) * np.clip(low[1] / (low[1] - high[1]), 0.1, 0.9)
        else:
            break  # what is left is rounding
        solution, slopes = solution + length * move, ahead
    return solution, slopes, n_gradients


class _LBFGS:
    """The steps of L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4), preconditioned anew at times."""

    def __init__(self, preconditioner: Callable[[], Callable[[np.ndarray], np.ndarray]]) -> None:
        self.preconditioner = preconditioner
        self.last: list[np.ndarray] = []
        self.pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)
        self.n_steps = 0

    def __call__(self, solution: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        if self.n_steps % _MEMORY == 0:
            self.precondition = self.preconditioner()
        scale = 1.0
        if self.last:
            move, change = solution - self.last[0], slopes - self.last[1]
            self.pairs.append((move, change, np.vdot(move, change)))
            scale = np.vdot(move, change) / np.vdot(change, self.precondition(change))
        self.last, self.n_steps = [solution, slopes], self.n_steps + 1
        shares = []
        for move, change, product in reversed(self.pairs):
            shares.append(np.vdot(move, slopes) / product)
            slopes = slopes - shares[-1] * change
        step = scale * self.precondition(slopes)
        for (move, change, product), share in zip(self.pairs, reversed(shares), strict=True):
            step += (share - np.vdot(change, step) / product) * move
        return step
