"""Training of the layers above the cut together with the head, which starts from the one that was solved before."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._encoder.trainable import TRAINABLE, TrainableLayers, TrainableSpec, features_of_rows
from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.fitted_head import FittedHead, History
from skpneumo._heads.head import Head, check_finite
from skpneumo._heads.resampling import Drawn
from skpneumo._training.dataset import FeatureRows
from skpneumo._vgg19.weights import half

_WARM_UP = 0.1  # share of the steps in which the learning rate rises


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


def finetune(
    shape: TrainableSpec,
    start: FittedHead,
    rows: FeatureRows,
    tuning: Tuning,
    *,
    draws: Iterator[Drawn],
    random: np.random.RandomState,
    held: FeatureRows | None,
    stopping: EarlyStopping[Head] | None,
    progress: Callable[..., Any],
) -> FittedHead:
    """Train the layers and the head of `start` on maps whose first pass is done; return them anew.

    For each epoch, `draws` tells which rows of them. `stopping` is told how the weights do on `held`, at first those
    of `start`.
    """
    head = start.head
    sizes = (len(head.mean), *(len(intercept) for intercept in head.intercepts))
    shape = replace(shape, sizes=sizes, dropout=tuning.dropout)
    with TRAINABLE.borrow(shape) as trainable, _keras.place(shape.device):
        run = _Run(trainable, start, rows, tuning, draws, random)
        if stopping is not None and held is not None:
            score, accuracy = run.judge(head, held)
            stopping.add(score, head, accuracy)
        with progress(tuning.max_iter, "tuning", "epoch") as task:
            for _ in range(tuning.max_iter):
                loss, accuracy = run.epoch()
                task.set_postfix(loss=loss, accuracy=accuracy)
                is_over = False
                if stopping is not None and held is not None:
                    head = run.state().head
                    score, accuracy = run.judge(head, held)
                    is_over = stopping.add(score, head, accuracy)
                if task.update(state=run.state) or is_over:
                    break
        fitted = replace(run.state(), optimizer_state=trainable.step.state()).stopped(stopping, first=0)
    check_finite(fitted.head, "tune_learning_rate", tuning.learning_rate)
    layers = {name: half(array) for name, array in fitted.head.layers.items()}
    return replace(fitted, head=replace(fitted.head, layers=layers))


class _Run:
    """A tuning under way, in layers that are borrowed for it."""

    def __init__(
        self,
        trainable: TrainableLayers,
        start: FittedHead,
        rows: FeatureRows,
        tuning: Tuning,
        draws: Iterator[Drawn],
        random: np.random.RandomState,
    ) -> None:
        assert rows.maps is not None
        self.trainable, self.start, self.tuning, self.draws, self.random = trainable, start.head, tuning, draws, random
        self.maps, self.drawn = rows.maps, next(draws)
        in_all = self.drawn.weights[self.drawn.rows]
        self.codes = self.drawn.codes.astype(np.int32)
        self.weights = (self.drawn.weights / in_all.mean()).astype(np.float32)
        self.penalty = float(tuning.alpha / in_all.sum())
        self.n_batches = -(-len(self.drawn.rows) // tuning.batch_size)
        state = start.optimizer_state
        self.n_epochs_before = int(state[0]) // self.n_batches if state else 0
        self.loss_curve: list[float] = []
        self.accuracy_curve: list[float] = []
        self.in_memory = _keras.InMemory()
        trainable.start(start.head, random, state)

    def epoch(self) -> tuple[float, float]:
        """Take a step on each batch of an epoch; return loss and accuracy."""
        size, n_before = self.tuning.batch_size, len(self.loss_curve)
        self.drawn = next(self.draws) if n_before else self.drawn
        order = self.random.permutation(self.drawn.rows)
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        figures = np.zeros(2)
        for number, (chosen, maps) in enumerate(self.maps.batches(batches, self.n_epochs_before + n_before)):
            rate = self.tuning.rate(n_before * self.n_batches + number, self.tuning.max_iter * self.n_batches)
            figures += self._step(rate, maps, self.codes[chosen], self.weights[chosen])
        loss, accuracy = figures / len(order)
        self.loss_curve.append(float(loss))
        self.accuracy_curve.append(float(accuracy))
        return self.loss_curve[-1], self.accuracy_curve[-1]

    def state(self) -> FittedHead:
        """Return what comes out if it ends here."""
        coefs, intercepts = self.trainable.head.weights()
        layers = self.trainable.arrays()
        head = replace(
            self.start,
            coefs=[self._between(*pair) for pair in zip(self.start.coefs, coefs, strict=True)],
            intercepts=[self._between(*pair) for pair in zip(self.start.intercepts, intercepts, strict=True)],
            layers={name: self._between(self.start.layers[name], array) for name, array in layers.items()},
        )
        return FittedHead(head, History(len(self.loss_curve), self.loss_curve[:], self.accuracy_curve[:]))

    def judge(self, head: Head, held: FeatureRows) -> tuple[float, float]:
        """Return how a head and its layers do on rows that are held out: the score and the accuracy."""
        assert held.maps is not None
        trained = self.trainable.arrays()
        self.trainable.load(head.layers)
        logits = head.logits(features_of_rows(self.trainable, held.maps, np.arange(len(held.maps))))
        self.trainable.load(trained)
        return held.examples.judge(logits)

    def _step(self, rate: float, *batch: np.ndarray) -> np.ndarray:
        def step(*part: np.ndarray) -> np.ndarray:
            return self.trainable.step(*part, self.penalty, learning_rate=rate)

        return np.sum([n_rows * figures for n_rows, figures in self.in_memory(step, *batch)], axis=0)

    def _between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        share = self.tuning.average
        return after if share == 1 else (before + share * (after - before)).astype(np.float32)
