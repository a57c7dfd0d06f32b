"""Overlay of a heat map on an image."""

import numpy as np
from scipy.ndimage import binary_erosion

COLORS = "inferno"  # lightness increases with the value, so it is readable in gray print
_MAX_OPACITY = 0.55
_CONTOUR = 0.5  # fraction of the limit


def overlay(gray: np.ndarray, heat: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Overlay values above 0 of a heat map on an image, with a contour at half the limit.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        Image.
    heat : ndarray of shape (height, width)
        Heat map.
    limit : float, default=None
        Value of the maximum opacity. If None, use the maximum of `heat`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB image.
    """
    from matplotlib import colormaps

    limit = float(heat.max()) if limit is None else limit
    level = np.clip(heat / limit, 0, 1) if limit > 0 else np.zeros(heat.shape)
    opacity = (_MAX_OPACITY * level)[..., np.newaxis]
    image = np.repeat(gray[..., np.newaxis] / 255, 3, axis=-1)
    mixed = (1 - opacity) * image + opacity * colormaps[COLORS](level)[..., :3]
    inside = level > _CONTOUR
    mixed[inside & ~binary_erosion(inside, border_value=1)] = colormaps[COLORS](1.0)[:3]
    return np.rint(255 * mixed).astype(np.uint8)
