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

from conftest import QUICK
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
    """Change the saved state of a model, and return the model restored from it."""
    state = clf.__getstate__()
    change(state)
    copy = type(clf).__new__(type(clf))
    copy.__setstate__(pickle.loads(pickle.dumps(state)))
    return copy


# Versions


def test_fit_stores_versions(probe):
    assert {"skpneumo", "scikit-learn", "keras", "numpy", "pillow", "python"} <= set(probe.versions_)
    assert probe.versions_["scikit-learn"] == sklearn.__version__
    assert probe.versions_["preprocessing"] == str(decoding.VERSION)
    assert all(type(version) is str for version in probe.versions_.values())


def test_versions_contain_the_keras_backend(monkeypatch):
    monkeypatch.setattr(_model_state, "backend_name", lambda: "torch")
    monkeypatch.setattr(_model_state, "_installed", lambda *names: "2.2")
    assert _model_state.versions()["torch"] == "2.2"
    assert "tensorflow" not in _model_state.versions()


def test_missing_package_has_no_version():
    assert _model_state._installed("no-such-package-of-this-name") is None


def test_unpickling_warns_on_other_scikit_learn_version(probe, monkeypatch):
    data = pickle.dumps(probe)
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match="99.0") as caught:
        pickle.loads(data)
    assert caught[0].message.original_sklearn_version == probe.versions_["scikit-learn"]
    assert caught[0].message.estimator_name == "PneumoniaClassifier"


def test_joblib_load_warns_on_other_scikit_learn_version(probe, monkeypatch, tmp_path):
    joblib.dump(probe, tmp_path / "model.joblib")
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    with pytest.warns(InconsistentVersionWarning, match="99.0"):
        joblib.load(tmp_path / "model.joblib")


def test_copies_do_not_warn_with_the_same_version(probe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for twin in (pickle.loads(pickle.dumps(probe)), clone(probe), copy.copy(probe), copy.deepcopy(probe)):
            assert twin.get_params() == probe.get_params()


def test_later_format_raises(probe):
    def change(state):
        state["_file"] |= {"format": FORMAT + 1, "skpneumo": "7.5"}

    with pytest.raises(ModelFileError, match=r"written by skpneumo 7\.5.*install skpneumo 7\.5 or later"):
        changed(probe, change)


def test_predict_raises_if_the_preprocessing_version_differs(clf, paths, y, matrix, monkeypatch):
    clf.fit(paths, y)
    expected = clf.predict_proba(matrix)
    then = decoding.VERSION
    monkeypatch.setattr(decoding, "VERSION", 99)
    for method in (clf.predict, lambda X: clf.partial_fit(X, y)):
        with pytest.raises(ValueError, match=rf"version {then} of the image preprocessing.*skpneumo .* has version 99"):
            method(paths)
    np.testing.assert_array_equal(clf.predict_proba(matrix), expected)


def test_missing_format_raises(probe):
    with pytest.raises(ModelFileError, match="has no format number"):
        changed(probe, lambda state: state.pop("_file"))


def test_unfitted_copy_has_no_fitted_attributes():
    assert not [name for name in vars(pickle.loads(pickle.dumps(PneumoniaClassifier()))) if name.endswith("_")]


# Checksum


@pytest.mark.parametrize("head", HEADS)
def test_changed_attribute_raises(head, clf, paths, y):
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
def test_changed_parameter_raises(probe, name, value):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.update({name: value}))


def test_missing_attribute_raises(probe):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.pop("prior_shift_"))


@pytest.mark.parametrize("about", [None, {}, {"format": "1"}, {"format": 1}])
def test_invalid_header_raises(probe, about):
    with pytest.raises(ModelFileError, match="damaged"):
        changed(probe, lambda state: state.update(_file=about))


