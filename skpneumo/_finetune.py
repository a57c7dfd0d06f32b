"""Training of the layers above the cut, together with the head, starting from the solved head."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skpneumo._head import Head
from skpneumo._maps import Maps
from skpneumo._stopping import EarlyStopping
from skpneumo._tail import TAILS, Tail, TailShape

_WARM_UP = 0.1  # share of the steps

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """Maps with what is known of them, row by row."""

    maps: Maps
    codes: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Tuning:
    """How layers are tuned.

    Parameters
    ----------
    alpha : float
        Of the head's penalty.
    learning_rate : float
        Of AdamW, at its highest.
    max_iter, batch_size : int
        Epochs; rows a step.
    share : float
        Of the tuned weights in those that come out; the rest are the weights from before.
    dropout : float
        Of the head.
    """

    alpha: float
    learning_rate: float
    max_iter: int
    batch_size: int
    share: float
    dropout: float


def tail_features(shape: TailShape, layers: Arrays, maps: Maps, progress: Callable[..., Any]) -> np.ndarray:
    """Compute what is missing of `maps`, and the features of all of them."""
    with TAILS.borrow(shape) as tail:
        tail.load(layers)
        return np.concatenate([tail.features(rows) for rows in maps.first_pass(progress)])


def finetune(
    shape: TailShape,
    layers: Arrays,
    head: Head,
    examples: Examples,
    tuning: Tuning,
    *,
    random: np.random.RandomState,
    stopping: EarlyStopping[Head] | None,
    score: Callable[[Callable[[], np.ndarray]], float],
    progress: Callable[..., Any],
) -> Head:
    """Train `layers` and `head` together; return the head with the layers that belong to it."""
    shape = replace(shape, sizes=(len(head.mean), *(len(bias) for bias in head.intercepts)), dropout=tuning.dropout)
    start = replace(head, layers=layers)
    raise NotImplementedError
