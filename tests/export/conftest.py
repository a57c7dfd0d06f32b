"""Shared by the tests of export: fitted models, and predictions of exported models."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import QUICK
from skpneumo import PneumoniaClassifier
from skpneumo.export import preprocess_images, to_keras, to_onnx

EXACT = {**QUICK, "precision": "float32", "random_state": 0}


@pytest.fixture
def fitted(paths, y):
    return PneumoniaClassifier(**EXACT).fit(paths, y)


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def by_keras(clf, paths):
    return np.asarray(to_keras(clf)(preprocess_images(clf, paths)[..., np.newaxis]))


def by_onnx(clf, paths, folder):
    to_onnx(clf, folder / "model.onnx")
    run = session(folder / "model.onnx").run
    pixels = [np.asarray(Image.open(path).convert("L")) for path in paths]
    return np.concatenate([run(None, {"pixels": image[np.newaxis]})[0] for image in pixels])


MODELS = {
    "linear probe": {},
    "dense": {"hidden_layer_sizes": (6, 5), "max_iter": 3},
    "weighted": {"class_weight": {0: 1, 1: 5}},
    "weighted dense": {"class_weight": {0: 1, 1: 5}, "hidden_layer_sizes": (6,), "max_iter": 3},
    "fine-tuned": {"n_trainable_layers": 1, "tune_max_iter": 1, "tune_learning_rate": 1e-3},
    "fine-tuned from the first layer": {"n_trainable_layers": 2, "tune_max_iter": 1, "n_views": 2},
    "fine-tuned after a block": {"n_layers": 3, "n_trainable_layers": 1, "tune_max_iter": 1},
    "ends within a block": {"n_layers": 4, "pool_grid": 3, "image_size": 41},
    "single cell": {"n_layers": 1, "pool_grid": 1},
    "padded": {"aspect": "pad"},
    "stretched": {"aspect": "stretch"},
    "equalized": {"contrast": "equalize"},
    "equalized and padded": {"contrast": "equalize", "aspect": "pad"},
}


def run_in(folder, code, *arguments):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{textwrap.dedent(code)}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
