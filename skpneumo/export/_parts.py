"""What an exported model is put together from: plain arrays, taken out of a fitted classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier, encoder_and_head
from skpneumo._images.decoding import Preprocessing
from skpneumo._vgg19.layers import map_side
from skpneumo._vgg19.pooling import pooling_matrix

_INNER = (
    "Of an estimator around one, export the one inside, such as the attribute estimator_ of a tuned threshold or "
    "best_estimator_ of a search; what the estimator around it adds is not exported."
)


@dataclass(frozen=True)
class Parts:
    """A fitted classifier of plain images, as arrays.

    Parameters
    ----------
    square : Preprocessing
        What the network sees of an image.
    n_layers : int
        Convolution layers of VGG19.
    rounded_after : int
        The maps are rounded to float16 after so many layers, as they are where they are stored; 0: nowhere.
    arrays : dict of str to ndarray
        Kernels and biases of the layers, float32, keyed "block1_conv1/kernel" and so on.
    pooling : ndarray of shape (grid, side), float32
        Averages over the maps, along either axis.
    mean, scale : ndarray of shape (n_features,), float64
        What features are standardised by.
    dense : list of (ndarray, ndarray)
        Weights and biases of the head, float64. The last one's outputs are logits of a softmax, one a class.
    classes : ndarray of shape (n_classes,)
        The labels.
    prior_shift : ndarray of shape (n_outputs,)
        What is added to the logits already.
    threshold : float or None
        As ``threshold_`` of the classifier.
    """

    square: Preprocessing
    n_layers: int
    rounded_after: int
    arrays: dict[str, np.ndarray]
    pooling: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    dense: list[tuple[np.ndarray, np.ndarray]]
    classes: np.ndarray
    prior_shift: np.ndarray
    threshold: float | None


def check_classifier(clf: Any) -> None:
    """Refuse what is not a fitted PneumoniaClassifier.

    Raises
    ------
    TypeError, NotFittedError
        It is something else; it is not fitted.
    """
    if not isinstance(clf, PneumoniaClassifier):
        raise TypeError(f"a fitted PneumoniaClassifier was expected; got {type(clf).__name__}. {_INNER}")
    check_is_fitted(clf)


def take_apart(clf: Any) -> Parts:
    """Take the arrays out of a fitted classifier.

    Raises
    ------
    TypeError, NotFittedError
        It is not a fitted PneumoniaClassifier.
    ValueError
        It was fitted on features, averages several views, or has other parameters than in `fit`.
    WeightsError
        Its weights cannot be found.
    """
    check_classifier(clf)
    if clf.backbone_fingerprint_ is None:
        raise ValueError(
            "this model was fitted on features, so nobody knows how they are made of an image: fit it on images to "
            "export it."
        )
    if clf.n_views_predict > 1:
        raise ValueError(
            f"n_views_predict={clf.n_views_predict}, but an exported model sees one view of each image: go on with "
            "set_params(n_views_predict=1), which changes the probabilities."
        )
    spec, tuned = encoder_and_head(clf)[0].spec(), clf.tuned_layers_
    n_frozen = spec.backbone.n_layers
    frozen = spec.backbone.layers()
    side = map_side(clf.n_layers, clf.image_size)
    return Parts(
        square=spec.preprocessing,
        n_layers=clf.n_layers,
        rounded_after=n_frozen if tuned else 0,
        arrays=frozen | {name: array.astype(np.float32) for name, array in tuned.items()},
        pooling=pooling_matrix(side, min(clf.pool_grid, side)),
        mean=np.asarray(clf.feature_mean_, np.float64),
        scale=np.asarray(clf.feature_scale_, np.float64),
        dense=_dense(clf),
        classes=clf.classes_,
        prior_shift=clf.prior_shift_,
        threshold=clf.threshold_,
    )


def _dense(clf: PneumoniaClassifier) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and biases; one logit becomes two, whose softmax is its sigmoid."""
    pairs = zip(clf.coefs_, clf.intercepts_, strict=True)
    *inner, (coef, intercept) = [(coef.astype(np.float64), bias.astype(np.float64)) for coef, bias in pairs]
    intercept = intercept + clf.prior_shift_
    if coef.shape[1] == 1:
        coef, intercept = np.hstack([-coef / 2, coef / 2]), np.append(-intercept / 2, intercept / 2)
    return [*inner, (coef, intercept)]
