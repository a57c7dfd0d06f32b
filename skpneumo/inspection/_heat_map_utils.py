"""Classes, log odds and coordinates of heat maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.decoding import sides
from skpneumo._images.sources import Source
from skpneumo._utils.messages import list_values, plain, shortened
from skpneumo._utils.validation import choices
from skpneumo.inspection._read_images import images_of, read

COORDINATES = [choices("image", "preprocessed", "grid")]


def check_images(X: Any, clf: PneumoniaClassifier) -> list[Source]:
    """Return the images of `X`.

    Raises
    ------
    ValueError
        If `X` does not contain images, or the model was fitted on features.
    """
    if clf.backbone_fingerprint_ is None:
        raise ValueError("Expected a model fitted on images; it was fitted on features. Fit it on images.")
    return images_of(X)


def classes_of_interest(clf: PneumoniaClassifier, label: Any, logits: np.ndarray) -> np.ndarray:
    """Return the index of the class to explain for each row of logits.

    Raises
    ------
    ValueError
        If `label` is not one of the classes.
    """
    if label is not None:
        found = [number for number, each in enumerate(clf.classes_.tolist()) if np.ndim(label) == 0 and each == label]
        if not found:
            given = shortened(repr(plain(label)))
            raise ValueError(f"class_of_interest must be one of the classes {list_values(clf.classes_)}; got {given}.")
        return np.full(len(logits), found[0])
    return np.ones(len(logits), int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def log_odds(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the log odds of the given class of each row."""
    if logits.shape[1] == 1:
        return np.where(codes == 1, logits[:, 0], -logits[:, 0])
    own = np.arange(logits.shape[1]) == codes[:, np.newaxis]
    return logits[own] - logsumexp(np.where(own, -np.inf, logits), axis=1)


def gradients_of_log_odds(logits: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the gradients of the log odds with respect to the logits."""
    if logits.shape[1] == 1:
        return np.where(codes == 1, 1.0, -1.0)[:, np.newaxis]
    own = np.arange(logits.shape[1]) == codes[:, np.newaxis]
    return np.where(own, 1.0, -softmax(np.where(own, -np.inf, logits), axis=1))


def placed(grids: np.ndarray, images: Sequence[Source], clf: PneumoniaClassifier, coordinates: str) -> Any:
    """Convert grids of values, of shape (n_samples, k, k), to the given coordinates.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
    """
    if coordinates == "grid":
        return grids
    if coordinates == "preprocessed":
        weights = _interpolation_weights(clf.image_size, clf.image_size, grids.shape[1])
        return (weights @ grids @ weights.T).astype(np.float32)
    found = read(images, lambda data: np.array(sides(data)))
    return [spread(grid, (height, width), clf.aspect) for grid, (width, height) in zip(grids, found, strict=True)]


def spread(grid: np.ndarray, shape: tuple[int, int], aspect: str) -> np.ndarray:
    """Interpolate a grid on the preprocessed image to an image of shape (height, width), with 0 outside the grid.

    Values are at the centers of cells.
    """
    covered = {"crop": (min(shape),) * 2, "pad": (max(shape),) * 2, "stretch": shape}[aspect]
    down, right = (
        _interpolation_weights(n, extent, k) for n, extent, k in zip(shape, covered, grid.shape, strict=True)
    )
    return (down @ grid @ right.T).astype(np.float32)


def _interpolation_weights(n: int, extent: float, k: int) -> np.ndarray:
    """Return weights of `k` cells, which cover the middle `extent` of `n` pixels, at each pixel."""
    places = (np.arange(n) + 0.5 - (n - extent) / 2) * k / extent
    weights = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - 0.5 - np.arange(k)))
    return np.where(((places > 0) & (places < k))[:, np.newaxis], weights, 0)
