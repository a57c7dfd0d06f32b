"""Time of a whole search relative to plain Keras, which runs the frozen layers on all images in every epoch."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from skpneumo import PneumoniaClassifier
from skpneumo._images.decoding import Preprocessing
from skpneumo._keras import keras as import_keras
from tests.benchmarks.data import HEAD, Setting, large_images, search
from tests.benchmarks.table import Measurement, Row, compare, number, seconds

LEARNING_RATES = [0.001, 0.0001]
FOLDS, EPOCHS, UNITS, BATCH = 2, 3, 128, 16


def rows(setting: Setting) -> list[Row]:
    return [Row("cold search, dense layer / plain Keras", "report", partial(whole_search, setting))]


def whole_search(setting: Setting) -> Measurement:
    paths, y = large_images(setting, 40)
    side = setting.pick(96, 224)
    decoded = np.stack([Preprocessing(side).decode(Path(path).read_bytes()) for path in paths])
    images = np.repeat(decoded[..., None], 3, axis=-1).astype(np.float32)
    epochs: list[float] = []

    def ours(memory: str) -> None:
        clf = PneumoniaClassifier(
            None,
            n_layers=16,
            image_size=side,
            norm=None,
            **HEAD,
            memory=memory,
            hidden_layer_sizes=(UNITS,),
            max_iter=EPOCHS,
            batch_size=BATCH,
        )
        search(clf, {"learning_rate_init": LEARNING_RATES}, paths, y, folds=FOLDS)

    import_keras()
    measurement = compare(
        lambda: seconds(ours, setting.new_folder()),
        lambda: seconds(_plain, images, y, epochs),
        setting.pick(1, 3),
    )
    return replace(measurement, note=_note(len(paths), side, float(np.median(epochs)), measurement.ours))


def _plain(images: np.ndarray, y: np.ndarray, epochs: list[float]) -> None:
    """Fit and score all candidates and folds; append the time per image of later epochs to `epochs`."""
    for learning_rate in LEARNING_RATES:
        for train, test in StratifiedKFold(FOLDS).split(images, y):
            model = _model(images.shape[1], learning_rate)
            model.fit(images[train], y[train], batch_size=BATCH, epochs=1, verbose=0)
            start = time.perf_counter()
            model.fit(images[train], y[train], batch_size=BATCH, epochs=EPOCHS - 1, verbose=0)
            epochs.append((time.perf_counter() - start) / (EPOCHS - 1) / len(train))
            model.evaluate(images[test], y[test], batch_size=BATCH, verbose=0)


def _model(side: int, learning_rate: float) -> Any:
    keras = import_keras()
    frozen = keras.applications.VGG19(weights=None, include_top=False, input_shape=(side, side, 3))
    frozen.trainable = False
    pixels = keras.Input((side, side, 3))
    maps = frozen(keras.applications.vgg19.preprocess_input(pixels), training=False)
    hidden = keras.layers.Dense(UNITS, activation="relu")(keras.layers.Flatten()(maps))
    model = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(learning_rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def _note(n_images: int, side: int, seconds_per_pass: float, ours: float) -> str:
    here, there = (_passes(*sizes) for sizes in ((len(LEARNING_RATES), FOLDS), (24, 5)))
    return (
        f"{n_images} JPEGs of 1,000 px, 16 layers at {side} px, {len(LEARNING_RATES)} candidates x {FOLDS} folds x "
        f"{EPOCHS} epochs, one layer of {UNITS} units; Keras on decoded images in memory, compiled for each fit. "
        f"Forward passes per image: {here} in Keras, one in skpneumo; with 24 candidates x 5 folds, {there} and one. "
        f"Keras takes {number(1e3 * seconds_per_pass)} ms per image and epoch, or about "
        f"{number(there * 5_000 * seconds_per_pass / 3600)} h for such a search on 5,000 images. This search took "
        f"{number(1e3 * ours / n_images)} ms per image in skpneumo, or {number(5_000 * ours / n_images / 60)} min for "
        "5,000 images, plus the additional heads."
    )


def _passes(candidates: int, folds: int) -> int:
    """Return the number of forward passes per image in plain Keras."""
    return candidates * (EPOCHS * (folds - 1) + 1)
