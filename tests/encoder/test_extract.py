import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features, _keras
from skpneumo._encoder import extract
from skpneumo._feature_store.store import FeatureStore, _Table
from skpneumo._images import sources
from skpneumo._vgg19 import backbone
from skpneumo.exceptions import ImageReadError

PATIENCE = 120  # seconds after which a test has failed

# A program that extracts features, four images a batch, and says in a file which images passed its network.
PROGRAM = f"""
import os, sys, time
from skpneumo import VGG19Features, _keras
from skpneumo._vgg19 import backbone
store, log, hang, *paths = sys.argv[1:]
_keras.batch_size = lambda *_: 4
forward = backbone.Backbone.forward
def logged(backbone):
    def run(batch):
        with open(log, "ab") as file:
            file.write(b"." * len(batch))
        while hang == "hang":
            time.sleep(1)
        return forward(backbone)(batch)
    return run
backbone.Backbone.forward = logged
VGG19Features(**{TINY!r}, memory=store).fit_transform(paths)
"""


@pytest.fixture
def start(tmp_path, paths):
    def start(log, hang="no"):
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path), str(log), hang, *paths]
        return subprocess.Popen(command)

    return start


@pytest.fixture
def passed(monkeypatch):
    """The sizes of the batches that pass the network in this process."""
    sizes, forward = [], backbone.Backbone.forward
    monkeypatch.setattr(
        backbone.Backbone, "forward", lambda self: lambda batch: (sizes.append(len(batch)), forward(self)(batch))[1]
    )
    return sizes


@pytest.fixture
def read(monkeypatch):
    """The paths that are read."""
    paths, read_bytes = [], extract.read_bytes
    monkeypatch.setattr(extract, "read_bytes", lambda path: (paths.append(path), read_bytes(path))[1])
    return paths


# Several processes


def test_processes_that_share_a_store_compute_each_image_once_in_all(start, tmp_path, matrix, paths, passed):
    logs = [tmp_path / "one", tmp_path / "two"]
    processes = [start(log) for log in logs]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert sum(log.stat().st_size for log in logs if log.exists()) == 40
    rows = VGG19Features(**TINY, memory=tmp_path).fit_transform(paths)
    assert passed == []
    np.testing.assert_array_equal(rows, matrix)


def test_a_search_with_two_processes_computes_each_image_once_in_all(tmp_path, paths, y):
    store = FeatureStore(tmp_path)
    store.put([])
    with sqlite3.connect(store.file) as db:  # counts what any process puts, twice where it is put twice
        db.execute("CREATE TABLE log (key BLOB)")
        db.execute(
            "CREATE TRIGGER t AFTER INSERT ON features WHEN length(new.value) > 100 "
            "BEGIN INSERT INTO log VALUES (new.key); END"
        )
    db.close()
    search = GridSearchCV(PneumoniaClassifier(**TINY, memory=tmp_path), {"alpha": [0.01, 0.1]}, cv=3, n_jobs=2)
    search.fit(paths, y)
    with sqlite3.connect(store.file) as db:
        counts = db.execute("SELECT count(*), count(DISTINCT key) FROM log").fetchone()
    db.close()
    assert counts == (40, 40)


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_what_a_killed_process_was_computing_is_taken_over_by_one_that_waits(
    start, tmp_path, matrix, paths, monkeypatch, passed
):
    log = tmp_path / "log"
    owner = start(log, "hang")
    waited = threading.Event()
    while not log.exists():  # until it has claimed images and computes
        assert owner.poll() is None
        waited.wait(0.01)

    def kill(_):
        monkeypatch.undo()
        owner.send_signal(signal.SIGKILL)
        owner.wait(PATIENCE)
        waited.set()

    monkeypatch.setattr(extract.time, "sleep", kill)
    rows = VGG19Features(**TINY, memory=tmp_path).fit_transform(paths)
    assert waited.is_set()
    np.testing.assert_array_equal(rows, matrix)


