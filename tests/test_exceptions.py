import os
import pickle

import pytest

from skpneumo.exceptions import ImageReadError


def test_image_read_error_lists_failures_in_order_of_position():
    error = ImageReadError([(5, "b.png", "empty"), (2, "a.png", "cut")])
    assert str(error).splitlines() == [
        "2 images cannot be read; fix or remove them:",
        "  X[2] 'a.png': cut",
        "  X[5] 'b.png': empty",
    ]


def test_image_read_error_shows_ten_failures_and_counts_the_rest():
    error = ImageReadError([(i, f"{i}.png", "empty") for i in range(25)])
    lines = str(error).splitlines()
    assert len(lines) == 12
    assert lines[-2:] == ["  X[9] '9.png': empty", "  and 15 more; the attribute 'failures' lists all"]
    assert len(error.failures) == 25


@pytest.mark.parametrize(
    ("path", "reason", "cause"),
    [
        ("/images/{}/a.png", "no such file", "None of these 25 files exists: is the folder '/images' right?"),
        ("train\\{}\\a.png", "no such file", "All 25 paths contain backslashes, which do not separate folders here."),
        ("{}.nii", "not an image in one of the formats PNG", "All 25 names end in '.nii'."),
    ],
)
@pytest.mark.skipif(os.sep != "/", reason="paths of another system")
def test_image_read_error_states_a_cause_that_all_failures_share(path, reason, cause):
    failures = [(i, path.format(i), reason) for i in range(25)]
    assert str(ImageReadError(failures)).splitlines()[-1] == cause
    assert cause not in str(ImageReadError(failures[:10]))
    assert cause not in str(ImageReadError([*failures, (25, "a.png", "a folder, not an image")]))


def test_image_read_error_states_the_current_folder_of_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, folder in [("a.png", "."), (os.path.join("b", "a.png"), "b")]:
        error = ImageReadError([(i, name, "no such file") for i in range(25)])
        assert str(error).endswith(f"is the folder {folder!r} right? (current folder: {str(tmp_path)!r})")


@pytest.mark.parametrize("path", ["https://host/{}.png", "/{}.png", "/{}/a.png"])
def test_image_read_error_states_no_folder_if_files_share_none(path):
    error = ImageReadError([(i, path.format(i), "no such file") for i in range(25)])
    assert str(error).endswith("the attribute 'failures' lists all")


def test_image_read_error_is_short_for_many_failures():
    error = ImageReadError([(i, f"/wrong/root/{i}.png", "no such file") for i in range(20000)])
    assert len(str(error)) < 1000
    assert len(repr(error)) < 1000
    assert len(error.failures) == 20000


def test_image_read_error_survives_pickling():
    error = ImageReadError([(0, "a.png", "cut"), (3, "b.png", "cut")], {"train": 2, "test": 2})
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.failures, copy.lengths) == (error.failures, error.lengths)
    assert str(copy) == str(error)
    assert str(copy).endswith("test[1] 'b.png': cut")
