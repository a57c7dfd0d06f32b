import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest

from conftest import TINY
from skpneumo import VGG19Features, cache_info
from skpneumo._encoder.feature_maps import maps_store
from skpneumo._feature_store import limit
from skpneumo._feature_store.limit import max_bytes
from skpneumo._feature_store.store import FeatureStore
from skpneumo._feature_store.table import REFRESH, Table
from skpneumo.exceptions import FeatureStoreWarning

N_FEATURES = 4096  # 16 KB
AGE = 10 * REFRESH


def keys(group):
    return [bytes([group]) * 20 + i.to_bytes(20, "little") for i in range(50)]


def age(store):
    """Make all rows older."""
    with closing(sqlite3.connect(store.file)) as db, db:
        db.execute("UPDATE uses SET time = time - ?", [AGE])


def kept(store):
    """Return how many rows of each group are stored."""
    db = sqlite3.connect(store.file)
    try:
        return dict(db.execute("SELECT hex(substr(key, 1, 1)) + 0, count(*) FROM features GROUP BY 1"))
    finally:
        db.close()


@pytest.fixture
def large(tmp_path):
    """Return a store of four groups of 0.8 MB, the first the oldest, that exceeds its limit."""
    store = FeatureStore(tmp_path, max_bytes=2_000_000)
    for group in range(4):
        store.put([(key, np.full(N_FEATURES, i, np.float32)) for i, key in enumerate(keys(group))])
        age(store)
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 50 * 10**9),
        ("none", None),
        ("1000", 1000),
        ("20GB", 20 * 10**9),
        ("1.5 tb", 15 * 10**11),
        ("500 M", 5 * 10**8),
    ],
)
def test_limit_is_read_from_the_environment(monkeypatch, text, expected):
    monkeypatch.setenv("SKPNEUMO_CACHE_SIZE", text)
    assert max_bytes() == expected


@pytest.mark.parametrize("text", ["much", "-1", "1 PB", "1e9", "GB"])
def test_limit_that_is_no_size_raises(monkeypatch, text, features, paths, tmp_path):
    monkeypatch.setenv("SKPNEUMO_CACHE_SIZE", text)
    with pytest.raises(ValueError, match=f"SKPNEUMO_CACHE_SIZE must be a size.*got '{text}'"):
        features.set_params(memory=tmp_path).fit_transform(paths[:1])


def test_least_recently_used_rows_are_deleted_and_the_file_shrinks(large):
    assert len(list(large.get(keys(0), N_FEATURES))) == 50  # the oldest rows are used again
    large.evict()
    left = kept(large)
    assert left[0] == 50
    assert left[3] == 50
    assert left.get(1, 0) == 0
    assert 0.8 * large.max_bytes < large.file.stat().st_size <= large.max_bytes


def test_rows_of_both_kinds_are_deleted_by_age(large):
    maps = FeatureStore(large.folder.parent, "maps", max_bytes=large.max_bytes)
    maps.put([(key, np.zeros(N_FEATURES, np.float32)) for key in keys(9)])
    large.evict()
    assert kept(maps) == {9: 50}
    assert kept(large) == {3: 50, **({2: kept(large)[2]} if 2 in kept(large) else {})}


def test_rows_without_a_time_of_use_are_the_oldest(large):
    with closing(sqlite3.connect(large.file)) as db, db:
        db.execute("DELETE FROM uses WHERE key >= ?", [keys(3)[0]])
    large.evict()
    assert 3 not in kept(large)


def test_repeated_reads_write_nothing(large, monkeypatch):
    list(large.get(keys(0), N_FEATURES))
    before = large.file.read_bytes()
    list(large.get(keys(0), N_FEATURES))
    assert large.file.read_bytes() == before


def test_reads_from_memory_record_their_use_after_an_hour(large, monkeypatch):
    list(large.get(keys(0), N_FEATURES, hold=True))
    age(large)
    list(large.get(keys(0), N_FEATURES, hold=True))
    now = limit.time.time()
    monkeypatch.setattr(limit.time, "time", lambda: now + REFRESH)
    list(large.get(keys(0), N_FEATURES, hold=True))
    monkeypatch.undo()
    large.evict()
    assert kept(large)[0] == 50


