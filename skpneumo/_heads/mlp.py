"""Dense layers in Keras and their training, compiled once a process for each shape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.fitted_head import FittedHead, History
from skpneumo._heads.head import Head, check_finite
from skpneumo._heads.resampling import Drawn
from skpneumo._keras.model_pool import Pool

_IDLE_NETWORKS = 8
_MAX_LEARNING_RATE = 1e38  # that float32 holds

Weights = tuple[list[np.ndarray], list[np.ndarray]]  # kernels and biases


class DenseLayers:
    """Dense ReLU layers up to one logit (two classes) or one a class.

    Parameters
    ----------
    sizes : tuple of int
        Features, units of each hidden layer, logits.
    dropout : float
        Share of the hidden units that a step of training leaves out.
    """

    def __init__(self, sizes: tuple[int, ...], dropout: float) -> None:
        layers = _keras.keras().layers
        # Keras's default initializer draws its seed from Python's random numbers.
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
        """What training changes besides: the random generators of dropout."""
        return [dropout.seed_generator.state for dropout in self.dropouts]

    def reset(self, random: np.random.RandomState, start: Weights | None) -> None:
        """Start from given weights, or from drawn kernels (Glorot) and zero biases."""
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
        """Return kernels and biases as numpy."""
        kernels, biases = zip(*(layer.get_weights() for layer in self.dense), strict=True)
        return list(kernels), list(biases)

    def objective(self, features: Any, codes: Any, weights: Any, alpha: Any) -> tuple[Any, list[Any]]:
        """Return the loss with its penalty, alpha / 2 * n_inputs * ||kernel||^2 of each layer, and the accuracy."""
        ops, hidden = _keras.keras().ops, features
        for layer, dropout in zip_longest(self.dense[:-1], self.dropouts):
            hidden = ops.relu(layer(hidden))
            hidden = dropout(hidden, training=True) if dropout else hidden
        logits = self.dense[-1](hidden)
        if logits.shape[-1] == 1:
            losses = ops.binary_crossentropy(ops.cast(codes, "float32")[:, None], logits, from_logits=True)[:, 0]
            called = ops.cast(logits[:, 0] > 0, "int32")
        else:
            losses = ops.sparse_categorical_crossentropy(codes, logits, from_logits=True)
            called = ops.cast(ops.argmax(logits, axis=-1), "int32")
        penalty = alpha * sum(layer.kernel.shape[0] * _keras.l2_loss(layer.kernel) for layer in self.dense)
        loss = ops.mean(weights * losses) + penalty
        return loss, [loss, ops.mean(ops.cast(called == codes, "float32"))]


@dataclass(frozen=True)
class Shape:
    """What makes one compiled network different from another: sizes and dropout of its layers, and its device."""

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
    draws: Iterator[Drawn],
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    max_iter: int,
    start: FittedHead | None = None,
    held: Any = None,
    stopping: EarlyStopping[Head] | None = None,
    progress: Callable[..., Any],
    **parameters: Any,
) -> FittedHead:
    """Train dense ReLU layers by Adam, from random weights and zero biases or from `start`.

    Each epoch is trained on what `draws` gives for it, standardised.
    A task of `progress` is told of each epoch with the head as it stands, and may stop the training; so may `stopping`,
    told how the head does on the rows `held`.
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
            is_over = False
            if stopping is not None:
                now = fitted(weights()).head
                score, accuracy = held.examples.judge(now.logits(held.features))
                is_over = stopping.add(score, now, accuracy)
            return task.update(state=lambda: fitted(weights())) or is_over

        weights, moments = train_dense(
            draws,
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
    draws: Iterator[Drawn],
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
    """Train for `max_iter` epochs on what `draws` gives for each, or until `on_epoch`, told loss and accuracy, says so.

    Start from drawn weights, or from those of `start` and from what the steps that led to them have gathered, `state`.
    Return the weights and this state.
    """
    drawn, epoch = next(draws), None
    learning_rate = min(float(learning_rate_init), _MAX_LEARNING_RATE)
    sizes = (drawn.features.shape[1], *hidden_layer_sizes, 1 if n_classes == 2 else n_classes)
    with _NETWORKS.borrow(Shape(sizes, float(dropout), device)) as network, _keras.place(device):
        network.layers.reset(random, start)
        network.step.restore(state)
        in_memory = _keras.InMemory()

        for number in range(max_iter):
            drawn = next(draws) if number else drawn
            if epoch is None or drawn is not epoch.drawn:
                epoch = _Epoch(drawn, alpha)

            def step(*batch: np.ndarray, penalty: float = epoch.penalty) -> np.ndarray:
                return network.step(*batch, penalty, learning_rate=learning_rate)

            figures = np.zeros(2)
            for batch in epoch.batches(random, batch_size):
                for n_rows, of_step in in_memory(step, *batch):
                    figures += n_rows * of_step
            loss, accuracy = figures / len(drawn.rows)
            if on_epoch(loss, accuracy, network.layers.weights):
                break
        trained = network.layers.weights()
        state = network.step.state()
    return trained, state


class _Epoch:
    """Rows as a compiled step takes them, and the penalty that goes with their weights."""

    def __init__(self, drawn: Drawn, alpha: float) -> None:
        self.drawn = drawn
        in_all = drawn.weights[drawn.rows]
        self.arrays = (
            drawn.features.astype(np.float32, copy=False),
            drawn.codes.astype(np.int32),
            (drawn.weights / in_all.mean()).astype(np.float32),
        )
        self.penalty = float(alpha / in_all.sum())

    def batches(self, random: np.random.RandomState, size: int) -> Iterator[list[np.ndarray]]:
        """Yield the rows in random order, some at a time."""
        order = random.permutation(self.drawn.rows)
        for first in range(0, len(order), size):
            yield [array[order[first : first + size]] for array in self.arrays]


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(2**31 - 1))
