"""Images a second from files to features, against Keras's predict and against our own pass on squares in memory."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import VGG19Features
from skpneumo._images.decoding import Preprocessing
from skpneumo._keras import keras as import_keras
from skpneumo._vgg19.backbone import backbone
from tests.benchmarks import machine
from tests.benchmarks.data import Setting, large_films
from tests.benchmarks.table import Figures, Row, compare, seconds

SIDE = 224
KERAS_BATCH = 32


def rows(setting: Setting) -> list[Row]:
    return [
        Row(
            "features of files / predict of Keras",
            ">= 1.8" if machine.precision() == "bfloat16" else ">= 0.97",
            partial(against_keras, setting),
        ),
        Row(
            "features of files / our pass on squares",
            ">= 0.97" if machine.device() == "gpu" else ">= 0.93",
            partial(against_bare_pass, setting),
        ),
    ]


def against_keras(setting: Setting) -> Figures:
    paths, squares, forward = _films(setting, setting.pick(64, 256))
    applications = import_keras().applications
    network = applications.VGG19(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    pixels = applications.vgg19.preprocess_input(np.repeat(squares[..., None], 3, axis=-1).astype(np.float32))

    def predict(pixels: np.ndarray) -> Any:
        return network.predict(pixels, batch_size=KERAS_BATCH, verbose=0)

    predict(pixels[:KERAS_BATCH])
    forward(squares[:1])
    return compare(
        lambda: len(paths) / seconds(_features, paths, setting.new_folder()),
        lambda: len(paths) / seconds(predict, pixels),
        setting.pick(3, 5),
        unit="images/s",
        note=f"{len(paths)} JPEGs of 1,000 px, read, decoded, passed through 16 layers at {SIDE} px in "
        f"{machine.precision()}, stored; Keras: float32 arrays in memory, preprocessed, batches of {KERAS_BATCH}.",
    )


def against_bare_pass(setting: Setting) -> Figures:
    paths, squares, forward = _films(setting, setting.pick(128, 512))
    size = _backbone().batch_size

    def run() -> None:
        for start in range(0, len(squares), size):
            forward(squares[start : start + size])

    forward(squares[:size])
    return compare(
        lambda: len(paths) / seconds(_features, paths, setting.new_folder()),
        lambda: len(paths) / seconds(run),
        setting.pick(3, 5),
        unit="images/s",
        note=f"The same against the compiled pass alone: {len(paths)} squares in memory, batches of {size}, "
        f"{machine.precision()}.",
    )


def _features(paths: list[str], memory: str) -> np.ndarray:
    return VGG19Features(weights=None, image_size=SIDE, memory=memory, n_jobs=-1).fit_transform(paths)


def _backbone() -> Any:
    return backbone(weights=None, n_layers=16, image_size=SIDE, pool_grid=4, device="auto", precision="auto")


def _films(setting: Setting, n_images: int) -> tuple[list[str], np.ndarray, Any]:
    """Return files, their squares and the bare pass; a GPU, which is done sooner, gets more of them."""
    paths, _ = large_films(setting, 16 * n_images if machine.device() == "gpu" else n_images)
    squares = np.stack([Preprocessing(SIDE).decode(Path(path).read_bytes()) for path in paths])
    return paths, squares, _backbone().forward()
