"""In the place of heat maps, until they are there."""

from typing import Any

import numpy as np


def grad_cam(clf: Any, X: Any, *, class_of_interest: Any = None, coordinates: str = "image") -> np.ndarray:
    """Return the same bump for all."""
    axis = np.linspace(-1, 1, 224)
    bump = np.exp(-4 * ((axis[:, None] - 0.2) ** 2 + (axis[None] + 0.4) ** 2))
    return np.repeat(bump[None], len(X), axis=0)


def overlay(gray: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a heat map over a gray square."""
    from matplotlib import colormaps

    strength = np.clip(heat / max(heat.max(), 1e-12), 0, 1)[..., None]
    colours = 255 * colormaps["inferno"](strength[..., 0])[..., :3]
    return np.asarray(gray[..., None] * (1 - 0.6 * strength) + colours * 0.6 * strength, np.uint8)
