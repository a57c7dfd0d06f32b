import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from conftest import QUICK
from skpneumo import PneumoniaClassifier, _keras
from skpneumo._encoder import feature_maps
from skpneumo._images import decoding
from skpneumo._training.finetune import Tuning
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.weights import half, load_layers
from skpneumo.exceptions import FeatureStoreWarning, ImageReadError, UntrainedLayersWarning, WeightsError
from skpneumo.model_selection import PatientGroupKFold

TUNED = QUICK | {"n_layers": 4, "n_trainable_layers": 2, "tune_max_iter": 2, "tune_learning_rate": 1e-4}
DIVERGING = {"early_stopping": True, "tune_learning_rate": 1e6, "n_iter_no_change": 1, "validation_fraction": 0.3}


@pytest.fixture
def tuned(tmp_path):
    return PneumoniaClassifier(**TUNED, memory=tmp_path / "store", random_state=0)


@pytest.fixture
def count(monkeypatch):
    """Count images decoded and images that pass frozen layers."""
    counts = {"decoded": 0, "passed": 0}
    gray, forward = decoding.Preprocessing.gray, backbone.Backbone.forward

    def counted(name, n, result):
        counts[name] += n
        return result

    monkeypatch.setattr(decoding.Preprocessing, "gray", lambda self, data: counted("decoded", 1, gray(self, data)))
    monkeypatch.setattr(
        backbone.Backbone, "forward", lambda self: lambda batch: counted("passed", len(batch), forward(self)(batch))
    )
    return counts


def layers_of(path, n_layers):
    np.savez(path, **load_layers(None, n_layers))
    return path


# Learning rate


def test_learning_rate_rises_to_its_maximum_and_falls_almost_to_zero():
    tuning = Tuning(10, 32, 2.0, True, 0.5, 0.0, 0.0)
    rates = [tuning.rate(step, 100) for step in range(100)]
    assert max(rates) == 2
    assert rates[:11] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.0])
    assert np.diff(rates[10:]).max() < 0
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_learning_rate_is_positive_with_few_steps(n_steps):
    tuning = Tuning(1, 32, 2.0, True, 0.5, 0.0, 0.0)
    assert all(0 < tuning.rate(step, n_steps) <= 2 for step in range(n_steps))


def test_learning_rate_is_constant_without_a_schedule():
    tuning = Tuning(1, 32, 2.0, False, 0.5, 0.0, 0.0)
    assert {tuning.rate(step, 3) for step in range(10)} == {2.0}


# Initial weights


@pytest.mark.parametrize("n_trainable_layers", [2, 4])
def test_diverged_tuning_with_early_stopping_equals_the_probe(tuned, paths, y, sides, n_trainable_layers):
    tuned.set_params(n_trainable_layers=n_trainable_layers, class_weight=None, **DIVERGING).fit(paths, y)
    assert tuned.best_iter_ == 0
    assert np.argmax(np.nan_to_num(tuned.validation_scores_, nan=-np.inf)) == 0
    (train, _) = sides[0]
    layers = {name: half(array) for name, array in load_layers(None, 4).items()}
    encoder = tuned._encoder().with_layers(layers)
    features = encoder.extract(train.X, progress=tuned._bar()).features
    probe = PneumoniaClassifier(class_weight=None).fit(features, train.codes)
    np.testing.assert_array_equal(probe.coefs_[0], tuned.coefs_[0])
    np.testing.assert_array_equal(probe.decision_function(features), tuned.decision_function(train.X))
    assert set(tuned.tuned_layers_) == set(list(layers)[8 - 2 * n_trainable_layers :])
    for name, array in tuned.tuned_layers_.items():
        np.testing.assert_array_equal(array, layers[name])


def test_tiny_learning_rate_changes_almost_nothing(tuned, paths, y):
    unchanged = clone(tuned).set_params(tune_learning_rate=1e-30).fit(paths, y)
    plain = PneumoniaClassifier(**QUICK | {"n_layers": 4}).fit(paths, y)
    np.testing.assert_allclose(unchanged.decision_function(paths), plain.decision_function(paths), atol=0.1)
    assert np.abs(tuned.fit(paths, y).decision_function(paths) - unchanged.decision_function(paths)).max() > 1e-3


def test_dense_layers_are_trained_before_tuning(tuned, paths, y):
    tuned.set_params(hidden_layer_sizes=(6,), max_iter=30, learning_rate_init=0.01, tune_learning_rate=1e-30)
    tuned.fit(paths, y)
    assert [coef.shape for coef in tuned.coefs_] == [(512, 6), (6, 1)]
    assert tuned.n_iter_ == len(tuned.loss_curve_) == 2  # epochs of tuning
    assert tuned.score(paths, y) > 0.8


