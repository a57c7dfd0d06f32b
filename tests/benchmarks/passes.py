"""Throughput of feature extraction relative to Keras and to the forward pass alone."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import VGG19Features
from skpneumo._images.decoding import Preprocessing
from skpneumo._keras import keras as import_keras
from skpneumo._vgg19.backbone import backbone
from tests.benchmarks import machine
from tests.benchmarks.data import Setting, large_images
from tests.benchmarks.table import Measurement, Row, compare, seconds

SIDE = 224
KERAS_BATCH = 32


def rows(setting: Setting) -> list[Row]:
    return [
        Row(
            "feature extraction / Keras predict",
            ">= 1.8" if machine.precision() == "bfloat16" else ">= 0.97",
            partial(against_keras, setting),
        ),
        Row(
            "feature extraction / forward pass",
            ">= 0.97" if machine.device() == "gpu" else ">= 0.93",
            partial(against_forward_pass, setting),
        ),
    ]


def against_keras(setting: Setting) -> Measurement:
    paths, images, forward = _data(setting, setting.pick(64, 256))
    applications = import_keras().applications
    network = applications.VGG19(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    pixels = applications.vgg19.preprocess_input(np.repeat(images[..., None], 3, axis=-1).astype(np.float32))

    def predict(pixels: np.ndarray) -> Any:
        return network.predict(pixels, batch_size=KERAS_BATCH, verbose=0)

    predict(pixels[:KERAS_BATCH])
    forward(images[:1])
    return compare(
        lambda: len(paths) / seconds(_features, paths, setting.new_folder()),
        lambda: len(paths) / seconds(predict, pixels),
        setting.pick(3, 5),
        unit="images/s",
        note=f"{len(paths)} JPEGs of 1,000 px, read, decoded, 16 layers at {SIDE} px in {machine.precision()}, stored; "
        f"Keras: preprocessed float32 arrays in memory, batches of {KERAS_BATCH}.",
    )


def against_forward_pass(setting: Setting) -> Measurement:
    paths, images, forward = _data(setting, setting.pick(128, 512))
    size = _backbone().batch_size

    def run() -> None:
        for start in range(0, len(images), size):
            forward(images[start : start + size])

    forward(images[:size])
    return compare(
        lambda: len(paths) / seconds(_features, paths, setting.new_folder()),
        lambda: len(paths) / seconds(run),
        setting.pick(3, 5),
        unit="images/s",
        note=f"The same relative to the compiled forward pass: {len(paths)} preprocessed images in memory, batches of "
        f"{size}, {machine.precision()}.",
    )


def _features(paths: list[str], memory: str) -> np.ndarray:
    features = VGG19Features(weights=None, n_layers=16, image_size=SIDE, norm=None, memory=memory, n_jobs=-1)
    return features.fit_transform(paths)


def _backbone() -> Any:
    return backbone(weights=None, n_layers=16, image_size=SIDE, pool_grid=4, device="auto", precision="auto")


def _data(setting: Setting, n_images: int) -> tuple[list[str], np.ndarray, Any]:
    """Return paths, preprocessed images and the forward pass, with more images on a GPU."""
    paths, _ = large_images(setting, 16 * n_images if machine.device() == "gpu" else n_images)
    images = np.stack([Preprocessing(SIDE).decode(Path(path).read_bytes()) for path in paths])
    return paths, images, _backbone().forward()
