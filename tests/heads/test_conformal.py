import itertools

import joblib
import numpy as np
import pytest
import skops.io
from scipy.stats import binom
from sklearn.exceptions import NotFittedError

from conftest import TINY
from skpneumo import PneumoniaClassifier, load_model
from skpneumo._heads.conformal import conformal_p_values, conformal_scores
from skpneumo._model_state import to_saved_state
from skpneumo.exceptions import LeakageWarning

CLASSES = np.array(["bacteria", "normal", "virus"])


@pytest.fixture
def three(random):
    """Features, labels and a fitted model of three overlapping classes; the first 100 images are the training set."""
    codes = np.arange(400) % 3
    X, y = random.randn(400, 4) + 1.5 * np.eye(4)[codes], CLASSES[codes]
    return X, y, PneumoniaClassifier().fit(X[:100], y[:100])


@pytest.fixture
def conformalized(matrix, y):
    """A model fitted on the first 20 images and conformalized on the others."""
    return PneumoniaClassifier(**TINY).fit(matrix[:20], y[:20]).conformalize(matrix[20:], y[20:])


def probabilities(random, codes):
    """Draw probabilities of two classes that overlap, with more errors in the second."""
    logits = random.standard_normal(len(codes)) * (1 + codes) + 2 * codes - 1
    positive = 1 / (1 + np.exp(-logits))
    return np.column_stack([1 - positive, positive])


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_contain_the_true_class_of_1_minus_alpha_of_each_class(random, alpha):
    n_each, n_studies, is_covered = np.array([39, 99]), 4000, []
    for _ in range(n_studies):
        codes = np.repeat([0, 1], n_each)
        scores = conformal_scores(probabilities(random, codes), codes)
        new = np.array([0, 1])  # one image of each class, so that the studies are independent
        is_covered.append(np.diag(conformal_p_values(scores, probabilities(random, new)) > alpha))
    # Scores are continuous: the expected proportion is the exact one for this number of images.
    expected = 1 - np.floor((n_each + 1) * alpha + 1e-9) / (n_each + 1)
    lower, upper = binom.interval(0.999, n_studies, expected)
    n_covered = np.sum(is_covered, axis=0)
    assert (expected >= 1 - alpha).all()
    assert ((lower <= n_covered) & (n_covered <= upper)).all()


def test_coverage_of_each_class_does_not_depend_on_prevalence(random):
    codes = np.repeat([0, 1], [1000, 1000])
    scores = conformal_scores(probabilities(random, codes), codes)
    for counts in ([5000, 500], [500, 5000]):
        new = np.repeat([0, 1], counts)
        in_set = conformal_p_values(scores, probabilities(random, new)) > 0.2
        for code in (0, 1):
            assert in_set[new == code, code].mean() == pytest.approx(0.8, abs=0.06)


def test_p_values_count_scores_that_are_equal_or_larger():
    scores = [np.array([0.25, 0.5, 0.5]), np.array([0.0])]
    p = conformal_p_values(scores, np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 1.0], [1.0, 0.0]]))
    np.testing.assert_array_equal(p, [[1, 0.5], [0.75, 0.5], [0.25, 1], [1, 0.5]])


def test_sets_grow_as_alpha_decreases(three):
    X, y, clf = three
    clf = clf.conformalize(X[100:250], y[100:250])
    sets = [clf.predict_set(X[250:], alpha=alpha) for alpha in (0.5, 0.2, 0.1, 0.05)]
    for smaller, larger in itertools.pairwise(sets):
        assert (smaller <= larger).all()
    sizes = [each.sum() for each in sets]
    assert sizes == sorted(set(sizes))


