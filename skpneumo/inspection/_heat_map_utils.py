"""What heat maps have in common: the class they speak of, its log odds, and their place on the image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.decoding import sides
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import Source, shortened
from skpneumo.inspection._read_images import read

COORDINATES = ("image", "preprocessed", "grid")


def check_images(X: Any, clf: PneumoniaClassifier, coordinates: str) -> list[Source]:
    """Return the images that heat maps are asked for.

    Raises
    ------
    ValueError
        There are none; the model does not see images; these are no coordinates.
    """
    if coordinates not in COORDINATES:
        raise ValueError(f"coordinates={coordinates!r}, but it must be one of {', '.join(map(repr, COORDINATES))}.")
    if clf.backbone_fingerprint_ is None:
        raise ValueError(
            "The model was fitted on features, so nobody knows their places in an image: fit it on images."
        )
    images = as_images(X)
    if images is None:
        raise ValueError(f"a heat map needs images; got {type(X).__name__} without any.")
    return images


def classes_of_interest(clf: PneumoniaClassifier, label: Any, logits: np.ndarray) -> np.ndarray:
    """Return the number of the class that each row of logits is looked at for.

    Raises
    ------
    ValueError
        The label is none of the classes.
    """
    if label is not None:
        found = [number for number, each in enumerate(clf.classes_.tolist()) if np.ndim(label) == 0 and each == label]
        if not found:
            given = shortened(repr(label))
            raise ValueError(f"class_of_interest={given} is none of the classes {clf.classes_.tolist()}.")
        return np.full(len(logits), found[0])
    return np.ones(len(logits), int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def log_odds(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the log odds of one class a row."""
    if logits.shape[1] == 1:
        return np.where(codes == 1, logits[:, 0], -logits[:, 0])
    own = np.arange(logits.shape[1]) == codes[:, np.newaxis]
    return logits[own] - logsumexp(np.where(own, -np.inf, logits), axis=1)


def gradients_of_log_odds(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Differentiate them by the logits."""
    if logits.shape[1] == 1:
        return np.where(codes == 1, 1.0, -1.0)[:, np.newaxis]
    own = np.arange(logits.shape[1]) == codes[:, np.newaxis]
    return np.where(own, 1.0, -softmax(np.where(own, -np.inf, logits), axis=1))


def placed(grids: np.ndarray, images: Sequence[Source], clf: PneumoniaClassifier, coordinates: str) -> Any:
    """Bring grids of values, (n_samples, k, k), into the coordinates asked for.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.
    """
    if coordinates == "grid":
        return grids
    if coordinates == "preprocessed":
        tents = _tents(clf.image_size, clf.image_size, grids.shape[1])
        return (tents @ grids @ tents.T).astype(np.float32)
    found = read(images, lambda data: np.array(sides(data)))
    return [spread(grid, (height, width), clf.aspect) for grid, (width, height) in zip(grids, found, strict=True)]


def spread(grid: np.ndarray, shape: tuple[int, int], aspect: str) -> np.ndarray:
    """Spread values of a grid that covers the square over an image, (height, width); 0 where the square does not reach.

    They stand at the centres of their cells; between these they are interpolated.
    """
    square = {"crop": (min(shape),) * 2, "pad": (max(shape),) * 2, "stretch": shape}[aspect]
    down, right = (_tents(n, extent, k) for n, extent, k in zip(shape, square, grid.shape, strict=True))
    return (down @ grid @ right.T).astype(np.float32)


def _tents(n: int, extent: float, k: int) -> np.ndarray:
    """Weights of `k` cells, which cover `extent` pixels in the middle of `n`, at each of these pixels."""
    places = (np.arange(n) + 0.5 - (n - extent) / 2) * k / extent
    weights = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - 0.5 - np.arange(k)))
    return np.where(((places > 0) & (places < k))[:, np.newaxis], weights, 0)
