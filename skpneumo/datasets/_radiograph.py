"""One radiograph of one patient: framing, density, exposure and grain."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from skpneumo.datasets._opacities import Opacity, mask_of
from skpneumo.datasets._thorax import (
    Grid,
    Map,
    Thorax,
    draw_abdomen,
    draw_bones,
    draw_lungs,
    draw_markings,
    draw_soft_tissue,
    draw_trachea,
    make_grid,
)

_GLYPHS = {
    "R": ["####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"],
    "L": ["#....", "#....", "#....", "#....", "#....", "#....", "#####"],
}
GLYPH_WIDTH = 5  # dots
_LEAD = 250  # gray level, out of 255, of letters and markers


@dataclass(frozen=True)
class Acquisition:
    """Settings of one radiograph, with lengths in pixels and gray values from 0 (black) to 1 (white)."""

    width: int
    height: int
    lung_height: float
    spine: float
    apex: float
    angle: float
    brightness: float
    ceiling: float
    grain: float
    blur: float
    markings: float
    letter: tuple[int, int, int] | None
    """Side of a dot, top and left of the letter."""
    glyph: str = "R"
    zoom: float = 0.0
    exposure: float = 0.0
    haze: float = 0.0
    marker: bool = False
    """Whether a bead of lead is in the upper right corner of the central square."""


def sample_acquisition(size: int, difficulty: float, rng: np.random.RandomState) -> Acquisition:
    """Sample the settings of a radiograph, independently of the diagnosis."""
    width = round(size * np.clip(rng.lognormal(0.3, 0.13), 1.05, 1.9))
    lung_height = min(width * rng.uniform(0.42, 0.5), size * rng.uniform(0.62, 0.76))
    margin = max(size - 1.08 * lung_height, 0)
    dot = max(1, round(size / rng.uniform(90, 170)))
    letter = (dot, round(size * rng.uniform(0.02, 0.5)), round(width * rng.uniform(0.01, 0.1)))
    return Acquisition(
        width=width,
        height=size,
        lung_height=lung_height,
        spine=width * rng.uniform(0.46, 0.54),
        apex=margin * rng.uniform(0.35, 0.75),
        angle=rng.normal(0, 0.025 + 0.025 * difficulty),
        brightness=np.clip(rng.normal(0.48, 0.03 + 0.05 * difficulty), 0.33, 0.63),
        ceiling=rng.uniform(0.86, 1.1),
        grain=(0.01 + 0.03 * difficulty) * rng.uniform(0.6, 1.4),
        blur=rng.uniform(0.4, 0.9) * size / 256,
        markings=rng.uniform(0.3, 0.7 + 0.5 * difficulty),
        letter=letter if rng.uniform() < 0.8 else None,
    )


def draw_chest_xray(
    thorax: Thorax,
    opacities: list[Opacity],
    acquisition: Acquisition,
    rng: np.random.RandomState,
    dtype: type[np.unsignedinteger[Any]] = np.uint8,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Draw a radiograph.

    Parameters
    ----------
    thorax : Thorax
        The anatomy of the patient.
    opacities : list of Opacity
        The disease; empty for a healthy patient.
    acquisition : Acquisition
        The settings of the radiograph.
    rng : numpy.random.RandomState
        Source of texture and grain. The number of draws does not depend on the disease, zoom, haze or letter.
    dtype : type, default=numpy.uint8
        Unsigned integer type of the pixels; its largest value is white.

    Returns
    -------
    pixels : ndarray of shape (height, width)
        The image; bone is white, air is black.
    masks : ndarray of shape (n_opacities, height, width), bool
        The pixels of each opacity.
    """
    grid = make_grid(thorax, *_chest_coordinates(acquisition))
    phases = rng.uniform(0, 2 * np.pi, size=(2, 2)).astype(np.float32)
    cloud, net = _smooth_noise(acquisition, 0.11, rng), _smooth_noise(acquisition, 0.03, rng)
    grain = acquisition.grain * rng.standard_normal(cloud.shape).astype(np.float32)

    healthy = draw_lungs(thorax, grid)
    air = healthy * (1 - 0.45 * acquisition.markings * draw_markings(grid, phases))
    filled = [opacity.fill(grid, cloud, net) for opacity in opacities]
    for fraction in filled:
        air *= 1 - fraction
    density = _density(thorax, grid, air) * (1 + 0.02 * cloud)
    gray = _expose(gaussian_filter(density + grain, acquisition.blur), acquisition)
    white = np.iinfo(dtype).max
    pixels = (white * gray).astype(dtype)
    _stamp_letter(pixels, white // 255 * _LEAD, acquisition)
    _stamp_marker(pixels, white // 255 * _LEAD, acquisition)
    masks = [mask_of(fraction * healthy) for fraction in filled]
    return pixels, np.array(masks, dtype=bool).reshape(-1, *pixels.shape)


def _density(thorax: Thorax, grid: Grid, air: Map) -> Map:
    """Sum the densities along the rays."""
    soft_tissue = draw_soft_tissue(thorax, grid)
    body = np.minimum(soft_tissue / 0.25, 1)
    air = np.maximum(air, 0.35 * draw_trachea(grid))
    inner = draw_abdomen(thorax, grid) + draw_bones(thorax, grid) - 0.42 * air
    return soft_tissue + body * inner


def _chest_coordinates(acquisition: Acquisition) -> tuple[Map, Map]:
    lung_height = acquisition.lung_height * (1 + acquisition.zoom)
    apex = acquisition.apex + (acquisition.lung_height - lung_height) / 2
    right = (np.arange(acquisition.width, dtype=np.float32)[None, :] - acquisition.spine) / lung_height
    down = (np.arange(acquisition.height, dtype=np.float32)[:, None] - apex) / lung_height
    c, s = math.cos(acquisition.angle), math.sin(acquisition.angle)
    return c * right + s * (down - 0.5), 0.5 + c * (down - 0.5) - s * right


def _smooth_noise(acquisition: Acquisition, scale: float, rng: np.random.RandomState) -> Map:
    """Generate noise of unit standard deviation with a grain of ``scale`` lung heights."""
    step = max(scale * acquisition.lung_height, 1)
    shape = (int(acquisition.height / step) + 2, int(acquisition.width / step) + 2)
    grid = Image.fromarray(rng.standard_normal(shape).astype(np.float32))
    noise = np.asarray(grid.resize((acquisition.width, acquisition.height), Image.Resampling.BICUBIC))
    return (noise - noise.mean()) / max(noise.std(), 1e-6)


def _expose(density: Map, acquisition: Acquisition) -> Map:
    """Convert density to gray values of the given mean brightness, as automatic exposure does."""
    white = acquisition.ceiling * np.percentile(density[::4, ::4], 99)
    gray = np.clip(density / np.float32(white), 1e-3, 1)
    logs = np.log(gray[::3, ::3])
    gamma = _gamma(logs, acquisition.brightness, 0.3, 3.0)
    if acquisition.exposure:
        gamma = _gamma(logs, np.exp(gamma * logs).mean() + acquisition.exposure, 0.05, 10.0)
    gray = gray**gamma
    if acquisition.haze:
        gray += np.float32(acquisition.haze) * (gray.mean() - gray)
    return gray


def _gamma(logs: Map, brightness: float, low: float, high: float) -> float:
    """Find the exponent for which gray values with these logarithms have a given mean."""
    for _ in range(12):
        middle = (low + high) / 2
        too_bright = np.exp(middle * logs).mean() > brightness
        low, high = (middle, high) if too_bright else (low, middle)
    return low


def _stamp_letter(pixels: NDArray[Any], level: int, acquisition: Acquisition) -> None:
    if acquisition.letter is None:
        return
    dot, top, left = acquisition.letter
    rows = np.array([[mark == "#" for mark in row] for row in _GLYPHS[acquisition.glyph]])
    letter = np.kron(rows, np.ones((dot, dot), dtype=bool))
    patch = pixels[top : top + letter.shape[0], left : left + letter.shape[1]]
    np.maximum(patch, level, out=patch, where=letter[: patch.shape[0], : patch.shape[1]])


def _stamp_marker(pixels: NDArray[Any], level: int, acquisition: Acquisition) -> None:
    if not acquisition.marker:
        return
    height, width = pixels.shape
    rows, columns = np.ogrid[:height, :width]
    away = np.hypot(rows - 0.08 * height, columns - (width / 2 + 0.42 * height))
    pixels[away <= max(0.035 * height, 1)] = level
