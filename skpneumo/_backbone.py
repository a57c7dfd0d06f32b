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
from skpneumo._network import LAYERS, Stretch, map_side, n_channels, shapes
from skpneumo.exceptions import WeightsError

SUFFIXES = (".npz", ".h5", ".keras")

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
    """The frozen first `n_layers` of VGG19, of one set of weights, for one size of image on one device.

    Without a `pool_grid` it gives the maps themselves; without layers, the squares.
    """

    weights: str | None
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
        side = map_side(self.n_layers, self.image_size)
        return side if self.pool_grid is None else min(self.pool_grid, side)

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
        return _device.batch_size(self.image_size, self.device)

    def identity(self) -> bytes:
        """Name everything that shapes the features of a square, but for rounding."""
        rows = "maps" if self.pool_grid is None else self.grid
        return f"VGG19 {self.n_layers} {self.image_size} {rows} ".encode() + self.weights_digest

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
    source = _source(weights)
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


def _source(weights: Any) -> str | None:
    return weights if weights in (None, "imagenet") else os.path.abspath(os.path.expanduser(os.fspath(weights)))


@functools.lru_cache(maxsize=4)
def _forward(backbone: Backbone) -> Callable[[np.ndarray], np.ndarray]:
    grid = backbone.grid if backbone.pool_grid else None
    with _device.place(backbone.device):
        stretch = Stretch(0, backbone.n_layers, backbone.image_size, grid, backbone.precision)
        stretch.load(load_layers(backbone.weights, backbone.n_layers))
    signature = [((None, backbone.image_size, backbone.image_size), "uint8")]
    return _device.compile_forward(
        stretch, stretch.variables, signature, backbone.device, full_batch=backbone.batch_size
    )


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
    return _fit(_read(source, verbose), source, shapes(0, n_layers))


def _read(source: str, verbose: bool = False) -> Arrays:
    try:
        return _imagenet(verbose) if source == "imagenet" else _read_file(source)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"weights={source!r} cannot be read: {error}. {_WAYS_OUT}") from error


def load_trainable(
    weights: Any, n_frozen: int, n_layers: int, random: np.random.RandomState
) -> tuple[Arrays, list[str]]:
    """Read the layers from `n_frozen` on; those that a file lacks start from He's initialisation, and are named.

    Raises
    ------
    WeightsError
        The file cannot be read, or a layer in it does not fit VGG19.
    """
    source = _source(weights)
    arrays = _untrained(n_layers) if source is None else _read(source)
    wanted = shapes(n_frozen, n_layers)
    missing = [name for name, _, _ in LAYERS[n_frozen:n_layers] if not {f"{name}/kernel", f"{name}/bias"} & set(arrays)]
    drawn = {
        name: random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape) if len(shape) == 4 else np.zeros(shape)
        for name, shape in wanted.items()
        if name.split("/")[0] in missing
    }
    return _fit(arrays | drawn, source, wanted), missing


def _untrained(n_layers: int) -> Arrays:
    """He-uniform kernels and zero biases; sums and products of a frozen stream alone, so equal on every machine."""
    random = np.random.RandomState(_UNTRAINED_SEED)
    arrays = {}
    for name, shape in shapes(0, n_layers).items():
        if name.endswith("/bias"):
            arrays[name] = np.zeros(shape, np.float32)
        else:
            limit = np.sqrt(6 / np.prod(shape[:3]))
            arrays[name] = ((2 * random.random_sample(shape) - 1) * limit).astype(np.float32)
    return arrays


def _fit(arrays: Mapping[str, np.ndarray], source: str | None, wanted: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Take the arrays of the wanted shapes, or name everything that is missing or of the wrong shape."""
    faults = []
    for name, shape in wanted.items():
        if name not in arrays:
            faults.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            faults.append(f"{name} has shape {arrays[name].shape}, not {shape}")
        elif not np.isfinite(arrays[name]).all():
            faults.append(f"{name} holds values that are not finite")
    if faults:
        first, last = next(iter(wanted)).split("/")[0], list(wanted)[-1].split("/")[0]
        raise WeightsError(
            f"weights={source!r} do not fit the layers {first} to {last} of VGG19: {'; '.join(faults)}. {_WAYS_OUT}"
        )
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in wanted}


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
    for name, array in load_layers(source, n_layers, verbose).items() if n_layers else ():
        digest.update(name.encode())
        digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.digest()
