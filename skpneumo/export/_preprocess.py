"""Preprocessing of images for exported models."""

from typing import Any

import numpy as np

from skpneumo._classifier import encoder_and_head
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import label_of, read_bytes, reason
from skpneumo.exceptions import ImageReadError
from skpneumo.export._parts import check_classifier


def preprocess_images(clf: Any, X: Any) -> np.ndarray:
    """Preprocess images like a fitted classifier, for models of `to_keras`.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Classifier fitted on images.
    X : as in `PneumoniaClassifier.fit`
        Images.

    Returns
    -------
    pixels : ndarray of shape (n_samples, image_size, image_size), uint8
        Gray values from 0 (black) to 255.

    Raises
    ------
    TypeError
        If `clf` is not a PneumoniaClassifier.
    NotFittedError
        If `clf` is not fitted.
    ValueError
        If `clf` was fitted on features, its parameters changed after `fit`, or `X` does not contain images.
    ImageReadError
        If images cannot be read. It lists all of them.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.export import preprocess_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     preprocess_images(clf, X).shape
    (8, 32, 32)
    """
    check_classifier(clf)
    images = as_images(X)
    if images is None:
        raise ValueError(f"X must contain images, such as paths; got {type(X).__name__} without images.")
    if clf.backbone_fingerprint_ is None:
        raise ValueError("Expected a model fitted on images; it was fitted on features. Fit it on images.")
    preprocessing, decoded, failures = encoder_and_head(clf)[0].preprocessing, [], []
    for position, image in enumerate(images):
        try:
            decoded.append(preprocessing.decode(read_bytes(image)))
        except (OSError, ValueError) as error:
            failures.append((position, label_of(image), reason(error)))
    if failures:
        raise ImageReadError(failures)
    return np.array(decoded)
