"""Pneumonia as the fraction of air that it removes from the lungs: patches, lobes or a haze."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skpneumo.datasets._thorax import Grid, Map, Thorax, bump, logistic, lung_point


class Opacity(Protocol):
    """One opacity, in chest coordinates."""

    def fill(self, grid: Grid, cloud: Map, net: Map) -> Map:
        """Compute the fraction of air that the opacity removes at each point.

        ``cloud`` is coarse and ``net`` fine noise of unit standard deviation; both have the shape of the image.
        """


@dataclass(frozen=True)
class Patch:
    """A dense patch with an irregular edge."""

    x: float
    y: float
    width: float
    height: float
    strength: float

    def fill(self, grid: Grid, cloud: Map, net: Map) -> Map:
        x, y = (grid.x - self.x) / self.width, (grid.y - self.y) / self.height
        return self.strength * logistic((1 - np.sqrt(x**2 + y**2) + 0.2 * cloud) / 0.12)


@dataclass(frozen=True)
class Haze:
    """A haze with a network of fine lines in one lung."""

    x: float
    y: float
    width: float
    height: float
    strength: float

    def fill(self, grid: Grid, cloud: Map, net: Map) -> Map:
        x, y = (grid.x - self.x) / self.width, (grid.y - self.y) / self.height
        same_side = grid.x * self.x > 0
        threads = bump(net / 0.6)
        texture = np.clip(0.5 + 0.14 * cloud + 0.4 * threads, 0, 1)
        return self.strength * bump(np.sqrt(x**2 + y**2)) * same_side * texture


@dataclass(frozen=True)
class Lobe:
    """A lobe filled up to its fissure, which is a sharp, nearly horizontal edge."""

    side: int
    """-1 for the patient's right lung, on the left of the image, and 1 for the left lung."""
    fissure: float
    tilt: float
    depth: float
    """How far the opacity extends from the fissure: upwards if negative."""
    strength: float

    def fill(self, grid: Grid, cloud: Map, net: Map) -> Map:
        away = math.copysign(1, self.depth) * (grid.y - self.fissure - self.tilt * (grid.aside - 0.4))
        end = logistic((abs(self.depth) - away + 0.05 * cloud) / 0.05)
        texture = np.clip(0.9 + 0.06 * cloud, 0, 1)
        return self.strength * logistic(away / 0.008) * end * (grid.x * self.side > 0) * texture


def sample_opacities(pattern: str, thorax: Thorax, difficulty: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample the opacities of one patient, smaller and fainter with increasing difficulty.

    `pattern` is one of `PATTERNS`, "bacteria" or "virus" for the usual pattern, or "normal" for no opacity.
    """
    extent, strength = 1.25 - 0.65 * difficulty, 0.9 - 0.55 * difficulty
    pattern = _OF_ETIOLOGY.get(pattern, pattern)
    return [] if pattern == "normal" else PATTERNS[pattern](thorax, extent, strength, rng)


def mask_of(filled: Map) -> NDArray[np.bool_]:
    """Return the pixels at least a third as strong as the strongest one."""
    return filled >= filled.max() / 3


def bounding_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return left, top, right and bottom of a mask; right and bottom are exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _patches(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample one or two patches anywhere in the lungs, including the heart border and the diaphragm."""
    patches: list[Opacity] = []
    for _ in range(1 + (rng.uniform() < 0.35)):
        side = 1 if rng.uniform() < 0.45 else -1
        x, y = lung_point(thorax, side, rng.uniform(0.25, 0.9), rng.uniform(0.2, 0.75))
        size = extent * rng.uniform(0.16, 0.26)
        shape = rng.uniform(0.8, 1.25)
        power = strength * rng.uniform(0.85, 1.1)
        patches.append(Patch(x, y, size * shape, size / shape, power))
    return patches


def _perihilar(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample a haze around the root of each lung, about as strong on both sides."""
    hazes: list[Opacity] = []
    power = strength * rng.uniform(0.9, 1.1)
    for side in (-1, 1):
        x, y = lung_point(thorax, side, rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.3))
        width, height = extent * rng.uniform(0.3, 0.42), extent * rng.uniform(0.38, 0.52)
        hazes.append(Haze(x, y, width, height, power * rng.uniform(0.85, 1.1)))
    return hazes


def _lobar(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample one lobe, above or below the fissure of one lung."""
    side = 1 if rng.uniform() < 0.45 else -1
    direction = 1 if rng.uniform() < 0.5 else -1
    depth = direction * extent * rng.uniform(0.26, 0.36)
    return [Lobe(side, rng.uniform(0.42, 0.54), rng.uniform(-0.1, 0.15), depth, strength * rng.uniform(0.8, 1.0))]


def _diffuse(thorax: Thorax, extent: float, strength: float, rng: np.random.RandomState) -> list[Opacity]:
    """Sample a faint haze over the whole of each lung, about as strong on both sides."""
    hazes: list[Opacity] = []
    power = strength * rng.uniform(0.65, 0.8)
    for side in (-1, 1):
        x, y = lung_point(thorax, side, rng.uniform(0.45, 0.55), rng.uniform(0.4, 0.55))
        width, height = extent * rng.uniform(0.75, 0.9), extent * rng.uniform(0.95, 1.15)
        hazes.append(Haze(x, y, width, height, power * rng.uniform(0.9, 1.1)))
    return hazes


PATTERNS: dict[str, Callable[[Thorax, float, float, np.random.RandomState], list[Opacity]]] = {
    "patchy": _patches,
    "lobar": _lobar,
    "perihilar": _perihilar,
    "diffuse": _diffuse,
}
_OF_ETIOLOGY = {"bacteria": "patchy", "virus": "perihilar"}
