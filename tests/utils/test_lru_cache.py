import pytest

from skpneumo._utils.lru_cache import _OVERHEAD, Cache


def test_get_returns_cached_entries_only():
    cache = Cache(max_bytes=10_000)
    cache.put({b"a": b"1", b"b": b"22"})
    assert cache.get([b"b", b"c"]) == {b"b": b"22"}


def test_least_recently_used_entry_is_dropped_first():
    cache = Cache(max_bytes=3 * (_OVERHEAD + 1))
    cache.put({b"a": b"1", b"b": b"2", b"c": b"3"})
    cache.get([b"a"])
    cache.put({b"d": b"4"})
    assert cache.get([b"a", b"b", b"c", b"d"]) == {b"a": b"1", b"c": b"3", b"d": b"4"}


def test_entries_that_do_not_fit_together_displace_nothing():
    cache = Cache(max_bytes=2 * (_OVERHEAD + 1))
    cache.put({b"a": b"1"})
    cache.put(dict.fromkeys(range(3), b"x"))
    assert cache.get([b"a", 0, 1, 2]) == {b"a": b"1"}


@pytest.mark.parametrize("values", [[b"1"], [b"1", b"22"], [b"333", b"1"]])
def test_size_counts_each_key_once(values):
    cache = Cache(max_bytes=10_000)
    for value in values:
        cache.put({b"a": value})
    assert cache.n_bytes == len(values[-1]) + _OVERHEAD
