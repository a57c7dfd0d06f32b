from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from metrics.conftest import METRICS, report_of_counts, simulate
from skpneumo.metrics import (
    diagnostic_report,
)


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_matches_newcombe_1998(hits, n, lower, upper):
    sensitivity = report_of_counts(hits, n - hits, 3, 4)["sensitivity"]
    assert sensitivity.lower == pytest.approx(lower, abs=5e-5)
    assert sensitivity.upper == pytest.approx(upper, abs=5e-5)
    assert sensitivity.method == "Wilson"


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_proportion_intervals_match_scipy(confidence):
    report = report_of_counts(34, 6, 9, 71, confidence=confidence)
    cells = {"sensitivity": (34, 40), "specificity": (71, 80), "ppv": (34, 43), "npv": (71, 77), "accuracy": (105, 120)}
    for name, (hits, n) in cells.items():
        expected = binomtest(hits, n).proportion_ci(confidence, method="wilson")
        assert report[name][:3] == pytest.approx((hits / n, expected.low, expected.high))


def test_patients_with_one_image_each_change_nothing(study):
    y, p, _ = study
    alone = diagnostic_report(y, p, threshold=0.5)
    named = diagnostic_report(y, p, threshold=0.5, groups=[f"p{i}" for i in range(len(y))])
    for name in METRICS[:-1]:
        assert named[name][:3] == pytest.approx(alone[name][:3])
        assert named[name].method == alone[name].method


def test_copies_of_images_do_not_narrow_intervals(study):
    y, p, _ = study
    y, p = y[:90], p[:90]
    single = diagnostic_report(y, p, threshold=0.5)
    copied = diagnostic_report(np.tile(y, 3), np.tile(p, 3), threshold=0.5, groups=np.tile(np.arange(90), 3))
    for name in METRICS[:-1]:
        assert copied[name].estimate == pytest.approx(single[name].estimate), name
        width = copied[name].upper - copied[name].lower
        assert 1 <= width / (single[name].upper - single[name].lower) < 1.35, name


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_single_patient_has_no_intervals(threshold):
    report = diagnostic_report([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.4], threshold=threshold, groups=[7] * 4)
    for name in METRICS:
        assert not np.isnan(report[name].estimate), name
        assert np.isnan([report[name].lower, report[name].upper]).all(), name


def true_metrics(*, prevalence=0.5, distance=2.0, slope=1.5, shift=0.3):
    """Compute the true metrics of the distribution of `simulate` at the threshold 0.5."""
    score = np.linspace(-9, 9 + distance, 100_001)
    step = score[1] - score[0]
    positive = prevalence * norm.pdf(score - distance) * step
    negative = (1 - prevalence) * norm.pdf(score) * step
    logits = logit(prevalence) + shift + slope * (score - distance / 2)
    p = expit(logits)
    tp, fp = prevalence * norm.sf(score - distance), (1 - prevalence) * norm.sf(score)
    precision = tp / (tp + fp)
    sens, spec = positive[p >= 0.5].sum() / prevalence, negative[p < 0.5].sum() / (1 - prevalence)
    return {
        "sensitivity": sens,
        "specificity": spec,
        "ppv": prevalence * sens / (prevalence * sens + (1 - prevalence) * (1 - spec)),
        "npv": (1 - prevalence) * spec / ((1 - prevalence) * spec + prevalence * (1 - sens)),
        "ppv_at_prevalence": 0.1 * sens / (0.1 * sens + 0.9 * (1 - spec)),
        "npv_at_prevalence": 0.9 * spec / (0.9 * spec + 0.1 * (1 - sens)),
        "accuracy": prevalence * sens + (1 - prevalence) * spec,
        "balanced_accuracy": (sens + spec) / 2,
        "positive_likelihood_ratio": sens / (1 - spec),
        "negative_likelihood_ratio": (1 - sens) / spec,
        "roc_auc": norm.cdf(distance / np.sqrt(2)),
        "average_precision": positive @ precision / prevalence,
        "brier_score": positive @ (1 - p) ** 2 + negative @ p**2,
        "calibration_slope": distance / slope,
        "calibration_intercept": brentq(lambda move: (positive + negative) @ expit(logits + move) - prevalence, -9, 9),
    }


@cache
def coverage(n_patients, images, with_groups, n_studies=1500, **options):
    """Return the proportion of simulated studies in which each interval covers the true value."""
    true = true_metrics(**options)
    covered = dict.fromkeys(true, 0)
    for seed in range(n_studies):
        y, p, patient = simulate(seed, n_patients, images, **options)
        groups = patient if with_groups else None
        report = diagnostic_report(y, p, threshold=0.5, groups=groups, prevalence=0.1, n_bootstrap=1)
        for name, value in true.items():
            covered[name] += report[name].lower <= value <= report[name].upper
    return {name: count / n_studies for name, count in covered.items()}


@pytest.mark.parametrize(
    ("n_patients", "images", "options"),
    [
        (200, (1, 1), {}),
        (400, (1, 1), {"distance": 3.0, "slope": 3.0, "prevalence": 0.3, "shift": 0.0}),
        (100, (1, 5), {}),
    ],
    ids=["200 images", "400 images, few positive, well separated", "about 300 images of 100 patients"],
)
def test_intervals_have_nominal_coverage(n_patients, images, options):
    found = coverage(n_patients, images, images[1] > 1, **options)
    assert {name: value for name, value in found.items() if not 0.93 <= value <= 0.97} == {}


def test_intervals_undercover_if_images_count_as_patients():
    found = coverage(100, (1, 5), False, n_studies=300)
    for name in ("sensitivity", "specificity", "accuracy", "roc_auc", "brier_score", "calibration_intercept"):
        assert found[name] < 0.91, name


def test_patients_that_agree_by_chance_have_no_interval():
    report = diagnostic_report([0, 1, 1, 0], [0.1, 0.2, 0.6, 0.4], threshold=0.5, groups=list("aabb"))
    for name in ("roc_auc", "positive_likelihood_ratio", "balanced_accuracy"):
        _, lower, upper, _ = report[name]
        assert np.isnan(lower) or upper > lower, name
