import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
)

from metrics.conftest import simulate
from skpneumo.metrics import (
    diagnostic_report,
)


def obuchowski(y, p, patient):
    """Compute the ROC AUC and its variance by the formulas of Obuchowski, without optimization."""
    pairs = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    area, ten, one = pairs.mean(), pairs.mean(axis=1), pairs.mean(axis=0)
    m, n = pairs.shape
    pos, neg = patient[y == 1], patient[y == 0]
    sums = [(ten[pos == k].sum() - (pos == k).sum() * area, one[neg == k].sum() - (neg == k).sum() * area)
            for k in np.unique(patient)]  # fmt: skip
    i, i10, i01 = len(sums), len(set(pos)), len(set(neg))
    s10 = i10 / ((i10 - 1) * m) * sum(a**2 for a, _ in sums)
    s01 = i01 / ((i01 - 1) * n) * sum(b**2 for _, b in sums)
    s11 = i / (i - 1) * sum(a * b for a, b in sums)
    return area, s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("images", [(1, 1), (1, 5)])
def test_auc_variance_matches_delong_and_obuchowski(images):
    y, p, patient = simulate(3, 60, images)
    p = p.round(2)  # ties
    area, variance = obuchowski(y, p, patient)
    found = diagnostic_report(y, p, threshold=0.5, groups=patient)["roc_auc"]
    assert found.estimate == pytest.approx(area)
    quantile = norm.ppf(0.975) if images == (1, 1) else 2.0009
    half_width = (logit(found.upper) - logit(found.lower)) / 2
    half_width /= np.sqrt(variance) / (area * (1 - area))
    if images == (1, 1):
        assert half_width == pytest.approx(quantile, rel=1e-4)
    else:  # Student's t has 59 degrees of freedom, or fewer if few patients dominate the variance
        assert quantile < half_width < 1.1 * quantile


def test_average_precision_variance_matches_numerical_derivatives(study):
    from skpneumo.metrics import _ranking
    from skpneumo.metrics._interval import Patients

    y, p, _ = study
    p = p.round(2)
    step, jackknife = 1e-6, []
    for i in range(len(y)):
        weight = np.ones(len(y))
        weight[i] += step
        more = average_precision_score(y, p, sample_weight=weight)
        jackknife.append((more - average_precision_score(y, p)) / step)
    found = _ranking.average_precision_interval(y == 1, p, Patients(np.arange(len(y)), len(y)), 0.95)
    error = (logit(found.upper) - logit(found.lower)) / 2 / norm.ppf(0.975) * found.estimate * (1 - found.estimate)
    assert error == pytest.approx(np.sqrt(np.square(jackknife).sum()), rel=1e-4)


@pytest.mark.parametrize("groups", [None, np.arange(40) // 2])
@pytest.mark.parametrize("certain", [False, True])
def test_perfect_separation_has_an_auc_interval_but_no_slope_interval(groups, certain):
    y = np.arange(40) % 2
    p = y.astype(float) if certain else 0.2 + 0.6 * y
    report = diagnostic_report(y, p, threshold=0.5, groups=groups)
    slope = report["calibration_slope"]
    assert slope.estimate == np.inf
    assert np.isnan([slope.lower, slope.upper]).all()
    assert slope.method == "none: perfect separation"
    assert 0.8 < report["roc_auc"].lower < report["roc_auc"].estimate == report["roc_auc"].upper == 1
    assert 0.7 < report["sensitivity"].lower < 0.9
    reverse = diagnostic_report(y, 1 - p, threshold=0.5, groups=groups)
    assert reverse["calibration_slope"].estimate == -np.inf
    assert reverse["roc_auc"][:2] == (0, 0)
    assert reverse["roc_auc"].upper == pytest.approx(1 - report["roc_auc"].lower)


def test_auc_of_1_has_the_lower_limit_of_newcombe():
    # 1 is 1.96 standard errors above the limit, by the variance at the limit (Newcombe 2006, method 5).
    low = diagnostic_report([0] * 30 + [1] * 20, np.arange(50) / 50, threshold=0.5)["roc_auc"].lower
    variance = low * (1 - low) / 600 * (1 + 24 * ((1 - low) / (2 - low) + low / (1 + low)))
    assert 1 - low == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))


def test_constant_probability_has_auc_one_half_and_no_slope():
    report = diagnostic_report([0, 1] * 10, [0.5] * 20, threshold=0.5)
    assert report["roc_auc"].estimate == 0.5
    assert np.isnan(report["calibration_slope"].estimate)
    assert report["calibration_intercept"].estimate == pytest.approx(0)
