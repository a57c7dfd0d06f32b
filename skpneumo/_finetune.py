"""Training of the layers above the cut together with the head, which starts from the one that was solved before."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skpneumo import _device
from skpneumo._head import Head, stopped
from skpneumo._maps import Maps, Rows
from skpneumo._stopping import EarlyStopping
from skpneumo._tail import TAILS, Tail, TailShape

_WARM_UP = 0.1  # share of the steps in which the learning rate rises
_LARGEST_FLOAT16 = 65504


@dataclass(frozen=True)
class Tuning:
    """How layers are tuned.

    Parameters
    ----------
    max_iter, batch_size : int
        Epochs; rows a step.
    learning_rate : float
        Of Adam, at its highest.
    is_scheduled : bool
        Whether the rate rises at first and falls to zero at last.
    average : float
        Share of the tuned weights in what comes out; the rest are the weights that the training began with.
    alpha, dropout : float
        Of the head.
    """

    max_iter: int
    batch_size: int
    learning_rate: float
    is_scheduled: bool
    average: float
    alpha: float
    dropout: float

    def rate(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step: linear warm-up, then half a cosine."""
        if not self.is_scheduled:
            return self.learning_rate
        warm_up = max(1, round(_WARM_UP * n_steps))
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        return self.learning_rate * (1 + math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up))) / 2


def tail_features(
    shape: TailShape, layers: Mapping[str, np.ndarray], maps: Maps, progress: Callable[..., Any]
) -> np.ndarray:
    """Compute what is missing of `maps`, and the features that `layers` make of them."""
    with TAILS.borrow(shape) as tail:
        tail.load(layers)
        return np.concatenate([tail.features(rows) for rows in maps.first_pass(progress)])


def finetune(
    shape: TailShape,
    start: Head,
    rows: Rows,
    tuning: Tuning,
    *,
    random: np.random.RandomState,
    held: Rows | None,
    stopping: EarlyStopping[Head] | None,
    progress: Callable[..., Any],
) -> Head:
    """Train the layers and the head of `start` on maps whose first pass is done; return them anew.

    `stopping` is told how the weights do on `held`, at first those of `start`.
    """
    maps, examples = rows.maps, rows.examples
    assert maps is not None
    sizes = (len(start.mean), *(len(intercept) for intercept in start.intercepts))
    weights = (examples.loss_weight / examples.loss_weight.mean()).astype(np.float32)
    penalty = float(tuning.alpha / examples.loss_weight.sum())
    codes = examples.codes.astype(np.int32)
    loss_curve: list[float] = []
    accuracy_curve: list[float] = []
    shape = replace(shape, sizes=sizes, dropout=tuning.dropout)
    with TAILS.borrow(shape) as tail, _device.place(shape.device):
        tail.start(start, random)
        in_memory = _device.InMemory()
        n_batches = -(-len(maps) // tuning.batch_size)

        def train(epoch: int) -> np.ndarray:
            order = random.permutation(len(maps))
            batches = [order[i : i + tuning.batch_size] for i in range(0, len(order), tuning.batch_size)]
            figures = np.zeros(2)
            for number, (chosen, some) in enumerate(maps.batches(batches, epoch), epoch * n_batches):
                rate = tuning.rate(number, tuning.max_iter * n_batches)
                step = lambda *arrays: tail.step(*arrays, penalty, learning_rate=rate)  # noqa: B023, E731
                for n_rows, figures_of_step in in_memory(step, some, codes[chosen], weights[chosen]):
                    figures += n_rows * figures_of_step
            return figures / len(maps)

        def state() -> Head:
            return replace(
                _averaged(start, tail, tuning.average),
                n_iter=len(loss_curve),
                loss_curve=loss_curve[:],
                accuracy_curve=accuracy_curve[:],
            )

        def is_enough(head: Head) -> bool:
            if stopping is None or held is None or held.maps is None:
                return False
            trained = tail.arrays()
            tail.load(head.layers)
            batches = np.array_split(np.arange(len(held.maps)), -(-len(held.maps) // shape.batch_size))
            logits = [head.logits(tail.features(some)) for _, some in held.maps.batches(batches)]
            tail.load(trained)
            return stopping.add(held.examples.score(np.concatenate(logits)), head)

        is_enough(start)
        with progress(tuning.max_iter, "tuning", "epoch") as task:
            for epoch in range(tuning.max_iter):
                loss, accuracy = train(epoch)
                loss_curve.append(float(loss))
                accuracy_curve.append(float(accuracy))
                task.set_postfix(loss=loss, accuracy=accuracy)
                is_over = stopping is not None and is_enough(state())
                if task.update(state=state) or is_over:
                    break
        last = replace(state(), moments=tail.step.state())
    head = last if stopping is None else stopped(last, stopping, first=0)
    arrays = [*head.layers.values(), *head.coefs, *head.intercepts]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(
            f"tuning has left the finite numbers: choose a tune_learning_rate below {tuning.learning_rate}."
        )
    return replace(head, layers={name: half(array) for name, array in head.layers.items()})


def _averaged(start: Head, tail: Tail, share: float) -> Head:
    """Go from the weights of `start` the given share of the way to those of `tail`."""

    def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return after if share == 1 else (before + share * (after - before)).astype(np.float32)

    coefs, intercepts = tail.head.weights()
    return replace(
        start,
        coefs=[between(*pair) for pair in zip(start.coefs, coefs, strict=True)],
        intercepts=[between(*pair) for pair in zip(start.intercepts, intercepts, strict=True)],
        layers={name: between(start.layers[name], array) for name, array in tail.arrays().items()},
    )


def half(array: np.ndarray) -> np.ndarray:
    """Round to float16, which halves the file of a model; layers that compute in bfloat16 round more."""
    return array.clip(-_LARGEST_FLOAT16, _LARGEST_FLOAT16).astype(np.float16)
