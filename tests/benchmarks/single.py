"""Time to predict one new image."""

import functools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from skpneumo import PneumoniaClassifier
from skpneumo._images.decoding import Preprocessing
from skpneumo._vgg19.backbone import backbone
from tests.benchmarks import fresh
from tests.benchmarks.data import HEAD, Setting, large_images
from tests.benchmarks.table import Measurement, Row, compare, seconds

SIDE = 224


def rows(setting: Setting) -> list[Row]:
    return [
        Row("one image, first predict / forward pass", "<= 1.15", partial(first, setting)),
        Row("one image, later predict / forward pass", "<= 1.15", partial(later, setting)),
        Row("one image, later predict / decoding + pass", "<= 1.15", partial(later_with_decoding, setting)),
    ]


def first(setting: Setting) -> Measurement:
    paths = iter(large_images(setting, 10)[0])
    model = os.path.join(setting.new_folder(), "model.joblib")
    joblib.dump(_model(setting.new_folder()), model)
    image = os.path.join(setting.new_folder(), "image.npy")
    np.save(image, Preprocessing(SIDE).decode(Path(next(paths)).read_bytes())[None])
    return compare(
        lambda: fresh.call(seconds_of_first_predict, model, next(paths)),
        lambda: fresh.call(seconds_of_first_pass, image),
        setting.pick(3, 5),
        note=f"New processes with all packages except TensorFlow imported: start of TensorFlow, 16 layers at {SIDE} "
        "px, first image; skpneumo reads, decodes and stores it, the forward pass has the preprocessed image in "
        "memory.",
    )


def seconds_of_first_predict(model: str, path: str) -> float:
    return seconds(joblib.load(model).predict, [path])


def seconds_of_first_pass(file: str) -> float:
    image = np.load(file)
    return seconds(lambda: _backbone().forward()(image))


def later(setting: Setting) -> Measurement:
    new, clf, forward = _warm(setting)

    def forward_pass() -> float:
        image = Preprocessing(SIDE).decode(Path(next(new)).read_bytes())[None]
        return 1e3 * seconds(forward, image)

    return compare(
        lambda: 1e3 * seconds(clf.predict, [next(new)]),
        forward_pass,
        setting.pick(25, 50),
        unit="ms",
        note=f"A new JPEG of 1,000 px each time, 16 layers at {SIDE} px; the forward pass has the preprocessed image "
        "in memory.",
    )


def later_with_decoding(setting: Setting) -> Measurement:
    new, clf, forward = _warm(setting)
    return compare(
        lambda: 1e3 * seconds(clf.predict, [next(new)]),
        lambda: 1e3 * seconds(lambda: forward(Preprocessing(SIDE).decode(Path(next(new)).read_bytes())[None])),
        setting.pick(25, 50),
        unit="ms",
        note="The same; the peer also reads and decodes the image, but stores nothing.",
    )


@functools.cache
def _warm(setting: Setting) -> tuple[Iterator[str], PneumoniaClassifier, Any]:
    """Return an iterator of new images, a model and the forward pass, all warmed up."""
    new, clf, forward = iter(large_images(setting, 250)[0]), _model(setting.new_folder()), _backbone().forward()
    clf.predict([next(new)])
    return new, clf, forward


def _model(memory: str) -> PneumoniaClassifier:
    random = np.random.RandomState(0)
    clf = PneumoniaClassifier(None, n_layers=16, image_size=SIDE, norm=None, **HEAD, memory=memory)
    return clf.fit(random.rand(20, 8_192), np.arange(20) % 2)


def _backbone() -> Any:
    return backbone(weights=None, n_layers=16, image_size=SIDE, pool_grid=4, device="auto", precision="auto")
