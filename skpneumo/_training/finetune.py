"""Fine-tune the trainable layers together with a head that was fitted before."""

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
from skpneumo._heads.resampling import TrainingRows
from skpneumo._training.dataset import FeatureRows
from skpneumo._vgg19.weights import half

_WARM_UP = 0.1  # fraction of the steps in which the learning rate rises


@dataclass(frozen=True)
class Tuning:
    """Parameters of fine-tuning.

    Parameters
    ----------
    max_iter, batch_size : int
        Number of epochs; number of rows per step.
    learning_rate : float
        Maximum learning rate of Adam.
    is_scheduled : bool
        Whether the learning rate follows the schedule of `rate`; otherwise it is constant.
    average : float
        Fraction of the tuned weights in the result; the rest comes from the initial weights.
    alpha, dropout : float
        L2 penalty and dropout rate of the head.
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
    epochs: Iterator[TrainingRows],
    random: np.random.RandomState,
    validation: FeatureRows | None,
    stopping: EarlyStopping[Head] | None,
    progress: Callable[..., Any],
) -> FittedHead:
    """Train the layers and the head of `start` on maps after their first pass; return the fitted head.

    `epochs` yields the rows of each epoch. `stopping` receives the scores on `validation`, first that of `start`.
    """
    head = start.head
    sizes = (len(head.mean), *(len(intercept) for intercept in head.intercepts))
    shape = replace(shape, sizes=sizes, dropout=tuning.dropout)
    with TRAINABLE.borrow(shape) as trainable, _keras.place(shape.device):
        run = _Run(trainable, start, rows, tuning, epochs, random)
        if stopping is not None and validation is not None:
            score, accuracy = run.evaluate(head, validation)
            stopping.add(score, head, accuracy)
        with progress(tuning.max_iter, "tuning", "epoch") as task:
            for _ in range(tuning.max_iter):
                loss, accuracy = run.epoch()
                task.set_postfix(loss=loss, accuracy=accuracy)
                should_stop = False
                if stopping is not None and validation is not None:
                    head = run.state().head
                    score, accuracy = run.evaluate(head, validation)
                    should_stop = stopping.add(score, head, accuracy)
                if task.update(state=run.state) or should_stop:
                    break
        fitted = replace(run.state(), optimizer_state=trainable.step.state()).stopped(stopping, first=0)
    check_finite(fitted.head, "tune_learning_rate", tuning.learning_rate)
    layers = {name: half(array) for name, array in fitted.head.layers.items()}
    return replace(fitted, head=replace(fitted.head, layers=layers))


class _Run:
    """One fine-tuning run on layers borrowed from the pool."""

    def __init__(
        self,
        trainable: TrainableLayers,
        start: FittedHead,
        rows: FeatureRows,
        tuning: Tuning,
        epochs: Iterator[TrainingRows],
        random: np.random.RandomState,
    ) -> None:
        assert rows.maps is not None
        self.trainable, self.start, self.tuning = trainable, start.head, tuning
        self.epochs, self.random = epochs, random
        self.maps, self.resampled = rows.maps, next(epochs)
        weights = self.resampled.weights[self.resampled.rows]
        self.codes = self.resampled.codes.astype(np.int32)
        self.weights = (self.resampled.weights / weights.mean()).astype(np.float32)
        self.penalty = float(tuning.alpha / weights.sum())
        self.n_batches = -(-len(self.resampled.rows) // tuning.batch_size)
        state = start.optimizer_state
        self.n_epochs_before = int(state[0]) // self.n_batches if state else 0
        self.loss_curve: list[float] = []
        self.accuracy_curve: list[float] = []
        self.in_memory = _keras.InMemory()
        trainable.start(start.head, random, state)

    def epoch(self) -> tuple[float, float]:
        """Train for one epoch; return the loss and the accuracy."""
        size, n_before = self.tuning.batch_size, len(self.loss_curve)
        self.resampled = next(self.epochs) if n_before else self.resampled
        order = self.random.permutation(self.resampled.rows)
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        totals = np.zeros(2)
        for number, (chosen, maps) in enumerate(self.maps.batches(batches, self.n_epochs_before + n_before)):
            rate = self.tuning.rate(n_before * self.n_batches + number, self.tuning.max_iter * self.n_batches)
            totals += self._step(rate, maps, self.codes[chosen], self.weights[chosen])
        loss, accuracy = totals / len(order)
        self.loss_curve.append(float(loss))
        self.accuracy_curve.append(float(accuracy))
        return self.loss_curve[-1], self.accuracy_curve[-1]

    def state(self) -> FittedHead:
        """Return the fitted head after the epochs so far."""
        coefs, intercepts = self.trainable.head.weights()
        layers = self.trainable.arrays()
        head = replace(
            self.start,
            coefs=[self._between(*pair) for pair in zip(self.start.coefs, coefs, strict=True)],
            intercepts=[self._between(*pair) for pair in zip(self.start.intercepts, intercepts, strict=True)],
            layers={name: self._between(self.start.layers[name], array) for name, array in layers.items()},
        )
        return FittedHead(head, History(len(self.loss_curve), self.loss_curve[:], self.accuracy_curve[:]))

    def evaluate(self, head: Head, validation: FeatureRows) -> tuple[float, float]:
        """Return the score and the accuracy of a head and its layers on the validation rows."""
        assert validation.maps is not None
        trained = self.trainable.arrays()
        self.trainable.load(head.layers)
        logits = head.logits(features_of_rows(self.trainable, validation.maps, np.arange(len(validation.maps))))
        self.trainable.load(trained)
        return validation.examples.evaluate(logits)

    def _step(self, rate: float, *batch: np.ndarray) -> np.ndarray:
        def step(*part: np.ndarray) -> np.ndarray:
            return self.trainable.step(*part, self.penalty, learning_rate=rate)

        return np.sum([n_rows * means for n_rows, means in self.in_memory(step, *batch)], axis=0)

    def _between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        weight = self.tuning.average
        return after if weight == 1 else (before + weight * (after - before)).astype(np.float32)
