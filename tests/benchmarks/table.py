"""Rows of the table: alternating measurements of skpneumo and a peer, the target, and their format."""

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
class Measurement:
    """Measurement of one row.

    Parameters
    ----------
    ours, peer : float
        Medians over the repeats, in `unit`. None without a peer.
    value, low, high : float
        Median and range of the value compared with the target, in `value_unit`, or a ratio if that is empty.
    note : str
        Sizes and settings.
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
    """One row of the table. The target is a bound such as "<= 1.10" or "<= 0.15 s", or text that is not checked."""

    name: str
    target: str
    measure: Callable[[], Measurement]


def seconds(function: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Call a function and return its duration."""
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
) -> Measurement:
    """Measure alternately and compare each pair, because both are measured in the same state of the machine."""
    pairs = [(ours(), peer()) for _ in range(repeats)]
    values = [by(*pair) for pair in pairs]
    return Measurement(
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
    """Return "met" or "MISSED", or an empty string if the target has no bound."""
    bound = re.match(r"(<=|>=|<|>) *([\d.]+)", target)
    if not bound:
        return ""
    return "met" if _COMPARISONS[bound[1]](value, float(bound[2])) else "MISSED"


def head() -> str:
    names = ("benchmark", "skpneumo", "peer", "ratio or difference", "target", "")
    return f"{_line(*names)}\n{'-' * len(_line(*names, fill=True))}"


def line(row: Row, measurement: Measurement) -> str:
    """Format a row, followed by its note."""
    unit = f" {measurement.value_unit}" if measurement.value_unit else ""
    value = f"{number(measurement.value)}{unit}"
    if measurement.low != measurement.high:
        value += f" ({number(measurement.low)} to {number(measurement.high)})"
    first = _line(
        row.name,
        f"{number(measurement.ours)} {measurement.unit}",
        "-" if measurement.peer is None else f"{number(measurement.peer)} {measurement.unit}",
        value,
        row.target,
        verdict(row.target, measurement.value),
    )
    note = indent("\n".join(wrap(measurement.note, 110)), "    ")
    return f"{first}\n{note}" if note else first


def failure(row: Row, error: BaseException) -> str:
    """Format a row that raised an error."""
    messages = str(error).strip().splitlines()
    return f"{row.name:<{_WIDTHS[0]}} FAILED: {type(error).__name__}: {messages[0] if messages else ''}"


def number(value: float) -> str:
    """Format a number with about three significant digits."""
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
