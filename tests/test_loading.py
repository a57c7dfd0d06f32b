import builtins
import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
from imblearn.over_sampling import RandomOverSampler
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conftest import TINY, write_keras_vgg19
from skpneumo import TRUSTED_TYPES, PneumoniaClassifier, VGG19Features, load_model
from skpneumo.exceptions import ModelFileError
from skpneumo.metrics import sensitivity_at_specificity_scorer
from skpneumo.model_selection import PatientGroupKFold

HEADS = {
    "probe": {},
    "dense": {"hidden_layer_sizes": (4,), "max_iter": 2},
    "tuned": {"n_trainable_layers": 1, "tune_max_iter": 1},
    "weighted": {"class_weight": {0: 1.0, 1: 3.0}, "sampler": "over", "random_state": np.random.RandomState(3)},
    "views": {"n_views": 2, "n_views_predict": 2, "augmentation": {"rotation": 3}},
}
LOSSLESS = {"": 0, ".z": ("zlib", 3), ".gz": ("gzip", 3), ".bz2": ("bz2", 3), ".xz": ("xz", 3), ".lzma": ("lzma", 3)}


@pytest.fixture(name="X")
def rows_of_numbers(random):
    return random.rand(40, 4)


@pytest.fixture
def probe(X, y):
    return PneumoniaClassifier().fit(X, np.array(["normal", "pneumonia"])[y])


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model"


