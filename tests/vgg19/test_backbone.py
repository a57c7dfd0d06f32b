import numpy as np
import pytest

from skpneumo import VGG19Features, _keras
from vgg19.conftest import make_backbone


@pytest.mark.parametrize(
    ("n_layers", "last"), [(1, "block1_conv1"), (2, "block1_pool"), (7, "block3_conv3"), (16, "block5_pool")]
)
def test_features_equal_those_of_keras_vgg19(keras_vgg19, preprocessed, n_layers, last):
    inputs = _keras.keras().applications.vgg19.preprocess_input(np.stack([preprocessed] * 3, -1).astype(np.float32))
    truncated = _keras.keras().Model(keras_vgg19.input, keras_vgg19.get_layer(last).output)
    with _keras.place("cpu"):
        maps = _keras.keras().ops.convert_to_numpy(truncated(inputs))
    ours = make_backbone(n_layers=n_layers, pool_grid=1000).forward()(preprocessed)
    np.testing.assert_allclose(ours, maps.reshape(3, -1), rtol=1e-4, atol=1e-3 * maps.max())


def test_n_features_by_number_of_layers():
    assert [make_backbone(n_layers=n, image_size=224, pool_grid=4).n_features for n in (2, 8, 16)] == [1024, 4096, 8192]


def test_grid_is_at_most_as_large_as_feature_maps(preprocessed):
    assert make_backbone(n_layers=16, pool_grid=4).n_features == 512
    assert make_backbone(n_layers=16, pool_grid=4).key() == make_backbone(n_layers=16, pool_grid=1).key()


def test_output_without_pooling_and_without_layers(preprocessed):
    maps = make_backbone(pool_grid=None).forward()(preprocessed)
    assert maps.dtype == np.float16
    np.testing.assert_array_equal(maps, make_backbone(pool_grid=16).forward()(preprocessed).astype(np.float16))
    empty = make_backbone(weights="none.npz", n_layers=0, pool_grid=None)
    np.testing.assert_array_equal(empty.forward()(preprocessed), preprocessed.reshape(3, -1))
    assert (empty.n_features, empty.dtype, empty.grid) == (32 * 32, "|u1", 32)


def test_keys_of_feature_maps_and_pooled_features_differ():
    assert make_backbone(pool_grid=None).n_features == make_backbone(pool_grid=16).n_features
    assert make_backbone(pool_grid=None).key() != make_backbone(pool_grid=16).key()


def test_network_is_built_once_for_equal_backbones(preprocessed):
    first = make_backbone().forward()
    assert make_backbone().forward() is first
    assert (
        VGG19Features(None, n_layers=2, image_size=32, pool_grid=2, device="cpu", precision="float32")
        .fit(["a.png"])
        ._encoder()
        .spec()
        .backbone.forward()
        is first
    )
