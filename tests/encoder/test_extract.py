import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features, _keras
from skpneumo._encoder import extract
from skpneumo._feature_store import table
from skpneumo._feature_store.store import FeatureStore
from skpneumo._images import sources
from skpneumo._vgg19 import backbone
from skpneumo.exceptions import FeatureStoreWarning, ImageReadError

PATIENCE = 120  # seconds until a test fails

# A program that extracts features, four images per batch, and logs how many images passed its network.
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
def batch_sizes(monkeypatch):
    """Record the sizes of the batches that pass the network in this process."""
    sizes, forward = [], backbone.Backbone.forward
    monkeypatch.setattr(
        backbone.Backbone, "forward", lambda self: lambda batch: (sizes.append(len(batch)), forward(self)(batch))[1]
    )
    return sizes


@pytest.fixture
def read(monkeypatch):
    """Record the paths that are read."""
    paths, read_bytes = [], extract.read_bytes
    monkeypatch.setattr(extract, "read_bytes", lambda path: (paths.append(path), read_bytes(path))[1])
    return paths


# Several processes


def test_processes_that_share_a_store_compute_each_image_once(start, tmp_path, matrix, paths, batch_sizes):
    logs = [tmp_path / "one", tmp_path / "two"]
    processes = [start(log) for log in logs]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert sum(log.stat().st_size for log in logs if log.exists()) == 40
    rows = VGG19Features(**TINY, memory=tmp_path).fit_transform(paths)
    assert batch_sizes == []
    np.testing.assert_array_equal(rows, matrix)


def test_search_with_two_processes_computes_each_image_once(tmp_path, paths, y):
    store = FeatureStore(tmp_path)
    store.put([])
    with sqlite3.connect(store.file) as db:  # logs every write of any process
        db.execute("CREATE TABLE log (key BLOB)")
        db.execute(
            "CREATE TRIGGER t AFTER INSERT ON features WHEN length(new.value) > 100 "
            "BEGIN INSERT INTO log VALUES (new.key); END"
        )
    db.close()
    search = GridSearchCV(PneumoniaClassifier(**QUICK, memory=tmp_path), {"alpha": [0.01, 0.1]}, cv=3, n_jobs=2)
    search.fit(paths, y)
    with sqlite3.connect(store.file) as db:
        counts = db.execute("SELECT count(*), count(DISTINCT key) FROM log").fetchone()
    db.close()
    assert counts == (40, 40)


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_images_leased_by_a_killed_process_are_computed_by_a_waiting_one(
    start, tmp_path, matrix, paths, monkeypatch, batch_sizes
):
    log = tmp_path / "log"
    owner = start(log, "hang")
    waited = threading.Event()
    while not log.exists():  # until it has leased images and computes
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


