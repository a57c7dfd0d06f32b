"""Pooling of feature maps: averages over the cells of a grid."""

from typing import Any

import numpy as np

from skpneumo import _keras


def pooling_matrix(side: int, grid: int) -> np.ndarray:
    """Averages over `grid` cells that cover `side` places, overlapping by one where it does not divide them.

    Examples
    --------
    >>> pooling_matrix(3, 2)
    array([[0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]], dtype=float32)
    """
    matrix = np.zeros((grid, side), np.float32)
    for cell in range(grid):
        start, stop = cell * side // grid, -(-(cell + 1) * side // grid)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix


def average_over_grid(maps: Any, matrix: np.ndarray) -> Any:
    """Average maps, a tensor (n, side, side, n_channels), over cells; return rows, cell by cell, then channel."""
    ops = _keras.keras().ops
    in_rows = ops.einsum("gh,nhwc->ngwc", matrix, maps)
    cells = ops.einsum("kw,ngwc->ngkc", matrix, in_rows)
    return ops.reshape(cells, (-1, maps.shape[-1] * matrix.shape[0] ** 2))