EQUAL = {
    "byte order": (np.arange(3, dtype="<f4"), np.arange(3, dtype=">f4")),
    "memory layout": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "stride": (np.arange(6)[::2], np.array([0, 2, 4])),
    "order of names": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "numbers of numpy": ([1, 0.5, True], [np.int32(1), np.float32(0.5), np.bool_(True)]),
    "kinds of list": ((1, 2), [1, 2]),
    "kinds of text": (np.array(["a", "bc"]), np.array(["a", "bc"], dtype=object)),
    "nan": (float("nan"), np.nan),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_values_have_equal_checksums(name):
    one, other = EQUAL[name]
    assert checksum(one) == checksum(other)


DIFFERENT = {
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


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_values_have_different_checksums(name):
    one, other = DIFFERENT[name]
    assert checksum(one) != checksum(other)


def test_checksum_is_stable_across_versions():
    value = {"a": np.arange(3, dtype=np.float16), "b": ["é", None, True, 1, 0.5, (np.array(["x"]),)]}
    assert checksum(value) == "5d72a0a908524b75a71891f22a54ff73"


# Saved state


def test_equal_fits_have_equal_pickles(paths, y, tmp_path):
    def fit(folder):
        return PneumoniaClassifier(**QUICK, class_weight="balanced", memory=folder).fit(paths, y)

    cold, warm = fit(str(tmp_path)), fit(str(tmp_path))
    assert pickle.dumps(cold) == pickle.dumps(warm)
    assert joblib.hash(cold) == joblib.hash(warm)


def test_pickling_does_not_change_the_model(probe):
    before = dict(vars(probe))
    pickle.dumps(probe)
    assert vars(probe) == before


def test_paths_are_saved_as_str():
    state = to_saved_state({"weights": PurePosixPath("a/b.npz"), "memory": Path("c")})
    assert (state["weights"], state["memory"]) == ("a/b.npz", "c")


def test_callbacks_are_saved_only_if_not_fitted():
    assert "_skl_callbacks" in to_saved_state({"_skl_callbacks": []})
    assert "_skl_callbacks" not in to_saved_state({"_skl_callbacks": [], "coefs_": []})


def test_versions_and_summary_take_less_than_1_kb(random, y):
    clf = PneumoniaClassifier().fit(random.rand(40, 8192).astype(np.float32), y)
    n_bytes = len(pickle.dumps(clf))
    for name in ("versions_", "training_summary_"):
        delattr(clf, name)
    assert n_bytes - len(pickle.dumps(clf)) < 1_000


# Threshold and summary


def test_threshold_matches_predict(paths, y, clf):
    clf.set_params(class_weight={0: 1, 1: 5}).fit(paths, y)
    assert clf.threshold_ != 0.5
    np.testing.assert_array_equal(clf.predict_proba(paths)[:, 1] > clf.threshold_, clf.predict(paths) == 1)


def test_threshold_is_0_5_without_correction(probe):
    assert probe.threshold_ == 0.5


def test_threshold_follows_the_prevalence_of_adapt(probe, X):
    adapted = probe.adapt(X, prevalence=0.1)
    assert adapted.threshold_ < 0.5
    np.testing.assert_array_equal(adapted.predict_proba(X)[:, 1] > adapted.threshold_, adapted.predict(X) == 1)


def test_threshold_is_none_for_more_than_two_classes(X):
    assert PneumoniaClassifier().fit(X, np.arange(40) % 3).threshold_ is None


def test_unfitted_model_has_no_threshold():
    assert not hasattr(PneumoniaClassifier(), "threshold_")


def test_summary_counts_images_and_patients_by_class(clf, xrays, paths, y):
    clf.set_params(n_views=2).fit(paths, y)
    summary, patients = clf.training_summary_, np.asarray(xrays.groups)
    assert summary["kind"] == "images"
    assert summary["n_images"] == 40
    assert summary["n_images_by_class"] == np.bincount(y).tolist()
    assert summary["n_patients"] == len(set(patients))
    assert summary["n_patients_by_class"] == [len(set(patients[y == code])) for code in (0, 1)]
    assert (summary["n_views"], summary["total_weight"], summary["n_calls"]) == (2, None, 1)


def test_summary_of_features_counts_patients_only_with_groups(probe, X, y):
    assert probe.training_summary_["kind"] == "features"
    assert probe.training_summary_["n_patients"] is None
    named = PneumoniaClassifier().fit(X, y, groups=np.arange(40) // 2)
    assert named.training_summary_["n_patients"] == 20


def test_summary_contains_total_weight_held_out_images_and_calls(X, y):
    clf = PneumoniaClassifier(**HEADS["dense"], early_stopping=True, validation_fraction=0.25, random_state=0)
    summary = clf.fit(X, y, sample_weight=np.full(40, 0.5)).training_summary_
    assert summary["total_weight"] == 20
    assert summary["n_held_out"] == 10
    clf = PneumoniaClassifier().partial_fit(X, y, classes=[0, 1]).partial_fit(X[:10], y[:10])
    assert (clf.training_summary_["n_calls"], clf.training_summary_["n_images"]) == (2, 10)


def test_backend_name_does_not_import_keras(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = """
    import sys
    from skpneumo._keras import backend_name
    print(backend_name(), "keras" in sys.modules)
    """
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=environment | {"KERAS_HOME": str(tmp_path)} | more,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for more in ({}, {"KERAS_BACKEND": "torch"}, {"KERAS_HOME": str(tmp_path / "nowhere")})
    ]
    assert outputs == [["jax", "False"], ["torch", "False"], ["tensorflow", "False"]]
