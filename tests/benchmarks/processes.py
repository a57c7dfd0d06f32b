"""Cold search in two processes relative to one: time and number of images computed."""

import functools
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo import PneumoniaClassifier
from skpneumo._vgg19.backbone import Backbone
from tests.benchmarks import fresh
from tests.benchmarks.data import HEAD, Setting, large_images, search
from tests.benchmarks.table import Measurement, Row, compare, seconds

ALPHAS = [0.005, 0.05, 0.5, 5.0]
LOG = "images_computed"


def rows(setting: Setting) -> list[Row]:
    return [
        Row("cold search, n_jobs=2 / n_jobs=1", "report", partial(wall, setting)),
        Row("images computed / images, n_jobs=2", "<= 1.0", partial(computed, setting)),
    ]


def wall(setting: Setting) -> Measurement:
    n_images, two, one = _searches(setting)
    settings = _settings(setting)
    return compare(
        iter([elapsed for elapsed, _ in two]).__next__,
        iter([elapsed for elapsed, _ in one]).__next__,
        len(two),
        note=f"{n_images} JPEGs of 1,000 px, {settings['n_layers']} layers, {settings['image_size']} px, "
        f"{len(ALPHAS)} candidates x 5 folds; new processes, including the start of TensorFlow.",
    )


def computed(setting: Setting) -> Measurement:
    n_images, two, _ = _searches(setting)
    return compare(
        iter([count for _, count in two]).__next__,
        lambda: n_images,
        len(two),
        unit="images",
        note="The same searches: images computed in all processes, relative to distinct images.",
    )


@functools.cache
def _searches(setting: Setting) -> tuple[int, list[tuple[float, int]], list[tuple[float, int]]]:
    """Search alternately with two processes and one; return time and number of images computed for each."""
    n_images = setting.pick(100, 500)
    paths, _ = large_images(setting, n_images)
    folder = os.path.dirname(paths[0])
    two, one = [], []
    for _ in range(setting.pick(2, 3)):
        for n_jobs, runs in ((2, two), (1, one)):
            memory = setting.new_folder()
            elapsed = fresh.call(seconds_of_search, folder, memory, n_jobs, _settings(setting))
            log = Path(memory, LOG)
            runs.append((elapsed, sum(map(int, log.read_text().split()))))
    return n_images, two, one


def _settings(setting: Setting) -> dict[str, Any]:
    size = setting.pick({"n_layers": 8, "image_size": 112}, {"n_layers": 16, "image_size": 224})
    return {"weights": None, "norm": None, **size}


def seconds_of_search(folder: str, memory: str, n_jobs: int, settings: dict[str, Any]) -> float:
    paths = sorted(map(str, Path(folder).iterdir()))
    clf = CountingClassifier(**settings, **HEAD, memory=memory)
    return seconds(search, clf, {"alpha": ALPHAS}, paths, np.arange(len(paths)) % 2, n_jobs=n_jobs)


class CountingClassifier(PneumoniaClassifier):
    """Classifier that logs the number of images computed in any process to the folder of its store."""

    def _encoder(self) -> Any:
        _count_into(os.path.join(self.memory, LOG))
        return super()._encoder()


@functools.cache
def _count_into(file: str) -> None:
    forward = Backbone.forward

    def counting(backbone: Backbone) -> Any:
        run = forward(backbone)

        def counted(images: np.ndarray) -> np.ndarray:
            with open(file, "a", encoding="ascii") as log:
                log.write(f"{len(images)}\n")
            return run(images)

        return counted

    Backbone.forward = counting  # type: ignore[method-assign]
