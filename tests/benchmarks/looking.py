"""The report of one page beside the predictions that it is made of."""

import os
import warnings
from functools import partial

import numpy as np

from skpneumo import PneumoniaClassifier
from skpneumo.exceptions import LeakageWarning
from skpneumo.reporting import report
from tests.benchmarks.data import Setting, large_films
from tests.benchmarks.table import Figures, Row, compare, seconds


def rows(setting: Setting) -> list[Row]:
    return [Row("report / predict_proba", "<= 1.5", partial(of_a_report, setting))]


def of_a_report(setting: Setting) -> Figures:
    n_films = setting.pick(200, 1_000)
    films, y = large_films(setting, n_films)
    clf = PneumoniaClassifier(None, memory=None).fit(films[:32], y[:32])
    clf.predict(films[:32])
    page = os.path.join(setting.new_folder(), "report.html")
    groups = np.arange(n_films)

    def write() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakageWarning)
            return seconds(report, clf, films, y, page, groups=groups)

    return compare(
        write,
        lambda: seconds(clf.predict_proba, films),
        3,
        note=f"{n_films} JPEGs of 1,000 px, 16 layers at 224 px, nothing stored; pictures, intervals, and heat maps of "
        "up to 12 errors.",
    )
