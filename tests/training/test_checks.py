import re

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import audit_xrays
from skpneumo.metrics import diagnostic_report
from skpneumo.model_selection import PatientGroupKFold, check_splits, patient_train_test_split


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("alpha", -1, ValueError),
        ("dropout", 1, ValueError),
        ("dropout", -0.1, ValueError),
        ("learning_rate_init", 0, ValueError),
        ("batch_size", 0, ValueError),
        ("batch_size", "all", TypeError),
        ("max_iter", 0, ValueError),
        ("hidden_layer_sizes", (0,), ValueError),
        ("hidden_layer_sizes", "128", TypeError),
        ("hidden_layer_sizes", None, TypeError),
        ("hidden_layer_sizes", 0, ValueError),
        ("alpha", float("nan"), ValueError),
        ("learning_rate_init", float("inf"), ValueError),
        ("class_weight", {0: -1, 1: 1}, ValueError),
        ("class_weight", {0: 0, 1: 0}, ValueError),
        ("hidden_layer_sizes", (1.5,), TypeError),
    ],
)
def test_invalid_parameter_is_named_in_the_error(random, name, value, error):
    with pytest.raises(error, match=name):
        PneumoniaClassifier(**{name: value}).fit(random.rand(4, 2), [0, 1, 0, 1])


def test_probe_raises_on_invalid_random_state(random):
    with pytest.raises(ValueError, match="'random_state' parameter"):
        PneumoniaClassifier(random_state="seed").fit(random.rand(4, 2), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("validation_fraction", 0), ("validation_fraction", 1), ("n_iter_no_change", 0), ("tol", -1), ("tol", np.inf)],
)
def test_invalid_parameter_of_early_stopping_is_named_in_the_error(clf, matrix, y, name, value):
    with pytest.raises(ValueError, match=name):
        clf.set_params(**{name: value}).fit(matrix, y)


# Training data


