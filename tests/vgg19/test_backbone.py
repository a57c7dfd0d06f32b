import numpy as np
import pytest

from skpneumo import VGG19Features, _keras
from vgg19.conftest import settle


@pytest.mark.parametrize(
    ("n_layers", "last"), [(1, "block1_conv1"), (2, "block1_pool"), (7, "block3_conv3"), (16, "block5_pool")]
)
def test_features_are_what_keras_own_vgg19_gives_at_the_cut(keras_vgg19, squares, n_layers, last):
    from_keras = _keras.keras().applications.vgg19.preprocess_input(np.stack([squares] * 3, -1).astype(np.float32))
    cut = _keras.keras().Model(keras_vgg19.input, keras_vgg19.get_layer(last).output)
    with _keras.place("cpu"):
        maps = _keras.keras().ops.convert_to_numpy(cut(from_keras))
    ours = settle(n_layers=n_layers, pool_grid=1000).forward()(squares)
    np.testing.assert_allclose(ours, maps.reshape(3, -1), rtol=1e-4, atol=1e-3 * maps.max())


def test_every_number_of_layers_has_a_width():
    assert [settle(n_layers=n, image_size=224, pool_grid=4).n_features for n in (2, 8, 16)] == [1024, 4096, 8192]


def test_a_grid_larger_than_the_maps_is_as_large_as_they(squares):
    assert settle(n_layers=16, pool_grid=4).n_features == 512
    assert settle(n_layers=16, pool_grid=4).key() == settle(n_layers=16, pool_grid=1).key()


def test_maps_are_what_the_layers_give_and_squares_pass_no_network(squares):
    maps = settle(pool_grid=None).forward()(squares)
    assert maps.dtype == np.float16
    np.testing.assert_array_equal(maps, settle(pool_grid=16).forward()(squares).astype(np.float16))
    nothing = settle(weights="none.npz", n_layers=0, pool_grid=None)
    np.testing.assert_array_equal(nothing.forward()(squares), squares.reshape(3, -1))
    assert (nothing.n_features, nothing.dtype, nothing.grid) == (32 * 32, "|u1", 32)


def test_maps_and_cells_of_the_same_side_have_different_names():
    assert settle(pool_grid=None).n_features == settle(pool_grid=16).n_features
    assert settle(pool_grid=None).key() != settle(pool_grid=16).key()


def test_the_network_is_built_once_for_clones_and_threads(squares):
    first = settle().forward()
    assert settle().forward() is first
    assert (
        VGG19Features(None, n_layers=2, image_size=32, pool_grid=2, device="cpu", precision="float32")
        .fit(["a.png"])
        ._encoder()
        .spec()
        .backbone.forward()
        is first
    )
