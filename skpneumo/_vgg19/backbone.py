"""Frozen forward pass of VGG19, from preprocessed images to features."""

import functools
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._vgg19.layers import LayerRange, grid_side, n_channels
from skpneumo._vgg19.weights import Arrays, WeightsSource, load_layers, source_of, weights_digest
from skpneumo._vgg19.weights_search import find_weights
from skpneumo.exceptions import WeightsError

_lock = threading.RLock()


@dataclass(frozen=True)
class Backbone:
    """First `n_layers` layers of VGG19 with frozen weights, for one image size and device.

    Without `pool_grid` the output is the feature maps; without layers, the preprocessed images. Weights are compared by
    their digest, not by their source.
    """

    weights: WeightsSource = field(compare=False)
    weights_digest: bytes
    n_layers: int
    image_size: int
    pool_grid: int | None
    device: str
    precision: str

    @property
    def n_channels(self) -> int:
        """Number of channels after the last layer."""
        return n_channels(self.n_layers)

    @property
    def grid(self) -> int:
        """Side of the pooling grid, at most that of the feature maps; without pooling, of the maps."""
        return grid_side(self.n_layers, self.image_size, self.pool_grid)

    @property
    def n_features(self) -> int:
        """Number of features per image."""
        return self.n_channels * self.grid**2

    @property
    def dtype(self) -> str:
        """Data type of the features."""
        return "|u1" if self.n_layers == 0 else "<f2" if self.pool_grid is None else "<f4"

    @property
    def batch_size(self) -> int:
        """Number of images per batch."""
        return _keras.batch_size(self.image_size, self.device)

    def identity(self) -> bytes:
        """Return a key of everything that affects the features of a preprocessed image, except rounding."""
        rows = "maps" if self.pool_grid is None else self.grid
        return f"VGG19 {self.n_layers} {self.image_size} {rows} ".encode() + self.weights_digest

    def key(self) -> bytes:
        """Return a key of everything that affects the features of a preprocessed image."""
        return f"{self.precision} ".encode() + self.identity()

    @property
    def needs(self) -> str | None:
        """Hexadecimal digest of the weights that have to be read; None if there are none to read."""
        return None if self.weights is None or self.n_layers == 0 else self.weights_digest.hex()

    def here(self, device: str) -> "Backbone":
        """Return the same backbone for this machine: on a device and with a weights file of this machine.

        Raises
        ------
        WeightsError
            If the weights are not found on this machine.
        """
        try:
            weights = find_weights(self.weights, self.weights_digest, self.n_layers)
        except WeightsError as error:
            raise WeightsError(f"On {platform.node()}: {error}") from None
        return replace(self, weights=weights, device=_keras.resolve_device(device))

    def layers(self) -> Arrays:
        """Read the weights.

        Raises
        ------
        WeightsError
            If they are damaged or have changed.
        """
        return load_layers(self.weights, self.n_layers, self.weights_digest)

    def forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the compiled forward pass, from (n, image_size, image_size) uint8 to (n, n_features)."""
        if self.n_layers == 0:
            return lambda images: images.reshape(len(images), -1)
        with _lock:
            return _forward(self)


def backbone(
    *,
    weights: Any,
    n_layers: int,
    image_size: int,
    pool_grid: int | None,
    device: str,
    precision: str,
    verbose: int = 0,
) -> Backbone:
    """Create a backbone: resolve "auto" and compute the digest of the weights, without building the network.

    Raises
    ------
    WeightsError
        If the weights cannot be read or lack one of the first `n_layers` layers.
    """
    source = source_of(weights)
    device = _keras.resolve_device(device)
    return Backbone(
        weights=source,
        weights_digest=weights_digest(source, n_layers, bool(verbose)),
        n_layers=n_layers,
        image_size=image_size,
        pool_grid=pool_grid,
        device=device,
        precision=_keras.resolve_precision(precision, device),
    )


@functools.lru_cache(maxsize=4)
def _forward(backbone: Backbone) -> Callable[[np.ndarray], np.ndarray]:
    grid = backbone.grid if backbone.pool_grid else None
    with _keras.place(backbone.device):
        layers = LayerRange(0, backbone.n_layers, backbone.image_size, grid, backbone.precision)
        layers.load(backbone.layers())
    signature = [((None, backbone.image_size, backbone.image_size), "uint8")]
    return _keras.compile_forward(layers, layers.variables, signature, backbone.device, full_batch=backbone.batch_size)
