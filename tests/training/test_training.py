import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

from conftest import DENSE, STOPS
from skpneumo._vgg19.weights import load_layers
from skpneumo.exceptions import ImageReadError
from skpneumo.model_selection import patient_ids

STEADY = {"hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 16, "learning_rate_init": 0.01}
TUNING = {"n_layers": 4, "n_trainable_layers": 2, "tune_learning_rate": 1e-3, "tune_max_iter": 2, "random_state": 0}


# Early stopping


def test_early_stopping_splits_by_patient(clf, paths, y, sides):
    clf.set_params(**STOPS).fit(paths, y)
    ((train, validation),) = sides
    assert not set(patient_ids(list(train.X))) & set(patient_ids(list(validation.X)))
    assert sorted([*train.X, *validation.X]) == sorted(paths)
    assert 6 <= len(validation) <= 20


def test_groups_override_file_names_and_work_with_features(clf, paths, y, matrix, sides):
    groups = np.arange(40) // 4 % 5 * 2 + y  # 10 patients of one label each
    for X in (paths, matrix):
        clone(clf).set_params(**STOPS).fit(X, y, groups=groups)
        train, validation = sides[-1]
        assert not set(train.groups) & set(validation.groups)
        assert len(set(validation.groups)) == 3


def test_files_without_a_patient_in_their_name_are_separate_patients(clf, paths, y, tmp_path, sides):
    images = []
    for i, path in enumerate(paths):
        images.append(str(tmp_path / f"image{i}.jpeg"))
        Path(images[-1]).write_bytes(Path(path).read_bytes())
    clf.set_params(**STOPS).fit(images, y)
    assert len(sides[0][1]) == 12


def test_early_stopping_raises_on_too_few_patients(clf, paths, y):
    with pytest.raises(ValueError, match=r"early_stopping=True cannot hold out validation_fraction=0.3 of 2 patients"):
        clf.set_params(**STOPS).fit(paths, y, groups=y)


def test_attributes_of_early_stopping_are_none_without_it(clf, paths, y):
    for head in ({}, DENSE, STOPS | {"hidden_layer_sizes": ()}, DENSE | {"early_stopping": False}):
        model = clone(clf).set_params(**head).fit(paths, y)
        assert model.validation_scores_ is None
        assert model.validation_accuracy_curve_ is None
        assert model.best_iter_ is None


def test_views_work_with_early_stopping(clf, paths, y, sides):
    mild = {"area": 0.8, "margin": 0, "gamma": 0.2, "contrast": 0.2, "brightness": 0.05}
    clf.set_params(**STOPS, n_views=2, augmentation=mild).fit(paths, y)
    assert len(clf.validation_scores_) == clf.n_iter_
    assert clf.best_iter_ == 1 + np.argmax(clf.validation_scores_)


@pytest.mark.parametrize("tuned", [False, True])
def test_error_with_early_stopping_lists_positions_in_the_input(clf, paths, y, tmp_path, tuned):
    bad = [5, 11, 17, 20, 33]
    for position in bad:
        paths[position] = str(tmp_path / f"{position}.png")
        Path(paths[position]).write_bytes(b"\x89PNG\r\n\x1a\n" + str(position).encode())
    clf.set_params(**(STOPS | ({"n_trainable_layers": 1, "hidden_layer_sizes": ()} if tuned else {})))
    with pytest.raises(ImageReadError) as caught:
        clf.fit(paths, y)
    assert [(position, path) for position, path, _ in caught.value.failures] == [(i, paths[i]) for i in bad]


# Continued training


def test_calls_of_partial_fit_equal_epochs_of_fit(clf, paths, y, matrix):
    clf.set_params(**STEADY)
    for X in (paths, matrix):
        whole, parts = clone(clf).set_params(max_iter=4).fit(X, y), clone(clf)
        for _ in range(4):
            parts.partial_fit(X, y, classes=[0, 1])
        np.testing.assert_array_equal(parts.decision_function(X), whole.decision_function(X))


def test_warm_start_continues_the_previous_fit(clf, paths, y):
    whole = clone(clf).set_params(**STEADY, max_iter=6).fit(paths, y)
    parts = clone(clf).set_params(**STEADY, max_iter=3, warm_start=True).fit(paths, y)
    assert not np.array_equal(parts.coefs_[0], whole.coefs_[0])
    parts.fit(paths, y)
    np.testing.assert_array_equal(parts.decision_function(paths), whole.decision_function(paths))
    np.testing.assert_array_equal(clone(parts).set_params(max_iter=6).fit(paths, y).coefs_[0], whole.coefs_[0])


def test_warm_start_continues_from_the_tuned_layers(clf, paths, y):
    clf.set_params(**TUNING, warm_start=True, tune_average=1.0).fit(paths, y)
    before = clf.tuned_layers_["block2_conv2/kernel"]
    clf.set_params(tune_learning_rate=1e-30).fit(paths, y)
    np.testing.assert_array_equal(clf.tuned_layers_["block2_conv2/kernel"], before)
    clf.set_params(tune_learning_rate=1e-3).fit(paths, y)
    assert not np.array_equal(clf.tuned_layers_["block2_conv2/kernel"], before)


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_warm_start_can_tune_after_a_fit_of_the_head_alone(clf, paths, y, hidden_layer_sizes):
    clf.set_params(**TUNING | STEADY | {"n_trainable_layers": 0, "max_iter": 3}, warm_start=True)
    clf.set_params(hidden_layer_sizes=hidden_layer_sizes)
    frozen = clf.fit(paths, y).decision_function(paths)
    clf.set_params(n_trainable_layers=2, tune_learning_rate=1e-30).fit(paths, y)
    np.testing.assert_allclose(clf.decision_function(paths), frozen, atol=0.1)
    assert set(clf.tuned_layers_) == set(list(load_layers(None, 4))[4:])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (STEADY, {"hidden_layer_sizes": (5,)}, "hidden_layer_sizes"),
        (STEADY, {"hidden_layer_sizes": (8, 5)}, "hidden_layer_sizes"),
        ({}, {"hidden_layer_sizes": (5,)}, "hidden_layer_sizes"),
        (STEADY, {"pool_grid": 1}, "differ from those of fit"),
        (TUNING, {"n_trainable_layers": 1}, "trained other layers"),
        (TUNING, {"n_trainable_layers": 0}, "trained other layers"),
    ],
)
def test_warm_start_raises_on_incompatible_parameters(clf, paths, y, before, after, message):
    clf.set_params(**before | {"max_iter": 1}, warm_start=True).fit(paths, y)
    with pytest.raises(ValueError, match=message):
        clf.set_params(**after).fit(paths, y)
    clf.set_params(warm_start=False).fit(paths, y)


