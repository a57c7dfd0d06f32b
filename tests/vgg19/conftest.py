"""Shared fixtures: images, backbones, weights files and models that use one."""

import numpy as np
import pytest

from skpneumo._vgg19 import weights
from skpneumo._vgg19.backbone import backbone
from skpneumo._vgg19.weights import load_layers, source_of, weights_digest


def make_backbone(**changes):
    settings = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2, "device": "cpu"}
    return backbone(**settings | {"precision": "float32"} | changes)


@pytest.fixture
def preprocessed(random):
    return random.randint(0, 256, (3, 32, 32), np.uint8)


@pytest.fixture
def isolated_weights(tmp_path, monkeypatch):
    """Hide the weights of this machine, so that only those of the test are found."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("SKPNEUMO_WEIGHTS", raising=False)
    weights._cached_digest.cache_clear()


def digest(weights, n_layers=2):
    return weights_digest(source_of(weights), n_layers)


def save_npz(path, n_layers=16):
    np.savez(path, **load_layers(None, n_layers))


def save_other_npz(path, n_layers=2):
    np.savez(path, **{name: array + 1 for name, array in load_layers(None, n_layers).items()})


@pytest.fixture
def fitted(clf, paths, y, tmp_path):
    """Model whose weights are in a file."""
    save_other_npz(tmp_path / "w.npz")
    return clf.set_params(weights=tmp_path / "w.npz", memory=None, precision="float32").fit(paths, y)
