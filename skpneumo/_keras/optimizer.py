"""Adam: which variables it trains and how, said once for every framework that takes its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

# The shape and the dtype of each array that a compiled function takes; None for the axis of the batch.
Signature = Sequence[tuple[tuple[int | None, ...], str]]


@dataclass(frozen=True)
class Adam:
    """Adam on Keras variables.

    Parameters
    ----------
    trained : list of keras.Variable
        What it trains.
    others : list of keras.Variable
        What the objective changes besides, the states of random generators.
    count, firsts, seconds : keras.Variable, list of them, list of them
        The number of steps so far; first and second moments of the slopes of each trained variable.
    clip_norm : float or None
        Slopes of a greater global norm are scaled down to it.
    """

    BETA_1: ClassVar = 0.9
    BETA_2: ClassVar = 0.999
    EPSILON: ClassVar = 1e-7  # of Keras's Adam

    trained: Sequence[Any]
    others: Sequence[Any]
    count: Any
    firsts: Sequence[Any]
    seconds: Sequence[Any]
    clip_norm: float | None
