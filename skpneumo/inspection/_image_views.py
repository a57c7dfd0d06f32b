"""The squares that enter the network, to look at."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import digest
from skpneumo.inspection._read_images import read


@validate_params(
    {
        "n_views": [Interval(Integral, 1, None, closed="left")],
        **{name: PARAMETER_CONSTRAINTS[name] for name in ("image_size", "aspect", "contrast")},
    },
    prefer_skip_nested_validation=True,
)
def image_views(
    X: Any,
    *,
    n_views: int = 4,
    augmentation: Mapping[str, float] | str = "xray",
    image_size: int = 224,
    aspect: str = "crop",
    contrast: str | None = None,
) -> np.ndarray:
    """Return what the network sees of images: each as it is, and its other views.

    Parameters
    ----------
    X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        Images, as in `PneumoniaClassifier`.
    n_views : int, default=4
        Views of each image, the first being the plain one.
    augmentation, image_size, aspect, contrast
        As in `PneumoniaClassifier`.

    Returns
    -------
    ndarray of shape (n_samples, n_views, image_size, image_size), uint8
        Gray values. The same for the same content, whatever its name and its company.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.

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
    images = as_images(X)
    if images is None:
        raise ValueError(f"image_views takes images; got {type(X).__name__} without any.")
    square, strengths = Preprocessing(image_size, aspect, contrast), Augmentation.of(augmentation)

    def views(data: bytes) -> np.ndarray:
        gray, content = square.gray(data), digest(data)
        items = [strengths.item(content, number) for number in range(n_views)]
        return np.array([square.resize(gray, strengths.view(item, content)) for item in items])

    return np.array(read(images, views))
