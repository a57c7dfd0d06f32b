"""Number and range of the pixels of an image, for all file formats."""

from collections.abc import Iterator
from typing import Any

from PIL import Image

BIT_DEPTHS = (8, 10, 12, 14, *range(16, 33))
_BLOCK_PIXELS = 2**20


def check_size(width: int, height: int) -> None:
    """Raise ValueError if an image has more pixels than Pillow allows."""
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"too large: {width} x {height} pixels, more than {Image.MAX_IMAGE_PIXELS} in all")


def largest_value(brightest: Any) -> int:
    """Return the largest value of the smallest bit depth that holds the brightest pixel."""
    return next(2**depth - 1 for depth in BIT_DEPTHS if brightest < 2**depth)


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield slices of rows of about a million pixels."""
    step = max(1, _BLOCK_PIXELS // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
