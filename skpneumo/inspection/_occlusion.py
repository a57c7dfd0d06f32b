"""Heat maps by occlusion of patches."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from skpneumo._classifier import encoder_and_head
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._utils.validation import COUNT, validated
from skpneumo._vgg19.layers import grid_side
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._heat_map_utils import COORDINATES, check_images, classes_of_interest, log_odds, placed
from skpneumo.inspection._read_images import read_preprocessed


@validated(grid=[*COUNT, None], coordinates=COORDINATES)
def occlusion_map(
    clf: Any,
    X: Any,
    *,
    background: Any = None,
    grid: int | None = None,
    class_of_interest: Any = None,
    coordinates: str = "image",
) -> Any:
    """Compute the decrease of the log odds of a class when patches of an image are covered.

    Only predictions of the model are used, so this is an independent check of `grad_cam`. Each heat map requires one
    forward pass per patch and background image.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Classifier fitted on images, or a search, tuned threshold or calibration around one.
    X : as in `PneumoniaClassifier.fit`
        Images.
    background : as `X`, default=None
        Other images, such as eight training images. Each patch is replaced by the same patch of each of them, and the
        decreases are averaged. If None, patches are replaced by the mean gray of the image; such images are unlike
        X-rays, so the decrease may be an effect of the gray patch itself.
    grid : int, default=None
        Number of patches per side. Adjacent patches overlap with linear blending. If None, use the side of the pooling
        grid of the head.
    class_of_interest : label, default=None
        Class whose log odds are explained, as in `grad_cam`.
    coordinates : {"image", "preprocessed", "grid"}, default="image"
        Coordinates of the heat maps, as in `grad_cam`.

    Returns
    -------
    heat_maps : list of ndarray of shape (height, width), float32; or ndarray of shape (n_samples, side, side)
        As in `grad_cam`. Positive values mean that covering the patch decreases the log odds.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
    TypeError
        If `clf` does not contain a single PneumoniaClassifier.
    NotFittedError
        If it is not fitted.
    ValueError
        If it was fitted on features, `X` does not contain images, or a parameter is invalid.
    WeightsError
        If the weights cannot be loaded.

    See Also
    --------
    grad_cam : Compute heat maps from gradients in one forward pass.

    References
    ----------
    M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", 2013, arXiv:1311.2901.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import occlusion_map
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, image_size=64, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     occlusion_map(clf, X[:2], background=X[4:], coordinates="grid").shape
    (2, 4, 4)
    """
    clf = check_inner(clf)
    images = check_images(X, clf)
    encoder, head = encoder_and_head(clf)
    preprocessing = encoder.preprocessing
    if grid is None:
        grid = grid_side(clf.n_layers, clf.image_size, clf.pool_grid)
    if grid > clf.image_size:
        raise ValueError(f"grid must be at most the image_size of the model, {clf.image_size}; got {grid}.")
    background = None if background is None else _read_background(background, preprocessing)
    grid = int(grid)
    edges = _patch_weights(clf.image_size, grid)
    grids = []
    for pixels in read_preprocessed(images, preprocessing):
        gray = round(float(pixels.mean()))
        cover = np.full((1, *pixels.shape), gray, np.uint8) if background is None else background
        parts = [pixels[np.newaxis], *_cover_patches(pixels, cover, edges)]
        logits = np.concatenate([head.logits(encoder.features_of_preprocessed(part)) for part in parts])
        codes = np.repeat(classes_of_interest(clf, class_of_interest, logits[:1]), len(logits))
        before, *after = log_odds(logits + clf.prior_shift_, codes)
        grids.append(before - np.reshape(after, (grid, grid, -1)).mean(axis=-1))
    return placed(np.array(grids), images, clf, coordinates)


def _as_background(background: Any) -> Any:
    try:
        images = as_images(background)
    except ValueError as error:
        raise ValueError(f"background must contain images, like X: {error}") from None
    if images is None:
        raise ValueError(f"background must contain images; got {type(background).__name__} without images.")
    return images


def _read_background(background: Any, preprocessing: Preprocessing) -> np.ndarray:
    """Read the background images, to which positions in an error refer."""
    images = _as_background(background)
    try:
        return read_preprocessed(images, preprocessing)
    except ImageReadError as error:
        raise ImageReadError(error.failures, {"background": len(images)}) from None


def _cover_patches(pixels: np.ndarray, background: np.ndarray, edges: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images with one patch covered by each background image, one row of patches at a time."""
    for down in edges:
        patches = (np.multiply.outer(down, right) for right in edges)
        yield np.concatenate([np.rint(patch * background + (1 - patch) * pixels).astype(np.uint8) for patch in patches])


def _patch_weights(size: int, grid: int) -> np.ndarray:
    """Return weights of patches at each pixel of a side, of shape (grid, size), that add up to 1."""
    places = (np.arange(size) + 0.5) * grid / size
    weights = np.clip(1.5 - 2 * np.abs(places - 0.5 - np.arange(grid)[:, np.newaxis]), 0, 1)
    weights[0, places < 0.5] = weights[-1, places > grid - 0.5] = 1
    return weights.astype(np.float32)
