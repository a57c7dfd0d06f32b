import os
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from conftest import QUICK, write_keras_vgg19
from skpneumo import PneumoniaClassifier, VGG19Features, _keras
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.layers import shapes
from skpneumo._vgg19.weights import Bundle, half, load_layers, load_trainable
from skpneumo.exceptions import WeightsError
from vgg19.conftest import digest, save_npz

pytestmark = pytest.mark.usefixtures("isolated_weights")


def test_untrained_weights_are_equal_on_every_machine():
    assert digest(None).hex() == "42651e47abeb67bbead3ac6dc6e9e96e"
    assert digest(None, 16).hex() == "9311d29741217a169933debf328b1322"


def test_untrained_layers_do_not_depend_on_n_layers():
    two, five = load_layers(None, 2), load_layers(None, 5)
    for name, array in two.items():
        np.testing.assert_array_equal(array, five[name])


def test_untrained_weights_do_not_change_global_random_state():
    np.random.seed(7)
    expected = np.random.RandomState(7).rand(3)
    load_layers(None, 3)
    np.testing.assert_array_equal(np.random.rand(3), expected)


def test_half_clips_to_float16():
    np.testing.assert_array_equal(half(np.array([1e9, -1e9, 0.5])), [65504, -65504, 0.5])
    assert half(np.ones(1, np.float32)).dtype == np.float16


# Files


def save_numbered(path, network):
    """Save weights like older versions of Keras, with numbered instead of named layers."""
    import h5py

    network.save_weights(path)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)


@pytest.mark.parametrize(
    "name", ["w.npz", "w.h5", "w.weights.h5", "w.keras", "numbered.weights.h5", "nested.weights.h5"]
)
def test_weights_are_read_from_every_file_format(name, keras_vgg19, tmp_path):
    keras, path = _keras.keras(), tmp_path / name
    if name == "w.npz":
        save_npz(path)
    elif name == "w.h5":
        write_keras_vgg19(path)
    elif name == "w.weights.h5":
        keras_vgg19.save_weights(path)
    elif name == "w.keras":
        keras_vgg19.save(path)
    elif name == "numbered.weights.h5":
        save_numbered(path, keras_vgg19)
    else:
        keras.Sequential([keras.Input((32, 32, 3)), keras_vgg19, keras.layers.Flatten()]).save_weights(path)
    assert digest(path, 16) == digest(None, 16)


def test_file_with_first_layers_only_raises_for_more_layers(tmp_path):
    save_npz(tmp_path / "w.npz", 3)
    assert digest(tmp_path / "w.npz", 3) == digest(None, 3)
    with pytest.raises(
        WeightsError,
        match=r"layers block1_conv1 to block3_conv1.*block2_conv2/kernel is missing.*block3_conv1/bias is missing",
    ):
        digest(tmp_path / "w.npz", 5)


def test_weights_of_wrong_shape_or_not_finite_raise(tmp_path):
    arrays = load_layers(None, 2)
    arrays["block1_conv1/kernel"] = arrays["block1_conv1/kernel"][..., :32]
    arrays["block1_conv2/bias"] = np.full(64, np.nan)
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(
        WeightsError,
        match=r"block1_conv1/kernel has shape \(3, 3, 3, 32\), not \(3, 3, 3, 64\); .*conv2/bias.*not finite",
    ):
        digest(tmp_path / "w.npz")


def test_error_lists_ten_arrays_and_counts_the_others(tmp_path):
    np.savez(tmp_path / "w.npz", other=np.zeros(1))
    with pytest.raises(WeightsError, match=r"block3_conv1/bias is missing and 22 more\. Pass weights="):
        digest(tmp_path / "w.npz", 16)


@pytest.mark.parametrize("name", ["w.npz", "w.h5", "w.keras"])
def test_damaged_file_raises_with_alternatives(name, tmp_path):
    (tmp_path / name).write_bytes(b"damaged" * 100)
    with pytest.raises(WeightsError, match=r"cannot be read.*weights=None"):
        digest(tmp_path / name)


def test_unknown_file_format_raises(tmp_path):
    (tmp_path / "w.pt").touch()
    with pytest.raises(WeightsError, match=r"must end in one of \.npz, \.h5, \.keras"):
        digest(tmp_path / "w.pt")


def test_pickled_arrays_are_not_loaded(tmp_path):
    np.savez(tmp_path / "w.npz", **{"block1_conv1/kernel": np.array([print], dtype=object)})
    with pytest.raises(WeightsError, match="cannot be read"):
        digest(tmp_path / "w.npz")


