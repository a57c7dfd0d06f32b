import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import joblib
import pytest

from conftest import TINY
from feature_store.conftest import KEYS
from skpneumo import VGG19Features, cache_info, clear_cache


def test_info_counts_rows_and_bytes_of_each_namespace(features, paths, tmp_path, monkeypatch):
    monkeypatch.setenv("SKPNEUMO_CACHE", str(tmp_path))
    before = time.time()
    features.fit_transform(paths)
    VGG19Features(**TINY | {"pool_grid": 1}).fit_transform(paths[:3])
    info = cache_info()
    assert info.folder == str(tmp_path / "skpneumo-features")
    assert info.n_bytes == sum(file.stat().st_size for file in Path(info.folder).iterdir())
    assert info.n_rows == 43
    assert {(each["kind"], each["n_rows"], each["n_bytes"]) for each in info.namespaces} == {
        ("features", 40, 40 * 4 * 256),
        ("features", 3, 3 * 4 * 64),
    }
    assert all(each["last_used"].timestamp() >= int(before) for each in info.namespaces)
    assert info.max_bytes == 50 * 10**9


def test_info_creates_nothing(tmp_path):
    info = cache_info(tmp_path / "new")
    assert (info.n_bytes, info.n_rows, info.namespaces) == (0, 0, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [cache_info, clear_cache])
@pytest.mark.parametrize("memory", [None, 5, "", joblib.Memory(None)])
def test_memory_without_a_folder_raises(function, memory):
    with pytest.raises(ValueError, match="memory"):
        function(memory)


@pytest.mark.parametrize("function", [cache_info, clear_cache])
def test_store_that_cannot_be_used_raises(function, store, timeouts):
    with closing(sqlite3.connect(store.file, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"skpneumo-features cannot be used: database is locked\."):
            function(store.folder.parent)


def test_clear_deletes_the_files_of_the_cache_only(features, paths, tmp_path):
    features.set_params(memory=tmp_path).fit_transform(paths)
    (tmp_path / "skpneumo-features" / "features.broken").touch()
    (tmp_path / "other").touch()
    clear_cache(tmp_path)
    assert os.listdir(tmp_path) == ["other"]
    features.fit_transform(paths)
    (tmp_path / "skpneumo-features" / "other.sqlite").touch()
    clear_cache(joblib.Memory(tmp_path, verbose=0))
    assert os.listdir(tmp_path / "skpneumo-features") == ["other.sqlite"]


def test_clear_deletes_damaged_files(store):
    store.file.write_bytes(b"no database at all" * 100)
    clear_cache(store.folder.parent)
    assert not store.folder.exists()


def test_clear_needs_no_place_on_the_disk(store, full_disk):
    with full_disk():
        clear_cache(store.folder.parent)
    assert not store.folder.exists()


def test_clear_drops_values_cached_in_memory(store, rows):
    list(store.get(KEYS, 3, hold=True))
    clear_cache(store.folder.parent)
    assert list(store.get(KEYS, 3)) == []


def test_extraction_continues_after_clear(store, rows):
    with store.extraction():
        clear_cache(store.folder.parent)
        assert store.put(rows.items())
        assert len(list(store.get(KEYS, 3))) == 5
        assert os.path.exists(store.folder / "running.sqlite")  # still prevents that rows are deleted


def test_store_contains_no_images_paths_or_names(paths, tmp_path, settled):
    """The documentation says so."""
    folder = tmp_path / "hospital" / "DOE^JANE"
    folder.mkdir(parents=True)
    images = [folder / f"JANE_DOE_1970_{i}.jpeg" for i in range(4)]
    for image, path in zip(images, paths, strict=False):
        image.write_bytes(Path(path).read_bytes())
    code = f"""
import os, sys
from skpneumo import VGG19Features
from skpneumo._images import sources
sources._SETTLED = float("-inf")
VGG19Features(**{TINY!r}, memory=sys.argv[1]).fit_transform(sys.argv[2:])
from skpneumo._feature_store.leases import Leases
Leases(os.path.join(sys.argv[1], "skpneumo-features")).take([bytes(40)])
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cache"), *map(str, images)], check=True)
    content = {file.name: file.read_bytes() for file in (tmp_path / "cache" / "skpneumo-features").iterdir()}
    assert {"features.sqlite", "digests.sqlite", "leases.sqlite"} <= content.keys()
    for secret in ("hospital", "DOE", "JANE", "1970", ".jpeg", "skpneumo", str(tmp_path), os.path.expanduser("~")):
        assert not [name for name, data in content.items() if secret.lower().encode() in data.lower()], secret
    for image in images:
        data = image.read_bytes()
        parts = [data[start : start + 16] for start in range(0, len(data) - 16, 16)]
        assert not [name for name, stored in content.items() for part in parts if part in stored and any(part)]