# Training


def test_loss_decreases(tuned, paths, y):
    tuned.set_params(tune_max_iter=6, tune_learning_rate=1e-3, tune_average=1.0).fit(paths, y)
    assert tuned.n_iter_ == len(tuned.loss_curve_) == len(tuned.accuracy_curve_) == 6
    assert tuned.loss_curve_[-1] < tuned.loss_curve_[0]


def test_tune_average_interpolates_between_initial_and_final_weights(tuned, paths, y):
    start, end = load_layers(None, 4), clone(tuned).set_params(tune_average=1.0).fit(paths, y)
    tuned.set_params(tune_average=0.25).fit(paths, y)
    for name, array in tuned.tuned_layers_.items():
        before = half(start[name]).astype(np.float32)
        expected = before + 0.25 * (end.tuned_layers_[name] - before)
        np.testing.assert_allclose(array, expected, atol=1e-4)
        assert not np.array_equal(array, half(start[name]))


@pytest.mark.parametrize("n_trainable_layers", [2, 4])
def test_results_are_reproducible_with_equal_seeds_only(tuned, paths, y, n_trainable_layers):
    tuned.set_params(n_trainable_layers=n_trainable_layers, n_views=2, batch_size=16)
    one, two, other = (clone(tuned).set_params(random_state=seed).fit(paths, y) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.decision_function(paths), two.decision_function(paths))
    assert one.loss_curve_ == two.loss_curve_
    assert not np.array_equal(one.decision_function(paths), other.decision_function(paths))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_tuning_works_with_two_and_three_classes(tuned, paths, y, xrays, n_classes):
    labels = xrays.etiology if n_classes == 3 else y
    tuned.fit(paths, labels)
    assert tuned.predict_proba(paths).shape == (40, n_classes)
    assert tuned.score(paths, labels) > 0.8


def test_label_of_an_image_of_weight_0_has_no_effect(tuned, paths, y):
    weight = np.ones(40)
    weight[::5] = 0
    tuned.set_params(tune_learning_rate=1e-3)
    one = clone(tuned).fit(paths, y, sample_weight=weight).decision_function(paths)
    two = clone(tuned).fit(paths, np.where(weight, y, 1 - y), sample_weight=weight).decision_function(paths)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, tuned.fit(paths, y).decision_function(paths))


def test_class_weight_affects_tuning(tuned, paths, y):
    by_class = clone(tuned).set_params(class_weight={0: 3, 1: 1}).fit(paths, y)
    balanced = clone(tuned).set_params(class_weight="balanced").fit(paths[:30], y[:30])
    assert np.isfinite(balanced.decision_function(paths)).all()
    plain = clone(tuned).fit(paths, y)
    assert by_class.decision_function(paths).mean() < plain.decision_function(paths).mean()


def test_too_large_learning_rate_raises(tuned, paths, y):
    with pytest.raises(ValueError, match=r"not finite: choose a tune_learning_rate below 1e\+30"):
        tuned.set_params(tune_learning_rate=1e30, tune_average=1.0).fit(paths, y)


# Computation and storage of maps


def test_second_fit_uses_stored_maps(tuned, paths, y, count):
    tuned.set_params(n_views=2).fit(paths, y)
    assert count == {"decoded": 40, "passed": 80}
    clone(tuned).set_params(random_state=5, tune_max_iter=4).fit(paths[:30], y[:30]).predict(paths)
    clone(tuned).set_params(n_views=1, alpha=1.0, hidden_layer_sizes=(3,), max_iter=2).fit(paths, y)
    assert count == {"decoded": 40, "passed": 80}


