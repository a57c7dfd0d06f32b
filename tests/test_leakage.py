import pickle
import shutil
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from conftest import TINY
from skpneumo import PneumoniaClassifier
from skpneumo._leakage import models_within, names_of, find_seen, remember, warn_of_seen
from skpneumo.exceptions import LeakageWarning
from skpneumo.model_selection import PatientGroupKFold, patient_ids

CONTENTS = [bytes([i]) * 20 for i in range(6)]


@pytest.fixture
def split(paths, y):
    """Positions to fit on, and others, of other patients."""
    return next(PatientGroupKFold(2).split(paths, y))


@pytest.fixture
def fitted(clf, paths, y, split):
    train = split[0]
    return clf.fit([paths[i] for i in train], y[train])


def recognised(clf, X):
    return find_seen(clf.seen_, clf._contents(X), names_of(X, None, len(X)))


def silent(estimator, X, groups=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_seen(estimator, X, groups)
    return True


def test_what_was_seen_is_recognised_and_nothing_else():
    seen = remember(CONTENTS[:3], ["ann", "bob"])
    known = find_seen(seen, dict(enumerate(CONTENTS)), [{"ann"}, set(), {"eve"}, {"eve", "bob"}, set(), set()])
    assert known.tolist() == [
        [True, True], [True, False], [True, False], [False, True], [False, False], [False, False],
    ]  # fmt: skip


def test_what_cannot_be_read_is_not_recognised():
    assert not find_seen(remember(CONTENTS, []), {}, [set()] * 3).any()


def test_later_calls_are_added_to_the_first_under_its_salt():
    first = remember(CONTENTS[:2], ["ann"])
    both = remember(CONTENTS[2:4], ["bob"], first)
    assert find_seen(both, dict(enumerate(CONTENTS)), [{"ann"}, {"bob"}, *[set()] * 4]).sum(axis=0).tolist() == [4, 2]
    np.testing.assert_array_equal(both["salt"], first["salt"])


def test_names_are_salted_by_what_was_seen():
    one, other = (remember(contents, ["ann"])["patients"] for contents in (CONTENTS[:1], CONTENTS[1:2]))
    assert one != other


def test_patients_are_named_by_files_and_by_groups():
    names = names_of(["a/person1_virus_2.jpeg", "scan.png"], np.array([7, 8]), 2)
    assert names == [{"person1_virus", "7"}, {"8"}]


def test_a_model_holds_neither_names_nor_whole_digests(fitted, paths, split):
    saved = pickle.dumps(fitted)
    for patient in set(patient_ids([paths[i] for i in split[0]])):
        assert patient.encode() not in saved
    assert {name: (array.dtype.kind, array.itemsize) for name, array in fitted.seen_.items()} == {
        "images": ("u", 8), "patients": ("u", 8), "salt": ("u", 1),
    }  # fmt: skip


def test_equal_fits_remember_equally(fitted, paths, y, split):
    again = clone(fitted).fit([paths[i] for i in split[0]], y[split[0]])
    assert joblib.hash(again.seen_) == joblib.hash(fitted.seen_)


def test_scores_of_other_patients_bring_no_warning(fitted, paths, y, split):
    test = split[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = fitted.score([paths[i] for i in test], y[test])
    assert score == np.mean(fitted.predict([paths[i] for i in test]) == y[test])


def test_scores_of_images_seen_bring_a_warning_that_counts_and_names_them(fitted, paths, y, split):
    train, test = split
    mixed = [paths[i] for i in (*test[:3], *train[:2])]
    with pytest.warns(
        LeakageWarning, match=r"^2 of 5 images were in the training .* of 2 a patient was \(X\[3\], X\[4\]\)"
    ):
        fitted.score(mixed, y[[*test[:3], *train[:2]]])


@pytest.mark.parametrize("memory", ["auto", None])
def test_an_image_is_known_by_its_content_under_another_name(fitted, paths, split, tmp_path, memory):
    copy = tmp_path / "renamed.png"
    shutil.copy(paths[split[0][0]], copy)
    with pytest.warns(LeakageWarning, match=r"^1 of 1 images were in the training .* of 0 a patient was \(X\[0\]\)"):
        warn_of_seen(fitted.set_params(memory=memory), [copy])


def test_a_patient_is_known_by_another_film(fitted, paths, split, tmp_path):
    other = tmp_path / f"{patient_ids([paths[split[0][0]]])[0]}_999.png"
    shutil.copy(paths[split[1][0]], other)
    with pytest.warns(LeakageWarning, match="^0 of 1 images were .* of 1 a patient was"):
        warn_of_seen(fitted, [other])


def test_a_patient_is_known_by_the_group_that_somebody_names(clf, paths, y, split):
    train, test = split
    clf.fit([paths[i] for i in train], y[train], groups=[f"patient {i}" for i in train])
    X = [paths[i] for i in test]
    assert silent(clf, X, groups=[f"patient {i}" for i in test])
    with pytest.warns(LeakageWarning, match="of 1 a patient was"):
        warn_of_seen(clf, X, groups=[f"patient {train[0]}", *[f"patient {i}" for i in test[1:]]])


def test_groups_that_are_named_go_before_names_of_files(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(train, y[split[0]], groups=[f"a{i}" for i in range(len(train))])
    assert silent(clf, test, groups=[f"b{i}" for i in range(len(test))])


@pytest.mark.parametrize("as_later", [float, np.int64, "Int64"])
def test_a_patient_is_known_whatever_container_numbered_it(clf, paths, y, split, as_later):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(train, y[split[0]], groups=list(range(len(train))))
    with pytest.warns(LeakageWarning, match=f"of {len(test)} a patient was"):
        warn_of_seen(clf, test, groups=pd.Series(range(len(test))).astype(as_later))


def test_features_are_recognised_row_by_row(matrix, y):
    clf = PneumoniaClassifier().fit(matrix[:20], y[:20], groups=np.arange(20))
    assert silent(clf, matrix[20:])
    for X in (matrix[18:24], matrix[18:24].astype(float), pd.DataFrame(matrix[18:24])):
        with pytest.warns(LeakageWarning, match="^2 of 6 images were .* of 0 a patient was"):
            warn_of_seen(clf, X)
    with pytest.warns(LeakageWarning, match="^20 of 20 images were .* of 20 a patient was"):
        warn_of_seen(clf, matrix[:20], groups=np.arange(20))


@pytest.mark.parametrize(
    "X",
    [pd.DataFrame({"path": ["a.png", "b.png"], "age": [1, 2]}), csr_array(np.eye(2)), [["a", "b"], ["c", "d"]], "ab"],
)
def test_what_cannot_be_recognised_stops_nothing(clf, paths, y, X):
    assert silent(clf.fit(paths, y), X)


def test_what_a_search_was_given_but_did_not_use_is_passed_over(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf.fit(test, y[split[1]])
    search = GridSearchCV(clf, {"alpha": [0.1]}, cv=PatientGroupKFold(2)).fit(train, y[split[0]])
    assert silent(search, test)


def test_held_out_patients_count_as_seen(paths, y, split):
    parameters = {"hidden_layer_sizes": (4,), "max_iter": 2, "early_stopping": True, "validation_fraction": 0.3}
    train, test = ([paths[i] for i in side] for side in split)
    clf = PneumoniaClassifier(**TINY, **parameters, n_views=2, random_state=0).fit(train, y[split[0]])
    assert recognised(clf, train).all()
    assert not recognised(clf, test).any()


def test_images_that_come_in_parts_are_all_remembered(clf, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    for part in (slice(0, 8), slice(8, None)):
        clf.partial_fit(train[part], y[split[0]][part], classes=[0, 1])
    assert recognised(clf, train).all()
    assert not recognised(clf, test).any()


def test_images_of_tuned_models_are_remembered(paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    clf = PneumoniaClassifier(**TINY, n_trainable_layers=1, tune_max_iter=1, n_views=2).fit(train, y[split[0]])
    assert recognised(clf, train).all()
    assert not recognised(clf, test).any()


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
def test_models_are_found_in_whatever_they_are_wrapped_in(wrap, fitted, paths, y, split):
    train, test = ([paths[i] for i in side] for side in split)
    wrapped = wrap(fitted).fit(train, y[split[0]])
    assert len(models_within(wrapped)) >= 1
    assert silent(wrapped, test)
    with pytest.warns(LeakageWarning, match=f"^{len(train)} of {len(train)} images"):
        warn_of_seen(wrapped, train)


def test_plain_folds_of_a_cross_validation_are_found_out_and_those_of_patients_are_not(clf, paths, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_validate(clf, paths, y, cv=PatientGroupKFold(3), error_score="raise")
    with pytest.warns(LeakageWarning, match="^0 of"):
        cross_validate(clf, paths, y, cv=KFold(3, shuffle=True, random_state=0))
