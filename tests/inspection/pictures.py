"""Comparison of figures with baseline images in ``tests/inspection/baseline``, at low resolution and without text.

After an intended change, update them with ``SKPNEUMO_WRITE_PICTURES=1 python -m pytest tests/inspection`` and inspect
each before you commit it.
"""

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

FOLDER = Path(__file__).parent / "baseline"
DPI = 40
TOLERANCE = 10  # gray levels
MAX_PIXELS = 4


def assert_looks_like(figure, name, folder=FOLDER):
    """Compare a figure, not drawn yet, with the baseline image of this name."""
    actual, file = _render(figure), folder / f"{name}.png"
    if os.environ.get("SKPNEUMO_WRITE_PICTURES") == "1":
        folder.mkdir(exist_ok=True)
        Image.fromarray(actual).save(file, optimize=True)
        return
    assert file.exists(), f"{file} does not exist: run this test with SKPNEUMO_WRITE_PICTURES=1 and inspect it"
    with Image.open(file) as baseline:
        expected = np.asarray(baseline.convert("RGB"))
    assert actual.shape == expected.shape, f"{name}: expected shape {expected.shape}; got {actual.shape}"
    differs = _differences(actual, expected) | _differences(expected, actual)
    assert differs.sum() <= MAX_PIXELS, (
        f"{name}: {differs.sum()} of {differs.size} pixels differ, between (row, column) {_corners(differs)}"
    )


def _render(figure):
    """Render a figure as RGB pixels without text, which depends on fonts."""
    figure.set_layout_engine("none")
    with _resolution(figure), _without_text(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def _resolution(figure):
    before = figure.dpi
    figure.set_dpi(DPI)
    try:
        yield
    finally:
        figure.set_dpi(before)


@contextmanager
def _without_text(figure):
    shown = [
        artist for artist in figure.findobj(lambda artist: isinstance(artist, (Legend, Text))) if artist.get_visible()
    ]
    for artist in shown:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in shown:
            artist.set_visible(True)


def _differences(picture, other):
    """Return which pixels differ from all neighbors in `other`: versions of matplotlib round edges differently."""
    values = other.astype(int)
    low, high = minimum_filter(values, (3, 3, 1)), maximum_filter(values, (3, 3, 1))
    return ((picture < low - TOLERANCE) | (picture > high + TOLERANCE)).any(axis=2)


def _corners(differs):
    rows, columns = np.nonzero(differs)
    return (int(rows.min()), int(columns.min())), (int(rows.max()), int(columns.max()))
