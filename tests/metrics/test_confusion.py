import numpy as np
import pytest
from scipy.stats import norm

from metrics.conftest import report_of_counts
from skpneumo.metrics import (
    diagnostic_report,
)


def test_metrics_match_the_liver_scans_of_altman_and_bland():
    # Abnormal scans in 231 of 258 diseased and 32 of 86 others; Altman and Bland, BMJ 1994, 308:1552, 309:102 and 188
    report = report_of_counts(231, 27, 32, 54, prevalence=0.25)
    printed = {"sensitivity": 0.90, "specificity": 0.63, "ppv": 0.88, "npv": 0.67, "ppv_at_prevalence": 0.45}
    for name, value in printed.items():
        assert report[name].estimate == pytest.approx(value, abs=0.006)
    assert report["npv_at_prevalence"].estimate == pytest.approx(0.95, abs=0.006)
    assert report["positive_likelihood_ratio"].estimate == pytest.approx(2.4, abs=0.06)


def test_likelihood_ratio_intervals_are_computed_on_the_log_scale():
    report = report_of_counts(36, 14, 10, 90)
    ratio, error = 0.72 / 0.1, np.sqrt(1 / 36 - 1 / 50 + 1 / 10 - 1 / 100)
    expected = ratio, *(ratio * np.exp(sign * norm.ppf(0.975) * error) for sign in (-1, 1))
    assert report["positive_likelihood_ratio"][:3] == pytest.approx(expected)
    ratio, error = 0.28 / 0.9, np.sqrt(1 / 14 - 1 / 50 + 1 / 90 - 1 / 100)
    expected = ratio, *(ratio * np.exp(sign * norm.ppf(0.975) * error) for sign in (-1, 1))
    assert report["negative_likelihood_ratio"][:3] == pytest.approx(expected)


def test_likelihood_ratio_limits_add_half_to_an_empty_cell():
    report = report_of_counts(36, 14, 0, 100)
    ratio, method = report["positive_likelihood_ratio"], report["positive_likelihood_ratio"].method
    error = np.sqrt(1 / 36.5 - 1 / 51 + 1 / 0.5 - 1 / 101)
    assert ratio.lower == pytest.approx(36.5 / 51 / (0.5 / 101) * np.exp(-norm.ppf(0.975) * error))
    assert ratio.estimate == ratio.upper == np.inf
    assert method == "log, 0.5 added"


def test_predictive_values_at_the_sample_prevalence_match_those_of_the_sample():
    report = report_of_counts(36, 14, 10, 90, prevalence=1 / 3)
    for name in ("ppv", "npv"):
        value = report[f"{name}_at_prevalence"]
        assert value.estimate == pytest.approx(report[name].estimate)
        assert 0 < value.lower < value.estimate < value.upper < 1


def test_probability_equal_to_the_threshold_is_predicted_positive():
    report = diagnostic_report([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9], threshold=0.5)
    assert (report.tp, report.fp, report.tn, report.fn) == (2, 1, 1, 0)


def test_metrics_are_undefined_if_all_predictions_are_equal():
    all_negative = diagnostic_report([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.9, prevalence=0.2)
    undefined = {"ppv", "positive_likelihood_ratio", "ppv_at_prevalence"}
    assert {name for name in all_negative if np.isnan(all_negative[name].estimate)} == undefined
    all_positive = diagnostic_report([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], threshold=0.0, prevalence=0.2)
    undefined = {"npv", "negative_likelihood_ratio", "npv_at_prevalence"}
    assert {name for name in all_positive if np.isnan(all_positive[name].estimate)} == undefined
    assert "-" in str(all_positive)
