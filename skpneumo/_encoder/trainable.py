"""The trainable layers of VGG19 with the head behind them: the features that they make, and a step of training."""

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

_CLIP_NORM = 1.0
_MAX_IDLE = 2  # their weights and moments take some 100 MB each


@dataclass(frozen=True)
class TrainableSpec:
    """What makes one compiled network different from another.

    Parameters
    ----------
    n_frozen, n_layers : int
        It begins after the first and ends after the second number of layers.
    image_size, grid : int
        Side of the squares in pixels; side of the grid that the last maps are averaged over.
    device, precision : str
        Where and how it computes.
    sizes : tuple of int
        Features, units of the hidden layers, logits of a head to train. (): no training.
    dropout : float
        Of the head.
    """

    n_frozen: int
    n_layers: int
    image_size: int
    grid: int
    device: str
    precision: str
    sizes: tuple[int, ...] = ()
    dropout: float = 0.0

    @property
    def signature(self) -> tuple[tuple[int | None, ...], str]:
        """Shape and type of the rows that enter."""
        n_numbers = map_side(self.n_frozen, self.image_size) ** 2 * n_channels(self.n_frozen)
        return (None, n_numbers), "float16" if self.n_frozen else "uint8"

    @property
    def batch_size(self) -> int:
        """Rows a call."""
        return _keras.batch_size(self.image_size, self.device)


class TrainableLayers:
    """Compiled trainable layers of one shape; its weights are set before each use.

    Parameters
    ----------
    shape : TrainableSpec
        What it is compiled for.
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
            self.layer_range, self.layer_range.variables, [shape.signature], shape.device, full_batch=shape.batch_size
        )
        if shape.sizes:
            self.step = _keras.compile_step(
                self._objective,
                [*self.layer_range.variables, *self.head.variables],
                [*self.head.states, self.mean, self.scale],
                [shape.signature, ((None,), "int32"), ((None,), "float32"), ((), "float32")],
                shape.device,
                clip_norm=_CLIP_NORM,  # no decay: at such a rate it is lost in rounding, and averaging pulls back
            )

    def start(self, head: Head, random: np.random.RandomState, optimizer_state: list[np.ndarray] | None = None) -> None:
        """Set what training begins with: layers, head, and the state of Adam."""
        with _keras.place(self.shape.device):
            self.load(head.layers)
            self.head.reset(random, (head.coefs, head.intercepts))
            self.mean.assign(head.mean.astype(np.float32))
            self.scale.assign(head.scale.astype(np.float32))
            self.step.restore(optimizer_state)

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the weights of the layers, keyed "block1_conv1/kernel" and so on."""
        self.layer_range.load(arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights of the layers."""
        return self.layer_range.arrays()

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Return the features of maps, (n, n_features) float32; batch by batch, so that no row depends on others."""
        size = self.shape.batch_size
        with _keras.place(self.shape.device):
            return np.concatenate([self._forward(rows[i : i + size]) for i in range(0, len(rows), size)])

    def _objective(self, rows: Any, codes: Any, weights: Any, alpha: Any) -> tuple[Any, list[Any]]:
        return self.head.objective((self.layer_range(rows) - self.mean) / self.scale, codes, weights, alpha)


TRAINABLE = Pool(TrainableLayers, _MAX_IDLE)
_predicting = threading.Lock()  # threads that predict share one: each takes the whole device anyway


def trainable_features(
    shape: TrainableSpec, layers: Mapping[str, np.ndarray], maps: Iterable[np.ndarray]
) -> np.ndarray:
    """Compute the features that `layers` make of maps, which come some rows at a time."""
    parts = []
    for rows in maps:
        with _predicting, TRAINABLE.borrow(shape) as trainable:
            trainable.load(layers)
            parts.append(trainable.features(rows))
    return np.concatenate(parts)


def features_of_maps(
    shape: TrainableSpec, layers: Mapping[str, np.ndarray], maps: FeatureMaps, numbers: np.ndarray
) -> np.ndarray:
    """Compute the features that `layers` make of some rows of `maps`, whose first pass is done."""
    with TRAINABLE.borrow(shape) as trainable:
        trainable.load(layers)
        return features_of_rows(trainable, maps, numbers)


def features_of_rows(trainable: TrainableLayers, maps: FeatureMaps, numbers: np.ndarray) -> np.ndarray:
    """Compute the features of some rows of `maps` with the layers as they are."""
    batches = np.array_split(numbers, -(-len(numbers) // trainable.shape.batch_size))
    return np.concatenate([trainable.features(rows) for _, rows in maps.batches(batches)])
