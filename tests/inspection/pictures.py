"""Pictures are compared with kept ones, ``tests/inspection/baseline/*.png``, at a low resolution and without texts.

After a change that is meant, ``SKPNEUMO_WRITE_PICTURES=1 python -m pytest tests/inspection`` writes them anew; look at
each before it is committed.
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
FAR = 10  # of 255
MOST = 4  # pixels


def assert_looks_like(figure, name, folder=FOLDER):
    """Compare a figure that was not yet drawn with the kept picture of this name."""
    actual, file = _drawn(figure), folder / f"{name}.png"
    if os.environ.get("SKPNEUMO_WRITE_PICTURES") == "1":
        folder.mkdir(exist_ok=True)
        Image.fromarray(actual).save(file, optimize=True)
        return
    assert file.exists(), f"there is no {file}: run this test with SKPNEUMO_WRITE_PICTURES=1, and look at it"
    with Image.open(file) as kept:
        expected = np.asarray(kept.convert("RGB"))
    assert actual.shape == expected.shape, f"{name}: {actual.shape} instead of {expected.shape}"
    far = _outside(actual, expected) | _outside(expected, actual)
    assert far.sum() <= MOST, f"{name}: {far.sum()} of {far.size} pixels differ, between (row, column) {_corners(far)}"


def _drawn(figure):
    """Draw a figure as gray and coloured pixels, without what depends on fonts."""
    figure.set_layout_engine("none")
    with _resolution(figure), _without_texts(figure):
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
def _without_texts(figure):
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


def _outside(picture, other):
    """Tell which pixels have no like among the nearest of another: versions of matplotlib round edges differently."""
    values = other.astype(int)
    low, high = minimum_filter(values, (3, 3, 1)), maximum_filter(values, (3, 3, 1))
    return ((picture < low - FAR) | (picture > high + FAR)).any(axis=2)


def _corners(far):
    rows, columns = np.nonzero(far)
    return (int(rows.min()), int(columns.min())), (int(rows.max()), int(columns.max()))
