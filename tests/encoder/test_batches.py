import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skpneumo import VGG19Features, _keras
from skpneumo._feature_store.store import StoreNamespace
from skpneumo._images import decoding
from skpneumo._utils.executor import ahead
from skpneumo._vgg19 import backbone

PATIENCE = 60  # seconds after which a test has failed


@pytest.mark.parametrize("n_ahead", [1, 3])
def test_mapping_ahead_keeps_the_order_and_draws_no_more_than_it_may(n_ahead):
    drawn, done = [], 0

    def items():
        for i in range(10):
            drawn.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        for result in ahead(pool, lambda i: i * i, items(), n_ahead):
            assert result == done**2
            assert len(drawn) <= done + n_ahead
            done += 1
    assert done == 10


def test_decoding_goes_on_while_the_network_computes_and_computing_while_features_are_stored(
    paths, monkeypatch, features, tmp_path
):
    """Each step of the first batch waits until the step before it has gone on to a later one."""
    decoded, passed = threading.Semaphore(0), threading.Semaphore(0)
    first = {"forward": True, "put": True}
    decode, forward, put = decoding.Preprocessing.gray, backbone.Backbone.forward, StoreNamespace.put

    def counted_decode(square, data):
        decoded.release()
        return decode(square, data)

    def waiting_forward(backbone):
        def run(batch):
            if first.pop("forward", False):
                assert all(decoded.acquire(timeout=PATIENCE) for _ in range(5))
            passed.release()
            return forward(backbone)(batch)

        return run

    def waiting_put(stored, rows):
        if first.pop("put", False):
            assert all(passed.acquire(timeout=PATIENCE) for _ in range(2))
        return put(stored, rows)

    monkeypatch.setattr(_keras, "batch_size", lambda *_: 4)
    monkeypatch.setattr(decoding.Preprocessing, "gray", counted_decode)
    monkeypatch.setattr(backbone.Backbone, "forward", waiting_forward)
    monkeypatch.setattr(StoreNamespace, "put", waiting_put)
    rows = features.set_params(memory=tmp_path).fit_transform(paths)
    assert not first
    monkeypatch.undo()
    np.testing.assert_array_equal(
        rows, VGG19Features(**features.set_params(memory=None).get_params()).fit_transform(paths)
    )


def test_squares_under_way_are_bounded_however_many_images_there_are(paths, features, monkeypatch):
    under_way, most, lock = 0, 0, threading.Lock()
    decode, forward = decoding.Preprocessing.gray, backbone.Backbone.forward

    def counted_decode(square, data):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        return decode(square, data)

    def counted_forward(backbone):
        def run(batch):
            nonlocal under_way
            with lock:
                under_way -= len(batch)
            return forward(backbone)(batch)

        return run

    monkeypatch.setattr(_keras, "batch_size", lambda *_: 2)
    monkeypatch.setattr(decoding.Preprocessing, "gray", counted_decode)
    monkeypatch.setattr(backbone.Backbone, "forward", counted_forward)
    features.set_params(memory=None).fit_transform(paths)
    assert under_way == 0
    assert most <= 6 * 2
