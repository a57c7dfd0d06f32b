"""What all tests share: synthetic X-rays, a store of their own, and the real data where it is named."""

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

# The backend that Keras is asked to run on; a test of TensorFlow's own manners is skipped on others.
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="about TensorFlow alone")

TINY = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 2}
DENSE = {"hidden_layer_sizes": (8,), "max_iter": 4, "dropout": 0.2}
STOPS = {"early_stopping": True, "validation_fraction": 0.3, "random_state": 0}
STOPS |= {"hidden_layer_sizes": (8,), "learning_rate_init": 0.1, "max_iter": 60, "n_iter_no_change": 3, "tol": 0.0}


def write_keras_vgg19(path):
    """Write untrained weights as Keras's own download of VGG19 is written: one group a layer, one dataset a weight."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in load_layers(None, 16).items():
            layer, kind = name.split("/")
            file[f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0"] = array


def near(heat, boxes, grid):
    """Tell whether the peak of a heat map is inside one of the boxes, or at most half a cell away."""
    row, column = np.add(np.unravel_index(heat.argmax(), heat.shape), 0.5)
    reach = min(heat.shape) / grid / 2
    return any(
        left - reach <= column <= right + reach and top - reach <= row <= bottom + reach
        for left, top, right, bottom in boxes
    )


def features_of_views(paths, n_views, augmentation=XRAY):
    """One matrix a view."""
    extractor = VGG19Features(**TINY, memory=None)
    rows = extractor._encoder().extract(as_images(paths), n_views, augmentation, progress=extractor._bar()).features
    return [rows[view::n_views] for view in range(n_views)]


@pytest.fixture(autouse=True, scope="session")
def store_of_these_tests(tmp_path_factory):
    """Keep features away from the user's own cache; processes started by tests inherit it."""
    before = os.environ.get("SKPNEUMO_CACHE")
    os.environ["SKPNEUMO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SKPNEUMO_CACHE"]
    else:
        os.environ["SKPNEUMO_CACHE"] = before


@pytest.fixture(scope="session")
def xrays(tmp_path_factory):
    """40 synthetic films, half of them with pneumonia, some 2 a patient."""
    return make_chest_xrays(40, tmp_path_factory.mktemp("xrays"), image_size=48, difficulty=0, random_state=0)


@pytest.fixture
def paths(xrays):
    return [str(path) for path in xrays.data.ravel()]


@pytest.fixture
def y(xrays):
    return xrays.target


@pytest.fixture
def clf():
    return PneumoniaClassifier(**TINY)


@pytest.fixture
def features():
    return VGG19Features(**TINY)


@pytest.fixture(scope="session")
def matrix(xrays):
    """The features of all films."""
    return VGG19Features(**TINY, memory=None).fit_transform(xrays.data)


@pytest.fixture(autouse=True)
def no_workers_are_left():
    """Stop joblib's workers after a test: one that starts TensorFlow in a later job looks like a leak to joblib."""
    yield
    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown()


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled however young they are: their content is remembered."""
    monkeypatch.setattr(sources, "_SETTLED", float("-inf"))


@pytest.fixture
def unsettled(monkeypatch):
    """Every file counts as just changed: its content is not remembered."""
    monkeypatch.setattr(sources, "_SETTLED", float("inf"))


@pytest.fixture
def count(monkeypatch):
    """Count images decoded, images that pass the network, and networks asked for, while the real ones work."""
    counts = {"decoded": 0, "passed": 0, "networks": 0}
    decode, forward = decoding.Preprocessing.gray, backbone.Backbone.forward

    lock = threading.Lock()  # images are decoded in several threads

    def counted_decode(square, data):
        with lock:
            counts["decoded"] += 1
        return decode(square, data)

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
    """What is held out: (train, held), one pair a fit."""
    pairs, hold_out = [], Examples.hold_out
    monkeypatch.setattr(Examples, "hold_out", lambda self, *given: (pairs.append(hold_out(self, *given)), pairs[-1])[1])
    return pairs


@pytest.fixture(scope="session")
def shared():
    """The folder with real X-rays and weights."""
    if "SKPNEUMO_SHARED" not in os.environ:
        pytest.skip("SKPNEUMO_SHARED names no folder with real X-rays")
    return Path(os.environ["SKPNEUMO_SHARED"])


@pytest.fixture(scope="session")
def keras_vgg19():
    """Keras's own network with our untrained weights."""
    network = _keras.keras().applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3))
    arrays = load_layers(None, 16)
    for name, _, _ in LAYERS:
        network.get_layer(name).set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
    return network


@pytest.fixture
def pyplot():
    """Pyplot that draws into memory, by matplotlib's own settings, whatever those of the user are."""
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
