"""Memory growth over many fits, and peak memory of a fit relative to its feature matrix."""

import functools
import gc
import operator
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from skpneumo import PneumoniaClassifier
from tests.benchmarks import fresh
from tests.benchmarks.data import HEAD, Setting
from tests.benchmarks.table import Measurement, Row, compare

SETTINGS = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 8, "norm": None, "n_jobs": 2}
N_FEATURES = 64 * 8 * 8
MEGABYTE = 1_000_000


def rows(setting: Setting) -> list[Row]:
    peaks = [
        Row(f"peak memory, {name} / matrix", "about 1", partial(growth_of_peak, setting, name))
        for name in ("no store", "cold store", "warm store")
    ]
    return [Row("memory after 500 fits - before", "< 20 MB", partial(growth_of_fits, setting)), *peaks]


def growth_of_fits(setting: Setting) -> Measurement:
    before, after = fresh.call(memory_of_fits, 500)
    return compare(
        lambda: after,
        lambda: before,
        1,
        unit="MB",
        by=operator.sub,
        note="Resident memory of one process; alternating linear and dense heads, 200 x 256 features, after 20 other "
        "fits.",
    )


def memory_of_fits(n_fits: int) -> tuple[float, float]:
    random = np.random.RandomState(0)
    X, y = random.rand(200, 256).astype(np.float32), np.arange(200) % 2
    heads = [{}, {"hidden_layer_sizes": (16,), "max_iter": 2, "random_state": 0}]

    def fit(times: int) -> float:
        for i in range(times):
            PneumoniaClassifier(**HEAD, **heads[i % 2]).fit(X, y)
        gc.collect()
        return process_memory("VmRSS")

    return fit(20), fit(n_fits)


def growth_of_peak(setting: Setting, name: str) -> Measurement:
    few, many = setting.pick((2_000, 6_000), (2_000, 20_000))
    folder, store = _images(setting, many), setting.new_folder()
    if name == "warm store":
        fresh.call(peak_of_fit, folder, many, store)
    peaks = []
    for n_images in (few, many):
        memory = {"no store": None, "cold store": setting.new_folder(), "warm store": store}[name]
        peaks.append(fresh.call(peak_of_fit, folder, n_images, memory))
    return compare(
        lambda: peaks[1] - peaks[0],
        lambda: (many - few) * N_FEATURES * 4 / MEGABYTE,
        1,
        unit="MB",
        note=f"Peak memory of fits on {few:,} and {many:,} images in new processes: {peaks[0]:,.0f} and "
        f"{peaks[1]:,.0f} MB. Growth of the peak and of the feature matrix.",
    )


def peak_of_fit(folder: str, n_images: int, memory: str | None) -> float:
    paths = [os.path.join(folder, f"{i}.png") for i in range(n_images)]
    PneumoniaClassifier(**SETTINGS, **HEAD, memory=memory).fit(paths, np.arange(n_images) % 2)
    return process_memory("VmHWM")


def process_memory(name: str, process: int | str = "self") -> float:
    """Read the current (VmRSS) or peak (VmHWM) resident memory of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 / MEGABYTE


@functools.cache
def _images(setting: Setting, n_images: int) -> str:
    folder, random = setting.new_folder(), np.random.RandomState(0)
    for i in range(n_images):
        Image.fromarray(random.randint(0, 256, (40, 40), np.uint8)).save(os.path.join(folder, f"{i}.png"))
    return folder
