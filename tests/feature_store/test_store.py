import sqlite3
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest

from feature_store.conftest import KEYS
from skpneumo._feature_store.sqlite import Database
from skpneumo._feature_store.store import FeatureStore, open_store
from skpneumo.exceptions import FeatureStoreWarning


def test_stored_rows_are_returned_unchanged_and_missing_ones_are_not(store, rows):
    found = dict(store.get([*KEYS, b"unknown"], 3))
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        np.testing.assert_array_equal(found[key], row)


def test_get_with_more_keys_than_one_query(tmp_path):
    many = {i.to_bytes(4, "little"): np.full(1, i, np.float32) for i in range(1201)}
    store = FeatureStore(tmp_path)
    store.put(many.items())
    assert {key: row[0] for key, row in store.get(many, 1)} == {key: row[0] for key, row in many.items()}


def test_rows_are_read_in_batches(tmp_path, monkeypatch):
    store, queries, transaction = FeatureStore(tmp_path), [], Database._transaction
    store.put((i.to_bytes(4, "little"), np.full(1, i, np.float32)) for i in range(1000))
    monkeypatch.setattr(Database, "_transaction", lambda *each: (queries.append(1), transaction(*each))[1])
    rows = store.get((i.to_bytes(4, "little") for i in range(1000)), 1)
    next(rows)
    assert len(queries) == 1
    assert len(list(rows)) == 999
    assert len(queries) == 2


def test_get_without_file_returns_nothing_and_creates_nothing(tmp_path):
    assert list(FeatureStore(tmp_path / "new").get(KEYS, 3)) == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["value = zeroblob(12)", "value = x'00'", "value = 5", "checksum = 1"])
def test_corrupt_row_is_skipped_and_can_be_replaced(store, rows, damage):
    with sqlite3.connect(store.file) as db:
        db.execute(f"UPDATE features SET {damage} WHERE key = ?", [KEYS[1]])
    db.close()
    assert dict(store.get(KEYS, 3)).keys() == {key for key in KEYS if key != KEYS[1]}
    store.put([(KEYS[1], rows[KEYS[1]])])
    assert dict(store.get(KEYS, 3)).keys() == set(KEYS)


def test_row_under_wrong_key_is_skipped(store):
    with sqlite3.connect(store.file) as db:
        db.execute("UPDATE features SET key = ? WHERE key = ?", [b"other", KEYS[0]])
    db.close()
    assert list(store.get([b"other"], 3)) == []


def test_folder_that_cannot_be_created_only_warns(tmp_path, rows):
    (tmp_path / "file").touch()
    store = FeatureStore(tmp_path / "file")
    with pytest.warns(FeatureStoreWarning, match="cannot be used"):
        assert not store.put(rows.items())
    assert list(store.get(KEYS, 3)) == []


def test_concurrent_processes_lose_no_rows(tmp_path):
    code = """
    import sys, numpy as np
    from skpneumo._feature_store.store import FeatureStore
    store, number = FeatureStore(sys.argv[1]), int(sys.argv[2])
    for i in range(20):
        store.put([(bytes([number, i]), np.full(8, 100 * number + i, np.float32)), (b"both", np.zeros(8, np.float32))])
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    keys = [bytes([number, i]) for number in range(4) for i in range(20)]
    found = dict(FeatureStore(tmp_path).get(keys, 8))
    assert {key: int(row[0]) for key, row in found.items()} == {key: 100 * key[0] + key[1] for key in keys}


def test_memory_parameter_sets_folder_of_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path / "named"))
    assert open_store(None) is None
    assert open_store(joblib.Memory(None)) is None
    assert open_store("auto").folder.parent == tmp_path / "named"
    assert open_store(joblib.Memory(tmp_path / "joblib", verbose=0)).folder.parent == tmp_path / "joblib"
    assert open_store(tmp_path / "path").folder.parent == tmp_path / "path"
    assert open_store(str(tmp_path / "str")).folder.parent == tmp_path / "str"
    monkeypatch.delenv("SKPNEUMO_CACHE")
    assert "skpneumo" in str(open_store("auto").folder.parent)
