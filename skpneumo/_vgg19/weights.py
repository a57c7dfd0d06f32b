"""Weights of VGG19 from a file, a random seed or a model, and their digests."""

import functools
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._utils.files import NOT_REGULAR, open_file
from skpneumo._utils.messages import list_items
from skpneumo._utils.paths import absolute_path
from skpneumo._vgg19.layers import LARGEST_FLOAT16, LAYERS, shapes
from skpneumo.exceptions import WeightsError

SUFFIXES = (".npz", ".h5", ".keras")

_UNTRAINED_SEED = 19

_HINT = (
    "Pass weights='imagenet' (needs network access, or Keras's file vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 "
    "in ~/.keras/models); or the path of a .npz (arrays named 'block1_conv1/kernel', 'block1_conv1/bias', ...), .h5, "
    ".weights.h5 or .keras file of VGG19; or weights=None for an untrained backbone. If the file holds only the first "
    "layers, reduce n_layers."
)

_MAX_ARRAY_SIZE = 3 * 3 * 512 * 512

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """Weights stored in a model.

    Parameters
    ----------
    digest : bytes
        Digest of the arrays in float32. Bundles are compared by it alone.
    arrays : mapping of str to ndarray
        Keyed "block1_conv1/kernel" and so on, float32 or float16.
    """

    digest: bytes
    arrays: Mapping[str, np.ndarray] = field(compare=False, repr=False)

    @classmethod
    def of(cls, arrays: Arrays, dtype: str) -> "Bundle":
        """Bundle float32 arrays, unchanged or rounded to float16."""
        packed = arrays if dtype == "float32" else {name: half(array) for name, array in arrays.items()}
        return cls(digest_of(packed), packed)


WeightsSource = str | Bundle | None  # "imagenet", a path, weights stored in a model, or untrained weights


class _UnusableError(Exception):
    """Reason why weights cannot be used, without their name."""


def source_of(weights: Any) -> WeightsSource:
    """Convert the `weights` parameter; paths become absolute, so that they survive a change of the current folder."""
    if weights in (None, "imagenet") or isinstance(weights, Bundle):
        return weights
    return absolute_path(weights, "weights")


def half(array: np.ndarray) -> np.ndarray:
    """Round to float16, which halves the size of a model file; computing in bfloat16 rounds more."""
    return array.clip(-LARGEST_FLOAT16, LARGEST_FLOAT16).astype(np.float16)


# Digests


def digest_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a digest of the values in float32, whatever the data type of the arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        digest.update(name.encode())
        digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.digest()


def weights_digest(source: WeightsSource, n_layers: int, verbose: bool = False) -> bytes:
    """Return the digest of the first `n_layers` layers.

    Raises
    ------
    WeightsError
        If the weights cannot be read or do not fit VGG19.
    """
    if isinstance(source, Bundle):
        return source.digest
    with _as_weights_error(source):
        found = _find_digest(source, n_layers, verbose)
        if isinstance(found, str):
            raise _UnusableError(found)
    return found


def _find_digest(source: str | None, n_layers: int, verbose: bool) -> bytes | str:
    if source == "imagenet":
        cached = str(cached_by_keras())
        with suppress(_UnusableError):  # Keras replaces a broken file
            return _cached_digest(cached, _file_state(cached), n_layers, verbose)
    return _cached_digest(source, _file_state(source), n_layers, verbose)


@functools.lru_cache(maxsize=1024)
def _cached_digest(source: str | None, file_state: tuple[int, int] | None, n_layers: int, verbose: bool) -> bytes | str:
    """Return the digest, or why the layers do not fit; failures to read raise, so that they are not cached."""
    if n_layers == 0:
        return digest_of({})
    arrays = _untrained(n_layers) if source is None else _read(source, verbose)
    try:
        return digest_of(_select(arrays, shapes(0, n_layers)))
    except _UnusableError as error:
        return str(error)


def _file_state(source: str | None) -> tuple[int, int] | None:
    """Return the size and modification time of a weights file."""
    if source is None or not os.path.isfile(source):
        return None
    stat = os.stat(source)
    return stat.st_size, stat.st_mtime_ns


def digest_or_error(source: str | None, n_layers: int, verbose: bool) -> bytes | str:
    """Return the digest, or the reason why the weights cannot be used."""
    try:
        return _find_digest(source, n_layers, verbose)
    except _UnusableError as error:
        return str(error)


# Reading


def load_layers(source: WeightsSource, n_layers: int, digest: bytes | None = None) -> Arrays:
    """Read kernels and biases of the first `n_layers` layers, float32, keyed "block1_conv1/kernel" and so on.

    Raises
    ------
    WeightsError
        If the weights cannot be read, do not fit VGG19 or have another digest than `digest`.
    """
    if source is None:
        return _untrained(n_layers)
    with _as_weights_error(source):
        arrays = _select(_read(source), shapes(0, n_layers))
    if digest is not None and digest_of(arrays) != digest:
        raise WeightsError(
            f"{_describe(source)}: damaged, or changed since it was found: the digest is {digest_of(arrays).hex()}, "
            f"not {digest.hex()}. Replace it by an intact copy and try again."
        )
    return arrays


