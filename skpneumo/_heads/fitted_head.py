"""A head with the history of its training, and what its optimizer goes on with."""

from dataclasses import dataclass, field, replace

import numpy as np

from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.head import Head


@dataclass(frozen=True)
class History:
    """How a training went.

    Parameters
    ----------
    n_iter : int
        Passes of a solver, or epochs.
    loss_curve, accuracy_curve : list of float
        One an epoch.
    validation_scores, validation_accuracies : list of float or None
        One an epoch, with early stopping.
    best_iter : int or None
        The epoch whose weights were kept, with early stopping.
    """

    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    accuracy_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] | None = None
    validation_accuracies: list[float] | None = None
    best_iter: int | None = None


@dataclass(frozen=True)
class FittedHead:
    """A head, its history, and the state of the optimizer that trained it; None where a solver did."""

    head: Head
    history: History = field(default_factory=History)
    optimizer_state: list[np.ndarray] | None = None

    def stopped(self, stopping: EarlyStopping[Head] | None, first: int) -> "FittedHead":
        """Return the weights of the best epoch; `first` is the number of the first epoch."""
        if stopping is None:
            return self
        history = replace(
            self.history,
            validation_scores=stopping.scores,
            validation_accuracies=stopping.accuracies,
            best_iter=stopping.best_iter + first,
        )
        return replace(self, head=stopping.best or self.head, history=history)
