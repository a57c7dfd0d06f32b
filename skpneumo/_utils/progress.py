"""Progress bar for tasks that take longer than a second."""

from typing import Any

DELAY = 1.0  # seconds before a bar appears


def progress_bar(total: int | None, description: str, unit: str, verbose: int | bool) -> Any:
    """Return a tqdm bar, hidden if `verbose` is 0 or the task takes less than `DELAY` seconds."""
    from tqdm.auto import tqdm

    scale = unit == "B"  # kB and MB instead of bytes
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=scale,
        disable=not verbose,
        delay=DELAY,
        leave=verbose > 1,
    )
