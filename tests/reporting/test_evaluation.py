"""Tests of the evaluation behind reports and model cards: subgroups, and errors before prediction."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from conftest import TINY
from skpneumo import VGG19Features
from skpneumo.reporting import model_card, report
from skpneumo.reporting._evaluation import evaluate

N = 40


class NeverPredicts(GaussianNB):
    """Classifier whose predict_proba must not be called."""

    def predict_proba(self, X):
        raise AssertionError


@pytest.fixture
def given(random):
    """A classifier, features and labels."""
    y = np.arange(N) % 2
    X = random.normal(size=(N, 3)) + y[:, np.newaxis]
    return GaussianNB().fit(X, y), X, y


def subgroups_of(given, column):
    evaluation = evaluate(*given, subgroups={"s": column})
    assert sum(each.n for each in evaluation.subgroups) == N
    return {each.value: each.n for each in evaluation.subgroups}


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["x", "y"] * 20),
        pd.Series(["x", "y"] * 20, dtype=object),
        pd.Series(["x", "y"] * 20, dtype="string"),
        np.array(["x", "y"] * 20, dtype=object),
    ],
    ids=["series", "series of objects", "series of strings", "array"],
)
def test_read_only_columns_give_subgroups(given, column):
    assert subgroups_of(given, column) == {"x": 20, "y": 20}
    frame = evaluate(*given, subgroups=pd.DataFrame({"s": column}))
    assert [each.value for each in frame.subgroups] == ["x", "y"]


def test_columns_are_not_modified(given):
    column = np.array([1, 2, None, "x"] * 10, dtype=object)
    before = column.tolist()
    column.flags.writeable = False
    subgroups_of(given, column)
    column.flags.writeable = True
    subgroups_of(given, column)
    assert column.tolist() == before


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, ""], ids=repr)
def test_missing_values_are_a_subgroup(given, missing):
    assert subgroups_of(given, ["a", missing, "b", "a"] * 10) == {"a": 20, "b": 10, "not known": 10}


@pytest.mark.parametrize(("dtype", "values"), [("Int64", [10, 9, None, 9]), ("boolean", [True, False, None, False])])
def test_pandas_columns_may_have_missing_values(given, dtype, values):
    found = subgroups_of(given, pd.Series(values * 10, dtype=dtype))
    assert found == {str(values[1]): 20, str(values[0]): 10, "not known": 10}


def test_labels_of_no_class_raise_with_the_classes(given):
    clf, X, y = given
    with pytest.raises(ValueError, match=r"y must contain labels of the classes \[.*\] of the estimator; got \['"):
        evaluate(clf, X, np.where(np.asarray(y) == clf.classes_[1], "sick", "ok"))


def test_missing_patients_in_lists_of_strings_raise(given):
    with pytest.raises(ValueError, match="values are missing at positions 0: pass an identifier for each patient"):
        evaluate(*given, groups=[np.nan, *map(str, range(39))])


def test_missing_patients_in_pandas_groups_raise(given):
    groups = pd.Series([1, None] * 20, dtype="Int64").to_numpy(dtype=object)
    with pytest.raises(
        ValueError, match="groups must contain one patient per image, but values are missing at positions"
    ):
        evaluate(*given, groups=groups)


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ([10, 9, 100, 2] * 10, ["2", "9", "10", "100"]),
        (["b", None, "a", "c"] * 10, ["a", "b", "c", "not known"]),
        ([10, "9", 9.5, None] * 10, ["10", "9", "9.5", "not known"]),
        (pd.Categorical(["low", "high", "mid", "low"] * 10, ["low", "mid", "high", "none"]), ["low", "mid", "high"]),
        (pd.cut(pd.Series([70, 3, 15, 8] * 10), [-1, 5, 10, 20, 80]), ["(-1, 5]", "(5, 10]", "(10, 20]", "(20, 80]"]),
    ],
    ids=["numbers", "words", "numbers and words", "categories", "bins"],
)
def test_subgroups_are_sorted_by_value(given, column, order):
    assert list(subgroups_of(given, column)) == order


def test_columns_with_equal_names_as_strings_raise(given):
    with pytest.raises(ValueError, match="unique as strings; rename the repeated names: 1"):
        evaluate(*given, subgroups={1: ["a"] * N, "1": ["b"] * N, "2": ["c"] * N})


def test_columns_of_wrong_length_are_named(given):
    with pytest.raises(ValueError, match=r"each of 40 images, but 'site' has 39, 'age' has 1\."):
        evaluate(*given, subgroups={"site": ["a"] * 39, "age": [1], "machine": ["b"] * N})


def test_columns_of_wrong_shape_are_named(given):
    with pytest.raises(ValueError, match=r"but 'pairs' has \(40, 2\), 'one' has \(\)\."):
        evaluate(*given, subgroups={"pairs": [[1, 2]] * N, "one": 5, "machine": ["b"] * N})


def test_error_for_subgroups_of_wrong_type_is_short(given):
    with pytest.raises(ValueError, match="subgroups must be a mapping") as caught:
        evaluate(*given, subgroups=list(range(100_000)))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": "0.5"},
        {"threshold": 2},
        {"prevalence": 10},
        {"confidence": 95},
        {"groups": [1, 2]},
        {"groups": [None] * N},
        {"pos_label": 7},
        {"subgroups": {"s": np.arange(N)}},
    ],
    ids=repr,
)
def test_invalid_parameters_raise_before_prediction(given, wrong):
    _, X, y = given
    with pytest.raises(ValueError, match=next(iter(wrong))):
        evaluate(NeverPredicts().fit(X, y), X, y, **wrong)


def test_labels_of_one_class_raise_before_prediction(given):
    _, X, y = given
    with pytest.raises(ValueError, match="both classes"):
        evaluate(NeverPredicts().fit(X, y), X, np.ones(N, int))


def test_empty_input_raises(given):
    clf, X, y = given
    with pytest.raises(ValueError, match="X is empty"):
        evaluate(clf, X[:0], y[:0])


def test_classifier_without_predict_proba_raises(given):
    _, X, y = given
    with pytest.raises(TypeError, match="SVC has no predict_proba"):
        evaluate(SVC().fit(X, y), X, y)


def test_unwritable_folder_raises_before_prediction(given, tmp_path, monkeypatch):
    _, X, y = given
    path = tmp_path / "report.html"

    def refuse(*args, **others):
        raise PermissionError(13, "Permission denied", "an internal path")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(PermissionError, match=r"report\.html' cannot be written: Permission denied") as caught:
        report(NeverPredicts().fit(X, y), X, y, path)
    assert "internal" not in str(caught.value)


def test_report_may_have_the_longest_allowed_file_name(given, tmp_path):
    path = tmp_path / f"{'a' * 250}.html"
    report(*given, path)
    assert list(tmp_path.iterdir()) == [path]


def test_repr_names_no_patients(given):
    clf, X, y = given
    names = [f"patient-of-{i}" for i in range(N)]
    evaluation = evaluate(clf, X, y, groups=names, subgroups={"s": ["a", "b"] * 20})
    assert repr(evaluation).startswith("Evaluation(n=40, sensitivity=0.")
    assert len(repr(evaluation)) < 120
    assert "patient-of" not in repr(evaluation)


def test_evaluations_can_be_compared(given):
    first, second = evaluate(*given), evaluate(*given)
    assert first == first  # noqa: PLR0124
    assert first != second


def test_whole_numbers_stay_whole_with_missing_values(given):
    assert subgroups_of(given, pd.Series([1, 2, None, 2] * 10)) == {"1": 10, "2": 20, "not known": 10}


def test_missing_values_do_not_count_towards_the_maximum(given):
    found = subgroups_of(given, [i % 20 for i in range(39)] + [None])
    assert len(found) == 21
    assert list(found)[-1] == "not known"


def test_error_for_many_wrong_columns_is_short(given):
    clf, X, y = given
    table = pd.DataFrame(np.arange(N * 500.0).reshape(N, 500))
    for wrong, message in ((table, "at most 20 values"), (table[1:], "one value for each of 40")):
        with pytest.raises(ValueError, match=message) as caught:
            evaluate(clf, X, y, subgroups=wrong)
        assert len(str(caught.value)) < 1_000
        assert "and 490 more" in str(caught.value)


def test_error_for_groups_of_two_columns_names_groups(given):
    with pytest.raises(ValueError, match="groups must contain one patient per image, in shape"):
        evaluate(*given, groups=np.ones((N, 2)))


@pytest.mark.parametrize("kind", [bool, float, int])
def test_labels_have_the_type_of_the_classes(given, kind):
    _, X, y = given
    labels = evaluate(GaussianNB().fit(X, y.astype(kind)), X, y, subgroups={}).labels
    assert labels == (kind(0), kind(1))
    assert {type(label) for label in labels} == {kind}


def test_subgroups_use_the_same_threshold_as_all_images(given):
    _, X, y = given

    class Float32(GaussianNB):
        def predict_proba(self, X):
            proba = np.where(np.arange(N) % 4 == 0, np.float32(0.7), np.float32(0.2))
            return np.column_stack([1 - proba, proba])

    evaluation = evaluate(Float32().fit(X, y), X, 1 - y, threshold=np.float64(0.7), subgroups={"all": ["x"] * N})
    whole, part = evaluation.performance["sensitivity"], evaluation.subgroups[0].figures["sensitivity"]
    assert part.estimate == whole.estimate == 0.5


def test_images_and_features_are_not_compared_for_leakage(clf, paths, matrix, y, tmp_path):
    of_images, of_features = clone(clf).fit(paths, y), clone(clf).fit(matrix, y)
    piped = Pipeline([("features", VGG19Features(**TINY).fit(paths)), ("clf", of_features)])
    for model, X in ((of_images, of_images.features(paths)), (piped, paths)):
        evaluation = report(model, X, y, tmp_path / "page.html")
        assert not evaluation.are_images_compared
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "Whether test images were in the training data is not known" in page
    card = model_card(of_images, evaluation=evaluate(of_images, of_images.features(paths), y))
    assert "Whether test images were in the training data is not known" in card
    for model, X in ((of_images, paths), (of_features, matrix)):
        evaluation = evaluate(model, X, y)
        assert evaluation.are_images_compared
        assert evaluation.seen[:, 0].all()


@pytest.mark.parametrize("pos_label", [0, 1])
def test_target_names_follow_the_order_of_the_classes(given, pos_label):
    evaluation = evaluate(*given, pos_label=pos_label, target_names=["normal", "pneumonia"])
    assert evaluation.labels == (1 - pos_label, pos_label)
    assert evaluation.names_by_label == {"0": "normal", "1": "pneumonia"}
    assert evaluate(*given, pos_label=pos_label).target_names == (str(1 - pos_label), str(pos_label))


def test_invalid_target_names_raise_before_prediction(given):
    with pytest.raises(ValueError, match=r"target_names must be .* classes \[0, 1\]; got \['pneumonia'\]"):
        evaluate(NeverPredicts().fit(*given[1:]), *given[1:], target_names=["pneumonia"])
