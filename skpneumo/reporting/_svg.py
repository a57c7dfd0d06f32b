"""A figure of matplotlib as SVG within a page: text stays text, inks are the page's own."""

import html
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skpneumo.inspection._plot_utils import BLUE, GREEN, PURPLE, VERMILLION

INK, QUIET, LINE = "#111213", "#575859", "#d1d2d3"
SERIES = tuple(ink.lower() for ink in (BLUE, VERMILLION, GREEN, PURPLE))

_SETTINGS = threading.RLock()  # those of matplotlib belong to the process: who changes them works alone

_INKS = {
    INK: "currentColor",
    "#000000": "currentColor",
    QUIET: "var(--quiet)",
    "#808080": "var(--quiet)",
    LINE: "var(--line)",
    "#ffffff": "var(--paper)",
    **{ink: f"var(--series-{number})" for number, ink in enumerate(SERIES, 1)},
}
_FONT = re.compile(r"font: (?:[^;\"']* )?([\d.]+px) (?:'[^']*'|[^;\"'])*")
_FAMILY = re.compile(r"font-family: (?:'[^']*'|[^;\"'])*;? ?")
_PLACES = re.compile(r"(\d\.\d\d)\d+")  # a hundredth of a unit is less than is seen
_ID = re.compile(r'\bid="([^"]*)"')
_USE = re.compile(r'(?:xlink:)?href="#([^"]*)"|url\(#([^)]*)\)')


@contextmanager
def inks() -> Iterator[None]:
    """Let figures be made in the inks that `to_svg` knows, by one thread at a time.

    What users have set of matplotlib does not matter; the settings of its backends stay.
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
        Made and saved within `inks`.
    name : str
        What the ids in it begin with, another one for each figure of a page.
    title : str
        What is to be seen, for those who do not see it.

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
    for ink, mine in _INKS.items():
        body = body.replace(ink, mine)
    used = {first or second for first, second in _USE.findall(body)}
    body = _ID.sub(lambda found: f'id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = _USE.sub(lambda found: found[0].replace("xlink:", "").replace("#", f"#{name}-"), body)
    body = _PLACES.sub(r"\1", re.sub(r"\s*\n\s*", "\n", body))
    return f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(title)}" focusable="false">{body}</svg>'
