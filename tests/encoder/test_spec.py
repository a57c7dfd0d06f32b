import numpy as np
import pytest

from conftest import TINY
from skpneumo import VGG19Features

OTHER_WAYS = {
    "n_layers": 3,
    "image_size": 48,
    "aspect": "stretch",
    "contrast": "equalize",
    "pool_grid": 1,
}


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_everything_that_shapes_features_gives_them_entries_of_their_own(name, paths, count, tmp_path):
    VGG19Features(**TINY, memory=tmp_path).fit_transform(paths[:3])
    VGG19Features(**TINY | {name: OTHER_WAYS[name]}, memory=tmp_path).fit_transform(paths[:3])
    assert count["passed"] == 6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precisions_have_entries_of_their_own_and_agree_roughly(precision, paths, count, tmp_path):
    exact = VGG19Features(**TINY, memory=tmp_path, precision="float32").fit_transform(paths[:3])
    rough = VGG19Features(**TINY, memory=tmp_path, precision=precision).fit_transform(paths[:3])
    assert count["passed"] == 6
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()
