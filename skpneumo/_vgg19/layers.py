"""VGG19 as Keras layers: any stretch of it, from rows of numbers to rows of numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._vgg19.pooling import average_over_grid, pooling_matrix

# (name, filters, whether the layer completes its block, so that a pooling layer follows)
LAYERS = tuple(
    (f"block{block}_conv{conv}", filters, conv == convs)
    for block, (convs, filters) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], 1)
    for conv in range(1, convs + 1)
)

# What Keras subtracts from blue, green and red for the weights of the Visual Geometry Group.
CHANNEL_MEANS = (103.939, 116.779, 123.68)
LARGEST_FLOAT16 = 65504


def map_side(n_layers: int, image_size: int) -> int:
    """Side of the maps that leave the first `n_layers` layers."""
    return image_size // 2 ** sum(completes for _, _, completes in LAYERS[:n_layers])


def grid_side(n_layers: int, image_size: int, pool_grid: int | None) -> int:
    """Side of the grid that these maps are averaged over, at most their own; without a `pool_grid`, of the maps."""
    side = map_side(n_layers, image_size)
    return side if pool_grid is None else min(pool_grid, side)


def n_channels(n_layers: int) -> int:
    """Channels of the maps that leave the first `n_layers` layers; the images themselves are gray."""
    return LAYERS[n_layers - 1][1] if n_layers else 1


def shapes(first: int, last: int) -> dict[str, tuple[int, ...]]:
    """Shapes of kernels and biases, keyed "block1_conv1/kernel" and so on."""
    arrays: dict[str, tuple[int, ...]] = {}
    for number in range(first, last):
        name, filters, _ = LAYERS[number]
        n_inputs = n_channels(number) if number else 3
        arrays |= {f"{name}/kernel": (3, 3, n_inputs, filters), f"{name}/bias": (filters,)}
    return arrays


class LayerRange:
    """The layers from `first` up to, without it, `last`.

    Called on rows of squares (uint8) or of maps (float16), it returns rows of maps (float16), or with a grid of
    features (float32).

    Parameters
    ----------
    first, last : int
        Numbers of layers, from 0.
    image_size : int
        Side of the squares in pixels.
    grid : int or None
        Side of the grid that maps are averaged over. None: the maps themselves.
    precision : {"float32", "bfloat16", "float16"}
        How the layers compute.
    """

    def __init__(self, first: int, last: int, image_size: int, grid: int | None, precision: str) -> None:
        keras = _keras.keras()
        # Said to each layer, so that the host's global settings of Keras stay out; as do Python's random numbers, which
        # Keras's default initializers draw seeds from.
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
        """Kernel and bias of each layer."""
        return [variable for layer in self.layers.values() for variable in (layer.kernel, layer.bias)]

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set kernels and biases, keyed "block1_conv1/kernel" and so on."""
        for name, layer in self.layers.items():
            layer.kernel.assign(np.asarray(arrays[f"{name}/kernel"], np.float32))
            layer.bias.assign(np.asarray(arrays[f"{name}/bias"], np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return kernels and biases as numpy, keyed like those that `load` takes."""
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
