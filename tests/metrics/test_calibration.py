import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from metrics.conftest import simulate
from skpneumo.metrics import (
    diagnostic_report,
)


def test_calibration_slope_and_intercept_match_unpenalized_regressions(study):
    y, p, patient = study
    report = diagnostic_report(y, p, threshold=0.5, groups=patient)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(logit(p)[:, None], y)
    assert report["calibration_slope"].estimate == pytest.approx(model.coef_[0, 0], rel=1e-6)
    intercept = report["calibration_intercept"].estimate
    assert expit(logit(p) + intercept).mean() == pytest.approx(y.mean())


def test_recalibrated_logits_have_slope_1_and_intercept_0(study):
    y, p, patient = study
    slope = diagnostic_report(y, p, threshold=0.5, groups=patient)["calibration_slope"].estimate
    recalibrated = slope * logit(p)
    recalibrated += diagnostic_report(y, expit(recalibrated), threshold=0.5)["calibration_intercept"].estimate
    again = diagnostic_report(y, expit(recalibrated), threshold=0.5, groups=patient)
    assert again["calibration_slope"].estimate == pytest.approx(1)
    assert again["calibration_intercept"].estimate == pytest.approx(0, abs=1e-9)


def test_calibration_error_is_the_mean_absolute_error_of_ten_equal_bins(random):
    p = random.permutation((np.arange(200) + 0.5) / 200)
    y = (random.rand(200) < p**2).astype(int)
    order = np.argsort(p).reshape(10, 20)
    expected = np.mean([abs(y[rows].mean() - p[rows].mean()) for rows in order])
    found = diagnostic_report(y, p, threshold=0.5)["expected_calibration_error"]
    assert found.estimate == pytest.approx(expected)
    assert 0 <= found.lower < found.estimate < found.upper < 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_calibration_is_finite_with_probabilities_of_0_and_1(dtype):
    y = np.array([0, 0, 1, 1, 0, 1] * 10)
    p = np.array([0, 1, 1, 0, 0.2, 0.7] * 10, dtype)
    report = diagnostic_report(y, p, threshold=0.5)
    assert np.isfinite([*report["calibration_slope"][:3], *report["calibration_intercept"][:3]]).all()


def test_calibration_slope_determined_by_one_patient_has_no_interval():
    report = diagnostic_report([0, 1, 0, 1, 1], [0.3, 0.3, 0.6, 0.6, 0.6], threshold=0.5, groups=[1, 2, 3, 3, 3])
    assert np.isfinite([report["calibration_intercept"].lower, report["calibration_slope"].estimate]).all()
    assert np.isnan(report["calibration_slope"].lower)


@pytest.mark.parametrize(("options", "min_coverage"), [({}, 0.95), ({"slope": 2.0, "shift": 0.0}, 0.85)])
def test_calibration_error_is_biased_upward_and_its_interval_covers_the_truth(options, min_coverage):
    score = np.linspace(-9, 11, 100_001)
    step, options = score[1] - score[0], {"slope": 1.5, "shift": 0.3, **options}
    positive, negative = (0.5 * norm.pdf(score - mean) * step for mean in (2, 0))
    gap = positive - (positive + negative) * expit(options["shift"] + options["slope"] * (score - 1))
    bins = np.minimum((positive + negative).cumsum() * 10, 9).astype(int)
    true = np.abs(np.bincount(bins, gap)).sum() + 1e-9
    found = []
    for seed in range(200):
        y, p, patient = simulate(seed, 100, (1, 5), **options)
        report = diagnostic_report(y, p, threshold=0.5, groups=patient, n_bootstrap=200)
        found.append(report["expected_calibration_error"])
    assert np.mean([metric.estimate for metric in found]) > true + 0.01
    assert np.mean([metric.lower <= true <= metric.upper for metric in found]) > min_coverage


def test_calibration_intercept_has_no_interval_if_all_probabilities_are_0_or_1():
    report = diagnostic_report([0, 1, 1, 0, 1, 0], [0.0, 1.0, 1.0, 0.0, 0.0, 1.0], threshold=0.5)
    assert np.isfinite(report["calibration_intercept"].estimate)
    assert np.isnan(report["calibration_intercept"][1:3]).all()
