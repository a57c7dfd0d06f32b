"""Rows of the table: a figure of ours beside its peer's, measured in turns; the target, and how it is printed."""

import operator
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from textwrap import indent, wrap
from typing import Any

_WIDTHS = (46, 14, 14, 26, 16)
_COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Figures:
    """What one row has measured.

    Parameters
    ----------
    ours, peer : float
        Medians over the repeats, in `unit`. A row without a peer has None.
    value, low, high : float
        What is held against the target, its median and its range: in `value_unit`, or a ratio where that is empty.
    note : str
        Sizes and settings in words.
    """

    ours: float
    peer: float | None
    unit: str
    value: float
    low: float
    high: float
    value_unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table. The target is such as "<= 1.10", ">= 1.8", "<= 0.15 s", or words, which nothing meets."""

    name: str
    target: str
    measure: Callable[[], Figures]


def seconds(function: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Call a function and return how long it took."""
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def compare(
    ours: Callable[[], float],
    peer: Callable[[], float],
    repeats: int,
    *,
    unit: str = "s",
    by: Callable[[float, float], float] = operator.truediv,
    note: str = "",
) -> Figures:
    """Measure ours and the peer in turns: ours, peer, ours, peer, and so on; compare each pair, since both of a pair
    meet the same state of the machine.
    """
    pairs = [(ours(), peer()) for _ in range(repeats)]
    values = [by(*pair) for pair in pairs]
    return Figures(
        ours=median(pair[0] for pair in pairs),
        peer=median(pair[1] for pair in pairs),
        unit=unit,
        value=median(values),
        low=min(values),
        high=max(values),
        value_unit=unit if by is operator.sub else "",
        note=note,
    )


def verdict(target: str, value: float) -> str:
    """Say whether a value is within a target; nothing where the target is words."""
    bound = re.match(r"(<=|>=|<|>) *([\d.]+)", target)
    if not bound:
        return ""
    return "met" if _COMPARISONS[bound[1]](value, float(bound[2])) else "MISSED"


def head() -> str:
    names = ("what", "ours", "peer", "ratio or difference", "target", "")
    return f"{_line(*names)}\n{'-' * len(_line(*names, fill=True))}"


def line(row: Row, figures: Figures) -> str:
    """Format a row and, below it, its note."""
    unit = f" {figures.value_unit}" if figures.value_unit else ""
    value = f"{number(figures.value)}{unit}"
    if figures.low != figures.high:
        value += f" ({number(figures.low)} to {number(figures.high)})"
    first = _line(
        row.name,
        f"{number(figures.ours)} {figures.unit}",
        "-" if figures.peer is None else f"{number(figures.peer)} {figures.unit}",
        value,
        row.target,
        verdict(row.target, figures.value),
    )
    note = indent("\n".join(wrap(figures.note, 110)), "    ")
    return f"{first}\n{note}" if note else first


def failure(row: Row, error: BaseException) -> str:
    """Format a row that could not be measured."""
    said = str(error).strip().splitlines()
    return f"{row.name:<{_WIDTHS[0]}} FAILED: {type(error).__name__}: {said[0] if said else ''}"


def number(value: float) -> str:
    """Three significant digits, and no more than are there."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 0.1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.2g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def _line(*cells: str, fill: bool = False) -> str:
    *columns, last = cells
    text = "".join(
        f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
        for i, (cell, width) in enumerate(zip(columns, _WIDTHS, strict=True))
    )
    return f"{text}  {last or ('MISSED' if fill else '')}".rstrip()