def test_threads_that_share_a_store_compute_each_image_once_and_fit_equal_models(tmp_path, paths, y, batch_sizes, clf):
    models = [clone(clf).set_params(memory=tmp_path, alpha=alpha) for alpha in (0.01, 0.1, 1.0, 10.0)]
    threads = [threading.Thread(target=model.fit, args=(paths, y)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(batch_sizes) == 40
    for model in models:
        alone = clone(model).set_params(memory=None).fit(paths, y)
        np.testing.assert_array_equal(model.predict_proba(paths), alone.predict_proba(paths))


def test_lease_of_an_undecodable_image_is_released(tmp_path, paths, features):
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(Path(paths[0]).read_bytes()[:-200])
    for _ in range(2):  # the second would wait for the first
        with pytest.raises(ValueError, match=r"truncated\.png"):
            features.set_params(memory=tmp_path).fit_transform([*paths, truncated])


# Calls on stored features


def test_call_on_stored_features_reads_no_file(tmp_path, paths, features, settled, read):
    features.set_params(memory=tmp_path)
    rows = features.fit_transform(paths)
    assert len(read) == 40
    np.testing.assert_array_equal(clone(features).fit_transform(paths), rows)
    assert len(read) == 40


def test_recently_modified_file_is_read_again(tmp_path, paths, features, read, unsettled):
    features.set_params(memory=tmp_path).fit(paths)
    for _ in range(2):
        features.transform(paths)
    assert len(read) == 80


@pytest.mark.skipif(os.name == "nt", reason="Windows has no status change time")
def test_change_that_keeps_size_and_modification_time_is_detected(tmp_path, paths, features, settled, batch_sizes):
    image = tmp_path / "image.jpeg"
    content = Path(paths[0]).read_bytes()
    image.write_bytes(content + b"one")
    before = image.stat()
    features.set_params(memory=tmp_path).fit_transform([image])
    image.write_bytes(content + b"two")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    features.transform([image])
    assert batch_sizes == [1, 1]


def test_features_are_read_from_disk_once_per_process(tmp_path, paths, features, monkeypatch, settled):
    monkeypatch.setattr(table, "REFRESH", float("inf"))  # the memory does not expire during this test
    features.set_params(memory=tmp_path).fit_transform(paths)
    rows = features.transform(paths)
    fetched, fetch = [], table.Table._fetch
    monkeypatch.setattr(table.Table, "_fetch", lambda self, keys, *n: (fetched.extend(keys), fetch(self, keys, *n))[1])
    np.testing.assert_array_equal(clone(features).fit(paths).transform(paths[:30]), rows[:30])
    assert not [key for key in fetched if len(key) == 40]


def test_features_cached_in_memory_are_dropped_with_their_store(tmp_path, paths, features, batch_sizes, settled):
    features.set_params(memory=tmp_path).fit_transform(paths)
    features.transform(paths)
    shutil.rmtree(FeatureStore(tmp_path).folder)
    features.transform(paths)
    assert sum(batch_sizes) == 80
    assert len(list(FeatureStore(tmp_path).folder.iterdir())) > 0


def test_changing_returned_rows_does_not_change_the_cache(tmp_path, paths, features, settled):
    features.set_params(memory=tmp_path).fit_transform(paths)
    rows = features.transform(paths)
    copy = rows.copy()
    rows[:] = 0
    np.testing.assert_array_equal(features.transform(paths), copy)


# Errors


@pytest.mark.parametrize("bad", ["missing", "truncated"])
def test_calls_with_the_same_unreadable_images_do_not_deadlock(tmp_path, paths, monkeypatch, bad):
    unreadable = []
    for i in range(2):
        unreadable.append(tmp_path / f"{bad}{i}.jpeg")
        if bad == "truncated":
            unreadable[-1].write_bytes(Path(paths[i]).read_bytes()[:-300])
    monkeypatch.setattr(_keras, "batch_size", lambda *_: 4)
    images, reported = [*paths, *map(str, unreadable)], []

    def extract(images):
        with pytest.raises(ImageReadError) as caught:
            VGG19Features(**TINY, memory=tmp_path).fit_transform(images)
        reported.append({path for _, path, _ in caught.value.failures})

    threads = [threading.Thread(target=extract, args=(order,), daemon=True) for order in (images, images[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert reported == [set(map(str, unreadable))] * 2


def test_no_more_files_are_read_after_an_error(tmp_path, paths, features, read, monkeypatch):
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

    def recorded_shutdown(pool, **options):
        if readers & pool._threads:
            ending.set()
        shutdown(pool, **options)

    monkeypatch.setattr(backbone.Backbone, "forward", fail)
    monkeypatch.setattr(_keras, "batch_size", lambda *_: 1)
    monkeypatch.setattr(extract, "read_bytes", wait_for_the_end)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", recorded_shutdown)
    with pytest.raises(OSError, match="the device is lost") as caught:
        features.set_params(memory=None).fit_transform(many)
    assert caught.tb is not None  # keeps the frames alive
    assert len(read) < 1000
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]


def test_finished_batches_are_stored_when_a_later_batch_fails(tmp_path, paths, monkeypatch):
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


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
def test_interrupted_extraction_stores_finished_batches_and_can_be_repeated(tmp_path, paths, matrix):
    """The signal arrives while the third batch is computed; the process then extracts again."""
    code = f"""
    import os, signal, sqlite3, sys, threading
    import numpy as np
    from skpneumo import VGG19Features, _keras
    from skpneumo._feature_store.store import FeatureStore
    from skpneumo._images import sources
    from skpneumo._vgg19 import backbone
    store, matrix, *paths = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background of a shell ignore it
    _keras.batch_size = lambda *_: 4
    sources._SETTLED = float("-inf")
    forward, calls, main = backbone.Backbone.forward, [], threading.main_thread()
    def interrupting(backbone):
        calls.append(1)
        if len(calls) == 3:
            signal.pthread_kill(main.ident, signal.SIGINT)
        return forward(backbone)
    backbone.Backbone.forward = interrupting
    features = VGG19Features(**{TINY!r}, memory=store)
    def count(file, table):
        db = sqlite3.connect(file)
        try:
            return db.execute(f"SELECT count(*) FROM {{table}}").fetchone()[0]
        finally:
            db.close()
    try:
        features.fit_transform(paths)
    except KeyboardInterrupt:
        file = FeatureStore(store).file
        assert len(calls) <= 4, calls
        assert count(file, "features") == 4 * len(calls), count(file, "features")
        assert count(file.with_name("leases.sqlite"), "leases") == 0
        assert count(file.with_name("digests.sqlite"), "features") >= 4 * len(calls)
        assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name]
        np.testing.assert_array_equal(features.fit_transform(paths), np.load(matrix))
        assert len(calls) == 10
    else:
        sys.exit("no interruption")
    """
    np.save(tmp_path / "matrix.npy", matrix)
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(tmp_path / "matrix.npy"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_call_on_a_full_disk_does_not_delay_the_next_call(tmp_path, paths, features, matrix, monkeypatch):
    """Leases that cannot be released end with their extraction, so that nothing waits for them."""
    resource = pytest.importorskip("resource")
    limits, waits, forward = resource.getrlimit(resource.RLIMIT_FSIZE), [], backbone.Backbone.forward

    def fill_disk(backbone):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        return forward(backbone)

    monkeypatch.setattr(extract.time, "sleep", waits.append)
    monkeypatch.setattr(backbone.Backbone, "forward", fill_disk)
    features.set_params(memory=tmp_path)
    for _ in range(2):
        try:
            with pytest.warns(FeatureStoreWarning):
                rows = features.fit_transform(paths)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        np.testing.assert_array_equal(rows, matrix)
    with closing(sqlite3.connect(FeatureStore(tmp_path).folder / "leases.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM leases").fetchone() == (40,)
    assert not waits


def test_unreadable_image_does_not_discard_stored_digests_of_other_files(tmp_path, paths, features, settled, read):
    features.set_params(memory=tmp_path).fit(paths)
    for _ in range(2):
        with pytest.raises(ImageReadError, match="no such file"):
            features.transform([*paths, "none.jpeg"])
    assert len(read) == 40 + 1 + 1


def test_wrong_stored_digest_fails_once_and_is_removed(tmp_path, paths, features, settled):
    features.set_params(memory=tmp_path).fit(paths)
    FeatureStore(tmp_path).remember([(sources.stamp(paths[0]), b"x" * 20)])
    with pytest.raises(ImageReadError, match="changed while it was being read"):
        features.transform(paths)
    assert features.transform(paths).shape[0] == 40