def test_use_is_not_recorded_if_the_file_is_locked(large):
    with closing(sqlite3.connect(large.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(list(large.get(keys(0), N_FEATURES))) == 50


def test_file_of_an_earlier_version_is_read_and_limited(tmp_path):
    store = FeatureStore(tmp_path, max_bytes=1_000_000)
    store.folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(store.file)) as db, db:
        db.execute("CREATE TABLE features (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)")
    other = FeatureStore(tmp_path / "other")
    other.put([(key, np.ones(N_FEATURES, np.float32)) for group in (0, 1) for key in keys(group)])
    with closing(sqlite3.connect(store.file)) as db, db:
        db.execute("ATTACH ? AS other", [str(other.file)])
        db.execute("INSERT INTO features SELECT * FROM other.features")
    assert len(list(store.get(keys(0), N_FEATURES))) == 50
    age(store)
    store.evict()
    assert kept(store)[0] == 50
    assert kept(store).get(1, 0) < 10


def test_no_rows_are_deleted_while_an_extraction_runs(large):
    with large.extraction():
        large.evict()
    assert kept(large) == dict.fromkeys(range(4), 50)


def test_no_rows_are_deleted_while_an_extraction_of_another_process_runs(large):
    code = """
    import sys
    from skpneumo._feature_store.store import FeatureStore
    with FeatureStore(sys.argv[1]).extraction():
        print("running", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(large.folder.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        large.evict()
        assert kept(large) == dict.fromkeys(range(4), 50)
        process.kill()
        process.wait()
        large.evict()
    assert 0 not in kept(large)


def test_deletion_stops_if_an_extraction_starts(large, monkeypatch):
    remove, running = Table.remove, []

    def remove_and_start(self, some):
        remove(self, some)
        running.append(large.extraction())

    def start_between(lock, **options):
        if running:
            running[0].__enter__()
        return run(lock, **options)

    run = limit._exclusive
    monkeypatch.setattr(limit, "_ROWS_PER_STEP", 10)
    monkeypatch.setattr(Table, "remove", remove_and_start)
    monkeypatch.setattr(limit, "_exclusive", start_between)
    large.evict()
    assert sum(kept(large).values()) == 190
    running[0].__exit__(None, None, None)
    monkeypatch.undo()
    large.evict()
    assert large.file.stat().st_size <= large.max_bytes


def test_store_warns_if_rows_of_the_last_hour_are_deleted(tmp_path):
    store = FeatureStore(tmp_path, max_bytes=500_000)
    store.put([(key, np.zeros(N_FEATURES, np.float32)) for key in keys(0)])
    with pytest.warns(FeatureStoreWarning, match="SKPNEUMO_CACHE_SIZE"):
        store.evict()


def test_extraction_beyond_the_limit_returns_all_features(monkeypatch, tmp_path, paths, matrix):
    monkeypatch.setenv("SKPNEUMO_CACHE_SIZE", "30 kB")
    features = VGG19Features(**TINY, memory=tmp_path)
    for _ in range(2):
        with pytest.warns(FeatureStoreWarning, match="30000 bytes"):
            rows = features.fit_transform(paths)
        np.testing.assert_array_equal(rows, matrix)
        assert 0 < cache_info(tmp_path).n_rows < len(paths)


def test_maps_are_kept_during_a_fit(tmp_path):
    store = FeatureStore(tmp_path, "maps", max_bytes=500_000)
    with maps_store(store) as maps:
        maps.put([(key, np.zeros(N_FEATURES, np.float32)) for key in keys(0)])
        age(maps)
        maps.evict()
        assert kept(maps)[0] == 50
    assert kept(maps)[0] < 50


def test_replaced_damaged_files_are_deleted_first(large):
    broken = large.file.with_suffix(".broken")
    broken.write_bytes(bytes(10))
    large.evict()
    assert not broken.exists()
