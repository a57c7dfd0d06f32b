"""Fine-tuning: time of an epoch relative to Keras, memory, and the cost of augmented views."""

import gc
import operator
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import PneumoniaClassifier
from skpneumo._images.decoding import Preprocessing
from skpneumo._keras import keras as import_keras
from tests.benchmarks import fresh, machine
from tests.benchmarks.data import HEAD, Setting, large_images, search, small_images, small_settings
from tests.benchmarks.memory import MEGABYTE, SETTINGS, _images, process_memory
from tests.benchmarks.table import Measurement, Row, compare, seconds

N_TRAINABLE, BATCH = 4, 32
ALPHAS = [0.005, 0.05, 0.5, 5.0]


def rows(setting: Setting) -> list[Row]:
    precisions = list(dict.fromkeys([machine.precision(), "float32"]))
    return [
        *(Row(f"epoch of tuning / Keras, {each}", "<= 0.3", partial(epoch, setting, each)) for each in precisions),
        Row("features of 4 views / 4 x plain", "<= 1.0", partial(views, setting)),
        Row("search, 4 views stored / one fit", "report", partial(search_of_views, setting)),
        Row("peak memory of tuning, many / few images", "about 1", partial(growth_of_peak, setting)),
        Row("memory after 200 fits of tuning - before", "< 20 MB", partial(growth_of_fits, setting)),
    ]


def epoch(setting: Setting, precision: str) -> Measurement:
    """Measure an epoch after the first one, without compilation."""
    paths, y = large_images(setting, setting.pick(48, 96))
    side, n_epochs = setting.pick(112, 224), 3
    memory = setting.new_folder()
    settings = {
        "weights": None,
        "n_layers": 16,
        "image_size": side,
        "norm": None,
        **HEAD,
        "memory": memory,
        "n_trainable_layers": N_TRAINABLE,
        "batch_size": BATCH,
        "precision": precision,
        "random_state": 0,
    }
    PneumoniaClassifier(**settings, tune_max_iter=1).fit(paths, y)  # store the feature maps, compile the step

    def ours() -> float:
        short, long = (
            seconds(PneumoniaClassifier(**settings, tune_max_iter=n).fit, paths, y) for n in (1, 1 + n_epochs)
        )
        return (long - short) / n_epochs

    decoded = np.stack([Preprocessing(side).decode(Path(path).read_bytes()) for path in paths])
    images = np.repeat(decoded[..., None], 3, axis=-1).astype(np.float32)
    model = _model(side, precision)
    model.fit(images, y, batch_size=BATCH, epochs=1, verbose=0)

    def keras() -> float:
        start = time.perf_counter()
        model.fit(images, y, batch_size=BATCH, epochs=n_epochs, verbose=0)
        return (time.perf_counter() - start) / n_epochs

    return compare(
        ours,
        keras,
        3,
        note=f"{len(paths)} images, 16 layers at {side} px, the last {N_TRAINABLE} trainable, batches of {BATCH}; "
        "feature maps read from disk. Keras trains the same layers, with the frozen layers in its graph, on decoded "
        "images in memory.",
    )


def _model(side: int, precision: str) -> Any:
    keras = import_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        vgg19 = keras.applications.VGG19(weights=None, include_top=False, input_shape=(side, side, 3))
        for layer in vgg19.layers:
            layer.trainable = layer.name.startswith("block5")
        pixels = keras.Input((side, side, 3))
        maps = keras.layers.Flatten()(vgg19(keras.applications.vgg19.preprocess_input(pixels)))
        model = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid", dtype="float32")(maps))
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(keras.optimizers.AdamW(1e-5, clipnorm=1.0), "binary_crossentropy", metrics=["accuracy"])
    return model


def views(setting: Setting) -> Measurement:
    """Compare a cold fit with 4 views per image to one on 4 times as many images."""
    n_images = setting.pick(40, 100)
    paths, y = large_images(setting, 4 * n_images)
    side = setting.pick(112, 224)
    settings = {"weights": None, "n_layers": 16, "image_size": side, "norm": None, **HEAD, "memory": None}
    PneumoniaClassifier(**settings).fit(paths[:16], y[:16])

    def fit(n: int, n_views: int) -> float:
        clf = PneumoniaClassifier(**settings | {"n_views": n_views, "memory": setting.new_folder()})
        return seconds(clf.fit, paths[:n], y[:n])

    return compare(
        lambda: fit(n_images, 4),
        lambda: fit(4 * n_images, 1),
        setting.pick(2, 3),
        note=f"Cold fits on {n_images} JPEGs of 1,000 px with 4 views each, and on {4 * n_images} without; 16 layers "
        f"at {side} px.",
    )


def search_of_views(setting: Setting) -> Measurement:
    paths, y, _, memory = small_images(setting)
    head = HEAD | {"n_views": 4, "plain_weight": 0.25}
    clf = PneumoniaClassifier(**small_settings(setting), **head, memory=memory)
    cold = seconds(clf.fit, paths, y)
    return compare(
        lambda: seconds(search, clf, {"alpha": ALPHAS}, paths, y),
        lambda: cold,
        1,
        note=f"{len(paths)} small images, {len(ALPHAS)} candidates x 5 folds with stored views, relative to one "
        "fit that computes and stores the views.",
    )


def growth_of_peak(setting: Setting) -> Measurement:
    few, many = setting.pick((2_000, 4_000), (2_000, 8_000))  # more than one chunk
    folder = _images(setting, many)
    peaks = [fresh.call(peak_of_tuning, folder, n, setting.new_folder()) for n in (few, many)]
    size = 64 * 16 * 16 * 2 * 2 * many / MEGABYTE
    return compare(
        lambda: peaks[1],
        lambda: peaks[0],
        1,
        unit="MB",
        note=f"Peak memory of fine-tuning the last of 3 layers on {many:,} images with 2 views, whose feature maps "
        f"have {size:,.0f} MB on disk, relative to {few:,} images; new processes.",
    )


def peak_of_tuning(folder: str, n_images: int, memory: str) -> float:
    paths = [os.path.join(folder, f"{i}.png") for i in range(n_images)]
    settings = SETTINGS | HEAD | {"n_layers": 3, "pool_grid": 1, "n_views": 2}
    clf = PneumoniaClassifier(**settings, memory=memory, n_trainable_layers=1, tune_max_iter=1)
    clf.fit(paths, np.arange(n_images) % 2)
    return process_memory("VmHWM")


def growth_of_fits(setting: Setting) -> Measurement:
    folder = _images(setting, 40)
    before, after = fresh.call(memory_of_fits, folder, setting.new_folder(), 200)
    return compare(
        lambda: after,
        lambda: before,
        1,
        unit="MB",
        by=operator.sub,
        note="Resident memory of one process: 200 fits on 40 images that fine-tune the last 2 of 4 layers, after 20 "
        "others.",
    )


def memory_of_fits(folder: str, memory: str, n_fits: int) -> tuple[float, float]:
    paths = [os.path.join(folder, f"{i}.png") for i in range(40)]
    settings = {"weights": None, "n_layers": 4, "image_size": 32, "pool_grid": 2, "norm": None, "memory": memory}

    def fit(times: int) -> float:
        for _ in range(times):
            clf = PneumoniaClassifier(**settings, **HEAD, n_trainable_layers=2, tune_max_iter=1, random_state=0)
            clf.fit(paths, np.arange(40) % 2)
        gc.collect()
        return process_memory("VmRSS")

    return fit(20), fit(n_fits)
