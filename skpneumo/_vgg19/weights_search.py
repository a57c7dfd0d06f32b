"""Search for the weights of a fitted model by their digest."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from skpneumo._utils.messages import MAX_ITEMS
from skpneumo._utils.paths import absolute_path
from skpneumo._vgg19.layers import LAYERS
from skpneumo._vgg19.weights import SUFFIXES, Bundle, WeightsSource, cached_by_keras, digest_or_error
from skpneumo.exceptions import WeightsError

ENVIRONMENT_VARIABLE = "SKPNEUMO_WEIGHTS"


class _Location(NamedTuple):
    name: str
    source: str | None = None
    error: str = ""


def find_weights(weights: WeightsSource, digest: bytes, n_layers: int, verbose: bool = False) -> WeightsSource:
    """Return the first source of weights whose first `n_layers` layers have this digest.

    The search order is: `weights`, the source at the time of fit; the file or folder in the environment variable; the
    cache of Keras; and for "imagenet" the download by Keras.

    Raises
    ------
    WeightsError
        If the weights are not found. The message lists the locations searched and the content of each.
    """
    if isinstance(weights, Bundle) or n_layers == 0:
        return weights
    searched: list[str] = []
    for location in _locations(weights):
        found = location.error or digest_or_error(location.source, n_layers, verbose)
        if found == digest:
            return location.source if searched else weights
        searched.append(f"  {location.name}: {found if isinstance(found, str) else f'other weights, {found.hex()}'}")
    first, last = LAYERS[0][0], LAYERS[n_layers - 1][0]
    raise WeightsError(
        f"The VGG19 weights that the model was fitted with were not found. It needs {n_layers} layers, {first} to "
        f"{last}, with the digest {digest.hex()}. These locations were searched:\n"
        + "\n".join(_listed(searched))
        + f"\nRestore the file; or set the environment variable {ENVIRONMENT_VARIABLE} to it or to its folder; or call "
        "bundle_weights() on a machine that has the file, and use the model that it returns. If n_layers was changed "
        "after fit, restore it."
    )


def _listed(searched: list[str]) -> list[str]:
    """Shorten a long list of locations, keeping the first ones and the last."""
    n_others = len(searched) - MAX_ITEMS
    return searched if n_others <= 0 else [*searched[: MAX_ITEMS - 1], f"  and {n_others} more", searched[-1]]


def _locations(weights: str | None) -> Iterator[_Location]:
    cached = str(cached_by_keras())
    if weights == "imagenet":
        yield _Location(f"weights='imagenet', {cached!r}", cached)
    else:
        yield _Location(f"weights={weights!r}", weights)
    yield from _from_environment()
    if weights == "imagenet":
        yield _Location("Keras's download", "imagenet")
    else:
        yield _Location(f"Keras's cache, {cached!r}", cached)


def _from_environment() -> Iterator[_Location]:
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    if not value:
        yield _Location(ENVIRONMENT_VARIABLE, error="not set")
        return
    path = absolute_path(value, ENVIRONMENT_VARIABLE)
    if not os.path.isdir(path):
        yield _Location(f"{ENVIRONMENT_VARIABLE}={path!r}", path)
        return
    try:
        files = sorted(name for name in os.listdir(path) if name.endswith(SUFFIXES))
    except OSError as error:
        yield _Location(f"{ENVIRONMENT_VARIABLE}={path!r}", error=f"cannot be read: {error.strerror}")
        return
    if not files:
        yield _Location(f"{ENVIRONMENT_VARIABLE}={path!r}", error=f"no file in it ends in {', '.join(SUFFIXES)}")
    for name in files:
        yield _Location(f"{ENVIRONMENT_VARIABLE}={path!r}, {name!r}", os.path.join(path, name))