def check_raises(file, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        load_model(file)
    assert str(file) in str(caught.value)
    return caught.value


# Valid files


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_load_model_reads_joblib_files(probe, X, file, suffix):
    joblib.dump(probe, file, compress=LOSSLESS[suffix])
    np.testing.assert_array_equal(load_model(file).predict_proba(X), probe.predict_proba(X))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_load_model_reads_pickles(probe, X, file, protocol):
    file.write_bytes(pickle.dumps(probe, protocol=protocol))
    np.testing.assert_array_equal(load_model(str(file)).predict_proba(X), probe.predict_proba(X))


@pytest.mark.parametrize("head", HEADS)
def test_load_model_reads_skops_files(head, clf, paths, y, file):
    clf.set_params(**HEADS[head]).fit(paths, y)
    skops.io.dump(clf, file)
    for copy in (skops.io.load(file, trusted=TRUSTED_TYPES), load_model(file)):
        np.testing.assert_array_equal(copy.predict_proba(paths), clf.predict_proba(paths))
        assert copy.get_params().keys() == clf.get_params().keys()
        assert copy.training_summary_ == clf.training_summary_


LABELS = {
    "text": np.array(["normal", "pneumonia"]),
    "object": np.array(["normal", "pneumonia"], dtype=object),
    "bool": np.array([False, True]),
    "float": np.array([0.0, 1.0]),
}


@pytest.mark.parametrize("name", LABELS)
def test_skops_keeps_the_type_of_labels(name, X, y, file):
    clf = PneumoniaClassifier().fit(X, LABELS[name][y])
    skops.io.dump(clf, file)
    predicted = load_model(file).predict(X)
    assert predicted.dtype == clf.predict(X).dtype
    np.testing.assert_array_equal(predicted, clf.predict(X))


def test_skops_supports_adapted_copies_and_search_results(X, y, file):
    search = GridSearchCV(PneumoniaClassifier(), {"alpha": [0.1, 1.0]}, cv=2).fit(X, y)
    for clf in (search.best_estimator_, search.best_estimator_.adapt(X + 1, prevalence=0.2)):
        skops.io.dump(clf, file)
        np.testing.assert_array_equal(load_model(file).predict_proba(X), clf.predict_proba(X))


def test_skops_supports_path_parameters(X, y, file, tmp_path):
    clf = PneumoniaClassifier(weights=tmp_path / "weights.npz", memory=tmp_path).fit(X, y)
    skops.io.dump(clf, file)
    assert load_model(file).weights == str(tmp_path / "weights.npz")


def test_skops_file_contains_no_pickle(clf, paths, y, file):
    skops.io.dump(clf.set_params(**HEADS["tuned"]).fit(paths, y), file)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        for name in set(names) - {"schema.json"}:
            np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    assert len(names) > 5


def wrapped(name):
    clf = PneumoniaClassifier()
    return {
        "search": GridSearchCV(clf, {"alpha": [0.1, 1.0]}, cv=2, scoring="roc_auc"),
        "tuned threshold": TunedThresholdClassifierCV(clf, cv=2),
        "threshold by specificity": TunedThresholdClassifierCV(clf, cv=2, scoring=sensitivity_at_specificity_scorer),
        "fixed threshold": FixedThresholdClassifier(clf, threshold=0.3),
        "calibration": CalibratedClassifierCV(clf, cv=2),
        "isotonic calibration": CalibratedClassifierCV(clf, cv=2, method="isotonic"),
        "pipeline": make_pipeline(StandardScaler(), clf),
        "search of a calibration": GridSearchCV(CalibratedClassifierCV(clf, cv=2), {"method": ["sigmoid"]}, cv=2),
    }[name]


WRAPPERS = [
    "search", "tuned threshold", "threshold by specificity", "fixed threshold", "calibration", "isotonic calibration",
    "pipeline", "search of a calibration",
]  # fmt: skip


@pytest.mark.parametrize("dump", [joblib.dump, skops.io.dump], ids=["joblib", "skops"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_load_model_reads_meta_estimators(name, dump, X, y, file):
    model = wrapped(name).fit(X, y)
    dump(model, file)
    copy = load_model(file)
    assert type(copy) is type(model)
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))


def test_load_model_reads_pipelines_with_samplers(X, y, file):
    from imblearn.over_sampling import SMOTE
    from imblearn.pipeline import make_pipeline as make_imblearn_pipeline

    model = make_imblearn_pipeline(SMOTE(k_neighbors=2, random_state=0), PneumoniaClassifier()).fit(X, y)
    skops.io.dump(model, file)
    np.testing.assert_array_equal(load_model(file).predict_proba(X), model.predict_proba(X))


def test_load_model_reads_calibration_with_patient_folds(clf, paths, y, file):
    model = CalibratedClassifierCV(clf, cv=PatientGroupKFold(2)).fit(paths, y)
    skops.io.dump(model, file)
    np.testing.assert_array_equal(load_model(file).predict_proba(paths), model.predict_proba(paths))


@pytest.mark.parametrize("dump", [joblib.dump, skops.io.dump], ids=["joblib", "skops"])
def test_load_model_reads_pipelines_of_features(dump, paths, y, file):
    model = make_pipeline(VGG19Features(**TINY), StandardScaler(), LogisticRegression()).fit(paths, y)
    dump(model, file)
    np.testing.assert_array_equal(load_model(file).predict_proba(paths), model.predict_proba(paths))


def test_load_model_trusts_further_types(X, y, file):
    clf = PneumoniaClassifier(sampler=RandomOverSampler(random_state=0)).fit(X, y)
    skops.io.dump(clf, file)
    types = ["imblearn.over_sampling._random_over_sampler.RandomOverSampler"]
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match=types[0]):
        skops.io.load(file, trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(load_model(file, trusted=types).predict(X), clf.predict(X))


@pytest.mark.parametrize("dump", [joblib.dump, skops.io.dump], ids=["joblib", "skops"])
def test_load_model_restores_bool_keys_and_memory(dump, X, y, file, tmp_path):
    weights = {False: 9.0, True: 1.0}
    clf = PneumoniaClassifier(class_weight=weights, memory=joblib.Memory(str(tmp_path), verbose=0)).fit(X, y > 0)
    dump(clf, file)
    loaded = load_model(file)
    assert loaded.class_weight == weights
    assert list(loaded.class_weight) == [False, True]
    assert loaded.memory == str(tmp_path)
    np.testing.assert_array_equal(loaded.fit(X, y > 0).predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("path", [None, 3, b"model.joblib", io.BytesIO(b"x")])
def test_load_model_raises_if_path_is_not_a_path(path):
    with pytest.raises(TypeError, match=f"path must be a str or a path, but got {type(path).__name__}"):
        load_model(path)


def test_load_model_raises_if_trusted_is_a_str(file):
    with pytest.raises(TypeError, match="trusted must be a list of names"):
        load_model(file, trusted="a.b")


# Invalid files


def test_load_model_raises_on_missing_file_folder_and_empty_file(tmp_path, file):
    check_raises(file, "no such file")
    check_raises(tmp_path, "got a folder")
    file.touch()
    check_raises(file, "file is empty")


def jpeg(file):
    Image.new("L", (8, 8)).save(file, format="JPEG")


def text(file):
    file.write_text("label,path\n1,a.png\n")


def arrays(file):
    with open(file, "wb") as opened:
        np.savez(opened, a=np.arange(3))


def keras_file(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.weights.h5", b"")


OTHER_KINDS = {
    "a JPEG image": jpeg,
    "of another kind, or damaged": text,
    "NumPy arrays": arrays,
    "a Keras model": keras_file,
    "an HDF5 file": write_keras_vgg19,
    "a NumPy array": lambda file: file.write_bytes(b"\x93NUMPY\x01\x00"),
    "an object of type dict": lambda file: joblib.dump({"a": 1}, file),
    "an object of type LogisticRegression": lambda file: joblib.dump(LogisticRegression(), file),
    "that is not fitted": lambda file: joblib.dump(PneumoniaClassifier(), file),
    "inside an object of type dict": lambda file: joblib.dump({"model": PneumoniaClassifier()}, file),
    "with predict_proba": lambda file: joblib.dump(make_pipeline(VGG19Features(**TINY)).fit(["a.png"]), file),
    "of type list": lambda file: skops.io.dump([1, 2], file),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_load_model_raises_on_files_of_another_kind(kind, file):
    OTHER_KINDS[kind](file)
    check_raises(file, kind)


def test_load_model_does_not_unpickle_files_named_skops(probe, tmp_path):
    joblib.dump(probe, tmp_path / "model.skops")
    check_raises(tmp_path / "model.skops", "is not a skops file")


@pytest.mark.parametrize("kind", ["joblib", "compressed", "skops"])
def test_load_model_raises_on_truncated_file(kind, probe, file):
    data = written(kind, probe, file)
    for length in np.linspace(1, len(data) - 1, 60).astype(int):
        file.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            load_model(file)


@pytest.mark.parametrize("kind", ["joblib", "compressed", "skops"])
def test_damaged_file_raises_or_predicts_the_same(kind, probe, X, file, random):
    data, expected, n_refused = written(kind, probe, file), probe.predict_proba(X), 0
    for position in random.permutation(len(data))[:150]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << random.randint(8)
        file.write_bytes(damaged)
        try:
            copy = load_model(file)
        except ModelFileError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(copy.predict_proba(X), expected)
            assert copy.get_params() == probe.get_params()
    assert n_refused > 100


@pytest.mark.parametrize("kind", ["compressed", "skops"])
def test_damaged_meta_estimator_raises_or_predicts_the_same(kind, X, y, file, random):
    model = TunedThresholdClassifierCV(PneumoniaClassifier(), cv=2).fit(X, y)
    data, expected, n_refused = written(kind, model, file), model.predict(X), 0
    for position in random.permutation(len(data))[:100]:
        damaged = bytearray(data)
        damaged[position] ^= 1 << random.randint(8)
        file.write_bytes(damaged)
        try:
            np.testing.assert_array_equal(load_model(file).predict(X), expected)
        except ModelFileError:
            n_refused += 1
    assert n_refused > 70


def written(kind, clf, file):
    if kind == "skops":
        skops.io.dump(clf, file, compression=zipfile.ZIP_DEFLATED)
    else:
        joblib.dump(clf, file, compress=3 if kind == "compressed" else 0)
    return file.read_bytes()


def test_joblib_load_detects_a_changed_number(probe, file):
    joblib.dump(probe, file)
    data, number = file.read_bytes(), probe.coefs_[0].tobytes()[:6]
    assert data.count(number) == 1
    file.write_bytes(data.replace(number, number[::-1]))
    with pytest.raises(ModelFileError, match="content differs from what was saved"):
        joblib.load(file)
    check_raises(file, "content differs from what was saved")


def test_load_model_detects_a_changed_label_in_a_skops_file(probe, tmp_path):
    probe.classes_ = probe.classes_.astype(object)
    skops.io.dump(probe, tmp_path / "model.skops")
    with zipfile.ZipFile(tmp_path / "model.skops") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.dumps(json.loads(members["schema.json"])).replace('\\"normal\\"', '\\"abnormal\\"')
    with zipfile.ZipFile(tmp_path / "other.skops", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, schema if name == "schema.json" else data)
    check_raises(tmp_path / "other.skops", "content differs from what was saved")


def test_load_model_raises_on_later_format(probe, file):
    state = probe.__getstate__()
    state["_file"] = {"format": 99, "skpneumo": "9.9"}
    file.write_bytes(pickle.dumps(Written(state)))
    check_raises(file, r"install skpneumo 9\.9 or later")


class Written:
    """Object that is pickled as a model with a given state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        return object.__new__, (PneumoniaClassifier,), self.state


def test_load_model_raises_on_missing_package(file, tmp_path):
    (tmp_path / "elsewhere.py").write_text("class Model:\n    pass\n")
    code = "import elsewhere, pickle, sys; pickle.dump(elsewhere.Model(), open(sys.argv[1], 'wb'))"
    subprocess.run([sys.executable, "-c", code, str(file)], cwd=tmp_path, check=True)
    check_raises(file, "needs the module 'elsewhere', which is not installed")


def test_load_model_raises_if_skops_is_not_installed(probe, file, monkeypatch):
    skops.io.dump(probe, file)
    import_as_before = builtins.__import__

    def without_skops(name, *arguments, **keywords):
        if name.startswith("skops"):
            raise ImportError(name)
        return import_as_before(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_skops)
    check_raises(file, r"pip install 'skpneumo\[skops\]'")


def test_load_model_raises_model_file_error_without_permission(file, monkeypatch):
    def locked(*arguments, **keywords):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(builtins, "open", locked)
    check_raises(file, "cannot be read: PermissionError: Permission denied")


def test_version_warning_turned_into_error_is_not_wrapped(probe, file, monkeypatch):
    import sklearn
    from sklearn.exceptions import InconsistentVersionWarning

    joblib.dump(probe, file)
    monkeypatch.setattr(sklearn, "__version__", "99.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InconsistentVersionWarning):
            load_model(file)


def test_trusted_types_exist_in_this_package():
    import importlib

    for name in TRUSTED_TYPES:
        module, _, attribute = name.rpartition(".")
        assert module.startswith("skpneumo.")
        assert hasattr(importlib.import_module(module), attribute)
