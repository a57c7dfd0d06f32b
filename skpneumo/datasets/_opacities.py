"""Pneumonia as the fraction of air that it removes from the lungs: dense patches or a diffuse haze."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skpneumo.datasets._thorax import Grid, Map, Thorax, bump, logistic, lung_point


@dataclass(frozen=True)
class Opacity:
    """One opacity, in chest coordinates."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    strength: float


def sample_opacities(kind: str, thorax: Thorax, difficulty: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample the opacities of one patient, smaller and fainter with increasing difficulty."""
    extent, strength = 1.25 - 0.65 * difficulty, 0.9 - 0.55 * difficulty
    if kind == "bacteria":
        return _consolidations(thorax, extent, strength, rng)
    if kind == "virus":
        return _hazes(thorax, extent, strength, rng)
    return []


def fill_lungs(opacity: Opacity, grid: Grid, cloud: Map, net: Map) -> Map:
    """Compute the fraction of air that an opacity removes at each point.

    ``cloud`` is coarse and ``net`` fine noise of unit standard deviation; both have the shape of the image.
    """
    x, y = (grid.x - opacity.x) / opacity.width, (grid.y - opacity.y) / opacity.height
    squared = x**2 + y**2
    if opacity.kind == "bacteria":
        return opacity.strength * logistic((1 - np.sqrt(squared) + 0.2 * cloud) / 0.12)
    same_side = grid.x * opacity.x > 0
    threads = bump(net / 0.6)
    texture = np.clip(0.5 + 0.14 * cloud + 0.4 * threads, 0, 1)
    return opacity.strength * bump(np.sqrt(squared)) * same_side * texture


def bounding_box(filled: Map) -> NDArray[np.int64]:
    """Return left, top, right and bottom of the pixels at least a third as strong as the strongest one."""
    strong = filled >= filled.max() / 3
    columns, rows = np.flatnonzero(strong.any(axis=0)), np.flatnonzero(strong.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _consolidations(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample one or two patches anywhere in the lungs, including the heart border and the diaphragm."""
    patches = []
    for _ in range(1 + (rng.uniform() < 0.35)):
        side = 1 if rng.uniform() < 0.45 else -1
        x, y = lung_point(thorax, side, rng.uniform(0.25, 0.9), rng.uniform(0.2, 0.75))
        size = extent * rng.uniform(0.16, 0.26)
        shape = rng.uniform(0.8, 1.25)
        power = strength * rng.uniform(0.85, 1.1)
        patches.append(Opacity("bacteria", x, y, size * shape, size / shape, power))
    return patches


def _hazes(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample a haze around the root of each lung, about as strong on both sides."""
    hazes = []
    power = strength * rng.uniform(0.9, 1.1)
    for side in (-1, 1):
        x, y = lung_point(thorax, side, rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.3))
        width, height = extent * rng.uniform(0.3, 0.42), extent * rng.uniform(0.38, 0.52)
        hazes.append(Opacity("virus", x, y, width, height, power * rng.uniform(0.85, 1.1)))
    return hazes
