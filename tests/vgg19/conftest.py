"""What tests of VGG19 share: images, backbones, files of weights, and models that need one."""

import numpy as np
import pytest

from skpneumo._vgg19 import weights
from skpneumo._vgg19.backbone import backbone
from skpneumo._vgg19.weights import load_layers, source_of, weights_digest


def settle(**changes):
    settings = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2, "device": "cpu"}
    return backbone(**settings | {"precision": "float32"} | changes)


@pytest.fixture
def squares(random):
    return random.randint(0, 256, (3, 32, 32), np.uint8)


@pytest.fixture
def no_weights_of_this_machine(tmp_path, monkeypatch):
    """What is found is what a test has put there."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("SKPNEUMO_WEIGHTS", raising=False)
    weights._held.cache_clear()


def digest(weights, n_layers=2):
    return weights_digest(source_of(weights), n_layers)


def save_npz(path, n_layers=16):
    np.savez(path, **load_layers(None, n_layers))


def save_other(path, n_layers=2):
    np.savez(path, **{name: array + 1 for name, array in load_layers(None, n_layers).items()})


@pytest.fixture
def on_file(clf, paths, y, tmp_path):
    """A model whose weights are a file."""
    save_other(tmp_path / "w.npz")
    return clf.set_params(weights=tmp_path / "w.npz", memory=None, precision="float32").fit(paths, y)