def test_digest_of_changed_file_differs(tmp_path):
    save_npz(tmp_path / "w.npz", 2)
    before = digest(tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", **{name: array + 1 for name, array in load_layers(None, 2).items()})
    os.utime(tmp_path / "w.npz", ns=(1, 1))
    assert digest(tmp_path / "w.npz") != before


# Trainable layers


def test_load_trainable_returns_layers_of_file(tmp_path, random):
    save_npz(tmp_path / "w.npz", 5)
    state = random.get_state()[1].copy()
    expected = load_layers(None, 5)
    for source in (str(tmp_path / "w.npz"), None):
        arrays, missing = load_trainable(source, 3, 5, random)
        assert missing == []
        assert {name: array.shape for name, array in arrays.items()} == shapes(3, 5)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[name])
    np.testing.assert_array_equal(random.get_state()[1], state)  # unchanged


def test_missing_trainable_layers_are_he_initialized_and_listed(tmp_path):
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


def test_incomplete_trainable_layer_raises(tmp_path, random):
    arrays = load_layers(None, 3)
    del arrays["block2_conv1/bias"]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(WeightsError, match="block2_conv1/bias is missing"):
        load_trainable(str(tmp_path / "w.npz"), 2, 4, random)


# ImageNet


def test_imagenet_weights_are_read_from_keras_cache_without_importing_keras(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    write_keras_vgg19(folder / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5")
    code = (
        "import sys; from skpneumo._vgg19.backbone import backbone;"
        "b = backbone(weights='imagenet', n_layers=16, image_size=32, pool_grid=1, device='cpu', precision='float32');"
        "print(b.weights_digest.hex(), 'keras' in sys.modules)"
    )
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(None, 16).hex(), "False"]


def test_unavailable_imagenet_weights_raise_with_attempts_and_alternatives(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5").write_bytes(b"incomplete download")
    code = "from skpneumo import VGG19Features; VGG19Features().fit(['a.png']).transform(['a.png'])"
    # A proxy that refuses connections simulates a machine without network access.
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("skpneumo.exceptions.WeightsError: weights='imagenet': no intact file at")
    for part in [str(tmp_path / "models"), "Keras's download failed", "weights=None"]:
        assert part in last


# Models and bundled weights


def test_weights_digest_is_that_of_frozen_layers_read_from_file(fitted, paths, y, matrix):
    assert fitted.weights_digest_ == digest(fitted.weights).hex()
    tuned = clone(fitted).set_params(n_trainable_layers=1, tune_max_iter=1).fit(paths, y)
    assert tuned.weights_digest_ == digest(fitted.weights, 1).hex()
    whole = clone(fitted).set_params(n_trainable_layers=2, tune_max_iter=1).fit(paths, y)
    untrained, on_features = PneumoniaClassifier(**QUICK).fit(paths, y), clone(fitted).fit(matrix, y)
    assert [model.weights_digest_ for model in (whole, untrained, on_features)] == [None] * 3
    assert fitted.bundled_weights_ == {}


def test_bundled_model_predicts_identically_without_weights_file(fitted, paths, tmp_path):
    expected = fitted.predict_proba(paths)
    joblib.dump(fitted.bundle_weights(), tmp_path / "model.joblib")
    fitted.weights.unlink()
    code = (
        "import sys, joblib; clf = joblib.load(sys.argv[1]);"
        "assert 'keras' not in sys.modules;"
        "print(clf.predict_proba(sys.argv[2:]).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.joblib", *paths], capture_output=True, text=True, check=True
    )
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(done.stdout.strip())).reshape(40, 2), expected)


def test_bundled_model_reuses_compiled_network_and_stored_features(fitted, paths):
    bundle = fitted.bundle_weights()
    specs = [model._fitted_encoder().spec() for model in (fitted, bundle)]
    assert specs[0].key() == specs[1].key()
    assert specs[0].backbone.forward() is specs[1].backbone.forward()
    assert bundle.weights_digest_ == fitted.weights_digest_
    assert bundle.backbone_fingerprint_ == fitted.backbone_fingerprint_


def test_float16_bundle_has_own_digest_and_fingerprint(fitted, paths):
    rounded, expected = fitted.bundle_weights("float16"), fitted.predict_proba(paths)
    fitted.weights.unlink()
    assert {array.dtype for array in rounded.bundled_weights_.values()} == {np.dtype("float16")}
    assert rounded.weights_digest_ != fitted.weights_digest_
    assert rounded.backbone_fingerprint_ != fitted.backbone_fingerprint_
    probabilities = rounded.predict_proba(paths)
    assert not np.array_equal(probabilities, expected)
    np.testing.assert_allclose(probabilities, expected, atol=0.01)
    again = rounded.bundle_weights()
    assert again.weights_digest_ == rounded.weights_digest_
    np.testing.assert_array_equal(again.predict_proba(paths), probabilities)


