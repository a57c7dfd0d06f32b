"""Overhead of paths with stored features over the feature matrix."""

import functools
import operator
from functools import partial

import numpy as np

from skpneumo import PneumoniaClassifier, VGG19Features
from tests.benchmarks.data import HEAD, Setting, large_images, settle, small_settings
from tests.benchmarks.table import Measurement, Row, compare, seconds

ALPHA = 1_000.0  # the solver converges at once, so that the overhead dominates


def rows(setting: Setting) -> list[Row]:
    target = f"<= {0.15 * _n_images(setting) / 5_000:g} s"
    return [
        Row("warm fit, paths - matrix", target, partial(fit, setting)),
        Row("warm predict, paths - matrix", target, partial(predict, setting)),
    ]


def fit(setting: Setting) -> Measurement:
    paths, y, matrix, clf = _stored(setting)
    return compare(
        lambda: seconds(clf.fit, paths, y),
        lambda: seconds(clf.fit, matrix, y),
        setting.pick(5, 7),
        by=operator.sub,
        note=f"{len(paths):,} JPEGs of 1,000 px, {matrix.shape[1]:,} features each; a strongly regularized linear "
        "probe.",
    )


def predict(setting: Setting) -> Measurement:
    paths, y, matrix, clf = _stored(setting)
    clf.fit(paths, y)
    return compare(
        lambda: seconds(clf.predict, paths),
        lambda: seconds(clf.predict, matrix),
        setting.pick(5, 7),
        by=operator.sub,
        note="The same images and model.",
    )


def _n_images(setting: Setting) -> int:
    return setting.pick(1_000, 5_000)


@functools.cache
def _stored(setting: Setting) -> tuple[list[str], np.ndarray, np.ndarray, PneumoniaClassifier]:
    paths, y = large_images(setting, _n_images(setting))
    settle()
    settings = {**small_settings(setting), "memory": setting.new_folder()}
    matrix = VGG19Features(**settings, n_jobs=-1).fit_transform(paths)
    return paths, y, matrix, PneumoniaClassifier(**settings, **HEAD | {"alpha": ALPHA}).fit(paths, y)
