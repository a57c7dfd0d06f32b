"""Shared by the tests of metrics: simulated studies and feature rows."""

import numpy as np
import pytest
from scipy.special import expit, logit

from skpneumo.metrics import (
    diagnostic_report,
)

METRICS = [
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


def report_of_counts(tp, fn, fp, tn, **options):
    """Compute the report of a confusion matrix."""
    y = np.repeat([1, 1, 0, 0], [tp, fn, fp, tn])
    p = np.repeat([0.9, 0.1, 0.9, 0.1], [tp, fn, fp, tn])
    return diagnostic_report(y, p, threshold=0.5, n_bootstrap=10, **options)


def simulate(
    seed, n_patients, images=(1, 1), *, prevalence=0.5, distance=2.0, slope=1.5, shift=0.3, correlation=0.5, mixed=0.1
):
    """Simulate images with normal scores, correlated within patients, and miscalibrated probabilities."""
    random = np.random.RandomState(seed)
    sizes = random.randint(images[0], images[1] + 1, n_patients)
    patient = np.repeat(np.arange(n_patients), sizes)
    n = len(patient)
    y = (random.rand(n_patients) < prevalence)[patient]
    y = np.where(random.rand(n) < mixed, random.rand(n) < prevalence, y)
    noise = np.sqrt(correlation) * random.randn(n_patients)[patient] + np.sqrt(1 - correlation) * random.randn(n)
    return y.astype(int), expit(logit(prevalence) + shift + slope * (distance * y + noise - distance / 2)), patient


@pytest.fixture
def study():
    return simulate(0, 120, (1, 4))


VALID = {"y_true": [0, 1, 0, 1], "y_proba": [0.1, 0.9, 0.2, 0.8], "threshold": 0.5}


@pytest.fixture
def features():
    random = np.random.RandomState(0)
    y = np.arange(80) % 2
    return random.randn(80, 3) + y[:, None], y
