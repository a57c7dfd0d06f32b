"""Average pooling of feature maps over the cells of a grid, and normalization of the pooled features."""

from typing import Any

import numpy as np
from sklearn.utils.extmath import row_norms

from skpneumo import _keras

NORMS = ("l2", None)
SMALLEST_NORM = 1e-12  # avoids division by 0


def pooling_matrix(side: int, grid: int) -> np.ndarray:
    """Return the matrix that averages `side` positions over `grid` cells.

    Neighboring cells overlap by one position if `grid` does not divide `side`.

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
    """Average feature maps (n, side, side, n_channels) over cells; return (n, n_cells * n_channels), cell by cell."""
    ops = _keras.keras().ops
    in_rows = ops.einsum("gh,nhwc->ngwc", matrix, maps)
    cells = ops.einsum("kw,ngwc->ngkc", matrix, in_rows)
    return ops.reshape(cells, (-1, maps.shape[-1] * matrix.shape[0] ** 2))


def normalized(features: np.ndarray, norm: str | None) -> np.ndarray:
    """Scale each row to unit norm in place; return the rows. Without `norm`, they do not change."""
    if norm is not None:
        features /= np.maximum(row_norms(features), SMALLEST_NORM)[:, np.newaxis]
    return features


def normalized_tensor(features: Any, norm: str | None) -> Any:
    """Scale each row of a tensor to unit norm, as `normalized` does."""
    if norm is None:
        return features
    ops = _keras.keras().ops
    squares = ops.sum(ops.square(features), axis=1, keepdims=True)  # the options of ops.normalize differ by version
    return features / ops.sqrt(ops.maximum(squares, SMALLEST_NORM**2))
