"""VGG19: its layers, their weights, and the frozen forward pass from gray squares to features."""

import functools
import hashlib
import os
import platform
import re
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import _device
from skpneumo.exceptions import WeightsError

# (name, filters, whether the layer completes its block, so that a pooling layer follows)
LAYERS = tuple(
    (f"block{block}_conv{conv}", filters, conv == convs)
    for block, (convs, filters) in enumerate([(2, 64), (2, 128), (4, 256), (4, 512), (4, 512)], 1)
    for conv in range(1, convs + 1)
)
SUFFIXES = (".npz", ".h5", ".keras")

# What Keras subtracts from blue, green and red for the weights of the Visual Geometry Group.
_CHANNEL_MEANS = (103.939, 116.779, 123.68)
_UNTRAINED_SEED = 19

_WAYS_OUT = (
    "Ways out: weights='imagenet' on a machine with network access, or with Keras's file "
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 in ~/.keras/models; weights='file' with a .npz (arrays named "
    "'block1_conv1/kernel', 'block1_conv1/bias', ...), .h5, .weights.h5 or .keras file of VGG19; a smaller n_layers "
    "where the file holds the first layers only; weights=None for an untrained backbone."
)

_LARGEST = 3 * 3 * 512 * 512  # numbers in one array
_lock = threading.RLock()

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Backbone:
    """The frozen first `n_layers` of VGG19, of one set of weights, for one size of image on one device."""

    weights: str | None
    weights_digest: bytes
    n_layers: int
    image_size: int
    pool_grid: int
    device: str
    precision: str

    @property
    def n_channels(self) -> int:
        """Channels of the maps that the last layer gives."""
        return LAYERS[self.n_layers - 1][1]

    @property
    def grid(self) -> int:
        """Side of the grid that the maps are averaged over: at most their own."""
        return min(self.pool_grid, map_side(self.n_layers, self.image_size))

    @property
    def n_features(self) -> int:
        """Features an image."""
        return self.n_channels * self.grid**2

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return _device.batch_size(self.image_size, self.device)

    def identity(self) -> bytes:
        """Name everything that shapes the features of a square, but for rounding."""
        return f"VGG19 {self.n_layers} {self.image_size} {self.grid} ".encode() + self.weights_digest

    def key(self) -> bytes:
        """Name everything that shapes the features of a square."""
        return f"{self.precision} ".encode() + self.identity()

    def here(self, device: str) -> "Backbone":
        """Return the same on this machine, on one of its own devices.

        Raises
        ------
        WeightsError
            They are not the same here.
        """
        if _weights_digest(self.weights, _stamp(self.weights), self.n_layers) != self.weights_digest:
            raise WeightsError(f"weights={self.weights!r} are others on {platform.node()} than where the work began.")
        return replace(self, device=_device.resolve_device(device))

    def forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the compiled pass: (n, image_size, image_size) uint8 -> (n, n_features) float32."""
        with _lock:
            return _forward(self)


def backbone(
    *, weights: Any, n_layers: int, image_size: int, pool_grid: int, device: str, precision: str, verbose: int = 0
) -> Backbone:
    """Settle what "auto" means and which weights are meant, without running anything.

    Raises
    ------
    WeightsError
        The weights cannot be reached, or lack one of the first `n_layers` layers.
    """
    source = weights if weights in (None, "imagenet") else os.path.abspath(os.path.expanduser(os.fspath(weights)))
    device = _device.resolve_device(device)
    return Backbone(
        weights=source,
        weights_digest=_weights_digest(source, _stamp(source), n_layers, bool(verbose)),
        n_layers=n_layers,
        image_size=image_size,
        pool_grid=pool_grid,
        device=device,
        precision=_device.resolve_precision(precision, device),
    )


def map_side(n_layers: int, image_size: int) -> int:
    """Side of the maps that leave the first `n_layers` layers."""
    return image_size // 2 ** sum(completes for _, _, completes in LAYERS[:n_layers])


def pooling_matrix(side: int, grid: int) -> np.ndarray:
    """Averages over `grid` cells that cover `side` places, overlapping by one where it does not divide them.

    Examples
    --------
    >>> pooling_matrix(3, 2)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    matrix = np.zeros((grid, side), np.float32)
    for cell in range(grid):
        start, stop = cell * side // grid, -(-(cell + 1) * side // grid)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


@functools.lru_cache(maxsize=4)
def _forward(backbone: Backbone) -> Callable[[np.ndarray], np.ndarray]:
    keras = _device.keras()
    with _device.place(backbone.device):
        network = _network(keras, load_layers(backbone.weights, backbone.n_layers), backbone.precision)
    pooling = pooling_matrix(map_side(backbone.n_layers, backbone.image_size), backbone.grid)

    def features(squares: Any) -> Any:
        gray = keras.ops.cast(squares, "float32")
        pixels = keras.ops.stack([gray - mean for mean in _CHANNEL_MEANS], axis=-1)
        maps = keras.ops.cast(network(pixels, training=False), "float32")
        rows = keras.ops.einsum("gh,nhwc->ngwc", pooling, maps)
        cells = keras.ops.einsum("kw,ngwc->ngkc", pooling, rows)
        return keras.ops.reshape(cells, (-1, backbone.n_features))

    signature = [((None, backbone.image_size, backbone.image_size), "uint8")]
    return _device.compile_forward(
        features, network.variables, signature, backbone.device, full_batch=backbone.batch_size
    )


def _network(keras: Any, arrays: Arrays, precision: str) -> Any:
    # Said to each layer, so that the host's global settings of Keras stay out.
    settings = {
        "dtype": "mixed_bfloat16" if precision == "bfloat16" else "float32",
        "data_format": "channels_last",
    }
    pixels = maps = keras.Input((None, None, 3), dtype="float32")
    for name, filters, completes in LAYERS[: len(arrays) // 2]:
        layer = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, **settings)
        maps = layer(maps)
        layer.set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
        if completes:
            maps = keras.layers.MaxPooling2D(2, **settings)(maps)
    return keras.Model(pixels, maps)


# Weights


def load_layers(source: str | None, n_layers: int, verbose: bool = False) -> Arrays:
    """Read kernel and bias of the first `n_layers` layers, float32, keyed "block1_conv1/kernel" and so on.

    Raises
    ------
    WeightsError
        They cannot be reached, or do not fit VGG19.
    """
    if source is None:
        return _untrained(n_layers)
    try:
        arrays = _imagenet(verbose) if source == "imagenet" else _read_file(source)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"weights={source!r} cannot be read: {error}. {_WAYS_OUT}") from error
    return _fit(arrays, source, n_layers)


