"""VGG19 as Keras layers, in whole or in part."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._vgg19.pooling import average_over_grid, pooling_matrix

# (name, filters, whether the layer is the last of its block and a pooling layer follows)
LAYERS = tuple(
    (f"block{block}_conv{conv}", filters, conv == convs)
    for block, (convs, filters) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], 1)
    for conv in range(1, convs + 1)
)

# Means of blue, green and red that Keras subtracts for the ImageNet weights of VGG19.
CHANNEL_MEANS = (103.939, 116.779, 123.68)
LARGEST_FLOAT16 = 65504


def map_side(n_layers: int, image_size: int) -> int:
    """Return the side of the feature maps after the first `n_layers` layers."""
    return image_size // 2 ** sum(completes for _, _, completes in LAYERS[:n_layers])


def grid_side(n_layers: int, image_size: int, pool_grid: int | None) -> int:
    """Return the side of the pooling grid, at most that of the feature maps; without pooling, of the maps."""
    side = map_side(n_layers, image_size)
    return side if pool_grid is None else min(pool_grid, side)


def n_channels(n_layers: int) -> int:
    """Return the number of channels after the first `n_layers` layers; 1, for the gray image, if 0."""
    return LAYERS[n_layers - 1][1] if n_layers else 1


def shapes(first: int, last: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of kernels and biases, keyed "block1_conv1/kernel" and so on."""
    arrays: dict[str, tuple[int, ...]] = {}
    for number in range(first, last):
        name, filters, _ = LAYERS[number]
        n_inputs = n_channels(number) if number else 3
        arrays |= {f"{name}/kernel": (3, 3, n_inputs, filters), f"{name}/bias": (filters,)}
    return arrays


class LayerRange:
    """Layers `first` to `last` - 1 of VGG19.

    Calling it on flattened preprocessed images (uint8) or feature maps (float16) returns flattened feature maps
    (float16) or, with a grid, pooled features (float32).

    Parameters
    ----------
    first, last : int
        Indices of layers, from 0.
    image_size : int
        Side of the preprocessed images in pixels.
    grid : int or None
        Side of the pooling grid. If None, feature maps are not pooled.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the computations.
    """

    def __init__(self, first: int, last: int, image_size: int, grid: int | None, precision: str) -> None:
        keras = _keras.keras()
        # Set for each layer so that the user's global Keras settings have no effect, and so that the default
        # initializers do not draw seeds from Python's global random state.
        settings = {
            "kernel_initializer": "zeros",
            "dtype": "float32" if precision == "float32" else f"mixed_{precision}",
            "data_format": "channels_last",
        }
        self.first, self.last, self.grid = first, last, grid
        self.side = map_side(first, image_size)
        self.layers: dict[str, Any] = {}
        for number in range(first, last):
            name, filters, _ = LAYERS[number]
            layer = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, **settings)
            layer.build((None, None, None, n_channels(number) if number else 3))
            self.layers[name] = layer
        self.pooling = None if grid is None else pooling_matrix(map_side(last, image_size), grid)

    @property
    def variables(self) -> list[Any]:
        """Kernels and biases of all layers."""
        return [variable for layer in self.layers.values() for variable in (layer.kernel, layer.bias)]

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set kernels and biases, keyed "block1_conv1/kernel" and so on."""
        for name, layer in self.layers.items():
            layer.kernel.assign(np.asarray(arrays[f"{name}/kernel"], np.float32))
            layer.bias.assign(np.asarray(arrays[f"{name}/bias"], np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return kernels and biases as NumPy arrays, keyed as in `load`."""
        arrays: dict[str, np.ndarray] = {}
        for name, layer in self.layers.items():
            kernel, bias = layer.get_weights()
            arrays |= {f"{name}/kernel": kernel, f"{name}/bias": bias}
        return arrays

    def __call__(self, rows: Any) -> Any:
        ops = _keras.keras().ops
        maps = self._pixels(rows) if self.first == 0 else self._maps(rows)
        for number, layer in enumerate(self.layers.values(), self.first):
            maps = layer(maps)
            if LAYERS[number][2]:
                maps = ops.max_pool(maps, 2, strides=2, data_format="channels_last")  # Keras 3.15 on JAX needs strides
        maps = ops.cast(maps, "float32")
        if self.pooling is None:
            flat = ops.reshape(maps, (-1, int(np.prod(maps.shape[1:]))))
            return ops.cast(ops.minimum(flat, LARGEST_FLOAT16), "float16")
        return average_over_grid(maps, self.pooling)

    def _pixels(self, rows: Any) -> Any:
        ops = _keras.keras().ops
        gray = ops.reshape(ops.cast(rows, "float32"), (-1, self.side, self.side))
        return ops.stack([gray - mean for mean in CHANNEL_MEANS], axis=-1)

    def _maps(self, rows: Any) -> Any:
        ops = _keras.keras().ops
        return ops.reshape(ops.cast(rows, "float32"), (-1, self.side, self.side, n_channels(self.first)))
