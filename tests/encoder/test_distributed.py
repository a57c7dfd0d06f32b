import os
import signal
from contextlib import contextmanager
from unittest import mock

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._encoder.distributed import is_cluster
from skpneumo._feature_store.store import StoreNamespace
from skpneumo._images.inputs import as_images
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.weights import load_layers
from skpneumo.exceptions import ImageReadError, WeightsError

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # warnings of Dask itself


@contextmanager
def start():
    """Start a cluster of two processes on this machine."""
    workers = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        mock.patch.dict(os.environ),  # Dask sets variables in this process too
        distributed.LocalCluster(**workers) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client():
    with start() as client:
        yield client


@pytest.fixture
def dask(client):
    with joblib.parallel_config("dask"):
        yield


@pytest.fixture
def no_local_pass(monkeypatch):
    """Fail if an image passes the network in this process."""
    monkeypatch.setattr(backbone.Backbone, "forward", lambda _: pytest.fail("computed in this process"))


def test_workers_compute_features_and_the_caller_stores_them(dask, no_local_pass, paths, matrix, tmp_path):
    features = VGG19Features(**TINY, memory=tmp_path)
    np.testing.assert_array_equal(features.fit_transform(paths), matrix)
    with joblib.parallel_config("sequential"):
        np.testing.assert_array_equal(features.transform(paths), matrix)


def test_one_error_lists_all_images_that_workers_cannot_decode(dask, no_local_pass, paths, tmp_path):
    truncated = [tmp_path / "a.jpeg", tmp_path / "b.jpeg"]
    for i, path in enumerate(truncated):
        with open(paths[i], "rb") as file:
            path.write_bytes(file.read()[:-300])
    with pytest.raises(ImageReadError) as caught:
        VGG19Features(**TINY, memory=None).fit_transform([truncated[0], *paths, truncated[1]])
    assert [position for position, _, _ in caught.value.failures] == [0, 41]


def test_search_on_features_runs_on_the_cluster(dask, paths, y, matrix):
    search = GridSearchCV(PneumoniaClassifier(**QUICK), {"alpha": [0.01, 0.1]}, cv=3)
    search.fit(matrix, y)
    with joblib.parallel_config("sequential"):
        here = clone(search).fit(matrix, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])
    assert search.predict(paths).shape == (40,)


def test_search_on_paths_extracts_features_within_its_tasks(dask, paths, y, tmp_path):
    search = GridSearchCV(PneumoniaClassifier(**QUICK, memory=tmp_path), {"alpha": [0.01, 0.1]}, cv=3)
    assert search.fit(paths, y).best_score_ > 0.5
    tasks = joblib.Parallel()(joblib.delayed(is_cluster)(None) for _ in range(2))
    assert tasks == [False, False]
    assert is_cluster(None)
    assert not is_cluster(1)


def test_relative_paths_raise_within_tasks(client):
    with pytest.raises(ValueError, match=r"X contains the relative path 'a.png', but a worker .* Pass absolute paths"):
        client.submit(as_images, ["a.png"]).result()


def test_relative_paths_are_resolved_before_they_are_sent_to_workers(dask, no_local_pass, paths, matrix, monkeypatch):
    monkeypatch.chdir(os.path.dirname(paths[0]))
    relative = [os.path.relpath(path) for path in paths]
    np.testing.assert_array_equal(VGG19Features(**TINY, memory=None).fit_transform(relative), matrix)


def test_bundled_weights_are_sent_to_the_workers(dask, no_local_pass, paths, y, matrix, tmp_path):
    np.savez(tmp_path / "w.npz", **load_layers(None, 2))
    model = PneumoniaClassifier(**QUICK | {"weights": tmp_path / "w.npz"}, memory=None).fit(paths, y).bundle_weights()
    (tmp_path / "w.npz").unlink()
    np.testing.assert_array_equal(model.predict_proba(paths), model.predict_proba(matrix))


def test_backends_of_joblib_itself_are_not_a_cluster():
    for backend in ("loky", "threading", "sequential"):
        with joblib.parallel_config(backend, n_jobs=2):
            assert not is_cluster(2)


def test_weights_that_differ_between_machines_raise(features):
    backbone = features._encoder().spec().backbone
    other = VGG19Features(**TINY | {"n_layers": 3})._encoder().spec().backbone
    object.__setattr__(backbone, "weights_digest", other.weights_digest)
    with pytest.raises(WeightsError, match=r"On .*: The VGG19 weights .*were not found(.*\n)+.*other weights"):
        backbone.here("auto")


@pytest.mark.skipif(os.name != "posix", reason="kills a process by a signal")
def test_extraction_completes_after_a_worker_dies(no_local_pass, paths, matrix, monkeypatch):
    put = StoreNamespace.put

    def put_and_kill(stored, rows):
        while victims:
            os.kill(victims.pop(), signal.SIGKILL)
        return put(stored, rows)

    monkeypatch.setattr(StoreNamespace, "put", put_and_kill)
    monkeypatch.setattr("skpneumo._encoder.distributed._BATCHES_PER_CHUNK", 1)
    monkeypatch.setattr("skpneumo._keras.batch_size", lambda *_: 2)
    with start() as client, joblib.parallel_config("dask"):
        victims = list(client.run(os.getpid).values())[:1]
        rows = VGG19Features(**TINY, memory=None).fit_transform(paths)
    np.testing.assert_array_equal(rows, matrix)
    assert not victims