def test_warm_start_holds_out_the_same_patients(clf, paths, y, sides):
    """Scores on patients used in training would be optimistically biased."""
    clf.set_params(**STOPS | {"max_iter": 2}, warm_start=True).fit(paths, y).fit(paths, y)
    (_, first), (_, second) = sides
    assert list(first.X) == list(second.X)


def test_partial_fit_requires_all_classes_first_and_the_same_ones_later(clf, matrix, y):
    clf.set_params(**STEADY)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        clf.partial_fit(matrix, y)
    clf.partial_fit(matrix, y, classes=[1, 0])
    with pytest.raises(ValueError, match="not the same as on last call"):
        clf.partial_fit(matrix, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"classes \[0, 1\], but it also contains \[2\]"):
        clf.partial_fit(matrix, y + 1)
    with pytest.raises(ValueError, match="7 features"):
        clf.partial_fit(matrix[:, :7], y)
    with pytest.raises(ValueError, match="same classes as in the previous call to fit"):
        clf.set_params(warm_start=True).fit(matrix, np.arange(40) % 3)


@pytest.mark.parametrize("head", [{}, STEADY], ids=["probe", "dense"])
def test_calls_of_partial_fit_may_lack_classes(clf, paths, xrays, head):
    kinds = xrays.etiology
    clf.set_params(**head | {"learning_rate_init": 0.01, "random_state": 0}).partial_fit(
        paths, kinds, classes=["virus", "normal", "bacteria"]
    )
    for _ in range(30):
        for kind in ("bacteria", "normal", "virus"):
            some = np.flatnonzero(kinds == kind)
            clf.partial_fit([paths[i] for i in some], kinds[some])
    assert list(clf.classes_) == ["bacteria", "normal", "virus"]
    assert clf.predict_proba(paths).shape == (40, 3)
    assert clf.score(paths, kinds) > 0.6


