"""A progress bar for what takes seconds; nothing otherwise."""

from typing import Any


def progress_bar(total: int, description: str, unit: str, verbose: int | bool) -> Any:
    """Return a tqdm bar with a rate and the time left, silent where `verbose` is 0 or all is done within a second."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, unit=unit, disable=not verbose, delay=1.0, leave=verbose > 1)
