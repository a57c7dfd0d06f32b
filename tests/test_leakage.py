import pickle
import shutil
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay, get_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from conftest import QUICK, STOPS, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._leakage import find_seen, models_within, names_of, remember, warn_of_seen
from skpneumo.datasets import make_chest_xrays
from skpneumo.exceptions import LeakageWarning
from skpneumo.model_selection import PatientGroupKFold, patient_ids

CONTENTS = [bytes([i]) * 20 for i in range(6)]


@pytest.fixture
def split(paths, y):
    """Split the images into training and test indices without shared patients."""
    return next(PatientGroupKFold(2).split(paths, y))


@pytest.fixture
def fitted(clf, paths, y, split):
    train = split[0]
    return clf.fit([paths[i] for i in train], y[train])


def seen_in_training(clf, X):
    return find_seen(clf.seen_, clf._contents(X), names_of(X, None, len(X)))


def silent(estimator, X, groups=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_seen(estimator, X, groups)
    return True


def test_find_seen_finds_only_seen_images_and_patients():
    seen = remember(CONTENTS[:3], ["ann", "bob"])
    known = find_seen(seen, dict(enumerate(CONTENTS)), [{"ann"}, set(), {"eve"}, {"eve", "bob"}, set(), set()])
    assert known.tolist() == [
        [True, True], [True, False], [True, False], [False, True], [False, False], [False, False],
    ]  # fmt: skip


def test_unreadable_images_are_not_found():
    assert not find_seen(remember(CONTENTS, []), {}, [set()] * 3).any()


def test_remember_adds_later_calls_with_the_same_salt():
    first = remember(CONTENTS[:2], ["ann"])
    both = remember(CONTENTS[2:4], ["bob"], first)
    assert find_seen(both, dict(enumerate(CONTENTS)), [{"ann"}, {"bob"}, *[set()] * 4]).sum(axis=0).tolist() == [4, 2]
    np.testing.assert_array_equal(both["salt"], first["salt"])


def test_salt_depends_on_the_images():
    one, other = (remember(contents, ["ann"])["patients"] for contents in (CONTENTS[:1], CONTENTS[1:2]))
    assert one != other


def test_patients_are_read_from_file_names_and_groups():
    names = names_of(["a/person1_virus_2.jpeg", "scan.png"], np.array([7, 8]), 2)
    assert names == [{"person1_virus", "7"}, {"8"}]


def test_model_contains_no_patient_names_and_only_short_digests(fitted, paths, split):
    saved = pickle.dumps(fitted)
    for patient in set(patient_ids([paths[i] for i in split[0]])):
        assert patient.encode() not in saved
    assert {name: (array.dtype.kind, array.itemsize) for name, array in fitted.seen_.items()} == {
        "images": ("u", 8), "patients": ("u", 8), "salt": ("u", 1),
    }  # fmt: skip


def test_equal_fits_have_equal_digests(fitted, paths, y, split):
    again = clone(fitted).fit([paths[i] for i in split[0]], y[split[0]])
    assert joblib.hash(again.seen_) == joblib.hash(fitted.seen_)


def test_score_does_not_warn_for_new_patients(fitted, paths, y, split):
    test = split[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = fitted.score([paths[i] for i in test], y[test])
    assert score == np.mean(fitted.predict([paths[i] for i in test]) == y[test])


def test_score_warns_for_training_images(fitted, paths, y, split):
    train, test = split
    mixed = [paths[i] for i in (*test[:3], *train[:2])]
    with pytest.warns(
        LeakageWarning, match=r"^2 of 5 images are in the training set, and 2 of 5 .* training set \(X\[3\], X\[4\]\)"
    ):
        fitted.score(mixed, y[[*test[:3], *train[:2]]])


@pytest.mark.parametrize("memory", ["auto", None])
def test_renamed_image_is_found_by_its_content(fitted, paths, split, tmp_path, memory):
    copy = tmp_path / "renamed.png"
    shutil.copy(paths[split[0][0]], copy)
    with pytest.warns(LeakageWarning, match=r"^1 of 1 images are .* and 0 of 1 images are .* \(X\[0\]\)"):
        warn_of_seen(fitted.set_params(memory=memory), [copy])


def test_patient_is_found_by_another_image(fitted, paths, split, tmp_path):
    other = tmp_path / f"{patient_ids([paths[split[0][0]]])[0]}_999.png"
    shutil.copy(paths[split[1][0]], other)
    with pytest.warns(LeakageWarning, match="^0 of 1 images are .* and 1 of 1 images are"):
        warn_of_seen(fitted, [other])


def test_patient_is_found_by_group(clf, paths, y, split):
    train, test = split
    clf.fit([paths[i] for i in train], y[train], groups=[f"patient {i}" for i in train])
    X = [paths[i] for i in test]
    assert silent(clf, X, groups=[f"patient {i}" for i in test])
    with pytest.warns(LeakageWarning, match=f"and 1 of {len(test)} images are of patients"):
        warn_of_seen(clf, X, groups=[f"patient {train[0]}", *[f"patient {i}" for i in test[1:]]])


def test_groups_take_precedence_over_file_names(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(train, y[split[0]], groups=[f"a{i}" for i in range(len(train))])
    assert silent(clf, test, groups=[f"b{i}" for i in range(len(test))])


@pytest.mark.parametrize("as_later", [float, np.int64, "Int64"])
def test_patient_is_found_for_any_integer_type_of_groups(clf, paths, y, split, as_later):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(train, y[split[0]], groups=list(range(len(train))))
    with pytest.warns(LeakageWarning, match=f"and {len(test)} of {len(test)} images are of patients"):
        warn_of_seen(clf, test, groups=pd.Series(range(len(test))).astype(as_later))


def test_features_are_found_row_by_row(matrix, y):
    clf = PneumoniaClassifier().fit(matrix[:20], y[:20], groups=np.arange(20))
    assert silent(clf, matrix[20:])
    for X in (matrix[18:24], matrix[18:24].astype(float), pd.DataFrame(matrix[18:24])):
        with pytest.warns(LeakageWarning, match="^2 of 6 images are .* and 0 of 6 images are"):
            warn_of_seen(clf, X)
    with pytest.warns(LeakageWarning, match="^20 of 20 images are .* and 20 of 20 images are"):
        warn_of_seen(clf, matrix[:20], groups=np.arange(20))


@pytest.mark.parametrize(
    "X",
    [pd.DataFrame({"path": ["a.png", "b.png"], "age": [1, 2]}), csr_array(np.eye(2)), [["a", "b"], ["c", "d"]], "ab"],
)
def test_unsupported_input_does_not_raise(clf, paths, y, X):
    assert silent(clf.fit(paths, y), X)


def test_unfitted_estimator_inside_a_search_is_ignored(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(test, y[split[1]])
    search = GridSearchCV(clf, {"alpha": [0.1]}, cv=PatientGroupKFold(2)).fit(train, y[split[0]])
    assert silent(search, test)


def test_held_out_patients_count_as_training_patients(paths, y, split):
    parameters = {"hidden_layer_sizes": (4,), "max_iter": 2, "early_stopping": True, "validation_fraction": 0.3}
    train, test = ([paths[i] for i in side] for side in split)
    clf = PneumoniaClassifier(**TINY, **parameters, n_views=2, random_state=0).fit(train, y[split[0]])
    assert seen_in_training(clf, train).all()
    assert not seen_in_training(clf, test).any()


def test_partial_fit_remembers_images_of_all_calls(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    for part in (slice(0, 8), slice(8, None)):
        clf.partial_fit(train[part], y[split[0]][part], classes=[0, 1])
    assert seen_in_training(clf, train).all()
    assert not seen_in_training(clf, test).any()


def test_fine_tuned_models_remember_images(paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf = PneumoniaClassifier(**TINY, n_trainable_layers=1, tune_max_iter=1, n_views=2).fit(train, y[split[0]])
    assert seen_in_training(clf, train).all()
    assert not seen_in_training(clf, test).any()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf: make_pipeline(FunctionTransformer(), clf),
        lambda clf: CalibratedClassifierCV(clf, cv=PatientGroupKFold(2)),
        lambda clf: CalibratedClassifierCV(FrozenEstimator(clf), cv=KFold(2)),
        lambda clf: FixedThresholdClassifier(clf, threshold=0.3),
        lambda clf: GridSearchCV(clf, {"alpha": [0.1, 1.0]}, cv=PatientGroupKFold(2), scoring="roc_auc"),
    ],
    ids=["pipeline", "calibrated", "calibrated, frozen", "threshold", "search"],
)
def test_models_are_found_inside_meta_estimators(wrap, fitted, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    wrapped = wrap(fitted).fit(train, y[split[0]])
    assert len(models_within(wrapped)) >= 1
    assert silent(wrapped, test)
    with pytest.warns(LeakageWarning, match=f"^{len(train)} of {len(train)} images"):
        warn_of_seen(wrapped, train)


ALPHAS = {"alpha": [0.1, 1.0]}
BY_IMAGE, BY_PATIENT = KFold(2, shuffle=True, random_state=0), PatientGroupKFold(2)
EVALUATIONS = {
    "cross_val_score": lambda clf, X, y, cv: cross_val_score(clf, X, y, cv=cv),
    "cross_val_score, roc_auc": lambda clf, X, y, cv: cross_val_score(clf, X, y, cv=cv, scoring="roc_auc"),
    "cross_validate": lambda clf, X, y, cv: cross_validate(clf, X, y, cv=cv, return_train_score=True),
    "cross_val_predict": lambda clf, X, y, cv: cross_val_predict(clf, X, y, cv=cv),
    "learning_curve": lambda clf, X, y, cv: learning_curve(clf, X, y, cv=cv, train_sizes=[0.9, 1.0]),
    "validation_curve": lambda clf, X, y, cv: validation_curve(
        clf, X, y, param_name="alpha", param_range=ALPHAS["alpha"], cv=cv
    ),
    "permutation_test_score": lambda clf, X, y, cv: permutation_test_score(clf, X, y, cv=cv, n_permutations=2),
    "GridSearchCV": lambda clf, X, y, cv: GridSearchCV(clf, ALPHAS, cv=cv).fit(X, y),
    "HalvingGridSearchCV": lambda clf, X, y, cv: HalvingGridSearchCV(clf, ALPHAS, cv=cv, min_resources=20).fit(X, y),
    "CalibratedClassifierCV": lambda clf, X, y, cv: CalibratedClassifierCV(clf, cv=cv).fit(X, y),
    "CalibratedClassifierCV, no ensemble": lambda clf, X, y, cv: CalibratedClassifierCV(clf, cv=cv, ensemble=False).fit(
        X, y
    ),
    "TunedThresholdClassifierCV": lambda clf, X, y, cv: TunedThresholdClassifierCV(clf, cv=cv).fit(X, y),
    "StackingClassifier": lambda clf, X, y, cv: StackingClassifier([("a", clf), ("b", clf)], cv=cv).fit(X, y),
    "pipeline": lambda clf, X, y, cv: cross_val_score(make_pipeline(FunctionTransformer(), clf), X, y, cv=cv),
    "pipeline of features": lambda clf, X, y, cv: cross_val_score(
        make_pipeline(VGG19Features(**TINY), LogisticRegression()), X, y, cv=cv
    ),
    "search in a cross-validation": lambda clf, X, y, cv: cross_val_score(
        GridSearchCV(clf, ALPHAS, cv=cv), X, y, cv=BY_PATIENT
    ),
    "cross-validation of a search": lambda clf, X, y, cv: cross_val_score(
        GridSearchCV(clf, ALPHAS, cv=BY_PATIENT), X, y, cv=cv
    ),
}


def leakage_warnings(function, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    return [each for each in caught if issubclass(each.category, LeakageWarning)]


@pytest.mark.parametrize("name", EVALUATIONS)
def test_evaluation_warns_once_about_patients_in_both_sets(name, clf, paths, y):
    (warning,) = leakage_warnings(EVALUATIONS[name], clf, paths, y, BY_IMAGE)
    assert "Images of the same patient are in both the training set and the test set" in str(warning.message)
    assert "PatientGroupKFold" in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.parametrize("name", EVALUATIONS)
def test_evaluation_does_not_warn_if_folds_keep_patients_apart(name, clf, paths, y):
    assert not leakage_warnings(EVALUATIONS[name], clf, paths, y, BY_PATIENT)


def test_evaluation_does_not_warn_if_patients_have_one_image(clf, tmp_path):
    X, y = make_chest_xrays(12, tmp_path, image_size=48, images_per_patient=1, random_state=0, return_X_y=True)
    assert not leakage_warnings(cross_val_score, clf, X, y, cv=BY_IMAGE)


def test_evaluation_warns_for_splits_in_a_list_and_for_masks(clf, paths, y):
    splits = list(BY_PATIENT.split(paths, y))
    masks = [[np.isin(np.arange(len(y)), side) for side in split] for split in splits]
    assert not leakage_warnings(cross_val_score, clf, paths, y, cv=splits)
    assert not leakage_warnings(cross_val_score, clf, np.array(paths), y, cv=masks)
    assert len(leakage_warnings(cross_val_score, clf, paths, y, cv=list(BY_IMAGE.split(paths, y)))) == 1


def test_each_evaluation_warns(clf, paths, y):
    assert len(leakage_warnings(lambda: [cross_val_score(clf, paths, y, cv=BY_IMAGE) for _ in range(2)])) == 2


def test_evaluation_in_workers_warns_in_the_process_of_the_user(clf, paths, y):
    clf.fit(paths, y)  # caches the features
    with parallel_config(n_jobs=2):
        for evaluate in map(EVALUATIONS.get, ["cross_val_score, roc_auc", "GridSearchCV", "StackingClassifier"]):
            assert len(leakage_warnings(evaluate, clf, paths, y, BY_IMAGE)) == 1
            assert not leakage_warnings(evaluate, clf, paths, y, BY_PATIENT)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_warning_can_be_an_error(clf, paths, y, n_jobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeakageWarning)
        with pytest.raises(LeakageWarning):
            cross_val_score(clf, paths, y, cv=KFold(8, shuffle=True, random_state=0), n_jobs=n_jobs)


def test_splits_of_features_are_checked_with_groups(clf, matrix, y):
    groups = np.arange(len(y)) // 2
    of_fit = {"params": {"groups": groups}}
    assert len(leakage_warnings(cross_val_score, clf, matrix, y, cv=BY_IMAGE, **of_fit)) == 1
    assert not leakage_warnings(cross_val_score, clf, matrix, y, cv=BY_IMAGE, params={"groups": np.arange(len(y))})
    assert not leakage_warnings(cross_val_score, clf, matrix, y, cv=GroupKFold(2), groups=groups)
    assert not leakage_warnings(cross_val_score, clf, matrix, y, cv=BY_IMAGE)  # patients are unknown


def test_splits_of_features_are_checked_with_routed_groups(clf, matrix, y):
    groups = np.arange(len(y)) // 2
    with config_context(enable_metadata_routing=True):
        clf.set_fit_request(groups=True)
        for splitter, n in ((BY_IMAGE, 1), (GroupKFold(2), 0)):
            search = GridSearchCV(clf, ALPHAS, cv=splitter)
            assert len(leakage_warnings(search.fit, matrix, y, groups=groups)) == n


@pytest.mark.parametrize("groups", [np.arange(40), r"([^/]+)$"], ids=["array", "pattern"])
def test_groups_take_precedence_over_file_names_in_splits(clf, paths, y, groups):
    assert not leakage_warnings(cross_val_score, clf, paths, y, cv=BY_IMAGE, params={"groups": groups})


def test_splitter_by_patient_is_trusted(clf, paths, y, tmp_path):
    copies = []
    for i, path in enumerate(paths[:16]):  # all have the same file name, and patients differ by folder
        (tmp_path / f"patient{i // 2}-{i % 2}").mkdir()
        copies.append(str(shutil.copy(path, tmp_path / f"patient{i // 2}-{i % 2}" / "IM-0001-0001.png")))
    by_folder = PatientGroupKFold(2, pattern=r"(patient\d+)-")
    for name in ("cross_val_score", "GridSearchCV", "HalvingGridSearchCV"):
        assert not leakage_warnings(EVALUATIONS[name], clf, copies * 2, np.tile(y[:16], 2), by_folder)


@pytest.mark.parametrize("cv", [BY_IMAGE, BY_PATIENT], ids=["by image", "by patient"])
def test_held_out_images_do_not_count_as_a_test_set(cv, paths, y):
    clf = PneumoniaClassifier(**QUICK, **STOPS | {"max_iter": 2})
    assert not leakage_warnings(clf.fit, paths, y)
    assert len(leakage_warnings(cross_val_score, clf, paths, y, cv=cv)) == (cv is BY_IMAGE)


@pytest.mark.parametrize(
    "evaluate",
    [
        get_scorer("roc_auc"),
        get_scorer("accuracy"),
        RocCurveDisplay.from_estimator,
        lambda clf, X, y: cross_val_score(FrozenEstimator(clf), X, y, cv=BY_PATIENT),
        lambda clf, X, y: CalibratedClassifierCV(FrozenEstimator(clf), cv=2).fit(X, y),
        lambda clf, X, y: TunedThresholdClassifierCV(clf, cv="prefit", refit=False).fit(X, y),
    ],
    ids=["roc_auc", "accuracy", "display", "frozen", "calibrated, frozen", "threshold, prefit"],
)
def test_scorers_warn_for_a_model_that_was_fitted_on_the_images(evaluate, fitted, paths, y, split, pyplot):
    train, test = ([paths[i] for i in side] for side in split)
    (warning,) = leakage_warnings(evaluate, fitted, train, y[split[0]])
    assert str(warning.message).startswith("The model is evaluated on images")
    assert not leakage_warnings(evaluate, fitted, test, y[split[1]])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda clf: clf,
        lambda clf: make_pipeline(FunctionTransformer(), clf),
        lambda clf: CalibratedClassifierCV(clf, cv=BY_PATIENT),
        lambda clf: TunedThresholdClassifierCV(clf, cv=BY_PATIENT),
        lambda clf: GridSearchCV(clf, ALPHAS, cv=BY_PATIENT, scoring="roc_auc"),
    ],
    ids=["classifier", "pipeline", "calibrated", "threshold", "search"],
)
def test_predictions_on_training_images_do_not_warn(wrap, clf, paths, y):
    model = wrap(clf).fit(paths, y)
    for method in ("predict", "predict_proba"):
        assert not leakage_warnings(getattr(model, method), paths)


def test_clone_of_a_user_does_not_warn(clf, paths, y):
    for train, test in BY_IMAGE.split(paths, y):
        assert not leakage_warnings(clone, clf)
        assert len(train) == len(test)
