"""The optimizer and the variables of a training step, common to all backends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Shape and dtype of each array that a compiled function takes; the batch axis is None.
Signature = Sequence[tuple[tuple[int | None, ...], str]]


@dataclass(frozen=True)
class Optimizer:
    """Adam and the variables that a compiled step changes.

    Parameters
    ----------
    trained : list of keras.Variable
        Variables that Adam trains.
    others : list of keras.Variable
        Other variables that the objective changes: states of random generators.
    adam : keras.optimizers.Adam
        The optimizer, built for `trained`.
    learning_rate : keras.Variable
        Learning rate of the next step.
    """

    trained: Sequence[Any]
    others: Sequence[Any]
    adam: Any
    learning_rate: Any
