"""A fitted head with its training history and the state of its optimizer."""

from dataclasses import dataclass, field, replace

import numpy as np

from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.head import Head


@dataclass(frozen=True)
class History:
    """Training history.

    Parameters
    ----------
    n_iter : int
        Number of passes of the solver, or epochs.
    loss_curve, accuracy_curve : list of float
        Loss and accuracy of each epoch.
    validation_scores, validation_accuracies : list of float or None
        Validation score and accuracy of each epoch. None without early stopping.
    best_iter : int or None
        Epoch whose weights were kept. None without early stopping.
    """

    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    accuracy_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] | None = None
    validation_accuracies: list[float] | None = None
    best_iter: int | None = None


@dataclass(frozen=True)
class FittedHead:
    """A head, its history, and the state of its optimizer; None if a solver fitted it."""

    head: Head
    history: History = field(default_factory=History)
    optimizer_state: list[np.ndarray] | None = None

    def stopped(self, stopping: EarlyStopping[Head] | None, first: int) -> "FittedHead":
        """Return a copy with the weights of the best epoch; `first` is the number of the first epoch."""
        if stopping is None:
            return self
        history = replace(
            self.history,
            validation_scores=stopping.scores,
            validation_accuracies=stopping.accuracies,
            best_iter=stopping.best_iter + first,
        )
        return replace(self, head=stopping.best or self.head, history=history)
