"""Convert matplotlib figures to inline SVG with real text and the colors of the page."""

import html
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skpneumo.inspection._plot_utils import BLUE, GREEN, PURPLE, VERMILLION

INK, QUIET, LINE = "#111213", "#575859", "#d1d2d3"
SERIES = tuple(color.lower() for color in (BLUE, VERMILLION, GREEN, PURPLE))

_SETTINGS = threading.RLock()  # matplotlib settings are shared by all threads

_COLORS = {
    INK: "currentColor",
    "#000000": "currentColor",
    QUIET: "var(--quiet)",
    "#808080": "var(--quiet)",
    LINE: "var(--line)",
    "#ffffff": "var(--paper)",
    **{color: f"var(--series-{number})" for number, color in enumerate(SERIES, 1)},
}
_FONT = re.compile(r"font: (?:[^;\"']* )?([\d.]+px) (?:'[^']*'|[^;\"'])*")
_FAMILY = re.compile(r"font-family: (?:'[^']*'|[^;\"'])*;? ?")
_DECIMALS = re.compile(r"(\d\.\d\d)\d+")  # more than two decimals of a unit are invisible
_ID = re.compile(r'\bid="([^"]*)"')
_USE = re.compile(r'(?:xlink:)?href="#([^"]*)"|url\(#([^)]*)\)')


@contextmanager
def svg_style() -> Iterator[None]:
    """Apply the matplotlib settings that `to_svg` expects, in one thread at a time.

    User settings are ignored, except those of backends, and restored afterwards.
    """
    from matplotlib import style

    with _SETTINGS, style.context(["default", _settings()]):
        yield


def _settings() -> dict[str, Any]:
    from cycler import cycler

    return {
        "axes.edgecolor": QUIET,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=SERIES) + cycler(linestyle=["-", "--", "-.", ":"]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.facecolor": "none",
        "font.family": "sans-serif",
        "font.size": 10.0,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "skpneumo",
        "text.color": INK,
        "xtick.color": QUIET,
        "xtick.labelcolor": INK,
        "ytick.color": QUIET,
        "ytick.labelcolor": INK,
    }


def to_svg(figure: Any, name: str, title: str) -> str:
    """Return a figure as an ``svg`` element.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure, created and saved within `svg_style`.
    name : str
        Prefix of the ids in the element, unique on a page.
    title : str
        Text alternative.

    Returns
    -------
    str
        The element.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    if box is None:  # pragma: no cover
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = _FAMILY.sub("", _FONT.sub(r"font-size: \1", body))
    for color, variable in _COLORS.items():
        body = body.replace(color, variable)
    used = {first or second for first, second in _USE.findall(body)}
    body = _ID.sub(lambda found: f'id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = _USE.sub(lambda found: found[0].replace("xlink:", "").replace("#", f"#{name}-"), body)
    body = _DECIMALS.sub(r"\1", re.sub(r"\s*\n\s*", "\n", body))
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(title)}" focusable="false">{body}</svg>'
