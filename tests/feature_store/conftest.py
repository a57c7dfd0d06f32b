"""Shared fixtures: rows of features and a store that holds them."""

import numpy as np
import pytest

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
