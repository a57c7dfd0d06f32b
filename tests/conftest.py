"""Shared fixtures: synthetic X-rays, a temporary feature store, and real data if available."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import reusable_executor

from skpneumo import PneumoniaClassifier, VGG19Features, _keras
from skpneumo._images import decoding, sources
from skpneumo._images.augmentation import XRAY
from skpneumo._images.inputs import as_images
from skpneumo._training.dataset import Examples
from skpneumo._vgg19 import backbone
from skpneumo._vgg19.layers import LAYERS
from skpneumo._vgg19.weights import load_layers
from skpneumo.datasets import make_chest_xrays

# Tests of behavior specific to TensorFlow are skipped on other backends of Keras.
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="specific to TensorFlow")

TINY = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2}
QUICK = {**TINY, "n_views": 1}
DENSE = {"hidden_layer_sizes": (8,), "max_iter": 4, "dropout": 0.2}
STOPS = {"early_stopping": True, "validation_fraction": 0.3, "random_state": 0}
STOPS |= {"hidden_layer_sizes": (8,), "learning_rate_init": 0.1, "max_iter": 60, "n_iter_no_change": 3, "tol": 0.0}


def write_keras_vgg19(path):
    """Write untrained weights in the format of Keras's VGG19 file: a group per layer, a dataset per weight."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in load_layers(None, 16).items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0"] = array


def near(heat, boxes, grid):
    """Return whether the peak of a heat map is inside one of the boxes, or at most half a cell away."""
    row, column = np.add(np.unravel_index(heat.argmax(), heat.shape), 0.5)
    reach = min(heat.shape) / grid / 2
    return any(
        left - reach <= column <= right + reach and top - reach <= row <= bottom + reach
        for left, top, right, bottom in boxes
    )


def features_of_views(paths, n_views, augmentation=XRAY):
    """Return a matrix of features for each view."""
    extractor = VGG19Features(**TINY, memory=None)
    rows = extractor._encoder().extract(as_images(paths), n_views, augmentation, progress=extractor._bar()).features
    return [rows[view::n_views] for view in range(n_views)]


@pytest.fixture(autouse=True, scope="session")
def temporary_feature_store(tmp_path_factory):
    """Use a temporary feature store instead of the cache of the user, also in subprocesses."""
    before = os.environ.get("SKPNEUMO_CACHE")
    os.environ["SKPNEUMO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SKPNEUMO_CACHE"]
    else:
        os.environ["SKPNEUMO_CACHE"] = before


@pytest.fixture(scope="session")
def xrays(tmp_path_factory):
    """Make 40 synthetic X-rays, half of them with pneumonia, about 2 per patient."""
    return make_chest_xrays(40, tmp_path_factory.mktemp("xrays"), image_size=48, difficulty=0, random_state=0)


@pytest.fixture
def paths(xrays):
    return [str(path) for path in xrays.data.ravel()]


@pytest.fixture
def y(xrays):
    return xrays.target


@pytest.fixture
def clf():
    return PneumoniaClassifier(**QUICK)


@pytest.fixture
def features():
    return VGG19Features(**TINY)


@pytest.fixture(scope="session")
def matrix(xrays):
    """Extract the features of all X-rays."""
    return VGG19Features(**TINY, memory=None).fit_transform(xrays.data)


@pytest.fixture(autouse=True)
def stop_joblib_workers():
    """Stop joblib workers after a test, since joblib reports a worker that starts TensorFlow later as a memory leak."""
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown()


@pytest.fixture
def settled(monkeypatch):
    """Treat all files as unchanged for long, so that their digests are cached."""
    monkeypatch.setattr(sources, "_SETTLED", float("-inf"))


@pytest.fixture
def unsettled(monkeypatch):
    """Treat all files as just changed, so that their digests are not cached."""
    monkeypatch.setattr(sources, "_SETTLED", float("inf"))


@pytest.fixture
def count(monkeypatch):
    """Count decoded images, images that pass through the network, and requested networks."""
    counts = {"decoded": 0, "passed": 0, "networks": 0}
    decode, forward = decoding.Preprocessing.gray, backbone.Backbone.forward

    lock = threading.Lock()  # images are decoded in several threads

    def counted_decode(preprocessing, data):
        with lock:
            counts["decoded"] += 1
        return decode(preprocessing, data)

    def counted_forward(backbone):
        counts["networks"] += 1
        run = forward(backbone)

        def counted(batch):
            counts["passed"] += len(batch)
            return run(batch)

        return counted

    monkeypatch.setattr(decoding.Preprocessing, "gray", counted_decode)
    monkeypatch.setattr(backbone.Backbone, "forward", counted_forward)
    return counts


@pytest.fixture
def sides(monkeypatch):
    """Record the split into training and held-out examples of each fit."""
    pairs, hold_out = [], Examples.hold_out
    monkeypatch.setattr(Examples, "hold_out", lambda self, *given: (pairs.append(hold_out(self, *given)), pairs[-1])[1])
    return pairs


@pytest.fixture(scope="session")
def shared():
    """Return the folder with real X-rays and weights."""
    if "SKPNEUMO_SHARED" not in os.environ:
        pytest.skip("SKPNEUMO_SHARED is not set to a folder with real X-rays")
    return Path(os.environ["SKPNEUMO_SHARED"])


@pytest.fixture(scope="session")
def keras_vgg19():
    """Build the VGG19 network of Keras with the untrained weights of skpneumo."""
    network = _keras.keras().applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3))
    arrays = load_layers(None, 16)
    for name, _, _ in LAYERS:
        network.get_layer(name).set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    return network


@pytest.fixture
def pyplot():
    """Return pyplot with the Agg backend and the default settings of matplotlib."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context():
        mpl.rcdefaults()
        plt.switch_backend("agg")
        yield plt
        plt.close("all")


@pytest.fixture
def random():
    return np.random.RandomState(0)
