"""The healthy chest of a child as density maps: soft tissue, lungs, heart, diaphragm and bones.

Every map is a function of chest coordinates, in units of the height of the lungs: ``x`` is 0 at the spine and grows
towards the right of the image (the patient's left); ``y`` is 0 at the top of the lungs and near 1 at their base.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Map: TypeAlias = NDArray[np.floating[Any]]  # float32, for speed

_RIB_OFFSETS = np.array([0.0, 0.1, 0.16, 0.2, 0.25, 0.5])
_RIB_PROFILE = np.array([0.68, 0.72, 1.0, 0.85, 0.0, 0.0])


@dataclass(frozen=True)
class Thorax:
    """Anatomy of one patient, with lengths in units of the height of the lungs."""

    half_width: float
    taper: float
    soft_tissue: float
    rib_spacing: float
    rib_phase: float
    rib_tilt: float
    bone: float
    heart: float
    heart_shift: float
    mediastinum: float
    dome_right: float
    dome_left: float
    arm_angle: float
    bubble: float
    bubble_x: float


def sample_thorax(rng: np.random.RandomState) -> Thorax:
    """Sample the anatomy of a patient."""
    return Thorax(
        half_width=rng.uniform(0.76, 0.9),
        taper=rng.uniform(2.2, 3.2),
        soft_tissue=rng.uniform(0.06, 0.15),
        rib_spacing=rng.uniform(0.108, 0.128),
        rib_phase=rng.uniform(0, 1),
        rib_tilt=rng.uniform(0.24, 0.36),
        bone=rng.uniform(0.75, 1.15),
        heart=rng.uniform(0.85, 1.12),
        heart_shift=rng.uniform(-0.02, 0.04),
        mediastinum=rng.uniform(0.14, 0.21),
        dome_right=rng.uniform(0.80, 0.88),
        dome_left=rng.uniform(0.84, 0.92),
        arm_angle=rng.uniform(-1.1, 1.1),
        bubble=rng.uniform(0.01, 0.16),
        bubble_x=rng.uniform(0.25, 0.5),
    )


@dataclass(frozen=True)
class Grid:
    """Chest coordinates of every pixel; all maps have the shape of the image."""

    x: Map
    y: Map
    aside: Map
    """Distance from the spine."""
    across: Map
    """Distance from the spine as a fraction of the distance of the chest wall."""
    below: Map
    """1 below the diaphragm and 0 above it, with a soft edge."""


def make_grid(thorax: Thorax, x: Map, y: Map) -> Grid:
    """Compute chest coordinates relative to a patient's chest wall and diaphragm."""
    aside = np.abs(x)
    across = aside / np.maximum(_cage(thorax, y), 1e-3)
    level = thorax.dome_left - (thorax.dome_left - thorax.dome_right) * logistic(-x / 0.08)
    outward = aside / thorax.half_width - 0.5
    slope = np.where(outward > 0, np.float32(0.75), np.float32(0.2))
    return Grid(x, y, aside, across, logistic((y - level - slope * outward**2) / 0.012))


def draw_soft_tissue(thorax: Thorax, grid: Grid) -> Map:
    """Compute the density of trunk, neck, head and arms, each as thick as an ellipse."""
    trunk = _cage(thorax, np.maximum(grid.y, 0.2)) + thorax.soft_tissue
    shoulders = logistic((grid.y + 0.13) / 0.05)
    half_width = 0.3 + (trunk - 0.3) * shoulders
    body = np.clip(1 - (grid.x / half_width) ** 2, 0, None)
    head = np.clip(1 - (grid.x / 0.5) ** 2 - ((grid.y + 0.62) / 0.34) ** 2, 0, None)
    arm = np.clip(1 - (_arm(thorax, grid) / 0.22) ** 2, 0, None)
    return np.sqrt(np.sqrt(np.maximum(np.maximum(0.09 * body, 0.3 * head), 0.025 * arm)))


def draw_lungs(thorax: Thorax, grid: Grid) -> Map:
    """Compute the depth of air, 0 to 1, around the heart and above the diaphragm."""
    chest = np.sqrt(np.sqrt(np.clip(1 - grid.across**2, 0, None)))
    return chest * (1 - grid.below) * (1 - 0.9 * _heart(thorax, grid))


def draw_abdomen(thorax: Thorax, grid: Grid) -> Map:
    """Compute the density added below the diaphragm, without the air bubble of the stomach."""
    level = thorax.dome_left + 0.07 + thorax.bubble
    across = (grid.x - thorax.bubble_x) / (1.3 * thorax.bubble)
    away = np.sqrt(across**2 + ((grid.y - level) / thorax.bubble) ** 2)
    bubble = 0.6 * logistic(6 * (1 - away)) if thorax.bubble > 0.05 else 0.0
    return 0.17 * grid.below * logistic((1 - grid.across) / 0.03) * (1 - bubble)


def draw_bones(thorax: Thorax, grid: Grid) -> Map:
    """Compute the density of ribs, spine, clavicles, shoulder blades and upper arms."""
    bones = 0.15 * _ribs(thorax, grid) + 0.15 * _spine(thorax, grid) + 0.16 * _clavicles(grid)
    blade = _distance(grid, (0.64, -0.05), (thorax.half_width + 0.06, 0.32))
    bones += 0.08 * bump(blade / 0.035)
    bones += 0.16 * _tube(_arm(thorax, grid), 0.06)
    return thorax.bone * bones


def draw_trachea(grid: Grid) -> Map:
    """Compute the fraction of the depth filled by the air of the trachea."""
    across = np.abs(grid.x + 0.015 * np.clip(grid.y, 0, None)) / 0.05
    return logistic(4 * (1 - across)) * logistic((0.22 - grid.y) / 0.04)


