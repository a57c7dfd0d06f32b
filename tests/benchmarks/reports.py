"""Time of the HTML report relative to the predictions it needs."""

import os
import warnings
from functools import partial

import numpy as np

from skpneumo import PneumoniaClassifier
from skpneumo.exceptions import LeakageWarning
from skpneumo.reporting import report
from tests.benchmarks.data import HEAD, Setting, large_images
from tests.benchmarks.table import Measurement, Row, compare, seconds


def rows(setting: Setting) -> list[Row]:
    return [Row("report / predict_proba", "<= 1.5", partial(report_time, setting))]


def report_time(setting: Setting) -> Measurement:
    n_images = setting.pick(200, 1_000)
    paths, y = large_images(setting, n_images)
    clf = PneumoniaClassifier(None, n_layers=16, image_size=224, norm=None, **HEAD, memory=None)
    clf.fit(paths[:32], y[:32])
    clf.predict(paths[:32])
    page = os.path.join(setting.new_folder(), "report.html")
    groups = np.arange(n_images)

    def write() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            return seconds(report, clf, paths, y, page, groups=groups)

    return compare(
        write,
        lambda: seconds(clf.predict_proba, paths),
        3,
        note=f"{n_images} JPEGs of 1,000 px, 16 layers at 224 px, no feature store; figures, confidence intervals, and "
        "heat maps of up to 12 errors.",
    )
