import pickle

from skpneumo.exceptions import ImageReadError


def test_the_message_lists_every_failure_in_order_of_position():
    error = ImageReadError([(5, "b.png", "empty"), (2, "a.png", "cut")])
    assert str(error).splitlines() == [
        "2 images cannot be read; mend them or leave them out:",
        "  X[2] 'a.png': cut",
        "  X[5] 'b.png': empty",
    ]


def test_it_survives_the_way_between_processes():
    copy = pickle.loads(pickle.dumps(ImageReadError([(0, "a.png", "cut")])))
    assert copy.failures == [(0, "a.png", "cut")]
    assert str(copy).endswith("X[0] 'a.png': cut")
