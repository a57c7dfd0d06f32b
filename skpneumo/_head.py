"""What is trained on features: a linear probe, or dense layers; and what it says of new ones, in numpy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skpneumo import _device
from skpneumo._progress import progress_bar

_ROWS_AT_ONCE = 1024
_COLUMNS_AT_ONCE = 256
_PROBE_MAX_ITER = 10_000


@dataclass(frozen=True)
class Head:
    """Standardisation, then layers: each maps ``h`` to ``relu(h @ coef + intercept)``, the last without relu."""

    mean: np.ndarray
    scale: np.ndarray
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    n_iter: int = 0
    loss_curve: list[float] = field(default_factory=list)
    accuracy_curve: list[float] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n_samples, 1) for two classes, (n_samples, n_classes) for more."""
        return np.concatenate([self._logits(features[rows]) for rows in _row_blocks(len(features))])

    def _logits(self, features: np.ndarray) -> np.ndarray:
        hidden = (features - self.mean) / self.scale
        *inner, last = zip(self.coefs, self.intercepts, strict=True)
        for coef, intercept in inner:
            hidden = np.maximum(hidden @ coef + intercept, 0)
        return hidden @ last[0] + last[1]


def standardize(
    features: np.ndarray, sample_weight: np.ndarray, *, overwrite: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring each feature to mean 0 and standard deviation 1; return the features, the means and the deviations."""
    # By blocks of columns, since StandardScaler takes several times the matrix that it is given.
    columns = [slice(start, start + _COLUMNS_AT_ONCE) for start in range(0, features.shape[1], _COLUMNS_AT_ONCE)]
    with np.errstate(invalid="ignore"):  # weights can bring the variance of a constant to a hair below zero
        scalers = [StandardScaler().fit(features[:, block], sample_weight=sample_weight) for block in columns]
    mean = np.concatenate([scaler.mean_ for scaler in scalers])
    scale = np.concatenate([scaler.scale_ for scaler in scalers])
    standardized = features if overwrite else features.copy()
    standardized -= mean
    standardized /= scale
    return standardized, mean, scale


def _row_blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, max(n_rows, 1), _ROWS_AT_ONCE):
        yield slice(start, start + _ROWS_AT_ONCE)


def fit_probe(
    features: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    alpha: float,
) -> Head:
    """Solve the L2-penalised logistic regression on standardised features, to what their precision allows."""
    solver = LogisticRegression(
        C=1 / (alpha * features.shape[1]) if alpha else np.inf,
        tol=1e-8 if features.dtype == np.float64 else 1e-5,
        max_iter=_PROBE_MAX_ITER,
    )
    solver.fit(features, codes, sample_weight=sample_weight)
    return Head(
        mean,
        scale,
        [solver.coef_.T.copy()],
        [solver.intercept_],
        n_iter=int(np.max(solver.n_iter_)),
    )


def fit_dense(
    features: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    *,
    hidden_layer_sizes: Sequence[int],
    alpha: float,
    dropout: float,
    learning_rate_init: float,
    batch_size: int,
    max_iter: int,
    device: str,
    random: np.random.RandomState,
    verbose: int,
) -> Head:
    """Train dense ReLU layers on standardised features by Adam, from random weights and zero biases."""
    keras = _device.keras()
    n_samples, n_classes = len(codes), int(codes.max()) + 1
    with keras.device(f"{device}:0"):
        network = _dense_network(
            keras,
            features.shape[1],
            hidden_layer_sizes,
            n_classes,
            alpha / n_samples,
            dropout,
            random,
        )
        _compile(keras, network, n_classes, learning_rate_init)
        targets = codes.reshape(-1, 1).astype(np.float32)
        weights = (sample_weight / sample_weight.mean()).astype(np.float32)
        loss_curve, accuracy_curve = [], []
        with progress_bar(max_iter, "head", "epoch", verbose) as bar:
            for _ in range(max_iter):
                order = random.permutation(n_samples)
                figures = np.zeros(2)
                for start in range(0, n_samples, batch_size):
                    rows = order[start : start + batch_size]
                    figures += len(rows) * np.array(
                        network.train_on_batch(features[rows], targets[rows], weights[rows])
                    )
                loss_curve.append(float(figures[0]) / n_samples)
                accuracy_curve.append(float(figures[1]) / n_samples)
                bar.set_postfix(loss=loss_curve[-1], accuracy=accuracy_curve[-1], refresh=False)
                bar.update()
    dense = [layer.get_weights() for layer in network.layers if layer.get_weights() and "dense" in layer.name]
    return Head(
        mean,
        scale,
        [kernel for kernel, _ in dense],
        [bias for _, bias in dense],
        n_iter=max_iter,
        loss_curve=loss_curve,
        accuracy_curve=accuracy_curve,
    )


def _dense_network(
    keras: Any,
    n_features: int,
    hidden_layer_sizes: Sequence[int],
    n_classes: int,
    alpha: float,
    dropout: float,
    random: np.random.RandomState,
) -> Any:
    def seed() -> int:
        return int(random.randint(2**31 - 1))

    def dense(units: int, n_inputs: int, activation: str | None, name: str) -> Any:
        return keras.layers.Dense(
            units,
            activation=activation,
            kernel_initializer=keras.initializers.GlorotUniform(seed()),
            kernel_regularizer=keras.regularizers.L2(alpha * n_inputs / 2),
            name=name,
            dtype="float32",
        )

    sizes = [n_features, *hidden_layer_sizes]
    layers: list[Any] = [keras.Input((n_features,))]
    for i, (n_inputs, units) in enumerate(pairwise(sizes)):
        layers.append(dense(units, n_inputs, "relu", f"dense_{i}"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, seed=seed(), dtype="float32"))
    layers.append(dense(1 if n_classes == 2 else n_classes, sizes[-1], None, "dense_logits"))
    return keras.Sequential(layers)


def _compile(keras: Any, network: Any, n_classes: int, learning_rate: float) -> None:
    def accuracy(targets: Any, logits: Any) -> Any:
        called = logits > 0 if n_classes == 2 else keras.ops.argmax(logits, axis=-1)[:, None]
        return keras.ops.cast(keras.ops.cast(called, "float32") == targets, "float32")

    loss = keras.losses.BinaryCrossentropy if n_classes == 2 else keras.losses.SparseCategoricalCrossentropy
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=loss(from_logits=True),
        weighted_metrics=[accuracy],
        jit_compile=False,
    )
