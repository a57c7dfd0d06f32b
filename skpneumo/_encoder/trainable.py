"""Trainable layers of VGG19 followed by the head: their features and their training step."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._encoder.feature_maps import FeatureMaps
from skpneumo._heads.head import Head
from skpneumo._heads.mlp import DenseLayers
from skpneumo._keras.model_pool import Pool
from skpneumo._vgg19.layers import LayerRange, map_side, n_channels
from skpneumo._vgg19.pooling import normalized_tensor

_CLIP_NORM = 1.0
_MAX_IDLE = 2  # weights and moments take about 100 MB per network


@dataclass(frozen=True)
class TrainableSpec:
    """Specification of compiled trainable layers.

    Parameters
    ----------
    n_frozen, n_layers : int
        The trainable layers are those from `n_frozen` up to `n_layers`.
    image_size, grid : int
        Side of the preprocessed images in pixels; side of the grid over which the last maps are averaged.
    norm : str or None
        Norm to which the features of an image are scaled.
    device, precision : str
        Device and precision of the computation.
    sizes : tuple of int
        Numbers of features, hidden units and logits of the head to train. If empty, nothing is trained.
    dropout : float
        Dropout rate of the head.
    """

    n_frozen: int
    n_layers: int
    image_size: int
    grid: int
    norm: str | None
    device: str
    precision: str
    sizes: tuple[int, ...] = ()
    dropout: float = 0.0

    @property
    def signature(self) -> tuple[tuple[int | None, ...], str]:
        """Shape and type of the input rows."""
        n_numbers = map_side(self.n_frozen, self.image_size) ** 2 * n_channels(self.n_frozen)
        return (None, n_numbers), "float16" if self.n_frozen else "uint8"

    @property
    def batch_size(self) -> int:
        """Number of rows per call."""
        return _keras.batch_size(self.image_size, self.device)


class TrainableLayers:
    """Compiled trainable layers, whose weights are set before each use.

    Parameters
    ----------
    shape : TrainableSpec
        Specification of the layers.
    """

    def __init__(self, shape: TrainableSpec) -> None:
        self.shape = shape
        keras = _keras.keras()
        with _keras.place(shape.device):
            self.layer_range = LayerRange(shape.n_frozen, shape.n_layers, shape.image_size, shape.grid, shape.precision)
            if shape.sizes:
                self.head = DenseLayers(shape.sizes, shape.dropout)
                self.mean, self.scale = (keras.Variable(np.ones(shape.sizes[0], np.float32)) for _ in range(2))
        self._forward = _keras.compile_forward(
            self._features, self.layer_range.variables, [shape.signature], shape.device, full_batch=shape.batch_size
        )
        if shape.sizes:
            self.step = _keras.compile_step(
                self._objective,
                [*self.layer_range.variables, *self.head.variables],
                [*self.head.states, self.mean, self.scale],
                [shape.signature, ((None,), "int32"), ((None,), "float32"), ((), "float32")],
                shape.device,
                clip_norm=_CLIP_NORM,  # no weight decay: rounding absorbs it, and averaging regularizes
            )

    def start(self, head: Head, random: np.random.RandomState, optimizer_state: list[np.ndarray] | None = None) -> None:
        """Set the initial layers, head and state of Adam."""
        with _keras.place(self.shape.device):
            self.load(head.layers)
            self.head.reset(random, (head.coefs, head.intercepts))
            self.mean.assign(head.mean.astype(np.float32))
            self.scale.assign(head.scale.astype(np.float32))
            self.step.restore(optimizer_state)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the weights of the layers, with keys such as "block1_conv1/kernel"."""
        self.layer_range.load(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights of the layers."""
        return self.layer_range.arrays()

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of maps, (n, n_features) float32, in batches, so that no row depends on others."""
        size = self.shape.batch_size
        with _keras.place(self.shape.device):
            return np.concatenate([self._forward(rows[i : i + size]) for i in range(0, len(rows), size)])

    def _features(self, rows: Any) -> Any:
        return normalized_tensor(self.layer_range(rows), self.shape.norm)

    def _objective(self, rows: Any, codes: Any, weights: Any, alpha: Any) -> tuple[Any, list[Any]]:
        return self.head.objective((self._features(rows) - self.mean) / self.scale, codes, weights, alpha)


TRAINABLE = Pool(TrainableLayers, _MAX_IDLE)
_predicting = threading.Lock()  # one prediction at a time, since each one uses the whole device


def trainable_features(
    shape: TrainableSpec, layers: Mapping[str, np.ndarray], maps: Iterable[np.ndarray]
) -> np.ndarray:
    """Compute the features of maps by `layers`, for maps that arrive in blocks of rows."""
    parts = []
    for rows in maps:
        with _predicting, TRAINABLE.borrow(shape) as trainable:
            trainable.load(layers)
            parts.append(trainable.features(rows))
    return np.concatenate(parts)


def features_of_maps(
    shape: TrainableSpec, layers: Mapping[str, np.ndarray], maps: FeatureMaps, numbers: np.ndarray
) -> np.ndarray:
    """Compute the features of some rows of `maps` by `layers`, after the first pass."""
    with TRAINABLE.borrow(shape) as trainable:
        trainable.load(layers)
        return features_of_rows(trainable, maps, numbers)


def features_of_rows(trainable: TrainableLayers, maps: FeatureMaps, numbers: np.ndarray) -> np.ndarray:
    """Compute the features of some rows of `maps` with the current weights of the layers."""
    batches = np.array_split(numbers, -(-len(numbers) // trainable.shape.batch_size))
    return np.concatenate([trainable.features(rows) for _, rows in maps.batches(batches)])