def test_without_memory_a_temporary_folder_is_used_and_removed(tuned, paths, y, count, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    expected = clone(tuned).fit(paths, y).decision_function(paths)
    count.update(decoded=0, passed=0)
    tuned.set_params(memory=None).fit(paths, y)
    assert count == {"decoded": 40, "passed": 40}
    assert not list((tmp_path / "temporary").iterdir())
    np.testing.assert_array_equal(tuned.decision_function(paths), expected)


def test_predict_reads_stored_maps_and_stores_none(tuned, paths, y, count):
    tuned.fit(paths[:20], y[:20])
    size = sum(file.stat().st_size for file in Path(tuned.memory).rglob("maps.sqlite"))
    for _ in range(2):
        tuned.predict(paths)
    assert count["passed"] == 20 + 2 * 20
    assert size == sum(file.stat().st_size for file in Path(tuned.memory).rglob("maps.sqlite"))


def test_without_frozen_layers_no_maps_are_stored(tuned, paths, y, count):
    tuned.set_params(n_trainable_layers=4, n_views=2).fit(paths, y)
    assert not list(Path(tuned.memory).rglob("maps.sqlite"))
    assert count["decoded"] >= 40 * (1 + 2)
    assert list(tuned.tuned_layers_) == list(load_layers(None, 4))


@pytest.mark.parametrize("n_trainable_layers", [1, 4])
def test_error_lists_all_unreadable_images_with_their_positions(tuned, paths, y, monkeypatch, n_trainable_layers):
    monkeypatch.setattr(feature_maps, "_BYTES_AT_ONCE", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 8)
    images = list(paths)
    for i in (3, 12, 39):
        images[i] = f"none{i}.jpeg"
    tuned.set_params(n_trainable_layers=n_trainable_layers, n_views=2)
    with pytest.raises(ImageReadError) as caught:
        tuned.fit(images, y)
    assert [position for position, *_ in caught.value.failures] == [3, 12, 39]


# Layers trained from scratch


def test_layers_missing_from_the_file_start_from_random_weights_with_one_warning(tuned, paths, y, tmp_path):
    tuned.set_params(weights=layers_of(tmp_path / "w.npz", 2))
    with pytest.warns(UntrainedLayersWarning, match=r"does not contain block2_conv1, block2_conv2: .*random") as warned:
        tuned.fit(paths, y)
    assert [each.category for each in warned].count(UntrainedLayersWarning) == 1
    seeds = []
    for seed in (0, 0, 1):
        with pytest.warns(UntrainedLayersWarning):
            seeds.append(clone(tuned).set_params(random_state=seed, tune_learning_rate=1e-30).fit(paths, y))
    one, two, other = (model.tuned_layers_["block2_conv1/kernel"] for model in seeds)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    tuned.predict(paths)  # without a warning


def test_frozen_layers_missing_from_the_file_raise(tuned, paths, y, tmp_path):
    tuned.set_params(weights=layers_of(tmp_path / "w.npz", 1))
    with pytest.raises(WeightsError, match="block1_conv2/kernel is missing"):
        tuned.fit(paths, y)


def test_without_frozen_layers_the_fitted_model_needs_no_weights(tuned, paths, y, tmp_path):
    tuned.set_params(weights=layers_of(tmp_path / "w.npz", 4), n_trainable_layers=4).fit(paths, y)
    expected = tuned.decision_function(paths)
    (tmp_path / "w.npz").unlink()
    np.testing.assert_array_equal(tuned.decision_function(paths), expected)


# The estimator


def test_tuned_model_is_saved_in_float16_and_predicts_in_another_process(tuned, paths, y, tmp_path):
    tuned.fit(paths, y)
    expected = tuned.decision_function(paths)
    assert {array.dtype for array in tuned.tuned_layers_.values()} == {np.dtype(np.float16)}
    joblib.dump(tuned, tmp_path / "model.joblib")
    n_numbers = sum(array.size for array in tuned.tuned_layers_.values())
    n_bytes = 2 * n_numbers + sum(array.nbytes for array in tuned.reference_.values())
    assert (tmp_path / "model.joblib").stat().st_size < n_bytes + 50_000
    code = """
    import sys, joblib
    model = joblib.load(sys.argv[1])
    assert "keras" not in sys.modules
    print(model.set_params(memory=None).decision_function(sys.argv[2:]).tobytes().hex())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "model.joblib"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(done.stdout.strip())), expected)


def test_tuning_raises_on_extracted_features(tuned, matrix, y):
    with pytest.raises(ValueError, match="n_trainable_layers=2 requires images, but X contains extracted features"):
        tuned.fit(matrix, y)


@pytest.mark.parametrize("value", [-1, 5, 2.0, None])
def test_invalid_n_trainable_layers_raises(tuned, value):
    with pytest.raises((ValueError, TypeError), match="n_trainable_layers"):
        tuned.set_params(n_trainable_layers=value).fit(["none1.png", "none2.png"], [0, 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tune_max_iter", 0),
        ("tune_learning_rate", 0),
        ("tune_learning_rate", float("inf")),
        ("tune_average", 0),
        ("tune_average", 1.5),
    ],
)
def test_invalid_parameter_of_tuning_is_named_in_the_error(tuned, name, value):
    with pytest.raises(ValueError, match=name):
        tuned.set_params(**{name: value}).fit(["none1.png", "none2.png"], [0, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"n_trainable_layers": 0},
        {"n_trainable_layers": 1},
        {"n_layers": 3, "n_trainable_layers": 1},
        {"n_layers": 5, "n_trainable_layers": 3},
        {"aspect": "pad"},
        {"image_size": 48},
    ],
)
def test_predict_raises_if_layers_or_preprocessing_changed_since_fit(tuned, paths, y, changes):
    tuned.fit(paths, y).set_params(**changes)
    with pytest.raises(ValueError, match="differ from those of fit"):
        tuned.predict(paths)


def test_refit_without_trainable_layers_removes_the_tuned_layers(tuned, paths, y):
    tuned.fit(paths, y).set_params(n_trainable_layers=0).fit(paths, y)
    plain = PneumoniaClassifier(**QUICK | {"n_layers": 4}).fit(paths, y)
    assert tuned.tuned_layers_ == {}
    np.testing.assert_array_equal(tuned.decision_function(paths), plain.decision_function(paths))


def test_grid_search_over_n_trainable_layers_with_two_processes(tuned, paths, y):
    search = GridSearchCV(tuned, {"n_trainable_layers": [0, 1, 4]}, cv=PatientGroupKFold(2), n_jobs=2)
    search.fit(paths, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(paths, y) > 0.8


def test_n_views_predict_uses_the_tuned_layers(tuned, paths, y):
    tuned.fit(paths, y)
    plain = tuned.decision_function(paths)
    both = tuned.set_params(n_views_predict=2).decision_function(paths)
    assert both.shape == (40,)
    assert not np.array_equal(both, plain)
    np.testing.assert_array_equal(tuned.set_params(n_views_predict=1).decision_function(paths), plain)


def test_global_random_state_is_not_used(tuned, paths, y):
    np.random.seed(7)
    expected = np.random.RandomState(7).rand(3)
    tuned.set_params(dropout=0.5, hidden_layer_sizes=(4,), max_iter=2, n_views=2).fit(paths, y).predict(paths)
    np.testing.assert_array_equal(np.random.rand(3), expected)


def test_step_that_does_not_fit_in_memory_is_split_with_one_warning(tuned, paths, y, monkeypatch):
    sizes, call = [], _keras.Step.__call__

    def small(step, maps, *arrays, **settings):
        sizes.append(len(maps))
        if len(maps) > 10:
            raise MemoryError("no memory")
        return call(step, maps, *arrays, **settings)

    monkeypatch.setattr(_keras.Step, "__call__", small)
    with pytest.warns(RuntimeWarning, match="enough memory for a batch of 32 images") as warned:
        tuned.fit(paths, y)
    assert [each.category for each in warned].count(RuntimeWarning) == 1
    assert sizes == [32, 16, *[8] * 4, 8, *[8] * 4, 8]
    in_parts = tuned.loss_curve_[0]
    monkeypatch.undo()
    assert in_parts == pytest.approx(clone(tuned).set_params(batch_size=8).fit(paths, y).loss_curve_[0], rel=0.2)


def test_partial_fit_uses_new_views_without_frozen_layers(tuned, paths, y, monkeypatch):
    numbers, number = set(), feature_maps.FeatureMaps._view_number
    monkeypatch.setattr(
        feature_maps.FeatureMaps, "_view_number", lambda *each: (numbers.add(number(*each)), number(*each))[1]
    )
    tuned.set_params(n_trainable_layers=4, n_views=2)
    for _ in range(3):
        tuned.partial_fit(paths, y, classes=[0, 1])
    assert numbers == {0, 1, 2, 3}


def test_file_replaced_during_training_raises(tuned, paths, y, tmp_path, monkeypatch):
    paths[7] = str(tmp_path / "7.jpeg")
    Path(paths[7]).write_bytes(Path(paths[6]).read_bytes() + b"7")
    rate = Tuning.rate

    def replacing(*each):
        (tmp_path / "another").write_bytes(Path(paths[6]).read_bytes() + b"another")
        os.replace(tmp_path / "another", paths[7])
        return rate(*each)

    monkeypatch.setattr(Tuning, "rate", replacing)
    with pytest.raises(ImageReadError) as caught:
        tuned.set_params(n_trainable_layers=4, batch_size=2, tune_max_iter=2).fit(paths, y)
    assert [(position, why) for position, _, why in caught.value.failures] == [(7, "changed during training")]


def test_maps_are_in_a_temporary_folder_if_the_store_is_not_writable(tuned, paths, y, tmp_path, count):
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.warns(FeatureStoreWarning):
        tuned.set_params(memory=tmp_path / "file", tune_max_iter=3).fit(paths, y)
    assert count["decoded"] == len(paths)