def test_partial_fit_of_a_probe_converges_to_its_solution(clf, matrix, y):
    solved = clone(clf).fit(matrix, y)
    clf.set_params(random_state=0, learning_rate_init=0.01)
    for _ in range(300):
        clf.partial_fit(matrix, y, classes=[0, 1])
    np.testing.assert_allclose(clf.decision_function(matrix), solved.decision_function(matrix), atol=0.05)


def test_each_partial_fit_is_an_epoch_of_tuning(clf, paths, y):
    clf.set_params(**TUNING, tune_average=1.0)
    losses = []
    for _ in range(4):
        clf.partial_fit(paths, y, classes=[0, 1])
        losses += clf.loss_curve_
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    clf.partial_fit(paths[:8], np.zeros(8, int))  # other images, of one class
    assert clf.predict(paths).shape == (40,)


def test_first_partial_fit_of_tuning_requires_every_class(clf, paths, y):
    with pytest.raises(ValueError, match=r"first call .*every class.*none of 'virus'"):
        clf.set_params(**TUNING).partial_fit(
            paths, np.array(["bacteria", "normal"])[y], classes=["bacteria", "normal", "virus"]
        )


def test_partial_fit_raises_on_early_stopping(clf, matrix, y):
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        clf.set_params(early_stopping=True).partial_fit(matrix, y, classes=[0, 1])


def test_partial_fit_balances_the_classes_of_all_calls(clf, matrix, y):
    clf.set_params(**STEADY, class_weight="balanced").partial_fit(matrix, y, classes=[0, 1])
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:5]]
    other = clone(clf).partial_fit(matrix, y, classes=[0, 1])
    clf.partial_fit(matrix[rare], y[rare])
    counts = np.bincount(y) + np.bincount(y[rare])
    other.set_params(class_weight=dict(enumerate(counts.sum() / (2 * counts)))).partial_fit(matrix[rare], y[rare])
    np.testing.assert_allclose(clf.coefs_[0], other.coefs_[0], atol=1e-6)


@pytest.mark.parametrize("settings", [STEADY, TUNING], ids=["dense", "tuned"])
def test_pickle_excludes_the_optimizer_state_and_can_be_trained_further(clf, paths, y, settings):
    clf.set_params(**settings).partial_fit(paths, y, classes=[0, 1])
    loaded = pickle.loads(pickle.dumps(clf))
    assert set(vars(clf)) - set(vars(loaded)) == {"_before"}
    np.testing.assert_array_equal(loaded.decision_function(paths), clf.decision_function(paths))
    assert not np.array_equal(loaded.partial_fit(paths, y).coefs_[0], clf.coefs_[0])


def test_fit_after_partial_fit_starts_from_scratch(clf, matrix, y):
    fresh = clone(clf).set_params(**STEADY, max_iter=2).fit(matrix, y)
    clf.set_params(**STEADY, max_iter=2).partial_fit(matrix, y, classes=[0, 1]).fit(matrix, y)
    np.testing.assert_array_equal(clf.coefs_[0], fresh.coefs_[0])


def test_partial_fit_supports_class_weight_and_sample_weight(clf, matrix, y):
    clf.set_params(**STEADY, class_weight={0: 1.0, 1: 3.0})
    plain = clone(clf).set_params(class_weight=None)
    clf.partial_fit(matrix, y, classes=[0, 1]).partial_fit(matrix[y == 0], y[y == 0])
    plain.partial_fit(matrix, y, classes=[0, 1], sample_weight=np.where(y == 1, 3.0, 1.0))
    assert not np.array_equal(clf.coefs_[0], plain.coefs_[0])  # class weights do not affect the standardization
    np.testing.assert_array_equal(clone(plain).partial_fit(matrix, y, [0, 1]).feature_mean_, clf.feature_mean_)


def test_continued_fit_raises_if_preprocessing_changed(clf, paths, y):
    clf.set_params(**DENSE).partial_fit(paths, y, classes=[0, 1])
    with pytest.raises(ValueError, match="differ from those of fit"):
        clf.set_params(contrast="equalize").partial_fit(paths, y)
