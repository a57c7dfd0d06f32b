"""Weights of VGG19: read from files of any kind, drawn, or carried by a model; named by digest."""

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
from skpneumo._vgg19.layers import LARGEST_FLOAT16, LAYERS, shapes
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

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bundle:
    """Weights that a model carries.

    Parameters
    ----------
    digest : bytes
        Of the arrays in float32; it alone is compared.
    arrays : mapping of str to ndarray
        Keyed "block1_conv1/kernel" and so on, float32 or float16.
    """

    digest: bytes
    arrays: Mapping[str, np.ndarray] = field(compare=False, repr=False)

    @classmethod
    def of(cls, arrays: Arrays, dtype: str) -> "Bundle":
        """Pack arrays of float32 as they are, or rounded to float16."""
        packed = arrays if dtype == "float32" else {name: half(array) for name, array in arrays.items()}
        return cls(digest_of(packed), packed)


WeightsSource = str | Bundle | None  # "imagenet", a path, what a model carries, or untrained weights


class _UnusableError(Exception):
    """Why weights are of no use, without their name."""


def source_of(weights: Any) -> WeightsSource:
    """Settle which weights a parameter means, whatever the working directory will be."""
    if weights in (None, "imagenet") or isinstance(weights, Bundle):
        return weights
    return os.path.abspath(os.path.expanduser(os.fspath(weights)))


def half(array: np.ndarray) -> np.ndarray:
    """Round to float16, which halves the file of a model; layers that compute in bfloat16 round more."""
    return array.clip(-LARGEST_FLOAT16, LARGEST_FLOAT16).astype(np.float16)


# Digests


def digest_of(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Name weights by their values in float32, however they are kept."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        digest.update(name.encode())
        digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.digest()


def weights_digest(source: WeightsSource, n_layers: int, verbose: bool = False) -> bytes:
    """Name the first `n_layers` layers.

    Raises
    ------
    WeightsError
        They cannot be reached, or do not fit VGG19.
    """
    if isinstance(source, Bundle):
        return source.digest
    with _said_of(source):
        held = _held_by(source, n_layers, verbose)
        if isinstance(held, str):
            raise _UnusableError(held)
    return held


def _held_by(source: str | None, n_layers: int, verbose: bool) -> bytes | str:
    if source == "imagenet":
        cached = str(cached_by_keras())
        with suppress(_UnusableError):  # Keras downloads what is broken anew
            return _held(cached, _stamp(cached), n_layers, verbose)
    return _held(source, _stamp(source), n_layers, verbose)


@functools.lru_cache(maxsize=1024)
def _held(source: str | None, stamp: tuple[int, int] | None, n_layers: int, verbose: bool) -> bytes | str:
    """Return the digest, or why the layers do not fit; what cannot be read raises, and is tried again."""
    if n_layers == 0:
        return digest_of({})
    arrays = _untrained(n_layers) if source is None else _read(source, verbose)
    try:
        return digest_of(_fit(arrays, shapes(0, n_layers)))
    except _UnusableError as error:
        return str(error)


def _stamp(source: str | None) -> tuple[int, int] | None:
    """Tell one state of a weights file from another."""
    if source is None or not os.path.isfile(source):
        return None
    stat = os.stat(source)
    return stat.st_size, stat.st_mtime_ns


def digest_or_fault(source: str | None, n_layers: int, verbose: bool) -> bytes | str:
    """Return the digest, or why there is none."""
    try:
        return _held_by(source, n_layers, verbose)
    except _UnusableError as error:
        return str(error)


# Reading


def load_layers(source: WeightsSource, n_layers: int, digest: bytes | None = None) -> Arrays:
    """Read kernel and bias of the first `n_layers` layers, float32, keyed "block1_conv1/kernel" and so on.

    Raises
    ------
    WeightsError
        They cannot be reached, do not fit VGG19, or are not those of the `digest` that is asked for.
    """
    if source is None:
        return _untrained(n_layers)
    with _said_of(source):
        arrays = _fit(_read(source), shapes(0, n_layers))
    if digest is not None and digest_of(arrays) != digest:
        raise WeightsError(
            f"{_named(source)}: damaged, or changed just now: the digest is {digest_of(arrays).hex()}, not "
            f"{digest.hex()}. Take a whole copy, and begin anew."
        )
    return arrays


def load_trainable(
    weights: Any, n_frozen: int, n_layers: int, random: np.random.RandomState
) -> tuple[Arrays, list[str]]:
    """Read the layers from `n_frozen` on; those that a file lacks start from He's initialisation, and are named.

    Raises
    ------
    WeightsError
        The file cannot be read, or a layer in it does not fit VGG19.
    """
    source, wanted = source_of(weights), shapes(n_frozen, n_layers)
    with _said_of(source):
        arrays = _untrained(n_layers) if source is None else _read(source)
        names = [name for name, _, _ in LAYERS[n_frozen:n_layers]]
        missing = [name for name in names if not {f"{name}/kernel", f"{name}/bias"} & set(arrays)]
        drawn = {
            name: random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape) if len(shape) == 4 else np.zeros(shape)
            for name, shape in wanted.items()
            if name.split("/")[0] in missing
        }
        return _fit({**arrays, **drawn}, wanted), missing


@contextmanager
def _said_of(source: WeightsSource) -> Iterator[None]:
    try:
        yield
    except _UnusableError as error:
        raise WeightsError(f"{_named(source)}: {error}. {_WAYS_OUT}") from error.__cause__


def _named(source: WeightsSource) -> str:
    return "bundled_weights_" if isinstance(source, Bundle) else f"weights={source!r}"


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


def _fit(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]) -> Arrays:
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
        raise _UnusableError(f"does not fit the layers {first} to {last} of VGG19: {'; '.join(faults)}")
    return {name: np.ascontiguousarray(arrays[name], np.float32) for name in wanted}


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
        raise _UnusableError("no such file")
    if path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    if path.endswith(".keras"):
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
            return _read_h5(file)
    if path.endswith(".h5"):
        with open(path, "rb") as file:
            return _read_h5(file)
    raise _UnusableError(f"the name ends in none of {', '.join(SUFFIXES)}")


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


def cached_by_keras() -> Path:
    """Where Keras keeps what it has downloaded."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return home / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"


def _imagenet(verbose: bool) -> Arrays:
    """Keras's own file from Keras's own cache, which Keras itself fills."""
    cached = cached_by_keras()
    if cached.is_file():
        try:
            return _read_file(str(cached))
        except Exception:  # noqa: S110 - a broken download: Keras checks its digest and fetches it again
            pass
    try:
        return download_vgg19(verbose)
    except Exception as error:
        raise _UnusableError(f"no whole file at {cached}, and Keras's download failed: {error}") from error


def download_vgg19(verbose: bool) -> dict[str, np.ndarray]:
    """Let Keras fetch its ImageNet weights of VGG19 into its cache, and return those of the convolution layers."""
    config = _keras.keras().config
    talks = config.is_interactive_logging_enabled()  # a setting of this thread alone
    try:
        if not verbose:
            config.disable_interactive_logging()
        network = _keras.keras().applications.VGG19(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    finally:
        if talks:
            config.enable_interactive_logging()
    arrays = {}
    for layer in network.layers:
        for name, array in zip(("kernel", "bias"), layer.get_weights(), strict=False):
            arrays[f"{layer.name}/{name}"] = array
    return arrays
