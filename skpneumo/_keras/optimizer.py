"""What a step of training changes, said once for every framework that takes its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The shape and the dtype of each array that a compiled function takes; None for the axis of the batch.
Signature = Sequence[tuple[tuple[int | None, ...], str]]


@dataclass(frozen=True)
class Optimizer:
    """What a compiled step changes.

    Parameters
    ----------
    trained : list of keras.Variable
        What Adam trains.
    others : list of keras.Variable
        What the objective changes besides, the states of random generators.
    adam : keras.optimizers.Adam
        Built for `trained`.
    learning_rate : keras.Variable
        Of the next step.
    """

    trained: Sequence[Any]
    others: Sequence[Any]
    adam: Any
    learning_rate: Any
