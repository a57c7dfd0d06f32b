import pytest

from skpneumo._utils.lru_cache import _OVERHEAD, Cache


def test_what_is_put_comes_back_and_nothing_else():
    cache = Cache(max_bytes=10_000)
    cache.put({b"a": b"1", b"b": b"22"})
    assert cache.get([b"b", b"c"]) == {b"b": b"22"}


def test_the_least_recently_used_goes_first():
    cache = Cache(max_bytes=3 * (_OVERHEAD + 1))
    cache.put({b"a": b"1", b"b": b"2", b"c": b"3"})
    cache.get([b"a"])
    cache.put({b"d": b"4"})
    assert cache.get([b"a", b"b", b"c", b"d"]) == {b"a": b"1", b"c": b"3", b"d": b"4"}


def test_what_does_not_fit_as_a_whole_pushes_nothing_out():
    cache = Cache(max_bytes=2 * (_OVERHEAD + 1))
    cache.put({b"a": b"1"})
    cache.put(dict.fromkeys(range(3), b"x"))
    assert cache.get([b"a", 0, 1, 2]) == {b"a": b"1"}


@pytest.mark.parametrize("values", [[b"1"], [b"1", b"22"], [b"333", b"1"]])
def test_the_size_counts_each_key_once(values):
    cache = Cache(max_bytes=10_000)
    for value in values:
        cache.put({b"a": value})
    assert cache.n_bytes == len(values[-1]) + _OVERHEAD
