"""Thumbnails of images, embedded in the report."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from sklearn.utils import _safe_indexing

from skpneumo.inspection._fitted_classifier import preprocessing_of
from skpneumo.inspection._image_views import image_views

SIDE = 192  # of a thumbnail, in pixels
_QUALITY = 72
_THIRDS = (("upper", "middle", "lower"), ("left", "center", "right"))


def preprocessed_images(clf: Any, X: Any, positions: np.ndarray) -> np.ndarray:
    """Return preprocessed images, uint8 of shape (n, SIDE, SIDE)."""
    preprocessing = {**preprocessing_of(clf), "image_size": SIDE}
    return image_views(_safe_indexing(X, positions), n_views=1, **preprocessing)[:, 0]


def position_of_maximum(heat: np.ndarray) -> str | None:
    """Return the position of the maximum of a heat map, in thirds of the image; None if no value is above 0."""
    if heat.max() <= 0:
        return None
    third = [
        int(3 * at / side) for at, side in zip(np.unravel_index(heat.argmax(), heat.shape), heat.shape, strict=True)
    ]
    words = [names[number] for names, number in zip(_THIRDS, third, strict=True)]
    return "center" if words == ["middle", "center"] else " ".join(words)


def data_uri(pixels: np.ndarray) -> str:
    """Encode gray or color pixels as a data URI of a JPEG image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
