"""Axes, colors, line styles and text of the displays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

# Okabe-Ito colors are distinct to color-blind readers; line styles are distinct in gray print.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_MAX_NAME_LENGTH = 32  # characters that fit above an image
SOLID, DASHED, DOTTED, DASH_DOTTED = "-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5))


def one_axes(ax: Any, *, caller: str, size: tuple[float, float]) -> Any:
    """Return `ax`, or the axes of a new figure of `size` in inches."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    if not hasattr(ax, "plot"):
        raise ValueError(f"{caller} requires a single Axes; got {type(ax).__name__}.")
    return ax


def grid_of_axes(
    ax: Any, heights: Sequence[float], n_columns: int, *, width: float, caller: str
) -> tuple[Any, np.ndarray]:
    """Return the divided axes, or None, and a grid of axes of shape (n_rows, n_columns).

    Parameters
    ----------
    ax : Axes, array-like of Axes or None
        Axes to divide, or as many axes as are needed. If None, a new figure is created.
    heights : sequence of float
        Heights of the rows; inches in a new figure.
    n_columns : int
        Number of columns.
    width : float
        Width of a new figure in inches.
    caller : str
        Name of the caller, for errors.
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
            raise ValueError(f"{caller} requires {n_rows * n_columns} axes, or one to divide; got {axes.size}.")
        return None, axes.reshape(n_rows, n_columns)
    if (place := ax.get_subplotspec()) is None:
        raise ValueError(f"{caller} can only divide axes in a grid; got others. Create them with plt.subplots.")
    ax.set_axis_off()
    grid = place.subgridspec(n_rows, n_columns, **rows)
    axes = np.array([[ax.figure.add_subplot(grid[i, j]) for j in range(n_columns)] for i in range(n_rows)], object)
    return ax, axes


def draw_image(ax: Any, image: np.ndarray, title: str) -> Any:
    """Draw a gray image with a title; return it as AxesImage."""
    ax.set(xticks=[], yticks=[])
    ax.set_title(escape_mathtext(title), fontsize=7)
    return ax.imshow(image, cmap="gray", vmin=0, vmax=255)


def shorten_name(name: str) -> str:
    """Omit the middle of a long file name."""
    half = _MAX_NAME_LENGTH // 2
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[:half]}…{name[1 - half :]}"


def class_name(label: Any) -> str:
    """Return the name of a class; numbers are preceded by "class"."""
    return label if isinstance(label, str) else f"class {label}"


def escape_mathtext(text: str) -> str:
    """Escape dollar signs, which matplotlib would parse as mathematics."""
    return text.replace("$", r"\$")


def format_probability(probability: float) -> str:
    """Format a probability, such that only 0 and 1 are shown as 0 and 1."""
    rounded = f"{probability:.3f}"
    if 0 < probability < 1 and rounded in {"0.000", "1.000"}:
        return "< 0.001" if probability < 0.5 else "> 0.999"
    return rounded
