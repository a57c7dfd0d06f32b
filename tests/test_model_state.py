import copy
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path, PurePosixPath

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

from conftest import TINY
from skpneumo import PneumoniaClassifier, _model_state
from skpneumo._images import decoding
from skpneumo._model_state import FORMAT, checksum, from_saved_state, to_saved_state
from skpneumo.exceptions import ModelFileError

HEADS = {
    "probe": {},
    "dense": {"hidden_layer_sizes": (4,), "max_iter": 2},
    "tuned": {"n_trainable_layers": 1, "tune_max_iter": 1},
}


@pytest.fixture(name="X")
def rows_of_numbers(random):
    return random.rand(40, 3)


@pytest.fixture
def probe(X, y):
    return PneumoniaClassifier().fit(X, y)


def changed(clf, change):
    """Pickle a model whose state is changed after it was to_saved_state, and return what is read."""
    state = clf.__getstate__()
    change(state)
    copy = type(clf).__new__(type(clf))
    copy.__setstate__(pickle.loads(pickle.dumps(state)))
    return copy


# Versions


def test_a_fit_notes_the_versions_it_was_made_with(probe):
    assert {"skpneumo", "scikit-learn", "keras", "numpy", "pillow", "python"} <= set(probe.versions_)
    assert probe.versions_["scikit-learn"] == sklearn.__version__
    assert probe.versions_["preprocessing"] == str(decoding.VERSION)
    assert all(type(version) is str for version in probe.versions_.values())


def test_the_framework_is_the_one_that_keras_is_set_to(monkeypatch):
    monkeypatch.setattr(_model_state, "backend_name", lambda: "torch")
    monkeypatch.setattr(_model_state, "_installed", lambda *names: "2.2")
    assert _model_state.versions()["torch"] == "2.2"
    assert "tensorflow" not in _model_state.versions()


def test_a_package_that_is_not_installed_has_no_version():
    assert _model_state._installed("no-such-package-of-this-name") is None


def test_another_version_of_scikit_learn_is_warned_of_in_its_own_words(probe, monkeypatch):
    data = pickle.dumps(probe)
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match="99.0") as caught:
        pickle.loads(data)
    assert caught[0].message.original_sklearn_version == probe.versions_["scikit-learn"]
    assert caught[0].message.estimator_name == "PneumoniaClassifier"


def test_joblib_warns_of_another_version_too(probe, monkeypatch, tmp_path):
    joblib.dump(probe, tmp_path / "model.joblib")
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match="99.0"):
        joblib.load(tmp_path / "model.joblib")


def test_the_same_version_is_silent_and_so_are_clones_and_copies(probe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for twin in (pickle.loads(pickle.dumps(probe)), clone(probe), copy.copy(probe), copy.deepcopy(probe)):
            assert twin.get_params() == probe.get_params()


def test_a_later_format_says_what_to_install(probe):
    def change(state):
        state["_file"] |= {"format": FORMAT + 1, "skpneumo": "7.5"}

    with pytest.raises(ModelFileError, match=r"written by skpneumo 7\.5.*install at least skpneumo 7\.5"):
        changed(probe, change)


def test_images_are_refused_where_they_would_be_prepared_in_another_way(clf, paths, y, matrix, monkeypatch):
    clf.fit(paths, y)
    expected = clf.predict_proba(matrix)
    then = decoding.VERSION
    monkeypatch.setattr(decoding, "VERSION", 99)
    for ask in (clf.predict, lambda X: clf.partial_fit(X, y)):
        with pytest.raises(ValueError, match=rf"version {then} of the preprocessing.*skpneumo .* has version 99"):
            ask(paths)
    np.testing.assert_array_equal(clf.predict_proba(matrix), expected)


def test_a_model_without_a_format_is_refused(probe):
    with pytest.raises(ModelFileError, match="does not say in which format it was written"):
        changed(probe, lambda state: state.pop("_file"))


def test_a_model_that_is_not_fitted_is_copied_without_attributes():
    assert not [name for name in vars(pickle.loads(pickle.dumps(PneumoniaClassifier()))) if name.endswith("_")]


# Checksum


@pytest.mark.parametrize("head", HEADS)
def test_any_other_value_in_any_attribute_is_damage(head, clf, paths, y):
    clf.set_params(**HEADS[head], random_state=0).fit(paths, y)

    def change(state, name):
        value = state[name]
        arrays = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        array = next(array for array in arrays if isinstance(array, np.ndarray))
        array.reshape(-1).view(np.uint8)[-1] ^= 1

    names = [
        "coefs_", "intercepts_", "feature_mean_", "feature_scale_", "prior_shift_", "reference_", "seen_", "classes_"
    ]  # fmt: skip
    for name in names + ["tuned_layers_"] * (head == "tuned"):
        state = pickle.loads(pickle.dumps(clf.__getstate__()))
        change(state, name)
        with pytest.raises(ModelFileError, match="damaged"):
            from_saved_state(state, "PneumoniaClassifier")


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_views_predict", 2), ("contrast", "equalize"), ("backbone_fingerprint_", "00"), ("n_iter_", 1.5), ("more", 1)],
)
def test_another_parameter_is_damage_too(probe, name, value):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.update({name: value}))


