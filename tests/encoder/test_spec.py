import numpy as np
import pytest

from conftest import TINY
from skpneumo import VGG19Features

CHANGES = {
    "n_layers": 3,
    "image_size": 48,
    "aspect": "stretch",
    "contrast": "equalize",
    "pool_grid": 1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_parameter_that_changes_features_has_separate_store_entries(name, paths, count, tmp_path):
    VGG19Features(**TINY, memory=tmp_path).fit_transform(paths[:3])
    VGG19Features(**TINY | {name: CHANGES[name]}, memory=tmp_path).fit_transform(paths[:3])
    assert count["passed"] == 6


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precisions_have_separate_store_entries_and_agree_approximately(precision, paths, count, tmp_path):
    exact = VGG19Features(**TINY, memory=tmp_path, precision="float32").fit_transform(paths[:3])
    approximate = VGG19Features(**TINY, memory=tmp_path, precision=precision).fit_transform(paths[:3])
    assert count["passed"] == 6
    assert 0 < np.abs(approximate - exact).max() < 0.05 * np.abs(exact).max()
