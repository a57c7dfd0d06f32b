"""Where the weights that a model was fitted with are now: found by their digest."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from skpneumo._vgg19.layers import LAYERS
from skpneumo._vgg19.weights import SUFFIXES, Bundle, WeightsSource, cached_by_keras, digest_or_fault
from skpneumo.exceptions import WeightsError

ENVIRONMENT_VARIABLE = "SKPNEUMO_WEIGHTS"


class _Place(NamedTuple):
    name: str
    source: str | None = None
    fault: str = ""


def find_weights(weights: WeightsSource, digest: bytes, n_layers: int, verbose: bool = False) -> WeightsSource:
    """Look for the weights whose first `n_layers` layers have this digest; take the first that is right.

    `weights` is where they were when a model was fitted. After that come the file, or the files of the folder, that
    the environment variable names, Keras's cache, and for "imagenet" Keras's download.

    Raises
    ------
    WeightsError
        They are nowhere; it says what is in each place.
    """
    if isinstance(weights, Bundle) or n_layers == 0:
        return weights
    looked: list[str] = []
    for place in _places(weights):
        held = place.fault or digest_or_fault(place.source, n_layers, verbose)
        if held == digest:
            return place.source if looked else weights
        looked.append(f"  {place.name}: {held if isinstance(held, str) else f'other weights, {held.hex()}'}")
    first, last = LAYERS[0][0], LAYERS[n_layers - 1][0]
    raise WeightsError(
        f"The weights of VGG19 that the model was fitted with are not here. It needs {n_layers} of the layers, {first} "
        f"to {last}, whose digest is {digest.hex()}. These places were looked at:\n"
        + "\n".join(looked)
        + f"\nPut the file in its place again; or let the environment variable {ENVIRONMENT_VARIABLE} name it, or its "
        "folder; or call bundle_weights() on a machine that has the file, and bring the model that it returns. If "
        "n_layers was changed after the fit, restore it."
    )


def _places(weights: str | None) -> Iterator[_Place]:
    cached = str(cached_by_keras())
    if weights == "imagenet":
        yield _Place(f"weights='imagenet', {cached!r}", cached)
    else:
        yield _Place(f"weights={weights!r}", weights)
    yield from _named_by_environment()
    if weights == "imagenet":
        yield _Place("Keras's download", "imagenet")
    else:
        yield _Place(f"Keras's cache, {cached!r}", cached)


def _named_by_environment() -> Iterator[_Place]:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if not named:
        yield _Place(ENVIRONMENT_VARIABLE, fault="not set")
        return
    path = os.path.abspath(os.path.expanduser(named))
    if not os.path.isdir(path):
        yield _Place(f"{ENVIRONMENT_VARIABLE}={path!r}", path)
        return
    try:
        files = sorted(name for name in os.listdir(path) if name.endswith(SUFFIXES))
    except OSError as error:
        yield _Place(f"{ENVIRONMENT_VARIABLE}={path!r}", fault=f"cannot be read: {error.strerror}")
        return
    if not files:
        yield _Place(f"{ENVIRONMENT_VARIABLE}={path!r}", fault=f"no file in it ends in {', '.join(SUFFIXES)}")
    for name in files:
        yield _Place(f"{ENVIRONMENT_VARIABLE}={path!r}, {name!r}", os.path.join(path, name))
