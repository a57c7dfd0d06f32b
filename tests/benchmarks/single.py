"""Predicting on one image that was never seen before."""

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
from tests.benchmarks.data import Setting, large_films
from tests.benchmarks.table import Figures, Row, compare, seconds

SIDE = 224


def rows(setting: Setting) -> list[Row]:
    return [
        Row("one image, first predict / bare pass", "<= 1.15", partial(first, setting)),
        Row("one image, later predict / bare pass", "<= 1.15", partial(later, setting)),
        Row("one image, later predict / decoding and pass", "<= 1.15", partial(later_with_decoding, setting)),
    ]


def first(setting: Setting) -> Figures:
    paths = iter(large_films(setting, 10)[0])
    model = os.path.join(setting.new_folder(), "model.joblib")
    joblib.dump(_model(setting.new_folder()), model)
    square = os.path.join(setting.new_folder(), "square.npy")
    np.save(square, Preprocessing(SIDE).decode(Path(next(paths)).read_bytes())[None])
    return compare(
        lambda: fresh.call(seconds_of_first_predict, model, next(paths)),
        lambda: fresh.call(seconds_of_first_pass, square),
        setting.pick(3, 5),
        note=f"Fresh processes, packages but for TensorFlow imported: its start, 16 layers at {SIDE} px, the first "
        "image; ours reads, decodes and stores it, the bare pass has its square in memory.",
    )


def seconds_of_first_predict(model: str, path: str) -> float:
    return seconds(joblib.load(model).predict, [path])


def seconds_of_first_pass(file: str) -> float:
    square = np.load(file)
    return seconds(lambda: _backbone().forward()(square))


def later(setting: Setting) -> Figures:
    new, clf, forward = _warm(setting)

    def bare() -> float:
        square = Preprocessing(SIDE).decode(Path(next(new)).read_bytes())[None]
        return 1e3 * seconds(forward, square)

    return compare(
        lambda: 1e3 * seconds(clf.predict, [next(new)]),
        bare,
        setting.pick(25, 50),
        unit="ms",
        note=f"A new JPEG of 1,000 px each time, 16 layers at {SIDE} px; the bare pass has the square in memory.",
    )


def later_with_decoding(setting: Setting) -> Figures:
    new, clf, forward = _warm(setting)
    return compare(
        lambda: 1e3 * seconds(clf.predict, [next(new)]),
        lambda: 1e3 * seconds(lambda: forward(Preprocessing(SIDE).decode(Path(next(new)).read_bytes())[None])),
        setting.pick(25, 50),
        unit="ms",
        note="The same; the peer reads and decodes too, and stores nothing.",
    )


@functools.cache
def _warm(setting: Setting) -> tuple[Iterator[str], PneumoniaClassifier, Any]:
    """Return new images without end in sight, a model, and the bare pass, all used once."""
    new, clf, forward = iter(large_films(setting, 250)[0]), _model(setting.new_folder()), _backbone().forward()
    clf.predict([next(new)])
    return new, clf, forward


def _model(memory: str) -> PneumoniaClassifier:
    random = np.random.RandomState(0)
    return PneumoniaClassifier(None, image_size=SIDE, memory=memory).fit(random.rand(20, 8_192), np.arange(20) % 2)


def _backbone() -> Any:
    return backbone(weights=None, n_layers=16, image_size=SIDE, pool_grid=4, device="auto", precision="auto")
