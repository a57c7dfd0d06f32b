import numpy as np
import pytest

from skpneumo import _keras
from skpneumo._vgg19.layers import LAYERS, LayerRange, map_side, n_channels, shapes
from skpneumo._vgg19.weights import load_layers


def stretch(first, last, grid=None, n_layers=4):
    with _keras.place("cpu"):
        stretch = LayerRange(first, last, 32, grid, "float32")
        stretch.load(load_layers(None, n_layers))
    return stretch


def run(stretch, rows):
    with _keras.place("cpu"):
        return _keras.keras().ops.convert_to_numpy(stretch(_keras.keras().ops.convert_to_tensor(rows)))


def test_every_number_of_layers_has_a_side_and_a_number_of_channels():
    sides = [map_side(n_layers, 224) for n_layers in range(17)]
    assert sides == [224, 224, 112, 112, 56, 56, 56, 56, 28, 28, 28, 28, 14, 14, 14, 14, 7]
    assert [n_channels(n_layers) for n_layers in range(17)] == [1, 64, 64, 128, 128, *[256] * 4, *[512] * 8]


def test_shapes_are_those_of_all_layers_and_only_the_wanted_ones():
    assert shapes(2, 4) == {
        "block2_conv1/kernel": (3, 3, 64, 128),
        "block2_conv1/bias": (128,),
        "block2_conv2/kernel": (3, 3, 128, 128),
        "block2_conv2/bias": (128,),
    }
    assert shapes(0, 1)["block1_conv1/kernel"] == (3, 3, 3, 64)
    assert shapes(5, 5) == {}
    assert len(shapes(0, 16)) == 2 * len(LAYERS) == 32


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_two_stretches_do_what_one_does_but_for_the_rounding_between_them(squares, cut):
    whole = run(stretch(0, 4, grid=2), squares)
    maps = run(stretch(0, cut), squares)
    assert maps.dtype == np.float16
    assert maps.shape == (3, map_side(cut, 32) ** 2 * n_channels(cut))
    np.testing.assert_allclose(run(stretch(cut, 4, grid=2), maps), whole, rtol=5e-3, atol=1e-3 * whole.max())


def test_a_stretch_from_the_images_takes_squares_that_were_made_rows(squares):
    np.testing.assert_array_equal(run(stretch(0, 1), squares.reshape(3, -1)), run(stretch(0, 1), squares))


def test_maps_beyond_float16_are_its_largest_number(squares):
    loud = stretch(0, 1)
    loud.load({name: array * 1e4 for name, array in load_layers(None, 1).items()})
    maps = run(loud, squares)
    assert np.isfinite(maps).all()
    assert maps.max() == 65504


def test_weights_that_are_loaded_come_back_as_they_were():
    expected = {name: array for name, array in load_layers(None, 4).items() if name in shapes(2, 4)}
    arrays = stretch(2, 4).arrays()
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == np.float32
