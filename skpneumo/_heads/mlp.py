"""Dense layers in Keras and their training, compiled once per process for each shape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.fitted_head import FittedHead, History
from skpneumo._heads.head import Head, check_finite
from skpneumo._heads.resampling import TrainingRows
from skpneumo._keras.model_pool import Pool

_IDLE_NETWORKS = 8
_MAX_LEARNING_RATE = 1e38  # limit of float32

Weights = tuple[list[np.ndarray], list[np.ndarray]]  # kernels and biases


class DenseLayers:
    """Dense ReLU layers with one logit for two classes, otherwise one per class.

    Parameters
    ----------
    sizes : tuple of int
        Numbers of features, units of each hidden layer, and logits.
    dropout : float
        Fraction of the hidden units to drop in a training step.
    """

    def __init__(self, sizes: tuple[int, ...], dropout: float) -> None:
        layers = _keras.keras().layers
        # Keras's default initializer would change the state of Python's random numbers.
        self.dense = [layers.Dense(units, kernel_initializer="zeros", dtype="float32") for units in sizes[1:]]
        hidden = sizes[1:-1] if dropout else ()
        self.dropouts = [layers.Dropout(dropout, seed=0, dtype="float32") for _ in hidden]
        for layer, n_inputs in zip(self.dense, sizes, strict=False):
            layer.build((None, n_inputs))

    @property
    def variables(self) -> list[Any]:
        """Kernels, then biases."""
        return [*(layer.kernel for layer in self.dense), *(layer.bias for layer in self.dense)]

    @property
    def states(self) -> list[Any]:
        """States of the random generators of dropout."""
        return [dropout.seed_generator.state for dropout in self.dropouts]

    def reset(self, random: np.random.RandomState, start: Weights | None) -> None:
        """Set the weights to `start`, or to random kernels (Glorot) and zero biases."""
        glorot = _keras.keras().initializers.GlorotUniform
        for layer, *given in zip_longest(self.dense, *start or ()):
            if given:
                layer.set_weights(given)
            else:
                layer.kernel.assign(glorot(_seed(random))(layer.kernel.shape, dtype="float32"))
                layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        for state in self.states:
            state.assign(np.array([_seed(random), 0], np.uint32))

    def weights(self) -> Weights:
        """Return the kernels and biases as arrays."""
        kernels, biases = zip(*(layer.get_weights() for layer in self.dense), strict=True)
        return list(kernels), list(biases)

    def objective(self, features: Any, codes: Any, weights: Any, alpha: Any) -> tuple[Any, list[Any]]:
        """Return the loss, with the penalty alpha / 2 * n_inputs * ||kernel||^2 of each layer, and the accuracy."""
        ops, hidden = _keras.keras().ops, features
        for layer, dropout in zip_longest(self.dense[:-1], self.dropouts):
            hidden = ops.relu(layer(hidden))
            hidden = dropout(hidden, training=True) if dropout else hidden
        logits = self.dense[-1](hidden)
        if logits.shape[-1] == 1:
            losses = ops.binary_crossentropy(ops.cast(codes, "float32")[:, None], logits, from_logits=True)[:, 0]
            predicted = ops.cast(logits[:, 0] > 0, "int32")
        else:
            losses = ops.sparse_categorical_crossentropy(codes, logits, from_logits=True)
            predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
        penalty = alpha * sum(layer.kernel.shape[0] * _keras.l2_loss(layer.kernel) for layer in self.dense)
        loss = ops.mean(weights * losses) + penalty
        return loss, [loss, ops.mean(ops.cast(predicted == codes, "float32"))]


@dataclass(frozen=True)
class Shape:
    """Specification of a compiled network: sizes and dropout of its layers, and its device."""

    sizes: tuple[int, ...]
    dropout: float
    device: str


class DenseNetwork:
    """Dense layers with a compiled step of Adam."""

    def __init__(self, shape: Shape) -> None:
        with _keras.place(shape.device):
            self.layers = DenseLayers(shape.sizes, shape.dropout)
        self.step = _keras.compile_step(
            self.layers.objective,
            self.layers.variables,
            self.layers.states,
            [((None, shape.sizes[0]), "float32"), ((None,), "int32"), ((None,), "float32"), ((), "float32")],
            shape.device,
        )


_NETWORKS = Pool(DenseNetwork, _IDLE_NETWORKS)


def fit_mlp(
    epochs: Iterator[TrainingRows],
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    max_iter: int,
    start: FittedHead | None = None,
    validation: Any = None,
    stopping: EarlyStopping[Head] | None = None,
    progress: Callable[..., Any],
    **parameters: Any,
) -> FittedHead:
    """Train dense ReLU layers with Adam, from random weights and zero biases or from `start`.

    `epochs` yields the standardized rows of each epoch. Training stops early if the task of `progress` returns True for
    an epoch, or by `stopping`, with the scores on the rows `validation`.
    """
    loss_curve: list[float] = []
    accuracy_curve: list[float] = []

    def fitted(weights: Weights) -> FittedHead:
        return FittedHead(Head(mean, scale, *weights), History(len(loss_curve), loss_curve[:], accuracy_curve[:]))

    with progress(max_iter, "head", "epoch") as task:

        def on_epoch(loss: float, accuracy: float, weights: Callable[[], Weights]) -> bool:
            loss_curve.append(float(loss))
            accuracy_curve.append(float(accuracy))
            task.set_postfix(loss=loss, accuracy=accuracy)
            should_stop = False
            if stopping is not None:
                head = fitted(weights()).head
                score, accuracy = validation.examples.evaluate(head.logits(validation.features))
                should_stop = stopping.add(score, head, accuracy)
            return task.update(state=lambda: fitted(weights())) or should_stop

        weights, moments = train_dense(
            epochs,
            max_iter=max_iter,
            on_epoch=on_epoch,
            start=(start.head.coefs, start.head.intercepts) if start else None,
            state=start.optimizer_state if start else None,
            **parameters,
        )
    trained = replace(fitted(weights), optimizer_state=moments).stopped(stopping, first=1)
    check_finite(trained.head, "learning_rate_init", parameters["learning_rate_init"])
    return trained


def train_dense(
    epochs: Iterator[TrainingRows],
    *,
    n_classes: int,
    hidden_layer_sizes: Sequence[int],
    alpha: float,
    dropout: float,
    learning_rate_init: float,
    batch_size: int,
    max_iter: int,
    device: str,
    random: np.random.RandomState,
    on_epoch: Callable[[float, float, Callable[[], Weights]], bool],
    start: Weights | None = None,
    state: list[np.ndarray] | None = None,
) -> tuple[Weights, list[np.ndarray]]:
    """Train for `max_iter` epochs on the rows that `epochs` yields, or until `on_epoch` returns True.

    `on_epoch` gets the loss, the accuracy and a function that returns the weights. Training starts from random weights,
    or from `start` with the optimizer state `state`. Return the weights and the optimizer state.
    """
    resampled, epoch = next(epochs), None
    learning_rate = min(float(learning_rate_init), _MAX_LEARNING_RATE)
    sizes = (resampled.features.shape[1], *hidden_layer_sizes, 1 if n_classes == 2 else n_classes)
    with _NETWORKS.borrow(Shape(sizes, float(dropout), device)) as network, _keras.place(device):
        network.layers.reset(random, start)
        network.step.restore(state)
        in_memory = _keras.InMemory()

        for number in range(max_iter):
            resampled = next(epochs) if number else resampled
            if epoch is None or resampled is not epoch.resampled:
                epoch = _Epoch(resampled, alpha)

            def step(*batch: np.ndarray, penalty: float = epoch.penalty) -> np.ndarray:
                return network.step(*batch, penalty, learning_rate=learning_rate)

            totals = np.zeros(2)
            for batch in epoch.batches(random, batch_size):
                for n_rows, means in in_memory(step, *batch):
                    totals += n_rows * means
            loss, accuracy = totals / len(resampled.rows)
            if on_epoch(loss, accuracy, network.layers.weights):
                break
        trained = network.layers.weights()
        state = network.step.state()
    return trained, state


class _Epoch:
    """Arrays of the rows of an epoch for the compiled step, and the penalty for the scale of their weights."""

    def __init__(self, resampled: TrainingRows, alpha: float) -> None:
        self.resampled = resampled
        weights = resampled.weights[resampled.rows]
        self.arrays = (
            resampled.features.astype(np.float32, copy=False),
            resampled.codes.astype(np.int32),
            (resampled.weights / weights.mean()).astype(np.float32),
        )
        self.penalty = float(alpha / weights.sum())

    def batches(self, random: np.random.RandomState, size: int) -> Iterator[list[np.ndarray]]:
        """Yield batches of the rows in random order."""
        order = random.permutation(self.resampled.rows)
        for first in range(0, len(order), size):
            yield [array[order[first : first + size]] for array in self.arrays]


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(2**31 - 1))
