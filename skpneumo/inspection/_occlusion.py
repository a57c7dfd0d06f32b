"""Which places of an image speak for a class, by covering them."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_scalar

from skpneumo._classifier import encoder_and_head
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._vgg19.layers import grid_side
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._heat_map_utils import check_images, classes_of_interest, log_odds, placed
from skpneumo.inspection._read_images import read_preprocessed


def occlusion_map(
    clf: Any,
    X: Any,
    *,
    background: Any = None,
    grid: int | None = None,
    class_of_interest: Any = None,
    coordinates: str = "image",
) -> Any:
    """Compute how far the log odds of a class fall where a patch of the image is covered.

    It looks at the whole model from outside, so it is a check on `grad_cam` that shares nothing with it. Each map costs
    a pass for every patch and every background.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Fitted on images; or a search, a tuned threshold or a calibration of one around it.
    X : as in `PneumoniaClassifier.fit`
        Images.
    background : as `X`, default=None
        Other films, such as eight of the training: a patch is covered by the same patch of each of them in turn, and
        falls are averaged. None: by the mean gray of the image, which is no film, so that the model may mind the
        cover and not what is missing.
    grid : int, default=None
        Patches a side; they overlap, each fading into its neighbours. None: as many as the head has cells.
    class_of_interest : label, default=None
        The class whose log odds are looked at, as in `grad_cam`.
    coordinates : {"image", "preprocessed", "grid"}, default="image"
        As in `grad_cam`.

    Returns
    -------
    list of ndarray of shape (height, width), float32; or ndarray of shape (n_samples, side, side)
        As from `grad_cam`: positive where the log odds fall without the place.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.
    TypeError, ValueError
        There is no fitted classifier inside, or not one alone; it does not see images; a parameter is none of these.
    WeightsError
        The weights cannot be reached.

    See Also
    --------
    grad_cam : The same question, answered by slopes, at the cost of one pass.

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
    images = check_images(X, clf, coordinates)
    encoder, head = encoder_and_head(clf)
    preprocessing = encoder.preprocessing
    if grid is None:
        grid = grid_side(clf.n_layers, clf.image_size, clf.pool_grid)
    check_scalar(grid, "grid", Integral, min_val=1, max_val=clf.image_size)
    covers = None if background is None else _covers(background, preprocessing)
    grid = int(grid)
    edges = _edges(clf.image_size, grid)
    grids = []
    for seen in read_preprocessed(images, preprocessing):
        cover = np.full((1, *seen.shape), round(float(seen.mean())), np.uint8) if covers is None else covers
        parts = [seen[np.newaxis], *_covered(seen, cover, edges)]
        logits = np.concatenate([head.logits(encoder.features_of_preprocessed(part)) for part in parts])
        codes = np.repeat(classes_of_interest(clf, class_of_interest, logits[:1]), len(logits))
        before, *after = log_odds(logits + clf.prior_shift_, codes)
        grids.append(before - np.reshape(after, (grid, grid, -1)).mean(axis=-1))
    return placed(np.array(grids), images, clf, coordinates)


def _as_background(background: Any) -> Any:
    try:
        images = as_images(background)
    except ValueError as error:
        raise ValueError(f"background must hold images, as X does: {error}") from None
    if images is None:
        raise ValueError(f"background must hold images; got {type(background).__name__} without any.")
    return images


def _covers(background: Any, square: Preprocessing) -> np.ndarray:
    """Decode the films that cover; an error calls them by their place among these, not in X."""
    images = _as_background(background)
    try:
        return read_preprocessed(images, square)
    except ImageReadError as error:
        raise ImageReadError(error.failures, {"background": len(images)}) from None


def _covered(seen: np.ndarray, cover: np.ndarray, edges: np.ndarray) -> Iterator[np.ndarray]:
    """Yield squares with one patch covered by each of the covers in turn, a row of patches at a time."""
    for down in edges:
        patches = (np.multiply.outer(down, right) for right in edges)
        yield np.concatenate([np.rint(patch * cover + (1 - patch) * seen).astype(np.uint8) for patch in patches])


def _edges(size: int, grid: int) -> np.ndarray:
    """Weights of patches at each pixel of a side, (grid, size): flat in the middle, and all of them add up to 1."""
    places = (np.arange(size) + 0.5) * grid / size
    weights = np.clip(1.5 - 2 * np.abs(places - 0.5 - np.arange(grid)[:, np.newaxis]), 0, 1)
    weights[0, places < 0.5] = weights[-1, places > grid - 0.5] = 1
    return weights.astype(np.float32)