def test_all_four_sets_of_two_classes_are_possible():
    X = np.linspace(-2, 2, 41)[:, np.newaxis]
    clf = PneumoniaClassifier().fit(X, (X[:, 0] > 0).astype(int))
    held_out = np.array([[-2.0], [-1.5], [-1.0], [0.5], [1.0], [1.5]])
    separated = clf.conformalize(held_out, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(
        separated.predict_set([[-1.8], [1.8], [0.0]], alpha=0.3), [[True, False], [False, True], [False, False]]
    )
    overlapping = clf.conformalize(held_out, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(overlapping.predict_set([[0.0]], alpha=0.3), [[True, True]])


def test_sets_of_three_classes_contain_the_true_class_of_most_images(three):
    X, y, clf = three
    clf = clf.conformalize(X[100:250], y[100:250])
    in_set = clf.predict_set(X[250:], alpha=0.1)
    assert in_set.shape == (150, 3)
    assert in_set.dtype == bool
    assert 1 < in_set.sum(axis=1).mean() < 2.5
    for code, label in enumerate(CLASSES):
        assert in_set[y[250:] == label, code].mean() > 0.8


def test_scores_are_sorted_by_class(three):
    X, y, clf = three
    scores = clf.conformalize(X[100:], y[100:]).conformal_scores_
    assert [len(each) for each in scores] == [np.sum(y[100:] == label) for label in CLASSES]
    for each in scores:
        assert each.dtype == np.float64
        assert (np.diff(each) >= 0).all()


def test_class_with_few_images_is_in_every_set_at_small_alpha(three):
    X, y, clf = three
    few = np.r_[100:250][(y[100:250] != "virus") | (np.arange(150) < 15)]
    clf = clf.conformalize(X[few], y[few])
    n = np.sum(y[few] == "virus")
    assert clf.predict_set(X, alpha=0.99 / (n + 1))[:, 2].all()
    assert not clf.predict_set(X, alpha=1 / (n + 1))[:, 2].all()


def test_conformalize_returns_a_copy(three):
    X, y, clf = three
    conformalized = clf.conformalize(X[100:], y[100:])
    assert clf.conformal_scores_ == []
    np.testing.assert_array_equal(conformalized.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("y_type", [list, np.array], ids=["list", "array"])
def test_sets_are_equal_for_images_and_features(conformalized, clf, paths, y, matrix, y_type):
    of_images = clf.fit(paths[:20], y[:20]).conformalize(paths[20:], y_type(y[20:]))
    expected = conformalized.predict_set(matrix)
    np.testing.assert_array_equal(of_images.predict_set(paths), expected)
    np.testing.assert_array_equal(of_images.predict_set(matrix), expected)


def test_predict_set_raises_without_conformalize(matrix, y):
    with pytest.raises(NotFittedError, match="call conformalize with labeled images that were not used in fit"):
        PneumoniaClassifier().fit(matrix, y).predict_set(matrix)
    for method in (PneumoniaClassifier().predict_set, lambda X: PneumoniaClassifier().conformalize(X, y)):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            method(matrix)


def test_conformalize_names_missing_classes(three):
    X, y, clf = three
    some = y == "normal"
    with pytest.raises(ValueError, match=r"there are none of \['bacteria', 'virus'\]: add images of these classes"):
        clf.conformalize(X[some], y[some])


@pytest.mark.parametrize("label", ["other", 0, None], ids=repr)
def test_conformalize_names_unknown_labels(three, label):
    X, y, clf = three
    labels = np.r_[y[100:].astype(object), [label, label]]
    with pytest.raises(ValueError, match=rf"also contains \[{label!r}\]: remove these images"):
        clf.conformalize(X[98:], labels)


def test_conformalize_raises_on_a_number_of_labels_other_than_of_images(clf, paths, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.fit(paths, y).conformalize(paths, y[:-1])


def test_conformalize_warns_of_training_images(clf, paths, y):
    clf.fit(paths[:20], y[:20])
    with pytest.warns(LeakageWarning, match="20 of 40 images are in the training set"):
        clf.conformalize(paths, y)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, float("nan"), True, "0.1", None, [0.1]])
def test_predict_set_raises_on_alpha_outside_0_and_1(conformalized, matrix, alpha):
    with pytest.raises(ValueError, match=r"'alpha' parameter .* must be a float in the range \(0.0, 1.0\)"):
        conformalized.predict_set(matrix, alpha=alpha)


@pytest.mark.parametrize(
    "change",
    [
        lambda clf, X, y: clf.fit(X, y),
        lambda clf, X, y: clf.partial_fit(X, y),
        lambda clf, X, y: clf.adapt(X + 1, y),
    ],
    ids=["fit", "partial_fit", "adapt"],
)
def test_training_and_adapt_remove_the_scores(conformalized, matrix, y, change):
    changed = change(conformalized, matrix, y)
    assert changed.conformal_scores_ == []
    with pytest.raises(NotFittedError, match="call conformalize"):
        changed.predict_set(matrix)


def test_adapted_model_can_be_conformalized(three):
    X, y, clf = three
    adapted = clf.adapt(2 * X[100:200] + 1, y[100:200]).conformalize(2 * X[100:250] + 1, y[100:250])
    in_set = adapted.predict_set(2 * X[250:] + 1)
    assert np.mean([in_set[i, code] for i, code in enumerate(np.searchsorted(CLASSES, y[250:]))]) > 0.8


def test_bundle_weights_keeps_the_scores(clf, paths, y):
    conformalized = clf.fit(paths[:20], y[:20]).conformalize(paths[20:], y[20:])
    bundle = conformalized.bundle_weights()
    np.testing.assert_array_equal(bundle.predict_set(paths), conformalized.predict_set(paths))


@pytest.mark.parametrize("dump", [joblib.dump, skops.io.dump], ids=["joblib", "skops"])
def test_saved_model_predicts_equal_sets(conformalized, matrix, tmp_path, dump):
    dump(conformalized, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for one, other in zip(loaded.conformal_scores_, conformalized.conformal_scores_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(loaded.predict_set(matrix), conformalized.predict_set(matrix))


def test_model_saved_by_an_earlier_version_has_no_scores(conformalized, matrix, y):
    earlier = PneumoniaClassifier()
    earlier.__setstate__(
        to_saved_state({name: value for name, value in vars(conformalized).items() if name != "conformal_scores_"})
    )
    with pytest.raises(NotFittedError, match="call conformalize"):
        earlier.predict_set(matrix)
    again = earlier.conformalize(matrix[20:], y[20:])
    np.testing.assert_array_equal(again.predict_set(matrix), conformalized.predict_set(matrix))
