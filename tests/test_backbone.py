import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import write_keras_vgg19
from skpneumo import VGG19Features, _device
from skpneumo._backbone import _weights_digest, backbone, load_layers, load_trainable
from skpneumo._network import LAYERS, shapes
from skpneumo.exceptions import WeightsError


def settle(**changes):
    settings = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2, "device": "cpu"}
    return backbone(**settings | {"precision": "float32"} | changes)


@pytest.fixture(scope="module")
def keras_vgg19():
    """Keras's own network with our untrained weights."""
    network = _device.keras().applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3))
    arrays = load_layers(None, 16)
    for name, _, _ in LAYERS:
        network.get_layer(name).set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    return network


@pytest.fixture
def squares(random):
    return random.randint(0, 256, (3, 32, 32), np.uint8)


@pytest.mark.parametrize(
    ("n_layers", "last"), [(1, "block1_conv1"), (2, "block1_pool"), (7, "block3_conv3"), (16, "block5_pool")]
)
def test_features_are_what_keras_own_vgg19_gives_at_the_cut(keras_vgg19, squares, n_layers, last):
    from_keras = _device.keras().applications.vgg19.preprocess_input(np.stack([squares] * 3, -1).astype(np.float32))
    cut = _device.keras().Model(keras_vgg19.input, keras_vgg19.get_layer(last).output)
    with _device.place("cpu"):
        maps = _device.keras().ops.convert_to_numpy(cut(from_keras))
    ours = settle(n_layers=n_layers, pool_grid=1000).forward()(squares)
    np.testing.assert_allclose(ours, maps.reshape(3, -1), rtol=1e-4, atol=1e-3 * maps.max())


def test_every_number_of_layers_has_a_width():
    assert [settle(n_layers=n, image_size=224, pool_grid=4).n_features for n in (2, 8, 16)] == [1024, 4096, 8192]


def test_cells_are_averages_of_the_maps(squares):
    maps = settle(pool_grid=16).forward()(squares).reshape(3, 16, 16, 64)
    cells = settle(pool_grid=2).forward()(squares).reshape(3, 2, 2, 64)
    expected = maps.reshape(3, 2, 8, 2, 8, 64).mean(axis=(2, 4))
    np.testing.assert_allclose(cells, expected, rtol=1e-4, atol=1e-4)


def test_a_grid_larger_than_the_maps_is_as_large_as_they(squares):
    assert settle(n_layers=16, pool_grid=4).n_features == 512
    assert settle(n_layers=16, pool_grid=4).key() == settle(n_layers=16, pool_grid=1).key()


def test_untrained_weights_are_the_same_on_every_machine():
    assert _weights_digest(None, None, 2).hex() == "42651e47abeb67bbead3ac6dc6e9e96e"
    assert _weights_digest(None, None, 16).hex() == "9311d29741217a169933debf328b1322"


def test_untrained_layers_do_not_depend_on_how_many_are_used():
    two, five = load_layers(None, 2), load_layers(None, 5)
    for name, array in two.items():
        np.testing.assert_array_equal(array, five[name])


def test_no_draw_touches_the_hosts_random_state():
    np.random.seed(7)
    expected = np.random.RandomState(7).rand(3)
    load_layers(None, 3)
    np.testing.assert_array_equal(np.random.rand(3), expected)


# Files


def save_npz(path, n_layers=16):
    np.savez(path, **load_layers(None, n_layers))


def save_renamed(path, network):
    """As older versions of Keras wrote them: layers are counted, not named."""
    import h5py

    network.save_weights(path)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)


@pytest.mark.parametrize(
    "name", ["w.npz", "w.h5", "w.weights.h5", "w.keras", "counted.weights.h5", "nested.weights.h5"]
)
def test_weights_are_read_from_every_kind_of_file(name, keras_vgg19, tmp_path):
    keras, path = _device.keras(), tmp_path / name
    if name == "w.npz":
        save_npz(path)
    elif name == "w.h5":
        write_keras_vgg19(path)
    elif name == "w.weights.h5":
        keras_vgg19.save_weights(path)
    elif name == "w.keras":
        keras_vgg19.save(path)
    elif name == "counted.weights.h5":
        save_renamed(path, keras_vgg19)
    else:
        keras.Sequential([keras.Input((32, 32, 3)), keras_vgg19, keras.layers.Flatten()]).save_weights(path)
    assert settle(weights=path, n_layers=16).weights_digest == settle(n_layers=16).weights_digest


def test_a_file_with_the_first_layers_serves_them_and_refuses_more(tmp_path):
    save_npz(tmp_path / "w.npz", 3)
    assert settle(weights=tmp_path / "w.npz", n_layers=3).n_features
    with pytest.raises(
        WeightsError,
        match=r"layers block1_conv1 to block3_conv1.*block2_conv2/kernel is missing.*block3_conv1/bias is missing",
    ):
        settle(weights=tmp_path / "w.npz", n_layers=5)


