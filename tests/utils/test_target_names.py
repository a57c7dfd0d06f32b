import re

import numpy as np
import pandas as pd
import pytest

from skpneumo._utils.target_names import name_classes, name_labels


@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series, lambda names: np.array(names, object)])
def test_names_are_in_the_order_of_the_classes(container):
    names = name_classes(np.array([0, 1]), container(["normal", "pneumonia"]))
    assert repr(names) == "{0: 'normal', 1: 'pneumonia'}"


@pytest.mark.parametrize("classes", [np.array(["normal", "pneumonia"]), np.array(["normal", "pneumonia"], object)])
def test_words_are_their_own_names(classes):
    assert repr(name_classes(classes, None)) == "{'normal': 'normal', 'pneumonia': 'pneumonia'}"


@pytest.mark.parametrize(
    "target_names",
    [
        ["normal"],
        ["normal", "bacteria", "virus"],
        ["normal", "normal"],
        [0, 1],
        [["normal"], ["pneumonia"]],
        "np",
        {"normal": 0, "pneumonia": 1},
        {"normal", "pneumonia"},
        5,
    ],
)
def test_invalid_names_raise(target_names):
    with pytest.raises(ValueError, match=r"target_names must be .* order of the classes \[0, 1\]; got ") as caught:
        name_classes([0, 1], target_names)
    assert str(caught.value).endswith(f"got {target_names!r}.")


def test_numpy_strings_are_shown_as_words_in_the_error():
    with pytest.raises(ValueError, match=re.escape("got ['normal'].")):
        name_classes([0, 1], [np.str_("normal")])


def test_labels_without_a_name_raise():
    expected = "y must contain labels of the classes [0, 1], but it also contains [2, 'a']."
    with pytest.raises(ValueError, match=re.escape(expected)):
        name_labels(np.array([0, 2, "a", 2], object), [0, 1], ["normal", "pneumonia"])


def test_any_labels_are_shown_without_names():
    assert name_labels(np.array([0, 2]), [0, 1], None) == [0, 2]