def test_threads_that_share_a_store_compute_each_image_once_and_fit_what_they_would_alone(
    tmp_path, paths, y, passed, clf
):
    models = [clone(clf).set_params(memory=tmp_path, alpha=alpha) for alpha in (0.01, 0.1, 1.0, 10.0)]
    threads = [threading.Thread(target=model.fit, args=(paths, y)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(passed) == 40
    for model in models:
        alone = clone(model).set_params(memory=None).fit(paths, y)
        np.testing.assert_array_equal(model.predict_proba(paths), alone.predict_proba(paths))


def test_an_image_that_cannot_be_decoded_is_no_longer_claimed_afterwards(tmp_path, paths, features):
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(paths[0]).read_bytes()[:-200])
    for _ in range(2):  # the second would wait for the first
        with pytest.raises(ValueError, match=r"cut\.png"):
            features.set_params(memory=tmp_path).fit_transform([*paths, cut])


# What a warm call touches


def test_a_warm_call_reads_no_file(tmp_path, paths, features, settled, read):
    features.set_params(memory=tmp_path)
    rows = features.fit_transform(paths)
    assert len(read) == 40
    np.testing.assert_array_equal(clone(features).fit_transform(paths), rows)
    assert len(read) == 40


def test_a_fresh_file_is_read_again_since_it_could_change_unseen(tmp_path, paths, features, read, unsettled):
    features.set_params(memory=tmp_path).fit(paths)
    for _ in range(2):
        features.transform(paths)
    assert len(read) == 80


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such time")
def test_a_change_that_keeps_size_and_time_of_change_is_seen(tmp_path, paths, features, settled, passed):
    film = tmp_path / "film.jpeg"
    content = Path(paths[0]).read_bytes()
    film.write_bytes(content + b"one")
    before = film.stat()
    features.set_params(memory=tmp_path).fit_transform([film])
    film.write_bytes(content + b"two")
    os.utime(film, ns=(before.st_atime_ns, before.st_mtime_ns))
    features.transform([film])
    assert passed == [1, 1]


def test_features_are_read_from_disk_once_a_process(tmp_path, paths, features, monkeypatch, settled):
    features.set_params(memory=tmp_path).fit_transform(paths)
    rows = features.transform(paths)
    fetched, fetch = [], _Table._fetch
    monkeypatch.setattr(_Table, "_fetch", lambda self, keys, n: (fetched.extend(keys), fetch(self, keys, n))[1])
    np.testing.assert_array_equal(clone(features).fit(paths).transform(paths[:30]), rows[:30])
    assert not [key for key in fetched if len(key) == 40]


def test_what_is_held_in_memory_goes_with_its_store(tmp_path, paths, features, passed, settled):
    features.set_params(memory=tmp_path).fit_transform(paths)
    features.transform(paths)
    shutil.rmtree(FeatureStore(tmp_path).folder)
    features.transform(paths)
    assert sum(passed) == 80
    assert len(list(FeatureStore(tmp_path).folder.iterdir())) > 0


def test_rows_handed_out_are_the_callers_own(tmp_path, paths, features, settled):
    features.set_params(memory=tmp_path).fit_transform(paths)
    rows = features.transform(paths)
    copy = rows.copy()
    rows[:] = 0
    np.testing.assert_array_equal(features.transform(paths), copy)


# Errors


@pytest.mark.parametrize("bad", ["missing", "cut"])
def test_calls_that_share_a_store_and_meet_the_same_bad_images_do_not_wait_for_each_other(
    tmp_path, paths, monkeypatch, bad
):
    films = []
    for i in range(2):
        films.append(tmp_path / f"{bad}{i}.jpeg")
        if bad == "cut":
            films[-1].write_bytes(Path(paths[i]).read_bytes()[:-300])
    monkeypatch.setattr(_keras, "batch_size", lambda *_: 4)
    images, reported = [*paths, *map(str, films)], []

    def extract(images):
        with pytest.raises(ImageReadError) as caught:
            VGG19Features(**TINY, memory=tmp_path).fit_transform(images)
        reported.append({path for _, path, _ in caught.value.failures})

    threads = [threading.Thread(target=extract, args=(order,), daemon=True) for order in (images, images[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert reported == [set(map(str, films))] * 2


def test_after_an_error_no_more_files_are_read(tmp_path, paths, features, read, monkeypatch):
    many = [str(tmp_path / f"{i}.jpeg") for i in range(1000)]
    for i, path in enumerate(many):
        Path(path).write_bytes(Path(paths[0]).read_bytes() + str(i).encode())
    readers, ending, read_bytes = set(), threading.Event(), extract.read_bytes
    shutdown = ThreadPoolExecutor.shutdown

    def fail(_):
        raise OSError("the device is lost")

    def wait_for_the_end(path):
        readers.add(threading.current_thread())
        if path in many[500:]:
            assert ending.wait(PATIENCE)
        return read_bytes(path)

    def noted_shutdown(pool, **options):
        if readers & pool._threads:
            ending.set()
        shutdown(pool, **options)

    monkeypatch.setattr(backbone.Backbone, "forward", fail)
    monkeypatch.setattr(_keras, "batch_size", lambda *_: 1)
    monkeypatch.setattr(extract, "read_bytes", wait_for_the_end)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", noted_shutdown)
    with pytest.raises(OSError, match="the device is lost") as caught:
        features.set_params(memory=None).fit_transform(many)
    assert caught.tb is not None  # the frames are still there
    assert len(read) < 1000
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def test_what_has_passed_is_stored_when_the_next_batch_fails(tmp_path, paths, monkeypatch):
    forward, calls = backbone.Backbone.forward, []

    def once(backbone):
        calls.append(1)
        if len(calls) > 1:
            raise OSError("the device is lost")
        return forward(backbone)

    monkeypatch.setattr(_keras, "batch_size", lambda *_: 4)
    monkeypatch.setattr(backbone.Backbone, "forward", once)
    with pytest.raises(OSError, match="the device is lost"):
        VGG19Features(**TINY, memory=tmp_path).fit_transform(paths)
    with sqlite3.connect(FeatureStore(tmp_path).file) as db:
        assert db.execute("SELECT count(*) FROM features").fetchone() == (4,)
    db.close()


def test_one_bad_image_does_not_cost_what_is_known_of_the_other_files(tmp_path, paths, features, settled, read):
    features.set_params(memory=tmp_path).fit(paths)
    for _ in range(2):
        with pytest.raises(ImageReadError, match="no such file"):
            features.transform([*paths, "none.jpeg"])
    assert len(read) == 40 + 1 + 1


def test_a_digest_that_is_wrong_costs_one_call(tmp_path, paths, features, settled):
    features.set_params(memory=tmp_path).fit(paths)
    FeatureStore(tmp_path).remember([(sources.stamp(paths[0]), b"x" * 20)])
    with pytest.raises(ImageReadError, match="changed while it was being read"):
        features.transform(paths)
    assert features.transform(paths).shape[0] == 40
