import os
import sqlite3
import stat
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from feature_store.conftest import KEYS
from skpneumo._feature_store.leases import Leases
from skpneumo._feature_store.store import FeatureStore


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