def test_a_missing_attribute_is_damage(probe):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.pop("prior_shift_"))


@pytest.mark.parametrize("about", [None, {}, {"format": "1"}, {"format": 1}])
def test_what_is_no_description_of_a_file_is_damage(probe, about):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.update(_file=about))


ALIKE = {
    "byte order": (np.arange(3, dtype="<f4"), np.arange(3, dtype=">f4")),
    "memory layout": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "stride": (np.arange(6)[::2], np.array([0, 2, 4])),
    "order of names": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "numbers of numpy": ([1, 0.5, True], [np.int32(1), np.float32(0.5), np.bool_(True)]),
    "kinds of list": ((1, 2), [1, 2]),
    "kinds of text": (np.array(["a", "bc"]), np.array(["a", "bc"], dtype=object)),
    "nan": (float("nan"), np.nan),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_holds_the_same_has_the_same_checksum(name):
    one, other = ALIKE[name]
    assert checksum(one) == checksum(other)


OTHERS = {
    "values": (np.arange(3), np.arange(1, 4)),
    "types": (np.zeros(2, np.float32), np.zeros(1, np.float64)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "nothing": (np.zeros((0, 2)), np.zeros((0, 3))),
    "signs": (0.0, -0.0),
    "text and number": ("1", 1),
    "text and bytes": ("1", b"1"),
    "bool and number": (True, 1),
    "None and text": (None, "None"),
    "nesting": ([[1], 2], [1, [2]]),
    "borders": (["ab", "c"], ["a", "bc"]),
    "names": ({"a": 1}, {"b": 1}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_holds_something_else_has_another_checksum(name):
    one, other = OTHERS[name]
    assert checksum(one) != checksum(other)


def test_the_checksum_is_this_one_for_ever():
    value = {"a": np.arange(3, dtype=np.float16), "b": ["é", None, True, 1, 0.5, (np.array(["x"]),)]}
    assert checksum(value) == "5d72a0a908524b75a71891f22a54ff73"


# What is saved


def test_equal_fits_pickle_equally(paths, y, tmp_path):
    def fit(folder):
        return PneumoniaClassifier(**TINY, class_weight="balanced", memory=folder).fit(paths, y)

    cold, warm = fit(str(tmp_path)), fit(str(tmp_path))
    assert pickle.dumps(cold) == pickle.dumps(warm)
    assert joblib.hash(cold) == joblib.hash(warm)


def test_saving_changes_nothing_on_the_model(probe):
    before = dict(vars(probe))
    pickle.dumps(probe)
    assert vars(probe) == before


def test_paths_are_saved_as_text_which_every_platform_reads():
    state = to_saved_state({"weights": PurePosixPath("a/b.npz"), "memory": Path("c")})
    assert (state["weights"], state["memory"]) == ("a/b.npz", "c")


def test_a_fitted_model_is_saved_without_callbacks_and_an_unfitted_one_with_them():
    assert "_skl_callbacks" in to_saved_state({"_skl_callbacks": []})
    assert "_skl_callbacks" not in to_saved_state({"_skl_callbacks": [], "coefs_": []})


def test_a_model_of_default_size_grows_little_by_what_it_says_of_itself(random, y):
    clf = PneumoniaClassifier().fit(random.rand(40, 8192).astype(np.float32), y)
    n_bytes = len(pickle.dumps(clf))
    for name in ("versions_", "training_summary_"):
        delattr(clf, name)
    assert n_bytes - len(pickle.dumps(clf)) < 1_000


# What a fit leaves


def test_the_threshold_is_the_probability_above_which_predict_calls(paths, y, clf):
    clf.set_params(class_weight={0: 1, 1: 5}).fit(paths, y)
    assert clf.threshold_ != 0.5
    np.testing.assert_array_equal(clf.predict_proba(paths)[:, 1] > clf.threshold_, clf.predict(paths) == 1)


def test_the_threshold_is_a_half_where_nothing_moves_probabilities(probe):
    assert probe.threshold_ == 0.5


def test_the_threshold_moves_with_a_stated_prevalence(probe, X):
    adapted = probe.adapt(X, prevalence=0.1)
    assert adapted.threshold_ < 0.5
    np.testing.assert_array_equal(adapted.predict_proba(X)[:, 1] > adapted.threshold_, adapted.predict(X) == 1)


def test_more_than_two_classes_have_no_threshold(X):
    assert PneumoniaClassifier().fit(X, np.arange(40) % 3).threshold_ is None


def test_there_is_no_threshold_before_a_fit():
    assert not hasattr(PneumoniaClassifier(), "threshold_")


def test_the_summary_counts_images_and_patients_by_class(clf, xrays, paths, y):
    clf.set_params(n_views=2).fit(paths, y)
    summary, patients = clf.training_summary_, np.asarray(xrays.groups)
    assert summary["kind"] == "images"
    assert summary["n_images"] == 40
    assert summary["n_images_by_class"] == np.bincount(y).tolist()
    assert summary["n_patients"] == len(set(patients))
    assert summary["n_patients_by_class"] == [len(set(patients[y == code])) for code in (0, 1)]
    assert (summary["n_views"], summary["total_weight"], summary["n_calls"]) == (2, None, 1)


def test_the_summary_of_features_knows_no_patients_unless_they_are_named(probe, X, y):
    assert probe.training_summary_["kind"] == "features"
    assert probe.training_summary_["n_patients"] is None
    named = PneumoniaClassifier().fit(X, y, groups=np.arange(40) // 2)
    assert named.training_summary_["n_patients"] == 20


def test_the_summary_tells_weights_and_held_out_images_and_calls(X, y):
    clf = PneumoniaClassifier(**HEADS["dense"], early_stopping=True, validation_fraction=0.25, random_state=0)
    summary = clf.fit(X, y, sample_weight=np.full(40, 0.5)).training_summary_
    assert summary["total_weight"] == 20
    assert summary["n_held_out"] == 10
    clf = PneumoniaClassifier().partial_fit(X, y, classes=[0, 1]).partial_fit(X[:10], y[:10])
    assert (clf.training_summary_["n_calls"], clf.training_summary_["n_images"]) == (2, 10)


def test_keras_is_not_loaded_to_learn_what_it_is_set_to(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = """
    import sys
    from skpneumo._keras import backend_name
    print(backend_name(), "keras" in sys.modules)
    """
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    said = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=environment | {"KERAS_HOME": str(tmp_path)} | more,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for more in ({}, {"KERAS_BACKEND": "torch"}, {"KERAS_HOME": str(tmp_path / "nowhere")})
    ]
    assert said == [["jax", "False"], ["torch", "False"], ["tensorflow", "False"]]
