import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing

import numpy as np
import pytest

from feature_store.conftest import KEYS
from skpneumo._feature_store import sqlite
from skpneumo._feature_store.leases import Leases
from skpneumo._feature_store.store import FeatureStore
from skpneumo.exceptions import FeatureStoreWarning


def test_folder_and_file_are_accessible_to_owner_only(store):
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_file_that_is_not_a_database_is_replaced(store, rows, content):
    store.file.write_bytes(content)
    assert list(store.get(KEYS, 3)) == []
    store.put(rows.items())
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


def test_database_with_other_columns_is_replaced(store, rows):
    store.file.unlink()
    with sqlite3.connect(store.file) as db:
        db.execute("CREATE TABLE features (name TEXT)")
    db.close()
    assert store.put(rows.items())
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


def test_database_with_corrupt_pages_is_replaced(tmp_path):
    store = FeatureStore(tmp_path)
    store.put((i.to_bytes(4, "little"), np.full(1000, i, np.float32)) for i in range(100))
    content = bytearray(store.file.read_bytes())
    content[4096 : len(content) // 2] = os.urandom(len(content) // 2 - 4096)
    store.file.write_bytes(content)
    keys = [i.to_bytes(4, "little") for i in range(100)]
    for key, row in store.get(keys, 1000):
        np.testing.assert_array_equal(row, int.from_bytes(key, "little"))
    store.put([(b"new", np.ones(1, np.float32))])
    assert list(store.get([b"new"], 1))


@pytest.mark.parametrize("position", [0, 16, 18, 19, 47, 100, 103])
def test_file_with_a_damaged_header_is_replaced(store, rows, position):
    content = bytearray(store.file.read_bytes())
    content[position] ^= 0x55
    store.file.write_bytes(content)
    for key, row in store.get(KEYS, 3):
        np.testing.assert_array_equal(row, rows[key])
    assert store.put(rows.items())
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


@pytest.mark.parametrize("seed", range(20))
def test_damage_never_causes_wrong_rows_or_errors(tmp_path, rows, seed):
    store, leases, random = FeatureStore(tmp_path), Leases(tmp_path / "skpneumo-features"), np.random.RandomState(seed)
    store.put(rows.items())
    store.remember((key[:20], key[20:]) for key in KEYS)
    leases.take(KEYS)
    for file in store.folder.glob("*.sqlite"):
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        places = random.randint(len(content), size=random.choice([1, 10, 1000]))
        content[places] = random.randint(256, size=len(places))
        file.write_bytes(content[: random.choice([len(content), random.randint(len(content))])])
    for key, row in store.get(KEYS, 3):
        np.testing.assert_array_equal(row, rows[key])
    assert all(store.recall([key[:20]]).get(key[:20], key[20:]) == key[20:] for key in KEYS)
    assert set(Leases(tmp_path / "skpneumo-features").take(KEYS)) <= set(KEYS)
    assert store.put(rows.items())
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


def test_file_is_kept_if_the_disk_is_full(store, rows, full_disk):
    with full_disk(store.file.stat().st_size), pytest.warns(FeatureStoreWarning, match="cannot be used"):
        assert not store.put([(b"large", np.zeros(10**5, np.float32))])
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


def test_transaction_continues_in_a_new_file_if_the_folder_is_deleted(store, rows):
    def work(db):
        if not deleted:
            deleted.append(shutil.rmtree(store.folder))
        db.execute("INSERT INTO features VALUES (x'00', x'00', 0)")

    deleted = []
    store._rows.database.run(work)
    assert store.file.exists()


def test_wait_for_a_locked_file_is_limited_to_one_for_each_object_and_short_after_it(store, timeouts):
    with closing(sqlite3.connect(store.file, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN EXCLUSIVE")
        timeouts.clear()
        for each in (store, FeatureStore(store.folder.parent), FeatureStore(store.folder.parent)):
            with pytest.warns(FeatureStoreWarning, match="locked"):
                assert not [row for _ in range(3) for row in each.get(KEYS, 3)]
            each.recall(KEYS)
    long, short = sqlite._LOCK_TIMEOUT, sqlite._SHORT_TIMEOUT
    assert [timeout for _, timeout in timeouts] == [long, 0, 0, short, 0, 0, short, 0, 0]
    timeouts.clear()
    for _ in range(2):
        assert list(FeatureStore(store.folder.parent).get(KEYS, 3))
    assert [timeout for _, timeout in timeouts] == [short, long]


def test_threads_do_not_release_lock_of_another_thread(tmp_path):
    """Opening and closing the file outside SQLite would release all locks of the process on it."""
    leases = Leases(tmp_path)
    leases.take(KEYS[:1])
    other_process = f"""
    import sqlite3
    db = sqlite3.connect({str(leases.file)!r}, timeout=0)
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(other_process)]

    def work(db):
        db.execute("BEGIN IMMEDIATE")
        leases._database._make_file()  # as in another thread at the same time
        assert "locked" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

    leases._database.run(work)
