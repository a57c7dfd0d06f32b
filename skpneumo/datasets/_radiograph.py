"""One film of one patient: framing, density, exposure and grain."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from skpneumo.datasets._opacities import Opacity, bounding_box, fill_lungs
from skpneumo.datasets._thorax import (
    Chart,
    Map,
    Thorax,
    draw_abdomen,
    draw_bones,
    draw_chart,
    draw_flesh,
    draw_lungs,
    draw_markings,
    draw_windpipe,
)

_LETTER_R = np.array(
    [
        [1, 1, 1, 1, 0],
        [1, 0, 0, 0, 1],
        [1, 0, 0, 0, 1],
        [1, 1, 1, 1, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ],
    dtype=np.uint8,
)


@dataclass(frozen=True)
class Film:
    """How one film was taken; lengths in pixels, gray from 0 (black) to 1 (white)."""

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


def draw_film(size: int, difficulty: float, rng: np.random.RandomState) -> Film:
    """Draw how a film is taken; nothing here knows the diagnosis."""
    width = round(size * np.clip(rng.lognormal(0.3, 0.13), 1.05, 1.9))
    lung_height = min(width * rng.uniform(0.42, 0.5), size * rng.uniform(0.62, 0.76))
    room = max(size - 1.08 * lung_height, 0)
    dot = max(1, round(size / rng.uniform(90, 170)))
    letter = (dot, round(size * rng.uniform(0.02, 0.5)), round(width * rng.uniform(0.01, 0.1)))
    return Film(
        width=width,
        height=size,
        lung_height=lung_height,
        spine=width * rng.uniform(0.46, 0.54),
        apex=room * rng.uniform(0.35, 0.75),
        angle=rng.normal(0, 0.025 + 0.025 * difficulty),
        brightness=np.clip(rng.normal(0.48, 0.03 + 0.05 * difficulty), 0.33, 0.63),
        ceiling=rng.uniform(0.86, 1.1),
        grain=(0.01 + 0.03 * difficulty) * rng.uniform(0.6, 1.4),
        blur=rng.uniform(0.4, 0.9) * size / 256,
        markings=rng.uniform(0.3, 0.7 + 0.5 * difficulty),
        letter=letter if rng.uniform() < 0.8 else None,
    )


def draw_chest_xray(
    thorax: Thorax, opacities: list[Opacity], film: Film, rng: np.random.RandomState
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a film.

    Parameters
    ----------
    thorax : Thorax
        The patient.
    opacities : list of Opacity
        The disease; empty for a healthy patient.
    film : Film
        How the film is taken.
    rng : numpy.random.RandomState
        Source of texture and grain; the same number of draws whatever the disease.

    Returns
    -------
    pixels : ndarray of shape (height, width), uint8
        The film; bone is white, air is black.
    boxes : ndarray of shape (n_opacities, 4), int
        Left, top, right and bottom of each opacity in pixels; right and bottom are exclusive.
    """
    chart = draw_chart(thorax, *_chest_coordinates(film))
    phases = rng.uniform(0, 2 * np.pi, size=(2, 2)).astype(np.float32)
    cloud, net = _smooth_noise(film, 0.11, rng), _smooth_noise(film, 0.03, rng)
    grain = film.grain * rng.standard_normal(cloud.shape).astype(np.float32)

    healthy = draw_lungs(thorax, chart)
    air = healthy * (1 - 0.45 * film.markings * draw_markings(chart, phases))
    filled = [fill_lungs(opacity, chart, cloud, net) for opacity in opacities]
    for share in filled:
        air *= 1 - share
    density = _density(thorax, chart, air) * (1 + 0.02 * cloud)
    pixels = _develop(gaussian_filter(density + grain, film.blur), film)
    _stamp(pixels, film)
    boxes = [bounding_box(share * healthy) for share in filled]
    return pixels, np.array(boxes, dtype=np.int64).reshape(-1, 4)


def _density(thorax: Thorax, chart: Chart, air: Map) -> Map:
    """Add up what lies in the way of the rays."""
    flesh = draw_flesh(thorax, chart)
    body = np.minimum(flesh / 0.25, 1)
    air = np.maximum(air, 0.35 * draw_windpipe(chart))
    inner = draw_abdomen(thorax, chart) + draw_bones(thorax, chart) - 0.42 * air
    return flesh + body * inner


def _chest_coordinates(film: Film) -> tuple[Map, Map]:
    right = (np.arange(film.width, dtype=np.float32)[None, :] - film.spine) / film.lung_height
    down = (np.arange(film.height, dtype=np.float32)[:, None] - film.apex) / film.lung_height
    c, s = math.cos(film.angle), math.sin(film.angle)
    return c * right + s * (down - 0.5), 0.5 + c * (down - 0.5) - s * right


def _smooth_noise(film: Film, scale: float, rng: np.random.RandomState) -> Map:
    """Noise of unit spread whose grains are ``scale`` lung heights wide."""
    step = max(scale * film.lung_height, 1)
    shape = (int(film.height / step) + 2, int(film.width / step) + 2)
    grid = Image.fromarray(rng.standard_normal(shape).astype(np.float32))
    noise = np.asarray(grid.resize((film.width, film.height), Image.Resampling.BICUBIC))
    return (noise - noise.mean()) / max(noise.std(), 1e-6)


def _develop(density: Map, film: Film) -> NDArray[np.uint8]:
    """Turn density into gray as automatic exposure does: every film gets the mean asked for."""
    white = film.ceiling * np.percentile(density[::4, ::4], 99)
    gray = np.clip(density / np.float32(white), 1e-3, 1)
    logs = np.log(gray[::3, ::3])
    low, high = 0.3, 3.0
    for _ in range(12):
        middle = (low + high) / 2
        too_bright = np.exp(middle * logs).mean() > film.brightness
        low, high = (middle, high) if too_bright else (low, middle)
    return (255 * gray**low).astype(np.uint8)


def _stamp(pixels: NDArray[np.uint8], film: Film) -> None:
    """Stamp the letter R on the side of the patient's right."""
    if film.letter is None:
        return
    dot, top, left = film.letter
    letter = np.kron(_LETTER_R, np.ones((dot, dot), dtype=np.uint8))
    patch = pixels[top : top + letter.shape[0], left : left + letter.shape[1]]
    np.maximum(patch, 250 * letter[: patch.shape[0], : patch.shape[1]], out=patch)
