import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skpneumo import VGG19Features, _keras
from skpneumo._feature_store.store import StoreNamespace
from skpneumo._images import decoding
from skpneumo._utils.executor import ahead
from skpneumo._vgg19 import backbone

PATIENCE = 60  # seconds until a test fails


@pytest.mark.parametrize("n_ahead", [1, 3])
def test_ahead_keeps_the_order_and_consumes_at_most_n_ahead_items_early(n_ahead):
    consumed, done = [], 0

    def items():
        for i in range(10):
            consumed.append(i)
            yield i

    with ThreadPoolExecutor(2) as pool:
        for result in ahead(pool, lambda i: i * i, items(), n_ahead):
            assert result == done**2
            assert len(consumed) <= done + n_ahead
            done += 1
    assert done == 10


def test_decoding_encoding_and_storing_overlap(paths, monkeypatch, features, tmp_path):
    """Each step of the first batch waits until the previous step has processed a later batch."""
    decoded, encoded = threading.Semaphore(0), threading.Semaphore(0)
    first = {"forward": True, "put": True}
    decode, forward, put = decoding.Preprocessing.gray, backbone.Backbone.forward, StoreNamespace.put

    def counted_decode(preprocessing, data):
        decoded.release()
        return decode(preprocessing, data)

    def waiting_forward(backbone):
        def run(batch):
            if first.pop("forward", False):
                assert all(decoded.acquire(timeout=PATIENCE) for _ in range(5))
            encoded.release()
            return forward(backbone)(batch)

        return run

    def waiting_put(stored, rows):
        if first.pop("put", False):
            assert all(encoded.acquire(timeout=PATIENCE) for _ in range(2))
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


def test_number_of_preprocessed_images_in_memory_is_bounded(paths, features, monkeypatch):
    in_memory, maximum, lock = 0, 0, threading.Lock()
    decode, forward = decoding.Preprocessing.gray, backbone.Backbone.forward

    def counted_decode(preprocessing, data):
        nonlocal in_memory, maximum
        with lock:
            in_memory += 1
            maximum = max(maximum, in_memory)
        return decode(preprocessing, data)

    def counted_forward(backbone):
        def run(batch):
            nonlocal in_memory
            with lock:
                in_memory -= len(batch)
            return forward(backbone)(batch)

        return run

    monkeypatch.setattr(_keras, "batch_size", lambda *_: 2)
    monkeypatch.setattr(decoding.Preprocessing, "gray", counted_decode)
    monkeypatch.setattr(backbone.Backbone, "forward", counted_forward)
    features.set_params(memory=None).fit_transform(paths)
    assert in_memory == 0
    assert maximum <= 6 * 2
