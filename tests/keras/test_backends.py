"""Models are portable between the backends of Keras, which run in separate processes."""

import importlib.util
import os
import subprocess
import sys

import joblib
import numpy as np
import pytest

from conftest import QUICK
from skpneumo import PneumoniaClassifier, _keras

FRAMEWORKS = ("tensorflow", "jax", "torch")
# Each backend rounds to bfloat16 in different places.
SETTINGS = QUICK | {"memory": None, "precision": "float32"}
HEADS = {"probe": {}, "dense": {"hidden_layer_sizes": (8,), "max_iter": 20, "learning_rate_init": 0.01}}

PREDICT = f"""
import sys, joblib
clf = joblib.load(sys.argv[1])
print(clf.predict_proba(sys.argv[2:]).tobytes().hex())
print([name for name in {FRAMEWORKS} if name in sys.modules])
"""
FIT = f"""
import sys, joblib
clf = joblib.load(sys.argv[1])
paths = sys.argv[3:]
joblib.dump(clf.fit(paths, joblib.load(sys.argv[2])), sys.argv[1])
print(clf.predict_proba(paths).tobytes().hex())
print([name for name in {FRAMEWORKS} if name in sys.modules])
"""


@pytest.fixture(params=FRAMEWORKS)
def other(request):
    """A backend other than that of this process."""
    if request.param == _keras.keras().backend.backend():
        pytest.skip(f"Keras runs on {request.param} in this process")
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def run(code, framework, *arguments):
    """Run `code` on a backend; return the probabilities and the imported frameworks that it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"KERAS_BACKEND": framework}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    probabilities, imported = done.stdout.splitlines()
    return np.frombuffer(bytes.fromhex(probabilities)).reshape(-1, 2), imported


@pytest.mark.parametrize("head", HEADS)
def test_model_predicts_the_same_on_another_backend(other, head, paths, y, tmp_path):
    clf = PneumoniaClassifier(**SETTINGS, **HEADS[head], random_state=0).fit(paths, y)
    joblib.dump(clf, tmp_path / "model.joblib")
    there, imported = run(PREDICT, other, tmp_path / "model.joblib", *paths)
    np.testing.assert_allclose(there, clf.predict_proba(paths), atol=1e-4)
    assert ("tensorflow" in imported) == (other == "tensorflow")


@pytest.mark.parametrize("head", HEADS)
def test_model_of_another_backend_predicts_the_same_on_this_one(other, head, paths, y, tmp_path):
    joblib.dump(PneumoniaClassifier(**SETTINGS, **HEADS[head], random_state=0), tmp_path / "model.joblib")
    joblib.dump(y, tmp_path / "y.joblib")
    there, imported = run(FIT, other, tmp_path / "model.joblib", tmp_path / "y.joblib", *paths)
    clf = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_allclose(clf.predict_proba(paths), there, atol=1e-4)
    assert clf.score(paths, y) > 0.9
    assert ("tensorflow" in imported) == (other == "tensorflow")
