import numpy as np
import pytest

from skpneumo._vgg19.pooling import pooling_matrix
from vgg19.conftest import make_backbone


@pytest.mark.parametrize(("side", "grid"), [(7, 4), (28, 4), (5, 5), (9, 2), (3, 1), (14, 3)])
def test_cells_cover_all_positions_and_differ_little_in_size(side, grid):
    matrix = pooling_matrix(side, grid)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-6)
    assert (matrix.sum(axis=0) > 0).all()
    sizes = (matrix > 0).sum(axis=1)
    assert sizes.max() - sizes.min() <= (0 if side % grid == 0 else 1)


def test_cells_are_averages_of_feature_maps(preprocessed):
    maps = make_backbone(pool_grid=16).forward()(preprocessed).reshape(3, 16, 16, 64)
    cells = make_backbone(pool_grid=2).forward()(preprocessed).reshape(3, 2, 2, 64)
    expected = maps.reshape(3, 2, 8, 2, 8, 64).mean(axis=(2, 4))
    np.testing.assert_allclose(cells, expected, rtol=1e-4, atol=1e-4)
