"""What tests of metrics share: studies that are drawn, and rows of features."""

import numpy as np
import pytest
from scipy.special import expit, logit

from skpneumo.metrics import (
    diagnostic_report,
)

FIGURES = [
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "positive_likelihood_ratio",
    "negative_likelihood_ratio",
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "brier_score",
    "calibration_slope",
    "calibration_intercept",
    "expected_calibration_error",
]


def table(tp, fn, fp, tn, **options):
    """Judge the calls of a confusion matrix."""
    y = np.repeat([1, 1, 0, 0], [tp, fn, fp, tn])
    p = np.repeat([0.9, 0.1, 0.9, 0.1], [tp, fn, fp, tn])
    return diagnostic_report(y, p, threshold=0.5, n_bootstrap=10, **options)


def draw(seed, n_patients, images=(1, 1), *, share=0.5, apart=2.0, slope=1.5, shift=0.3, alike=0.5, mixed=0.1):
    """Draw films: normal scores, those of a patient correlated, and probabilities that are not quite calibrated."""
    random = np.random.RandomState(seed)
    sizes = random.randint(images[0], images[1] + 1, n_patients)
    patient = np.repeat(np.arange(n_patients), sizes)
    n = len(patient)
    y = (random.rand(n_patients) < share)[patient]
    y = np.where(random.rand(n) < mixed, random.rand(n) < share, y)
    noise = np.sqrt(alike) * random.randn(n_patients)[patient] + np.sqrt(1 - alike) * random.randn(n)
    return y.astype(int), expit(logit(share) + shift + slope * (apart * y + noise - apart / 2)), patient


@pytest.fixture
def films():
    return draw(0, 120, (1, 4))


GOOD = {"y_true": [0, 1, 0, 1], "y_proba": [0.1, 0.9, 0.2, 0.8], "threshold": 0.5}


@pytest.fixture
def rows():
    random = np.random.RandomState(0)
    y = np.arange(80) % 2
    return random.randn(80, 3) + y[:, None], y
