"""Dense layers in Keras and their training, compiled once a process for each shape."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import numpy as np

from skpneumo import _device

_IDLE_NETWORKS = 8
_MAX_LEARNING_RATE = 1e38  # that float32 holds

Shape = tuple[tuple[int, ...], float, str]
Weights = Callable[[], tuple[list[np.ndarray], list[np.ndarray]]]

_lock = threading.Lock()
_idle: "OrderedDict[Shape, list[DenseNetwork]]" = OrderedDict()


class DenseNetwork:
    """Dense ReLU layers up to one logit (two classes) or one a class, with Adam and a compiled training step.

    Parameters
    ----------
    sizes : tuple of int
        Features, units of each hidden layer, logits.
    dropout : float
        Share of the hidden units that a step leaves out.
    device : {"cpu", "gpu"}
        Where it is trained.
    """

    def __init__(self, sizes: tuple[int, ...], dropout: float, device: str) -> None:
        keras = _device.keras()
        self.place = keras.device(f"{device}:0")
        with self.place:
            self.dense = [keras.layers.Dense(units, dtype="float32") for units in sizes[1:]]
            hidden = sizes[1:-1] if dropout else ()
            self.dropouts = [keras.layers.Dropout(dropout, seed=0, dtype="float32") for _ in hidden]
            for layer, n_inputs in zip(self.dense, sizes, strict=False):
                layer.build((None, n_inputs))
            kernels, biases = [layer.kernel for layer in self.dense], [layer.bias for layer in self.dense]
            self.step, self.forget = _device.compile_training_step(self._objective, kernels, biases)

    def reset(self, random: np.random.RandomState) -> None:
        """Draw weights anew (Glorot), set biases to zero, forget what the steps have gathered."""
        initializers = _device.keras().initializers
        for layer in self.dense:
            layer.kernel.assign(initializers.GlorotUniform(_seed(random))(layer.kernel.shape, dtype="float32"))
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        for dropout in self.dropouts:
            dropout.seed_generator.state.assign(np.array([_seed(random), 0], np.uint32))
        self.forget()

    def weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return kernels and biases as numpy."""
        kernels, biases = zip(*(layer.get_weights() for layer in self.dense), strict=True)
        return list(kernels), list(biases)

    def _objective(self, features: Any, codes: Any, weights: Any) -> tuple[Any, Any]:
        """Return the loss without its penalty, and the accuracy."""
        keras = _device.keras()
        ops, hidden = keras.ops, features
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
        return ops.mean(weights * losses), ops.mean(ops.cast(called == codes, "float32"))


def train_dense(
    features: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    *,
    hidden_layer_sizes: Sequence[int],
    alpha: float,
    dropout: float,
    learning_rate_init: float,
    batch_size: int,
    max_iter: int,
    device: str,
    random: np.random.RandomState,
    on_epoch: Callable[[float, float, Weights], bool],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Train for `max_iter` epochs or until `on_epoch`, told loss and accuracy, says so; return kernels and biases."""
    n_samples, n_classes = len(codes), int(codes.max()) + 1
    features = features.astype(np.float32, copy=False)
    codes = codes.astype(np.int32)
    weights = (sample_weight / sample_weight.mean()).astype(np.float32)
    penalty = float(alpha / sample_weight.sum())
    learning_rate = min(float(learning_rate_init), _MAX_LEARNING_RATE)
    sizes = (features.shape[1], *hidden_layer_sizes, 1 if n_classes == 2 else n_classes)
    with _borrowed((sizes, float(dropout), device)) as network, network.place:
        network.reset(random)
        for _ in range(max_iter):
            order = random.permutation(n_samples)
            figures = np.zeros(2)
            for start in range(0, n_samples, batch_size):
                rows = order[start : start + batch_size]
                batch = features[rows], codes[rows], weights[rows]
                figures += len(rows) * network.step(*batch, penalty, learning_rate)
            loss, accuracy = figures / n_samples
            if on_epoch(loss, accuracy, network.weights):
                break
        coefs, intercepts = network.weights()
    if not all(np.isfinite(array).all() for array in [*coefs, *intercepts]):
        raise ValueError(
            f"training has left the finite numbers: choose a learning_rate_init below {learning_rate_init}, or check "
            "that the features are of a reasonable scale."
        )
    return coefs, intercepts


@contextmanager
def _borrowed(shape: Shape) -> Iterator[DenseNetwork]:
    """Lend an idle network of this shape, or a new one; one fit at a time has it."""
    with _lock:
        idle = _idle.get(shape)
        network = idle.pop() if idle else None
    network = network or DenseNetwork(*shape)
    yield network
    with _lock:
        _idle.setdefault(shape, []).append(network)
        _idle.move_to_end(shape)
        while sum(map(len, _idle.values())) > _IDLE_NETWORKS:
            shape, networks = next(iter(_idle.items()))
            networks.pop()
            if not networks:
                del _idle[shape]


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(2**31 - 1))
