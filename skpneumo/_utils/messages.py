"""Text for errors and warnings: lists and values of limited length."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_ITEMS = 10


def list_items(items: Sequence[Any] | np.ndarray, *, max_length: int = 100, separator: str = ", ") -> str:
    """List the first ten items as text, each shortened to `max_length`, and count the others.

    Examples
    --------
    >>> from skpneumo._utils.messages import list_items
    >>> list_items(range(25))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 15 more'
    """
    n_others = len(items) - MAX_ITEMS
    listed = separator.join(shortened(str(item), max_length) for item in items[:MAX_ITEMS])
    return f"{listed} and {n_others} more" if n_others > 0 else listed


def list_values(values: Sequence[Any] | np.ndarray) -> str:
    """List the first ten values as plain Python in brackets, and count the others.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._utils.messages import list_values
    >>> list_values(np.array(["NORMAL", "PNEUMONIA"]))
    "['NORMAL', 'PNEUMONIA']"
    """
    return f"[{list_items([repr(plain(value)) for value in values])}]"


def plain(value: Any) -> Any:
    """Convert NumPy values to plain Python, also in lists, tuples and dicts."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(each) for key, each in value.items()}
    return value


def shortened(text: str, max_length: int = 300) -> str:
    """Replace the middle of a long text by an ellipsis."""
    return text if len(text) <= max_length else f"{text[: max_length // 2]}...{text[-max_length // 2 :]}"


def stacklevel_of_user(packages: Sequence[str] = (__name__.partition(".")[0],)) -> int:
    """Return the `stacklevel` of a warning in the caller that refers to the first line outside these packages."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in packages:
        frame, level = frame.f_back, level + 1
    return level
