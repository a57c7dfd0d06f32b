"""VGG19: its frozen forward pass from gray squares to features, of one set of weights."""

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
    """The frozen first `n_layers` of VGG19, of one set of weights, for one size of image on one device.

    Without a `pool_grid` it gives the maps themselves; without layers, the squares. Weights of the same digest are the
    same, wherever they lie.
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
        """Channels of the maps that the last layer gives."""
        return n_channels(self.n_layers)

    @property
    def grid(self) -> int:
        """Side of the grid that the maps are averaged over, at most their own; or of the maps."""
        return grid_side(self.n_layers, self.image_size, self.pool_grid)

    @property
    def n_features(self) -> int:
        """Numbers an image."""
        return self.n_channels * self.grid**2

    @property
    def dtype(self) -> str:
        """Type of the numbers."""
        return "|u1" if self.n_layers == 0 else "<f2" if self.pool_grid is None else "<f4"

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return _keras.batch_size(self.image_size, self.device)

    def identity(self) -> bytes:
        """Name everything that shapes the features of a square, but for rounding."""
        rows = "maps" if self.pool_grid is None else self.grid
        return f"VGG19 {self.n_layers} {self.image_size} {rows} ".encode() + self.weights_digest

    def key(self) -> bytes:
        """Name everything that shapes the features of a square."""
        return f"{self.precision} ".encode() + self.identity()

    @property
    def needs(self) -> str | None:
        """Digest of the weights that have to be read, in hexadecimal; None where there is nothing to read."""
        return None if self.weights is None or self.n_layers == 0 else self.weights_digest.hex()

    def here(self, device: str) -> "Backbone":
        """Return the same on this machine, on one of its own devices, with the weights wherever they lie here.

        Raises
        ------
        WeightsError
            They are not here.
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
            They are damaged, or have just changed.
        """
        return load_layers(self.weights, self.n_layers, self.weights_digest)

    def forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the compiled pass: (n, image_size, image_size) uint8 -> (n, n_features)."""
        if self.n_layers == 0:
            return lambda squares: squares.reshape(len(squares), -1)
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
    """Settle what "auto" means and which weights are meant, without running anything.

    Raises
    ------
    WeightsError
        The weights cannot be reached, or lack one of the first `n_layers` layers.
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
        stretch = LayerRange(0, backbone.n_layers, backbone.image_size, grid, backbone.precision)
        stretch.load(backbone.layers())
    signature = [((None, backbone.image_size, backbone.image_size), "uint8")]
    return _keras.compile_forward(
        stretch, stretch.variables, signature, backbone.device, full_batch=backbone.batch_size
    )
