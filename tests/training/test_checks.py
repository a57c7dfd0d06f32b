import re

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier


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


def test_error_lists_positions_of_missing_groups(clf, paths, y):
    with pytest.raises(ValueError, match="values are missing at positions 0, 3:"):
        clf.fit(paths, y, groups=[None, "a", "b", float("nan"), *range(36)])


@pytest.mark.parametrize("words", [["well", "ill?"], [np.str_("well"), np.str_("ill?")]])
def test_unknown_words_are_listed_as_words(clf, matrix, y, words):
    clf.partial_fit(matrix, np.array(["normal", "pneumonia"])[y], classes=["normal", "pneumonia"])
    expected = "classes ['normal', 'pneumonia'], but it also contains ['well', 'ill?']:"
    with pytest.raises(ValueError, match=re.escape(expected)):
        clf.partial_fit(matrix[:2], words)
