import numpy as np
import pytest

from skpneumo import _keras
from skpneumo._vgg19.layers import LAYERS, LayerRange, map_side, n_channels, shapes
from skpneumo._vgg19.weights import load_layers


def make_layers(first, last, grid=None, n_layers=4):
    with _keras.place("cpu"):
        layers = LayerRange(first, last, 32, grid, "float32")
        layers.load(load_layers(None, n_layers))
    return layers


def run(layers, rows):
    with _keras.place("cpu"):
        return _keras.keras().ops.convert_to_numpy(layers(_keras.keras().ops.convert_to_tensor(rows)))


def test_map_side_and_n_channels_by_number_of_layers():
    sides = [map_side(n_layers, 224) for n_layers in range(17)]
    assert sides == [224, 224, 112, 112, 56, 56, 56, 56, 28, 28, 28, 28, 14, 14, 14, 14, 7]
    assert [n_channels(n_layers) for n_layers in range(17)] == [1, 64, 64, 128, 128, *[256] * 4, *[512] * 8]


def test_shapes_of_requested_layers():
    assert shapes(2, 4) == {
        "block2_conv1/kernel": (3, 3, 64, 128),
        "block2_conv1/bias": (128,),
        "block2_conv2/kernel": (3, 3, 128, 128),
        "block2_conv2/bias": (128,),
    }
    assert shapes(0, 1)["block1_conv1/kernel"] == (3, 3, 3, 64)
    assert shapes(5, 5) == {}
    assert len(shapes(0, 16)) == 2 * len(LAYERS) == 32


@pytest.mark.parametrize("split", [1, 2, 3])
def test_two_ranges_equal_one_except_for_rounding(preprocessed, split):
    whole = run(make_layers(0, 4, grid=2), preprocessed)
    maps = run(make_layers(0, split), preprocessed)
    assert maps.dtype == np.float16
    assert maps.shape == (3, map_side(split, 32) ** 2 * n_channels(split))
    np.testing.assert_allclose(run(make_layers(split, 4, grid=2), maps), whole, rtol=5e-3, atol=1e-3 * whole.max())


def test_first_layers_accept_flattened_images(preprocessed):
    np.testing.assert_array_equal(
        run(make_layers(0, 1), preprocessed.reshape(3, -1)), run(make_layers(0, 1), preprocessed)
    )


def test_feature_maps_are_clipped_to_float16(preprocessed):
    scaled = make_layers(0, 1)
    scaled.load({name: array * 1e4 for name, array in load_layers(None, 1).items()})
    maps = run(scaled, preprocessed)
    assert np.isfinite(maps).all()
    assert maps.max() == 65504


def test_arrays_returns_loaded_weights():
    expected = {name: array for name, array in load_layers(None, 4).items() if name in shapes(2, 4)}
    arrays = make_layers(2, 4).arrays()
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == np.float32