def test_labels_are_checked_before_images_are_read(clf):
    for labels, message in [
        ([0, 1], "inconsistent numbers of samples"),
        ([0, 0, 0], "only one class"),
        (None, "requires y"),
        ([0.1, 0.2, 0.5], "continuous"),
        ([0, 1, float("nan")], "NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            clf.fit(["none1.png", "none2.png", "none3.png"], labels)


def test_sample_weight_is_checked(clf, paths, y):
    for weight, message in [(np.zeros(40), "non-zero"), (-np.ones(40), "[Nn]egative"), (np.ones(3), "shape")]:
        with pytest.raises(ValueError, match=message):
            clf.fit(paths, y, sample_weight=weight)


@pytest.mark.parametrize("largest", [1e308, 1e30, 1e-30, 1e-320])
def test_scale_of_weights_that_overflow_is_named_in_the_error(matrix, y, largest):
    for parameters in ({}, {"hidden_layer_sizes": (3,)}):
        with pytest.raises(ValueError, match="The largest sample_weight must be between 1e-20 and 1e\\+20, but it is"):
            PneumoniaClassifier(**parameters).fit(matrix, y, sample_weight=np.linspace(largest / 2, largest, 40))
        with pytest.raises(ValueError, match="class_weight must give weights of which the largest is between"):
            PneumoniaClassifier(**parameters, class_weight=dict.fromkeys((0, 1), largest)).fit(matrix, y)


@pytest.mark.parametrize("scale", [1e-19, 1e19])
def test_common_factor_of_weights_and_alpha_does_not_matter(matrix, y, scale):
    for parameters in ({}, {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}):
        expected = PneumoniaClassifier(**parameters, alpha=1).fit(matrix, y).predict_proba(matrix)
        clf = PneumoniaClassifier(**parameters, alpha=scale).fit(matrix, y, sample_weight=np.full(40, scale))
        np.testing.assert_allclose(clf.predict_proba(matrix), expected, atol=1e-4)


@pytest.mark.parametrize("tiny", [1e-320, 1e-200, 1e-100])
def test_images_of_tiny_weight_do_not_matter(random, y, tiny):
    X = random.standard_normal((40, 3))
    weight = np.where(np.arange(40) < 5, tiny, 1.0)
    expected = PneumoniaClassifier().fit(X, y, sample_weight=np.where(weight == 1, 1.0, 0.0)).predict_proba(X)
    np.testing.assert_allclose(PneumoniaClassifier().fit(X, y, sample_weight=weight).predict_proba(X), expected)


def test_prior_of_a_class_of_tiny_weight_is_found(random, y):
    X, weight = random.standard_normal((40, 3)), np.where(y == 1, 1e-100, 1.0)
    clf = PneumoniaClassifier().fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(clf.predict_proba(X)[y == 0, 1].mean(), 1e-100, rtol=1e-3)


def test_weights_that_are_not_numbers_are_named_in_the_error(matrix, y):
    for weight in (["a"] * 40, [None] * 40, np.full(40, np.nan), np.full(40, np.inf), np.ones((40, 2))):
        with pytest.raises(ValueError, match=r"(?i)sample.weight"):
            PneumoniaClassifier().fit(matrix, y, sample_weight=weight)
    for weight in ("a", None, True, float("nan"), float("inf"), -1):
        with pytest.raises(ValueError, match=r"class_weight\[0\]"):
            PneumoniaClassifier(class_weight={0: weight, 1: 1}).fit(matrix, y)


@pytest.mark.parametrize("scale", [1e300, 1e200, 1e160, 1e-160, 1e-310])
def test_features_whose_squares_overflow_or_vanish_are_named_in_the_error(random, y, scale):
    X = random.standard_normal((40, 3))
    scaled = X * [1, scale, 1]
    message = r"largest absolute value of each feature must be 0 or between 1e-30 and 1e\+30, but .* columns 1 \("
    with pytest.raises(ValueError, match=message):
        PneumoniaClassifier().fit(scaled, y)
    clf = PneumoniaClassifier().fit(X, y)
    if scale > 1:
        for method in (clf.predict, clf.novelty, clf.adapt):
            with pytest.raises(ValueError, match=message):
                method(scaled)
    else:
        assert np.isfinite(clf.predict_proba(scaled)).all()


@pytest.mark.parametrize("scale", [1e29, 1e-29])
def test_scale_of_features_does_not_matter(random, y, scale):
    X = random.standard_normal((40, 3))
    expected = PneumoniaClassifier().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(PneumoniaClassifier().fit(X * scale, y).predict_proba(X * scale), expected, rtol=1e-6)


@pytest.mark.parametrize("groups", [np.zeros((40, 2)), 3, [["a", "b"]] * 40])
def test_groups_of_wrong_shape_are_named_in_the_error(clf, paths, y, groups):
    message = r"groups must contain one patient per image, in shape \(n_samples,\); got shape "
    for function in (
        lambda: clf.fit(paths, y, groups=groups),
        lambda: patient_train_test_split(paths, y, groups=groups),
        lambda: next(PatientGroupKFold(2).split(paths, y, groups)),
        lambda: check_splits(paths, paths, train_groups=groups, test_groups=groups),
        lambda: diagnostic_report(y, y * 0.5, threshold=0.5, groups=groups),
        lambda: audit_xrays(paths, y, groups=groups),
    ):
        with pytest.raises(ValueError, match=message):
            function()


def test_missing_group_among_words_is_missing(clf, paths, y):
    with pytest.raises(ValueError, match="values are missing at positions 0:"):
        clf.fit(paths, y, groups=[float("nan"), *map(str, range(39))])


def test_error_lists_positions_of_missing_groups(clf, paths, y):
    with pytest.raises(ValueError, match="values are missing at positions 0, 3:"):
        clf.fit(paths, y, groups=[None, "a", "b", float("nan"), *range(36)])


@pytest.mark.parametrize("words", [["well", "ill?"], [np.str_("well"), np.str_("ill?")]])
def test_unknown_words_are_listed_as_words(clf, matrix, y, words):
    clf.partial_fit(matrix, np.array(["normal", "pneumonia"])[y], classes=["normal", "pneumonia"])
    expected = "classes ['normal', 'pneumonia'], but it also contains ['well', 'ill?']:"
    with pytest.raises(ValueError, match=re.escape(expected)):
        clf.partial_fit(matrix[:2], words)