def test_weights_of_another_shape_or_not_finite_are_refused(tmp_path):
    arrays = load_layers(None, 2)
    arrays["block1_conv1/kernel"] = arrays["block1_conv1/kernel"][..., :32]
    arrays["block1_conv2/bias"] = np.full(64, np.nan)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(
        WeightsError,
        match=r"block1_conv1/kernel has shape \(3, 3, 3, 32\), not \(3, 3, 3, 64\); .*conv2/bias.*not finite",
    ):
        settle(weights=tmp_path / "w.npz")


@pytest.mark.parametrize("name", ["w.npz", "w.h5", "w.keras"])
def test_a_file_that_is_damaged_is_said_with_the_ways_out(name, tmp_path):
    (tmp_path / name).write_bytes(b"damaged" * 100)
    with pytest.raises(WeightsError, match=r"cannot be read.*Ways out"):
        settle(weights=tmp_path / name)


def test_a_file_with_another_ending_is_refused(tmp_path):
    (tmp_path / "w.pt").touch()
    with pytest.raises(WeightsError, match=r"ends in none of \.npz, \.h5, \.keras"):
        settle(weights=tmp_path / "w.pt")


def test_a_pickle_inside_a_weights_file_is_not_loaded(tmp_path):
    np.savez(tmp_path / "w.npz", **{"block1_conv1/kernel": np.array([print], dtype=object)})
    with pytest.raises(WeightsError, match="cannot be read"):
        settle(weights=tmp_path / "w.npz")


def test_a_file_that_changes_gives_other_features(tmp_path):
    save_npz(tmp_path / "w.npz", 2)
    before = settle(weights=tmp_path / "w.npz").key()
    np.savez(tmp_path / "w.npz", **{name: array + 1 for name, array in load_layers(None, 2).items()})
    os.utime(tmp_path / "w.npz", ns=(1, 1))
    assert settle(weights=tmp_path / "w.npz").key() != before


# Layers that are trained


def test_trainable_layers_are_those_of_the_file_from_the_first_trainable_one(tmp_path, random):
    save_npz(tmp_path / "w.npz", 5)
    state = random.get_state()[1].copy()
    expected = load_layers(None, 5)
    for source in (str(tmp_path / "w.npz"), None):
        arrays, missing = load_trainable(source, 3, 5, random)
        assert missing == []
        assert {name: array.shape for name, array in arrays.items()} == shapes(3, 5)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name])
    np.testing.assert_array_equal(random.get_state()[1], state)  # nothing was drawn


def test_trainable_layers_that_a_file_lacks_are_drawn_by_he_from_the_seed_and_named(tmp_path):
    save_npz(tmp_path / "w.npz", 3)
    source = tmp_path / "w.npz"
    arrays, missing = load_trainable(source, 2, 5, np.random.RandomState(3))
    assert missing == ["block2_conv2", "block3_conv1"]
    np.testing.assert_array_equal(arrays["block2_conv1/kernel"], load_layers(None, 3)["block2_conv1/kernel"])
    for name in missing:
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        assert (kernel.dtype, bias.dtype) == (np.float32, np.float32)
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
        assert abs(kernel.mean()) < 1e-3
        assert not bias.any()
    again, _ = load_trainable(source, 2, 5, np.random.RandomState(3))
    other, _ = load_trainable(source, 2, 5, np.random.RandomState(4))
    np.testing.assert_array_equal(again["block3_conv1/kernel"], arrays["block3_conv1/kernel"])
    assert not np.array_equal(other["block3_conv1/kernel"], arrays["block3_conv1/kernel"])


def test_half_a_layer_is_damage_and_is_not_drawn_anew(tmp_path, random):
    arrays = load_layers(None, 3)
    del arrays["block2_conv1/bias"]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(WeightsError, match="block2_conv1/bias is missing"):
        load_trainable(str(tmp_path / "w.npz"), 2, 4, random)


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


# ImageNet


def test_imagenet_weights_come_from_keras_own_cache_without_keras(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    write_keras_vgg19(folder / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")
    code = (
        "import sys; from skpneumo._backbone import backbone;"
        "b = backbone(weights='imagenet', n_layers=16, image_size=32, pool_grid=1, device='cpu', precision='float32');"
        "print(b.weights_digest.hex(), 'keras' in sys.modules)"
    )
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [settle(n_layers=16).weights_digest.hex(), "False"]


def test_imagenet_weights_that_cannot_be_had_are_said_with_what_was_tried(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(b"half a download")
    code = "from skpneumo import VGG19Features; VGG19Features().fit(['a.png']).transform(['a.png'])"
    # A proxy that refuses stands for a machine without a network.
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("skpneumo.exceptions.WeightsError: weights='imagenet' cannot be had")
    for part in [str(tmp_path / "models"), "Keras's download failed", "Ways out", "weights=None"]:
        assert part in last


def test_the_network_is_built_once_for_clones_and_threads(squares):
    first = settle().forward()
    assert settle().forward() is first
    assert (
        VGG19Features(None, n_layers=2, image_size=32, pool_grid=2, device="cpu", precision="float32")
        .fit(["a.png"])
        ._way()
        .backbone.forward()
        is first
    )