def load_trainable(
    weights: Any, n_frozen: int, n_layers: int, random: np.random.RandomState
) -> tuple[Arrays, list[str]]:
    """Read the layers from `n_frozen` on, and return also the names of those missing from the file.

    Missing layers are drawn by He initialization.

    Raises
    ------
    WeightsError
        If the file cannot be read or a layer in it does not fit VGG19.
    """
    source, expected = source_of(weights), shapes(n_frozen, n_layers)
    with _as_weights_error(source):
        arrays = _untrained(n_layers) if source is None else _read(source)
        names = [name for name, _, _ in LAYERS[n_frozen:n_layers]]
        missing = [name for name in names if not {f"{name}/kernel", f"{name}/bias"} & set(arrays)]
        initialized = {
            name: random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape) if len(shape) == 4 else np.zeros(shape)
            for name, shape in expected.items()
            if name.split("/")[0] in missing
        }
        return _select({**arrays, **initialized}, expected), missing


@contextmanager
def _as_weights_error(source: WeightsSource) -> Iterator[None]:
    try:
        yield
    except _UnusableError as error:
        raise WeightsError(f"{_describe(source)}: {error}. {_HINT}") from error.__cause__


def _describe(source: WeightsSource) -> str:
    return "bundled_weights_" if isinstance(source, Bundle) else f"weights={source!r}"


def _untrained(n_layers: int) -> Arrays:
    """Draw He-uniform kernels and zero biases that are equal on every machine."""
    random = np.random.RandomState(_UNTRAINED_SEED)
    arrays = {}
    for name, shape in shapes(0, n_layers).items():
        if name.endswith("/bias"):
            arrays[name] = np.zeros(shape, np.float32)
        else:
            limit = np.sqrt(6 / np.prod(shape[:3]))
            arrays[name] = ((2 * random.random_sample(shape) - 1) * limit).astype(np.float32)
    return arrays


def _select(arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return the arrays with the expected names and shapes, or raise an error that lists the invalid ones."""
    errors = []
    for name, shape in expected.items():
        if name not in arrays:
            errors.append(f"{name} is missing")
        elif arrays[name].shape != shape:
            errors.append(f"{name} has shape {arrays[name].shape}, not {shape}")
        elif not np.isfinite(arrays[name]).all():
            errors.append(f"{name} holds values that are not finite")
    if errors:
        first, last = next(iter(expected)).split("/")[0], list(expected)[-1].split("/")[0]
        raise _UnusableError(
            f"does not fit the layers {first} to {last} of VGG19: {list_items(errors, separator='; ')}"
        )
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in expected}


def _read(source: str | Bundle, verbose: bool = False) -> Mapping[str, np.ndarray]:
    if isinstance(source, Bundle):
        return source.arrays
    try:
        return _imagenet(verbose) if source == "imagenet" else _read_file(source)
    except _UnusableError:
        raise
    except Exception as error:
        raise _UnusableError(f"cannot be read: {error}") from error


def _read_file(path: str) -> Arrays:
    if not os.path.isfile(path):
        raise _UnusableError(NOT_REGULAR if os.path.exists(path) else "no such file")
    if path.endswith(".npz"):
        with open_file(path) as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if path.endswith(".keras"):
        with open_file(path) as file, zipfile.ZipFile(file) as archive, archive.open("model.weights.h5") as h5:
            return _read_h5(h5)
    if path.endswith(".h5"):
        with open_file(path) as file:
            return _read_h5(file)
    raise _UnusableError(f"the name must end in one of {', '.join(SUFFIXES)}")


def _read_h5(file: Any) -> Arrays:
    """Read an HDF5 file of any version of Keras: layers are named in the path or an attribute, or are numbered."""
    import h5py

    arrays: Arrays = {}

    def visit(path: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "optimizer" in path or item.external or item.size > _MAX_ARRAY_SIZE:
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
        match = re.search(r"block[1-5]_conv[1-4]", text)
        if match:
            return match[0]
    numbered = re.search(r"(?:^|/)conv2d(?:_(\d+))?/", path)
    if numbered and int(numbered[1] or 0) < len(LAYERS):
        return LAYERS[int(numbered[1] or 0)][0]
    return None


def cached_by_keras() -> Path:
    """Return the path of the weights that Keras has downloaded."""
    home = absolute_path(os.environ.get("KERAS_HOME", "~/.keras"), "KERAS_HOME")
    return Path(home, "models", "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")


def _imagenet(verbose: bool) -> Arrays:
    """Read the ImageNet weights from the cache of Keras, or let Keras download them."""
    cached = cached_by_keras()
    if cached.is_file():
        try:
            return _read_file(str(cached))
        except Exception:  # noqa: S110 - Keras detects a broken download and repeats it
            pass
    try:
        return download_vgg19(verbose)
    except Exception as error:
        raise _UnusableError(f"no intact file at {cached}, and Keras's download failed: {error}") from error


def download_vgg19(verbose: bool) -> dict[str, np.ndarray]:
    """Let Keras download its ImageNet weights of VGG19 to its cache; return those of the convolution layers."""
    config = _keras.keras().config
    was_enabled = config.is_interactive_logging_enabled()  # set per thread
    try:
        if not verbose:
            config.disable_interactive_logging()
        network = _keras.keras().applications.VGG19(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    finally:
        if was_enabled:
            config.enable_interactive_logging()
    arrays = {}
    for layer in network.layers:
        for name, array in zip(("kernel", "bias"), layer.get_weights(), strict=False):
            arrays[f"{layer.name}/{name}"] = array
    return arrays
