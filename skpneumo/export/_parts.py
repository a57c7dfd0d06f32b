"""Arrays and settings of a fitted classifier for export."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier, encoder_and_head
from skpneumo._images.decoding import Preprocessing
from skpneumo._vgg19.layers import map_side
from skpneumo._vgg19.pooling import pooling_matrix

_INNER = (
    "From a meta-estimator, export the classifier inside, such as estimator_ of a tuned threshold or best_estimator_ "
    "of a search; the meta-estimator itself is not exported."
)


@dataclass(frozen=True)
class Parts:
    """Arrays and settings of a fitted classifier.

    Parameters
    ----------
    preprocessing : Preprocessing
        Preprocessing of images.
    n_layers : int
        Number of convolution layers of VGG19.
    rounded_after : int
        Number of layers after which feature maps are rounded to float16, as stored feature maps are. 0: no rounding.
    arrays : dict of str to ndarray
        Kernels and biases of the layers, float32, with keys such as "block1_conv1/kernel".
    pooling : ndarray of shape (grid, side), float32
        Pooling weights of the feature maps along one axis.
    norm : {"l2", None}
        Norm to which the features of an image are scaled.
    mean, scale : ndarray of shape (n_features,), float64
        Means and scales for the standardization of features.
    dense : list of (ndarray, ndarray)
        Weights and biases of the head, float64. The last layer outputs one logit of a softmax per class.
    classes : ndarray of shape (n_classes,)
        Class labels.
    prior_shift : ndarray of shape (n_outputs,)
        Prior shift, already added to the last biases.
    threshold : float or None
        ``threshold_`` of the classifier.
    """

    preprocessing: Preprocessing
    n_layers: int
    rounded_after: int
    arrays: dict[str, np.ndarray]
    pooling: np.ndarray
    norm: str | None
    mean: np.ndarray
    scale: np.ndarray
    dense: list[tuple[np.ndarray, np.ndarray]]
    classes: np.ndarray
    prior_shift: np.ndarray
    threshold: float | None


def check_classifier(clf: Any) -> None:
    """Check that `clf` is a fitted PneumoniaClassifier.

    Raises
    ------
    TypeError
        If it is not a PneumoniaClassifier.
    NotFittedError
        If it is not fitted.
    """
    if not isinstance(clf, PneumoniaClassifier):
        raise TypeError(f"Expected a fitted PneumoniaClassifier; got {type(clf).__name__}. {_INNER}")
    check_is_fitted(clf)


def extract_parts(clf: Any) -> Parts:
    """Extract the arrays and settings of a fitted classifier.

    Raises
    ------
    TypeError
        If `clf` is not a PneumoniaClassifier.
    NotFittedError
        If `clf` is not fitted.
    ValueError
        If `clf` was fitted on features, averages several views, or its parameters changed after `fit`.
    WeightsError
        If its weights cannot be found.
    """
    check_classifier(clf)
    if clf.backbone_fingerprint_ is None:
        raise ValueError("Expected a model fitted on images; it was fitted on features. Fit it on images to export it.")
    if clf.n_views_predict > 1:
        raise ValueError(
            f"An exported model uses one view per image; got n_views_predict={clf.n_views_predict}. Call "
            "set_params(n_views_predict=1), which changes the probabilities."
        )
    spec, tuned = encoder_and_head(clf)[0].spec(), clf.tuned_layers_
    n_frozen = spec.backbone.n_layers
    frozen = spec.backbone.layers()
    side = map_side(clf.n_layers, clf.image_size)
    return Parts(
        preprocessing=spec.preprocessing,
        n_layers=clf.n_layers,
        rounded_after=n_frozen if tuned else 0,
        arrays=frozen | {name: array.astype(np.float32) for name, array in tuned.items()},
        pooling=pooling_matrix(side, min(clf.pool_grid, side)),
        norm=clf.norm,
        mean=np.asarray(clf.feature_mean_, np.float64),
        scale=np.asarray(clf.feature_scale_, np.float64),
        dense=_dense(clf),
        classes=clf.classes_,
        prior_shift=clf.prior_shift_,
        threshold=clf.threshold_,
    )


def _dense(clf: PneumoniaClassifier) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and biases; one sigmoid output becomes two equivalent softmax outputs."""
    pairs = zip(clf.coefs_, clf.intercepts_, strict=True)
    *inner, (coef, intercept) = [(coef.astype(np.float64), bias.astype(np.float64)) for coef, bias in pairs]
    intercept = intercept + clf.prior_shift_
    if coef.shape[1] == 1:
        coef, intercept = np.hstack([-coef / 2, coef / 2]), np.append(-intercept / 2, intercept / 2)
    return [*inner, (coef, intercept)]