def _untrained(n_layers: int) -> Arrays:
    """He-uniform kernels and zero biases; sums and products of a frozen stream alone, so equal on every machine."""
    random = np.random.RandomState(_UNTRAINED_SEED)
    arrays = {}
    for name, shape in _shapes(n_layers).items():
        if name.endswith("/bias"):
            arrays[name] = np.zeros(shape, np.float32)
        else:
            limit = np.sqrt(6 / np.prod(shape[:3]))
            arrays[name] = ((2 * random.random_sample(shape) - 1) * limit).astype(np.float32)
    return arrays


def _shapes(n_layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for name, filters, _ in LAYERS[:n_layers]:
        shapes |= {f"{name}/kernel": (3, 3, channels, filters), f"{name}/bias": (filters,)}
        channels = filters
    return shapes


def _fit(arrays: Mapping[str, np.ndarray], source: str, n_layers: int) -> Arrays:
    """Take what the first `n_layers` layers need, or name everything that is missing or of the wrong shape."""
    faults = []
    for name, shape in _shapes(n_layers).items():
        if name not in arrays:
            faults.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            faults.append(f"{name} has shape {arrays[name].shape}, not {shape}")
        elif not np.isfinite(arrays[name]).all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        raise WeightsError(
            f"weights={source!r} do not fit the first {n_layers} layers of VGG19: {'; '.join(faults)}. {_WAYS_OUT}"
        )
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in _shapes(n_layers)}


def _read_file(path: str) -> Arrays:
    if not os.path.isfile(path):
        raise WeightsError(f"weights={path!r}: no such file. {_WAYS_OUT}")
    if path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
            return _read_h5(file)
    if path.endswith(".h5"):
        with open(path, "rb") as file:
            return _read_h5(file)
    raise WeightsError(f"weights={path!r}: the name ends in none of {', '.join(SUFFIXES)}. {_WAYS_OUT}")


def _read_h5(file: Any) -> Arrays:
    """Read an HDF5 file of Keras, of any age: a layer's name stands in the path, in an attribute, or is a count."""
    import h5py

    arrays: Arrays = {}

    def visit(path: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer" in path or item.external or item.size > _LARGEST:
            return
        layer = _layer_name(path, item.parent.attrs.get("name", ""))
        kind = {4: "kernel", 1: "bias"}.get(item.ndim)
        if layer and kind:
            arrays[f"{layer}/{kind}"] = item[()]

    with h5py.File(file, "r") as h5:
        h5.visititems(visit)
    return arrays


def _layer_name(path: str, attribute: str) -> str | None:
    for text in (attribute, path):
        named = re.search(r"block[1-5]_conv[1-4]", text)
        if named:
            return named[0]
    counted = re.search(r"(?:^|/)conv2d(?:_(\d+))?/", path)
    if counted and int(counted[1] or 0) < len(LAYERS):
        return LAYERS[int(counted[1] or 0)][0]
    return None


def _imagenet(verbose: bool) -> Arrays:
    """Keras's own file from Keras's own cache, which Keras itself fills."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    cached = home / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    if cached.is_file():
        try:
            return _read_file(str(cached))
        except Exception:  # noqa: S110 - a broken download: Keras checks its digest and fetches it again
            pass
    try:
        return _device.download_vgg19(verbose)
    except Exception as error:
        raise WeightsError(
            f"weights='imagenet' cannot be had: no whole file at {cached}, and Keras's download failed: {error}. "
            f"{_WAYS_OUT}"
        ) from error


def _stamp(source: str | None) -> tuple[int, int] | None:
    """Tell one state of a weights file from another."""
    if source is None or not os.path.isfile(source):
        return None
    stat = os.stat(source)
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _weights_digest(source: str | None, stamp: tuple[int, int] | None, n_layers: int, verbose: bool = False) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in load_layers(source, n_layers, verbose).items():
        digest.update(name.encode())
        digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.digest()