@pytest.mark.parametrize(("n_trainable_layers", "n_bundled"), [(1, 2), (2, 0)], ids=["some frozen", "nothing frozen"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_tuned_model_bundles_frozen_layers_only(fitted, paths, y, n_trainable_layers, n_bundled, dtype):
    fitted.set_params(n_trainable_layers=n_trainable_layers, tune_max_iter=1, random_state=0).fit(paths, y)
    expected, bundle = fitted.predict_proba(paths), fitted.bundle_weights(dtype)
    fitted.weights.unlink()
    assert len(bundle.bundled_weights_) == n_bundled
    assert not set(bundle.bundled_weights_) & set(bundle.tuned_layers_)
    np.testing.assert_allclose(bundle.predict_proba(paths), expected, atol=0 if dtype == "float32" else 0.01)
    assert (bundle.weights_digest_ is None) == (n_bundled == 0)


def test_untrained_weights_are_bundled(clf, paths, y):
    bundle = clf.fit(paths, y).bundle_weights()
    np.testing.assert_array_equal(
        bundle.bundled_weights_["block1_conv1/kernel"], load_layers(None, 2)["block1_conv1/kernel"]
    )
    np.testing.assert_array_equal(bundle.predict_proba(paths), clf.predict_proba(paths))


def test_damaged_bundle_raises(fitted, paths):
    bundle = fitted.bundle_weights()
    bundle.bundled_weights_["block1_conv2/kernel"][0, 0, 0, 0] += 1
    backbone._forward.cache_clear()  # as in a new process
    with pytest.raises(WeightsError, match="bundled_weights_: damaged"):
        bundle.predict(paths)
    del bundle.bundled_weights_["block1_conv2/kernel"]
    with pytest.raises(WeightsError, match=r"bundled_weights_: .*block1_conv2/kernel is missing"):
        bundle.predict(paths)


def test_file_that_changes_after_it_was_found_raises(fitted):
    backbone = fitted._fitted_encoder().spec().backbone
    save_npz(fitted.weights, 2)
    with pytest.raises(WeightsError, match=r"w\.npz'?: damaged, or changed"):
        backbone.layers()


def test_bundle_can_be_memory_mapped(fitted, paths, tmp_path):
    joblib.dump(fitted.bundle_weights(), tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    backbone._forward.cache_clear()
    assert isinstance(mapped.bundled_weights_["block1_conv1/kernel"], np.memmap)
    np.testing.assert_array_equal(mapped.predict_proba(paths), fitted.predict_proba(paths))


def test_adapted_models_share_bundled_weights(fitted, paths):
    bundle = fitted.bundle_weights()
    adapted = bundle.adapt(paths, prevalence=0.5)
    kernel = "block1_conv1/kernel"
    assert adapted.bundled_weights_[kernel] is bundle.bundled_weights_[kernel]
    assert bundle.bundle_weights().bundled_weights_[kernel] is bundle.bundled_weights_[kernel]
    assert adapted.coefs_[0] is not bundle.coefs_[0]


def test_clone_and_refit_of_bundle_read_weights_parameter(fitted, paths, y):
    bundle = fitted.bundle_weights("float16")
    again = clone(bundle).fit(paths, y)
    assert again.weights_digest_ == bundle.fit(paths, y).weights_digest_ == fitted.weights_digest_
    assert again.bundled_weights_ == bundle.bundled_weights_ == {}
    fitted.weights.unlink()
    with pytest.raises(WeightsError, match="no such file"):
        bundle.fit(paths, y)


def test_bundle_predicts_on_features(fitted, paths):
    matrix = VGG19Features(**{name: getattr(fitted, name) for name in VGG19Features().get_params()}).fit_transform(
        paths
    )
    np.testing.assert_array_equal(fitted.bundle_weights().predict_proba(matrix), fitted.predict_proba(paths))


def test_bundle_weights_raises_on_invalid_models_and_parameters(clf, paths, y, matrix, fitted):
    with pytest.raises(NotFittedError):
        PneumoniaClassifier().bundle_weights()
    with pytest.raises(ValueError, match=r"'dtype' parameter .* among {'float32', 'float16'}. Got 'float64'"):
        fitted.bundle_weights("float64")
    with pytest.raises(ValueError, match="fitted on features"):
        clone(fitted).fit(matrix, y).bundle_weights()
    with pytest.raises(ValueError, match="differ from those of fit"):
        fitted.set_params(aspect="pad").bundle_weights()
    fitted.set_params(aspect="crop").weights.unlink()
    with pytest.raises(WeightsError, match="no such file"):
        fitted.bundle_weights()


def test_bundles_are_compared_by_digest():
    first, second = (Bundle(b"digest", {"a": np.full(1, i)}) for i in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != Bundle(b"another", first.arrays)
