"""Films on a page: small pictures that the page holds itself."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from sklearn.utils import _safe_indexing

from skpneumo.inspection._fitted_classifier import preprocessing_of
from skpneumo.inspection._image_views import image_views

SIDE = 192  # pixels of a thumbnail
_QUALITY = 72
_THIRDS = (("upper", "middle", "lower"), ("left", "centre", "right"))


def preprocessed_of(clf: Any, X: Any, positions: np.ndarray) -> np.ndarray:
    """Return images as the network sees them, (n, SIDE, SIDE) uint8."""
    square = {**preprocessing_of(clf), "image_size": SIDE}
    return image_views(_safe_indexing(X, positions), n_views=1, **square)[:, 0]


def place_of_most(heat: np.ndarray) -> str | None:
    """Say where a heat map is highest, in thirds of the image; None where nothing is above 0."""
    if heat.max() <= 0:
        return None
    third = [
        int(3 * at / side) for at, side in zip(np.unravel_index(heat.argmax(), heat.shape), heat.shape, strict=True)
    ]
    words = [names[number] for names, number in zip(_THIRDS, third, strict=True)]
    return "centre" if words == ["middle", "centre"] else " ".join(words)


def data_uri(pixels: np.ndarray) -> str:
    """Return gray or coloured pixels as a JPEG that stands in the page itself."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
