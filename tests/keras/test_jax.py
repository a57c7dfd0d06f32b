"""Distribution over several devices: two virtual CPU devices of JAX, in a separate process."""

import importlib.util
import json
import os
import subprocess
import sys

import joblib
import numpy as np
import pytest

from conftest import TINY

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

SETTINGS = TINY | {"memory": None, "precision": "float32", "device": "cpu"}
# 40 images in batches of 7 leave 5: both are odd, 8 is even.
MODELS = {
    "dense": {"hidden_layer_sizes": (8,), "dropout": 0.25, "max_iter": 5, "learning_rate_init": 0.01, "batch_size": 7},
    "even": {"hidden_layer_sizes": (8,), "dropout": 0.25, "max_iter": 5, "learning_rate_init": 0.01, "batch_size": 8},
    "tuned": {"n_trainable_layers": 1, "tune_max_iter": 2, "tune_average": 1.0, "tune_learning_rate": 1e-3},
}
PROLOGUE = """
import json, sys
import joblib, keras, numpy as np
from skpneumo import PneumoniaClassifier, VGG19Features, _keras
from skpneumo._keras.jax import _distributions, spread

places, distribute = [], keras.distribution.distribute_tensor

def spy(tensor, layout):
    placed = distribute(tensor, layout)
    places.append((placed.shape, len(placed.sharding.device_set), placed.sharding.is_fully_replicated))
    return placed

keras.distribution.distribute_tensor = spy
"""
COMPARE = f"""{PROLOGUE}
paths, y = joblib.load(sys.argv[1])
images = VGG19Features(**{SETTINGS})
found = {{"features": images.fit_transform(paths[:39]), "an image": images.fit_transform(paths[:1])}}
for name, model in {MODELS}.items():
    clf = PneumoniaClassifier(**{SETTINGS}, **{{"n_views": 1}} | model, random_state=0).fit(paths, y)
    found[name] = clf.predict_proba(paths[:39])
joblib.dump(found, sys.argv[2])
print(json.dumps([places, repr(keras.distribution.distribution())]))
"""
HOST = f"""{PROLOGUE}
ours = keras.distribution.DataParallel(devices=["cpu:1"])
with ours.scope():
    matrix, codes = np.eye(8, dtype=np.float32), np.arange(8) % 2
    PneumoniaClassifier(device="cpu", hidden_layer_sizes=(4,), max_iter=2, batch_size=4).fit(matrix, codes)
    assert keras.distribution.distribution() is ours
assert keras.distribution.distribution() is None
print(json.dumps([places, "None"]))
"""
NESTED = f"""{PROLOGUE}
one = _distributions["gpu"] = keras.distribution.DataParallel(devices=["cpu:1"])  # stands in for a GPU
with _keras.place("cpu"):
    two = keras.distribution.distribution()
    with spread("gpu", keras.device("cpu:1")):
        assert keras.distribution.distribution() is one
        assert len(keras.Variable([1.0]).value.devices()) == 1
    assert keras.distribution.distribution() is two
    assert len(keras.Variable([1.0]).value.devices()) == 2
with spread("gpu", keras.device("cpu:1")):
    assert keras.distribution.distribution() is None
print(json.dumps([places, "None"]))
"""


def run(code, n_devices, *arguments):
    """Run `code` on `n_devices` devices; return the placement of the arrays."""
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    places, distribution = json.loads(done.stdout.splitlines()[-1])
    assert distribution == "None"
    return [(tuple(shape), *rest) for shape, *rest in places]


@pytest.fixture
def dataset(paths, y, tmp_path):
    joblib.dump((paths, y), tmp_path / "dataset.joblib")
    return tmp_path / "dataset.joblib"


def test_results_on_two_devices_equal_those_on_one(dataset, tmp_path):
    assert run(COMPARE, 1, dataset, tmp_path / "one.joblib") == []
    places = run(COMPARE, 2, dataset, tmp_path / "two.joblib")
    one, two = joblib.load(tmp_path / "one.joblib"), joblib.load(tmp_path / "two.joblib")
    for name in one:
        limits = {"atol": 1e-4} if name in MODELS else {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(two[name], one[name], **limits, err_msg=name)
    is_whole = {shape: replicated for shape, n_devices, replicated in places if n_devices == 2}
    assert len(is_whole) == len({shape for shape, *_ in places})  # no array is on one device only
    assert not is_whole[64, 32, 32]
    assert not is_whole[2, 32, 32]
    n_features = two["features"].shape[1]
    assert [is_whole[n_rows, n_features] for n_rows in (8, 7, 5)] == [False, True, True]


def test_distribution_of_the_host_application_is_kept():
    assert run(HOST, 2) == []


def test_each_kind_of_device_has_its_own_distribution():
    run(NESTED, 2)
