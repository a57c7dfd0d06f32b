import pickle

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


def test_image_read_error_survives_pickling():
    copy = pickle.loads(pickle.dumps(ImageReadError([(0, "a.png", "cut")])))
    assert copy.failures == [(0, "a.png", "cut")]
    assert str(copy).endswith("X[0] 'a.png': cut")
