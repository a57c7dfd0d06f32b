"""A heat map over a film."""

import numpy as np
from scipy.ndimage import binary_erosion

COLORS = "inferno"  # lightness grows with the value, so that it reads in gray print too
_STRONGEST = 0.55  # share of the colour where the heat is at its limit
_LINE = 0.5  # of the limit


def overlay(gray: np.ndarray, heat: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Lay what is above 0 of a heat map over a film; a line, which gray print shows, goes round its upper half.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        The film.
    heat : ndarray of shape (height, width)
        The heat map.
    limit : float, default=None
        Value of the strongest colour. None: the largest value.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Red, green and blue.
    """
    from matplotlib import colormaps

    limit = float(heat.max()) if limit is None else limit
    share = np.clip(heat / limit, 0, 1) if limit > 0 else np.zeros(heat.shape)
    opacity = (_STRONGEST * share)[..., np.newaxis]
    film = np.repeat(gray[..., np.newaxis] / 255, 3, axis=-1)
    mixed = (1 - opacity) * film + opacity * colormaps[COLORS](share)[..., :3]
    inside = share > _LINE
    mixed[inside & ~binary_erosion(inside, border_value=1)] = colormaps[COLORS](1.0)[:3]
    return np.rint(255 * mixed).astype(np.uint8)
