"""Early stopping on one score per epoch, keeping the best weights."""

from typing import Generic, TypeVar

T = TypeVar("T")


class EarlyStopping(Generic[T]):
    """Keep the best state and stop when the score stops improving.

    Parameters
    ----------
    n_iter_no_change : int
        Maximum number of epochs without an improvement of at least `tol`.
    tol : float
        Minimum increase of the score that counts as an improvement.

    Examples
    --------
    >>> stopping = EarlyStopping(n_iter_no_change=2, tol=0.1)
    >>> [stopping.add(score, name) for score, name in [(0.5, "a"), (0.7, "b"), (0.75, "c"), (0.6, "d")]]
    [False, False, False, True]
    >>> stopping.best, stopping.best_iter
    ('c', 2)
    """

    def __init__(self, n_iter_no_change: int, tol: float) -> None:
        self.n_iter_no_change, self.tol = n_iter_no_change, tol
        self.scores: list[float] = []
        self.accuracies: list[float] = []
        self.best: T | None = None
        self.best_iter = -1  # index of the best score
        self._waited = 0

    def add(self, score: float, state: T, accuracy: float = float("nan")) -> bool:
        """Record the score, state and accuracy of an epoch; return whether to stop."""
        best = self.scores[self.best_iter] if self.scores else -float("inf")
        self.scores.append(score)
        self.accuracies.append(accuracy)
        self._waited = 0 if score >= best + self.tol else self._waited + 1
        if score > best:
            self.best, self.best_iter = state, len(self.scores) - 1
        return self._waited >= self.n_iter_no_change
