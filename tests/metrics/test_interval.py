from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from metrics.conftest import FIGURES, draw, table
from skpneumo.metrics import (
    diagnostic_report,
)


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombe_1998(hits, n, lower, upper):
    sensitivity = table(hits, n - hits, 3, 4)["sensitivity"]
    assert sensitivity.lower == pytest.approx(lower, abs=5e-5)
    assert sensitivity.upper == pytest.approx(upper, abs=5e-5)
    assert sensitivity.method == "Wilson"


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_proportions_have_the_interval_of_scipy(confidence):
    report = table(34, 6, 9, 71, confidence=confidence)
    cells = {"sensitivity": (34, 40), "specificity": (71, 80), "ppv": (34, 43), "npv": (71, 77), "accuracy": (105, 120)}
    for name, (hits, n) in cells.items():
        expected = binomtest(hits, n).proportion_ci(confidence, method="wilson")
        assert report[name][:3] == pytest.approx((hits / n, expected.low, expected.high))


def test_patients_of_one_image_change_nothing_but_words(films):
    y, p, _ = films
    alone = diagnostic_report(y, p, threshold=0.5)
    named = diagnostic_report(y, p, threshold=0.5, groups=[f"p{i}" for i in range(len(y))])
    for name in FIGURES[:-1]:
        assert named[name][:3] == pytest.approx(alone[name][:3])
        assert named[name].method == alone[name].method


def test_copies_of_each_film_make_no_interval_narrower(films):
    y, p, _ = films
    y, p = y[:90], p[:90]
    single = diagnostic_report(y, p, threshold=0.5)
    copied = diagnostic_report(np.tile(y, 3), np.tile(p, 3), threshold=0.5, groups=np.tile(np.arange(90), 3))
    for name in FIGURES[:-1]:
        assert copied[name].estimate == pytest.approx(single[name].estimate), name
        width = copied[name].upper - copied[name].lower
        assert 1 <= width / (single[name].upper - single[name].lower) < 1.35, name


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_a_single_patient_leaves_no_interval(threshold):
    report = diagnostic_report([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.4], threshold=threshold, groups=[7] * 4)
    for name in FIGURES:
        assert not np.isnan(report[name].estimate), name
        assert np.isnan([report[name].lower, report[name].upper]).all(), name


def truth(*, share=0.5, apart=2.0, slope=1.5, shift=0.3):
    """Compute the figures of all films that `draw` could ever draw, at the threshold 0.5."""
    score = np.linspace(-9, 9 + apart, 100_001)
    step = score[1] - score[0]
    ill, well = share * norm.pdf(score - apart) * step, (1 - share) * norm.pdf(score) * step
    logits = logit(share) + shift + slope * (score - apart / 2)
    p = expit(logits)
    precision = share * norm.sf(score - apart) / (share * norm.sf(score - apart) + (1 - share) * norm.sf(score))
    sens, spec = ill[p >= 0.5].sum() / share, well[p < 0.5].sum() / (1 - share)
    return {
        "sensitivity": sens,
        "specificity": spec,
        "ppv": share * sens / (share * sens + (1 - share) * (1 - spec)),
        "npv": (1 - share) * spec / ((1 - share) * spec + share * (1 - sens)),
        "ppv_at_prevalence": 0.1 * sens / (0.1 * sens + 0.9 * (1 - spec)),
        "npv_at_prevalence": 0.9 * spec / (0.9 * spec + 0.1 * (1 - sens)),
        "accuracy": share * sens + (1 - share) * spec,
        "balanced_accuracy": (sens + spec) / 2,
        "positive_likelihood_ratio": sens / (1 - spec),
        "negative_likelihood_ratio": (1 - sens) / spec,
        "roc_auc": norm.cdf(apart / np.sqrt(2)),
        "average_precision": ill @ precision / share,
        "brier_score": ill @ (1 - p) ** 2 + well @ p**2,
        "calibration_slope": apart / slope,
        "calibration_intercept": brentq(lambda move: (ill + well) @ expit(logits + move) - share, -9, 9),
    }


@cache
def covered(n_patients, images, with_groups, n_studies=1500, **options):
    """Return in which share of studies each interval holds the truth."""
    true = truth(**options)
    hits = dict.fromkeys(true, 0)
    for seed in range(n_studies):
        y, p, patient = draw(seed, n_patients, images, **options)
        groups = patient if with_groups else None
        report = diagnostic_report(y, p, threshold=0.5, groups=groups, prevalence=0.1, n_bootstrap=1)
        for name, value in true.items():
            hits[name] += report[name].lower <= value <= report[name].upper
    return {name: count / n_studies for name, count in hits.items()}


@pytest.mark.parametrize(
    ("n_patients", "images", "options"),
    [(200, (1, 1), {}), (400, (1, 1), {"apart": 3.0, "slope": 3.0, "share": 0.3, "shift": 0.0}), (100, (1, 5), {})],
    ids=["200 films", "400 films, few ill, well told", "about 300 films of 100 patients"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(n_patients, images, options):
    shares = covered(n_patients, images, images[1] > 1, **options)
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


def test_films_that_pass_for_patients_have_intervals_that_cover_too_seldom():
    shares = covered(100, (1, 5), False, n_studies=300)
    for name in ("sensitivity", "specificity", "accuracy", "roc_auc", "brier_score", "calibration_intercept"):
        assert shares[name] < 0.91, name


def test_patients_that_agree_by_chance_leave_no_interval():
    report = diagnostic_report([0, 1, 1, 0], [0.1, 0.2, 0.6, 0.4], threshold=0.5, groups=list("aabb"))
    for name in ("roc_auc", "positive_likelihood_ratio", "balanced_accuracy"):
        _, lower, upper, _ = report[name]
        assert np.isnan(lower) or upper > lower, name
