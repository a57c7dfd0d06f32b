import numpy as np

from skpneumo._utils.messages import list_items, list_values, plain


def test_ten_items_are_listed_and_the_others_counted():
    assert list_items(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert list_items(np.arange(12), separator="; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9 and 2 more"
    assert list_items([]) == ""


def test_long_items_are_shortened():
    assert list_items(["a" * 200, "b"]) == f"{'a' * 50}...{'a' * 50}, b"
    assert list_items(["a" * 200], max_length=200) == "a" * 200


def test_numpy_values_are_listed_as_plain_python():
    assert list_values([np.str_("a"), np.int64(1), None]) == "['a', 1, None]"
    assert list_values(np.arange(12)) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more]"


def test_numpy_values_in_containers_become_plain_python():
    given = {np.str_("pneumonia"): (np.float64(0.1), [np.int64(2)]), "names": np.array(["a"])}
    assert repr(plain(given)) == "{'pneumonia': (0.1, [2]), 'names': ['a']}"