def draw_markings(grid: Grid, phases: NDArray[np.float32]) -> Map:
    """Compute the strength, 0 to about 1, of the vessels that branch out from the root of each lung."""
    along, up = grid.aside - 0.2, grid.y - 0.46
    radius = np.sqrt(along**2 + up**2)
    angle = np.arctan2(up, along)
    right, left = phases
    first, second = (np.where(grid.x < 0, right[k], left[k]) for k in (0, 1))
    fan = np.cos(7 * angle + 3 * radius + first) + np.cos(12 * angle - 5 * radius + second)
    twigs = np.clip(fan - 0.5, 0, None) / 1.5
    return twigs * np.exp(radius / -0.22) + 0.5 * bump(radius / 0.13)


def logistic(z: Map) -> Map:
    """Compute a soft step from 0 to 1 at zero."""
    return np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.5) * z)


def bump(z: Map) -> Map:
    """Compute a bell that is 1 at zero and exactly 0 beyond two, so that nothing underflows."""
    return np.square(np.maximum(1 - np.square(np.float32(0.5) * z), 0))


def lung_point(thorax: Thorax, side: int, height: float, across: float) -> tuple[float, float]:
    """Compute chest coordinates of a point given as fractions of one lung's height and width."""
    level = (thorax.dome_left if side > 0 else thorax.dome_right) * height
    inner = 0.16 + 0.1 * height
    outer = float(_cage(thorax, np.array([level]))[0])
    return side * (inner + (outer - inner) * across), level


def _cage(thorax: Thorax, y: Map) -> Map:
    """Compute half the width of the rib cage at each height."""
    depth = np.clip(y + 0.03, 0, None)
    return thorax.half_width * np.sqrt(1 - np.exp(-thorax.taper * depth))


def _heart(thorax: Thorax, grid: Grid) -> Map:
    """Compute the fraction of the depth filled by heart and mediastinum."""
    y, middle = grid.y, thorax.mediastinum - 0.02
    apex = 0.3 * thorax.heart * (logistic((y - 0.46) / 0.085) - 0.5 * logistic((y - 0.93) / 0.03))
    arch = 0.035 * bump((y - 0.2) / 0.07)
    atrium = 0.11 * thorax.heart * bump((y - 0.68) / 0.2)
    shifted = grid.x - thorax.heart_shift
    left, right = middle + apex + arch - shifted, middle + atrium + shifted
    return logistic(np.minimum(left, right) / 0.014)


def _ribs(thorax: Thorax, grid: Grid) -> Map:
    """Draw each rib as a tilted ring: its back half arches upwards, its front half downwards."""
    across, y = grid.across, grid.y
    bow = (thorax.rib_tilt / thorax.rib_spacing) * np.sqrt(np.clip(1 - across**2, 0, None))
    middle = y * (1.12 - 0.12 * y) / thorax.rib_spacing + thorax.rib_phase
    back = _band(middle + bow + 0.6 * across * (1 - across))
    front = 0.6 * _band(middle - bow) * logistic((across - 0.55) / 0.04)
    chest = logistic((1 - across) / 0.01) * logistic((grid.aside - 0.09) / 0.02)
    height = logistic((1.15 - y) / 0.08) * logistic((y + 0.02) / 0.01)
    wall = bump((across - 0.975) / 0.025) * logistic((y - 0.02) / 0.02)
    return chest * height * (back + front) + 0.5 * wall


def _band(phase: Map) -> Map:
    """Compute the profile of a rib: a flat bone with two brighter edges."""
    offset = np.abs(phase - np.floor(phase) - 0.5)
    return np.interp(offset, _RIB_OFFSETS, _RIB_PROFILE).astype(np.float32)


def _spine(thorax: Thorax, grid: Grid) -> Map:
    discs = np.cos((2 * math.pi / 1.02 / thorax.rib_spacing) * grid.y)
    bodies = 0.8 + 0.2 * np.tanh(3 * discs)
    column = logistic((0.105 - grid.aside) / 0.012) * bodies
    pedicles = bump((grid.aside - 0.075) / 0.02) * np.clip(bodies - 0.7, 0, None)
    return column + 1.2 * pedicles


def _clavicles(grid: Grid) -> Map:
    along = (grid.aside - 0.1) / 0.6
    middle = 0.04 - 0.19 * along - 0.035 * np.sin(2 * math.pi * along)
    ends = logistic(along / 0.03) * logistic((1 - along) / 0.03)
    return _tube(np.abs(grid.y - middle), 0.03) * ends


def _arm(thorax: Thorax, grid: Grid) -> Map:
    """Compute the distance from the axis of the upper arm, which hangs down or is raised."""
    x, y = thorax.half_width - 0.08, -0.02
    out, down = 0.9 * math.cos(thorax.arm_angle), 0.9 * math.sin(thorax.arm_angle)
    return _distance(grid, (x, y), (x + out, y + down))


def _distance(grid: Grid, start: tuple[float, float], end: tuple[float, float]) -> Map:
    """Compute the distance from a line segment, mirrored to both sides of the body."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    x, y = grid.aside - start[0], grid.y - start[1]
    fraction = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
    return np.sqrt((x - fraction * dx) ** 2 + (y - fraction * dy) ** 2)


def _tube(distance: Map, radius: float) -> Map:
    """Compute the profile of a long bone: marrow with a brighter shell."""
    shell = bump((distance - 0.8 * radius) / (0.35 * radius))
    return 0.6 * logistic((radius - distance) / (0.15 * radius)) + 0.4 * shell
