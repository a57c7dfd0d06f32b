"""Preprocessed images and their augmented views."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.sources import digest
from skpneumo._utils.validation import COUNT, Constraints, validated
from skpneumo.inspection._read_images import images_of, read

PREPROCESSING: Constraints = {name: PARAMETER_CONSTRAINTS[name] for name in ("image_size", "aspect", "contrast")}


@validated(n_views=COUNT, **PREPROCESSING)
def image_views(
    X: Any,
    *,
    n_views: int = 5,
    augmentation: Mapping[str, float] | str = "xray",
    image_size: int = 112,
    aspect: str = "crop",
    contrast: str | None = None,
) -> np.ndarray:
    """Return preprocessed images and their augmented views.

    Parameters
    ----------
    X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        Images, as in `PneumoniaClassifier`.
    n_views : int, default=5
        Number of views per image. The first is the image without augmentation.
    augmentation, image_size, aspect, contrast
        As in `PneumoniaClassifier`.

    Returns
    -------
    views : ndarray of shape (n_samples, n_views, image_size, image_size), uint8
        Gray values. They depend only on the content of each image.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
    ValueError
        If `X` does not contain images, or a parameter is invalid.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import image_views
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(2, folder, random_state=0, return_X_y=True)
    ...     image_views(X, n_views=3, image_size=64).shape
    (2, 3, 64, 64)
    """
    images = images_of(X)
    preprocessing, strengths = Preprocessing(image_size, aspect, contrast), Augmentation.of(augmentation)

    def views(data: bytes) -> np.ndarray:
        gray, content = preprocessing.gray(data), digest(data)
        items = [strengths.item(content, number) for number in range(n_views)]
        return np.array([preprocessing.resize(gray, strengths.view(item, content)) for item in items])

    return np.array(read(images, views))
