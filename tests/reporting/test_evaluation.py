"""What a page and a card are made of: columns of parts, and what is refused before the pass."""

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


class Unasked(GaussianNB):
    """Must not be asked."""

    def predict_proba(self, X):
        raise AssertionError


@pytest.fixture
def given(random):
    """A classifier, features and labels."""
    y = np.arange(N) % 2
    X = random.normal(size=(N, 3)) + y[:, np.newaxis]
    return GaussianNB().fit(X, y), X, y


def parts(given, column):
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
def test_a_column_that_cannot_be_written_is_read(given, column):
    assert parts(given, column) == {"x": 20, "y": 20}
    frame = evaluate(*given, subgroups=pd.DataFrame({"s": column}))
    assert [each.value for each in frame.subgroups] == ["x", "y"]


def test_a_column_stays_as_it_was_given(given):
    column = np.array([1, 2, None, "x"] * 10, dtype=object)
    before = column.tolist()
    column.flags.writeable = False
    parts(given, column)
    column.flags.writeable = True
    parts(given, column)
    assert column.tolist() == before


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, ""], ids=repr)
def test_what_is_missing_is_a_part_of_its_own(given, missing):
    assert parts(given, ["a", missing, "b", "a"] * 10) == {"a": 20, "b": 10, "not known": 10}


@pytest.mark.parametrize(("dtype", "values"), [("Int64", [10, 9, None, 9]), ("boolean", [True, False, None, False])])
def test_a_column_of_pandas_may_lack_values(given, dtype, values):
    found = parts(given, pd.Series(values * 10, dtype=dtype))
    assert found == {str(values[1]): 20, str(values[0]): 10, "not known": 10}


def test_a_patient_that_is_not_known_to_pandas_is_refused(given):
    groups = pd.Series([1, None] * 20, dtype="Int64").to_numpy(dtype=object)
    with pytest.raises(ValueError, match="groups must not contain missing values; 20 of 40 are missing"):
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
def test_parts_stand_in_the_order_of_their_values(given, column, order):
    assert list(parts(given, column)) == order


def test_columns_of_the_same_name_as_text_are_refused(given):
    with pytest.raises(ValueError, match="told apart as text; not so: 1"):
        evaluate(*given, subgroups={1: ["a"] * N, "1": ["b"] * N, "2": ["c"] * N})


def test_columns_of_another_length_are_named(given):
    with pytest.raises(ValueError, match=r"each of 40 images, but 'site' has 39, 'age' has 1\."):
        evaluate(*given, subgroups={"site": ["a"] * 39, "age": [1], "machine": ["b"] * N})


def test_columns_of_another_shape_are_named(given):
    with pytest.raises(ValueError, match=r"but 'pairs' has \(40, 2\), 'one' has \(\)\."):
        evaluate(*given, subgroups={"pairs": [[1, 2]] * N, "one": 5, "machine": ["b"] * N})


def test_what_is_no_mapping_is_not_repeated_at_length(given):
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
def test_what_cannot_be_used_is_refused_before_images_are_judged(given, wrong):
    _, X, y = given
    with pytest.raises(ValueError, match=next(iter(wrong))):
        evaluate(Unasked().fit(X, y), X, y, **wrong)


def test_labels_of_one_class_are_refused_before_images_are_judged(given):
    _, X, y = given
    with pytest.raises(ValueError, match="both classes"):
        evaluate(Unasked().fit(X, y), X, np.ones(N, int))


def test_no_images_are_refused(given):
    clf, X, y = given
    with pytest.raises(ValueError, match="X is empty"):
        evaluate(clf, X[:0], y[:0])


def test_a_classifier_without_probabilities_is_refused(given):
    _, X, y = given
    with pytest.raises(TypeError, match="SVC has no predict_proba"):
        evaluate(SVC().fit(X, y), X, y)


def test_a_folder_that_nothing_can_be_written_in_is_told_before_images_are_judged(given, tmp_path, monkeypatch):
    _, X, y = given
    path = tmp_path / "report.html"

    def refuse(*args, **others):
        raise PermissionError(13, "Permission denied", "a name that nobody gave")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(PermissionError, match=r"report\.html' cannot be written: Permission denied") as caught:
        report(Unasked().fit(X, y), X, y, path)
    assert "nobody gave" not in str(caught.value)


def test_a_page_may_have_the_longest_name_that_a_folder_takes(given, tmp_path):
    path = tmp_path / f"{'a' * 250}.html"
    report(*given, path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_notebook_prints_names_nobody(given):
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


def test_ages_are_whole_numbers_where_one_is_missing(given):
    assert parts(given, pd.Series([1, 2, None, 2] * 10)) == {"1": 10, "2": 20, "not known": 10}


def test_what_is_missing_is_no_value_too_many(given):
    found = parts(given, [i % 20 for i in range(39)] + [None])
    assert len(found) == 21
    assert list(found)[-1] == "not known"


def test_a_table_of_many_columns_is_not_said_back(given):
    clf, X, y = given
    table = pd.DataFrame(np.arange(N * 500.0).reshape(N, 500))
    for wrong, words in ((table, "at most 20 values"), (table[1:], "a value for each of 40")):
        with pytest.raises(ValueError, match=words) as caught:
            evaluate(clf, X, y, subgroups=wrong)
        assert len(str(caught.value)) < 1_000
        assert "and 490 more" in str(caught.value)


def test_groups_of_two_columns_are_called_by_their_name(given):
    with pytest.raises(ValueError, match="groups must name a patient for each image, in one column"):
        evaluate(*given, groups=np.ones((N, 2)))


@pytest.mark.parametrize("kind", [bool, float, int])
def test_labels_are_those_of_the_classifier(given, kind):
    _, X, y = given
    labels = evaluate(GaussianNB().fit(X, y.astype(kind)), X, y, subgroups={}).labels
    assert labels == (kind(0), kind(1))
    assert {type(label) for label in labels} == {kind}


def test_parts_are_called_as_all_images_are(given):
    _, X, y = given

    class Float32(GaussianNB):
        def predict_proba(self, X):
            proba = np.where(np.arange(N) % 4 == 0, np.float32(0.7), np.float32(0.2))
            return np.column_stack([1 - proba, proba])

    evaluation = evaluate(Float32().fit(X, y), X, 1 - y, threshold=np.float64(0.7), subgroups={"all": ["x"] * N})
    whole, part = evaluation.performance["sensitivity"], evaluation.subgroups[0].figures["sensitivity"]
    assert part.estimate == whole.estimate == 0.5


def test_images_are_not_called_unseen_where_nobody_can_tell(clf, paths, matrix, y, tmp_path):
    """A model of features that judges images, or the other way round."""
    of_images, of_features = clone(clf).fit(paths, y), clone(clf).fit(matrix, y)
    piped = Pipeline([("features", VGG19Features(**TINY).fit(paths)), ("clf", of_features)])
    for model, X in ((of_images, of_images.features(paths)), (piped, paths)):
        evaluation = report(model, X, y, tmp_path / "page.html")
        assert not evaluation.are_images_compared
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "Whether these were in the training of this model is not known" in page
    card = model_card(of_images, evaluation=evaluate(of_images, of_images.features(paths), y))
    assert "Whether test images were in the training is not known" in card
    for model, X in ((of_images, paths), (of_features, matrix)):
        evaluation = evaluate(model, X, y)
        assert evaluation.are_images_compared
        assert evaluation.seen[:, 0].all()
