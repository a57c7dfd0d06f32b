from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from skpneumo._inputs import as_paths, digest, read_bytes

TEXT = ["a.png", "b.png"]

CONTAINERS = {
    "list": TEXT,
    "tuple": tuple(TEXT),
    "Path": [Path(path) for path in TEXT],
    "mixed str and Path": ["a.png", Path("b.png")],
    "str array": np.array(TEXT),
    "object array": np.array(TEXT, dtype=object),
    "column": np.array(TEXT, dtype=object).reshape(-1, 1),
    "str column": np.array(TEXT).reshape(-1, 1),
    "nested list": [[path] for path in TEXT],
    "Series": pd.Series(TEXT),
    "object Series": pd.Series(TEXT, dtype=object),
    "category Series": pd.Series(TEXT, dtype="category"),
    "string Series": pd.Series(TEXT, dtype="string"),
    "shuffled Series": pd.Series(TEXT, index=[7, 3]),
    "DataFrame": pd.DataFrame({"path": TEXT}),
    "category DataFrame": pd.DataFrame({"path": pd.Series(TEXT, dtype="category")}),
    "DataFrame of Path": pd.DataFrame({"path": [Path(path) for path in TEXT]}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_of_paths_gives_them_as_str(name):
    paths = as_paths(CONTAINERS[name])
    assert paths == TEXT
    assert all(type(path) is str for path in paths)


NUMBERS = {
    "array": np.zeros((2, 3)),
    "integers": np.zeros((2, 3), int),
    "list": [[1.0, 2.0], [3.0, 4.0]],
    "object array": np.array([[1, 2.0]], dtype=object),
    "DataFrame": pd.DataFrame({"a": [1.0], "b": [2.0]}),
    "one-column DataFrame": pd.DataFrame({"a": [1.0]}),
    "sparse": csr_array(np.eye(2)),
    "no column": np.empty((3, 0)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_no_paths(name):
    assert as_paths(NUMBERS[name]) is None


WRONG = {
    "bare str": ("film.png", r"bare str 'film.png'.*pass a list: \['film.png'\]"),
    "bare Path": (Path("film.png"), "bare .*Path"),
    "bare bytes": (b"film", "bare bytes"),
    "empty list": ([], r"list of shape \(0,\), which is empty"),
    "empty Series": (pd.Series([], dtype=object), "Series .* empty"),
    "empty column": (np.empty((0, 1), object), "empty"),
    "two columns": (pd.DataFrame({"a": TEXT, "b": TEXT}), r"DataFrame of shape \(2, 2\).*the column"),
    "path and number": (pd.DataFrame({"a": TEXT, "b": [1, 2]}), r"shape \(2, 2\)"),
    "three dimensions": (np.array(TEXT).reshape(1, 2, 1), r"shape \(1, 2, 1\)"),
    "None": (None, "got NoneType"),
    "number": (7, "got int"),
    "generator": ((path for path in TEXT), "got generator"),
    "set": ({"a.png"}, "got set"),
    "dict": ({"a": "a.png"}, "got dict"),
    "bytes": ([b"a", b"b"], "of bytes"),
    "missing": (["a.png", None, "b.png", float("nan")], r"2 of its 4 items.*X\[1\] is None.*X\[3\] is nan \(float\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_named_with_what_was_expected(name):
    X, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        as_paths(X)
    assert "X must hold paths of images" in str(caught.value)


def test_what_stands_in_the_way_of_a_file_is_said(tmp_path):
    (tmp_path / "empty.png").touch()
    for path, reason in {"none.png": "no such file", "empty.png": "empty file", "": "a folder"}.items():
        with pytest.raises(ValueError, match=reason):
            read_bytes(str(tmp_path / path))


def test_a_digest_names_content_not_files():
    assert digest(b"film") == digest(bytearray(b"film"))
    assert digest(b"film") != digest(b"films")
    assert len(digest(b"")) == 20
