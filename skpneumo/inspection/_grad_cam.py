"""Heat maps from the gradients of the log odds of a class."""

from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skpneumo._classifier import PneumoniaClassifier, encoder_and_head
from skpneumo._images.sources import Source
from skpneumo._utils.validation import choices, validated
from skpneumo._vgg19.layers import grid_side
from skpneumo._vgg19.pooling import SMALLEST_NORM, pooling_matrix
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._heat_map_utils import (
    COORDINATES,
    check_images,
    classes_of_interest,
    gradients_of_log_odds,
    placed,
)
from skpneumo.inspection._read_images import read_preprocessed

DETAIL = [choices("auto", "cells", "feature_maps")]
_BATCH_SIZE = 32


@validated(detail=DETAIL, coordinates=COORDINATES)
def grad_cam(
    clf: Any, X: Any, *, class_of_interest: Any = None, detail: str = "auto", coordinates: str = "image"
) -> Any:
    """Compute the contribution of each location of an image to the log odds of a class.

    The contribution is the gradient of the log odds with respect to each feature, times the difference of the feature
    from its training mean, summed over channels. For a linear probe, contributions add up exactly to
    `decision_function` of the plain view minus the intercept; for dense layers, they are its linear approximation.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Classifier fitted on images, or a search, tuned threshold or calibration around one.
    X : as in `PneumoniaClassifier.fit`
        Images.
    class_of_interest : label, default=None
        Class whose log odds are explained. If None, ``classes_[1]`` for two classes, or the class with the largest
        `decision_function` of the plain view for more.
    detail : {"auto", "cells", "feature_maps"}, default="auto"
        Resolution of the contributions:

        - "cells": cells of the pooling grid (`pool_grid`), the resolution of the input of the head.
        - "feature_maps": locations of the last feature maps. Within a cell, only the sum is meaningful: single values
          may be large with opposite signs that cancel.
        - "auto": "cells", or "feature_maps" if there is a single cell.
    coordinates : {"image", "preprocessed", "grid"}, default="image"
        "image": pixels of the upright image. "preprocessed": pixels of the preprocessed image. "grid": one value per
        location.

    Returns
    -------
    heat_maps : list of ndarray of shape (height, width), float32; or ndarray of shape (n_samples, side, side)
        Positive values increase the log odds of the class, negative values decrease them. Values are interpolated
        between the centers of locations, and 0 outside the preprocessed image. An ndarray of float32 for
        "preprocessed", of float64 for "grid".

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
    occlusion_map : Compute heat maps by occlusion of patches.
    GradCAMDisplay : Grad-CAM visualization.

    Notes
    -----
    Grad-CAM [1]_ averages gradients over the feature map, which is exact only for global average pooling. Here
    gradients differ between cells, so they are multiplied by location (HiResCAM [2]_), and negative values are kept;
    Grad-CAM shows ``numpy.maximum(heat_map, 0)``. A heat map explains the output of this model. It does not locate a
    disease.

    Only the plain view is explained, also if `n_views_predict` is above 1. The means are `feature_mean_`: for
    fine-tuned layers, those before fine-tuning; after `adapt`, those of the new site.

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
    images = check_images(X, clf)
    grids = contributions(clf, images, class_of_interest, detail)
    return placed(grids, images, clf, coordinates)


def contributions(clf: PneumoniaClassifier, images: list[Source], class_of_interest: Any, detail: str) -> np.ndarray:
    """Return the contributions to the log odds, of shape (n_samples, k, k)."""
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
    for batch in gen_batches(len(images), _BATCH_SIZE):
        pixels = read_preprocessed(images[batch], encoder.preprocessing, first=batch.start)
        maps = encoder.features_of_preprocessed(pixels).reshape(-1, side, side, mean.shape[-1])
        if clf.norm is not None:
            cells = np.einsum("gy,hx,nyxc->nghc", averages, averages, maps, optimize=True)
            maps = maps / np.maximum(np.sqrt((cells**2).sum(axis=(1, 2, 3), keepdims=True)), SMALLEST_NORM)
        by_cell = gradients[batch].reshape(-1, *mean.shape)
        at_mean = np.einsum("nghc,ghc->ngh", by_cell, mean)
        in_rows = np.einsum("gy,nghc->nyhc", averages, by_cell)
        by_location = np.einsum("hx,nyhc->nyxc", averages, in_rows)
        parts.append(np.einsum("nyxc,nyxc->nyx", by_location, maps) - averages.T @ at_mean @ averages)
    return np.concatenate(parts)
