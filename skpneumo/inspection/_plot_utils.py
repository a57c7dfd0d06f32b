"""What displays have in common: what they draw on, colours and lines that all can tell apart, written probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

# Okabe and Ito's colours, which the colour-blind tell apart; the styles of the lines do so in gray print.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SOLID, DASHED, DOTTED, DASH_DOTTED = "-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))


def one_axes(ax: Any, *, caller: str, size: tuple[float, float]) -> Any:
    """Return the axes that somebody gave, or new ones in a figure of their own; `size` is in inches."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    if not hasattr(ax, "plot"):
        raise ValueError(f"{caller} draws on one Axes; got {type(ax).__name__}.")
    return ax


def grid_of_axes(
    ax: Any, heights: Sequence[float], n_columns: int, *, width: float, caller: str
) -> tuple[Any, np.ndarray]:
    """Return axes whose place others take, and these in a grid of shape (n_rows, n_columns).

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
        Axes that give up their place; or as many as are needed; None: a figure of their own.
    heights : sequence of float
        Heights of the rows, in inches where they have a figure of their own.
    n_columns : int
        How many are needed in each.
    width : float
        Of a figure of their own, in inches.
    caller : str
        What needs matplotlib.
    """
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    n_rows, rows = len(heights), {"height_ratios": heights}
    if ax is None:
        look = {"figsize": (width, sum(heights)), "layout": "constrained", "squeeze": False, "gridspec_kw": rows}
        return None, plt.subplots(n_rows, n_columns, **look)[1]
    if not hasattr(ax, "get_subplotspec"):
        axes = np.asarray(ax, dtype=object)
        if axes.size != n_rows * n_columns:
            raise ValueError(f"{caller} needs {n_rows * n_columns} axes here, or one that it divides; got {axes.size}.")
        return None, axes.reshape(n_rows, n_columns)
    if (place := ax.get_subplotspec()) is None:
        raise ValueError(f"{caller} divides axes that are part of a grid, as plt.subplots makes them; these are not.")
    ax.set_axis_off()
    grid = place.subgridspec(n_rows, n_columns, **rows)
    axes = np.array([[ax.figure.add_subplot(grid[i, j]) for j in range(n_columns)] for i in range(n_rows)], object)
    return ax, axes


def literal(text: str) -> str:
    """Keep matplotlib from reading mathematics into names and labels."""
    return text.replace("$", r"\$")


def written(probability: float) -> str:
    """Write a probability so that none looks like certainty."""
    rounded = f"{probability:.3f}"
    if 0 < probability < 1 and rounded in {"0.000", "1.000"}:
        return "< 0.001" if probability < 0.5 else "> 0.999"
    return rounded
