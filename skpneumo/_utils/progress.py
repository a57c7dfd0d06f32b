"""A progress bar for what takes seconds; nothing otherwise."""

from typing import Any

DELAY = 1.0  # seconds before a bar appears


def progress_bar(total: int, description: str, unit: str, verbose: int | bool) -> Any:
    """Return a tqdm bar with a rate and the time left, silent where `verbose` is 0 or all is done within a moment."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, unit=unit, disable=not verbose, delay=DELAY, leave=verbose > 1)
