"""The preprocessed images that a classifier's network takes."""

from typing import Any

import numpy as np

from skpneumo._classifier import encoder_and_head
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import label_of, read_bytes, reason
from skpneumo.exceptions import ImageReadError
from skpneumo.export._parts import check_classifier


def preprocess_images(clf: Any, X: Any) -> np.ndarray:
    """Preprocess images as a classifier does: what a model of `to_keras` takes.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Fitted.
    X : as in `PneumoniaClassifier.fit`
        Images.

    Returns
    -------
    ndarray of shape (n_samples, image_size, image_size), uint8
        0 is black.

    Raises
    ------
    TypeError, NotFittedError
        `clf` is not a fitted PneumoniaClassifier.
    ValueError
        It was fitted on features, or has other parameters than in `fit`.
    ImageReadError
        Some images cannot be read; it names all of them.

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
        raise ValueError(f"preprocess_images takes images; got {type(X).__name__} without any.")
    if clf.backbone_fingerprint_ is None:
        raise ValueError("this model was fitted on features: it does not know how their images were preprocessed.")
    preprocessing, found, failures = encoder_and_head(clf)[0].preprocessing, [], []
    for position, image in enumerate(images):
        try:
            found.append(preprocessing.decode(read_bytes(image)))
        except (OSError, ValueError) as error:
            failures.append((position, label_of(image), reason(error)))
    if failures:
        raise ImageReadError(failures)
    return np.array(found)
