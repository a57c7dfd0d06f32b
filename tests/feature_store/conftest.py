"""Shared fixtures: rows of features, a store that holds them, and a full disk."""

import os
from contextlib import contextmanager

import numpy as np
import pytest

from skpneumo._feature_store import sqlite
from skpneumo._feature_store.store import FeatureStore

KEYS = [bytes([i]) * 40 for i in range(5)]


@pytest.fixture
def rows(random):
    return dict(zip(KEYS, random.rand(5, 3).astype(np.float32), strict=True))


@pytest.fixture
def store(tmp_path, rows):
    store = FeatureStore(tmp_path)
    store.put(rows.items())
    return store


@pytest.fixture
def full_disk():
    """Return a context manager in which no file can grow beyond a number of bytes."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def full_disk(n_bytes=0):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full_disk


@pytest.fixture
def timeouts(monkeypatch):
    """Record how long each transaction would wait for a lock, without waiting."""
    recorded, connect = [], sqlite.sqlite3.connect

    def connect_at_once(file, timeout, **options):
        recorded.append((os.path.basename(file), timeout))
        return connect(file, timeout=0.0, **options)

    monkeypatch.setattr(sqlite.sqlite3, "connect", connect_at_once)
    return recorded
