"""Which places of an image speak for a class, by the slopes of its log odds."""

from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skpneumo._classifier import PneumoniaClassifier, encoder_and_head
from skpneumo._images.sources import Source
from skpneumo._vgg19.layers import grid_side
from skpneumo._vgg19.pooling import pooling_matrix
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._heat_map_utils import check_images, classes_of_interest, gradients_of_log_odds, placed
from skpneumo.inspection._read_images import read_preprocessed

DETAILS = ("auto", "cells", "feature_maps")
_IMAGES_AT_ONCE = 32


def grad_cam(
    clf: Any, X: Any, *, class_of_interest: Any = None, detail: str = "auto", coordinates: str = "image"
) -> Any:
    """Compute how much each place of an image adds to the log odds of a class.

    The slope of the log odds by each feature, times how far the feature is from its mean over the training images,
    summed over the channels of a place. Of a linear probe the values of all places add up to `decision_function` of the
    plain view less the intercept, exactly; of dense layers they are what the slope at this image makes of it.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Fitted on images; or a search, a tuned threshold or a calibration of one around it.
    X : as in `PneumoniaClassifier.fit`
        Images.
    class_of_interest : label, default=None
        The class whose log odds are looked at. None: ``classes_[1]`` of two classes; of more, the one that
        `decision_function` of the plain view is largest for.
    detail : {"auto", "cells", "feature_maps"}, default="auto"
        "cells": the cells of the head's grid (`pool_grid`), which is all that the head can tell apart.
        "feature_maps": each place of the last feature maps. Within a cell, values of single places are as the network
        happens to make them, large ones of both signs that cancel: only their sum counts. "auto": cells, unless there
        is but one.
    coordinates : {"image", "preprocessed", "grid"}, default="image"
        "image": pixels of the image, upright. "preprocessed": pixels of the preprocessed image. "grid": one value a
        place.

    Returns
    -------
    list of ndarray of shape (height, width), float32; or ndarray of shape (n_samples, side, side)
        Positive where a place speaks for the class, negative where it speaks against it, 0 where the network sees
        nothing. Values stand at the centres of places; between these they are interpolated. An ndarray of float32 for
        "preprocessed", of float64 for "grid".

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
    occlusion_map : The same question, answered by changing the image.
    GradCAMDisplay : The picture.

    Notes
    -----
    Grad-CAM [1]_ averages slopes over the map, which is right for global average pooling alone. Here each cell has
    slopes of its own, so slopes are multiplied place by place (HiResCAM [2]_), and nothing below 0 is cut off;
    ``numpy.maximum(heat, 0)`` is what Grad-CAM shows. A map says what moved this model. It does not say where a disease
    is.

    Several views (`n_views_predict`) are not averaged: the plain one is looked at. Means are `feature_mean_`: of tuned
    layers those from before the tuning, and of a copy from `adapt` those of its site.

    References
    ----------
    .. [1] R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization",
       2017, arXiv:1610.02391.
    .. [2] R. L. Draelos, L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
       networks", 2020, arXiv:2011.08891.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import grad_cam
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, image_size=64, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     grids = grad_cam(clf, X, coordinates="grid")
    ...     logits = clf.decision_function(X)
    >>> grids.shape
    (8, 4, 4)
    >>> bool((abs(grids.sum(axis=(1, 2)) + clf.intercepts_[0] - logits) < 1e-4).all())
    True
    """
    clf = check_inner(clf)
    images = check_images(X, clf, coordinates)
    if detail not in DETAILS:
        raise ValueError(f"detail={detail!r}, but it must be one of {', '.join(map(repr, DETAILS))}.")
    grids = contributions(clf, images, class_of_interest, detail)
    return placed(grids, images, clf, coordinates)


def contributions(clf: PneumoniaClassifier, images: list[Source], class_of_interest: Any, detail: str) -> np.ndarray:
    """Return what each place adds to the log odds, (n_samples, k, k)."""
    features, (encoder, head) = clf.features(images), encoder_and_head(clf)
    logits = head.logits(features)
    codes = classes_of_interest(clf, class_of_interest, logits)
    gradients = head.gradients(features, gradients_of_log_odds(logits + clf.prior_shift_, codes))
    side, grid = (grid_side(clf.n_layers, clf.image_size, cells) for cells in (None, clf.pool_grid))
    if detail == "cells" or (detail == "auto" and grid > 1):
        return ((features - clf.feature_mean_) * gradients).reshape(len(images), grid, grid, -1).sum(axis=-1)
    encoder, averages = encoder.at_full_resolution(), pooling_matrix(side, grid)
    mean = clf.feature_mean_.reshape(grid, grid, -1)
    parts = []
    for some in gen_batches(len(images), _IMAGES_AT_ONCE):
        squares = read_preprocessed(images[some], encoder.preprocessing, first=some.start)
        maps = encoder.features_of_preprocessed(squares).reshape(-1, side, side, mean.shape[-1])
        by_cell = gradients[some].reshape(-1, *mean.shape)
        at_mean = np.einsum("nghc,ghc->ngh", by_cell, mean)
        in_rows = np.einsum("gy,nghc->nyhc", averages, by_cell)
        by_place = np.einsum("hx,nyhc->nyxc", averages, in_rows)
        parts.append(np.einsum("nyxc,nyxc->nyx", by_place, maps) - averages.T @ at_mean @ averages)
    return np.concatenate(parts)
