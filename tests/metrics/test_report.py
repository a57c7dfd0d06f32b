import json
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    class_likelihood_ratios,
    precision_score,
    recall_score,
    roc_auc_score,
)

from metrics.conftest import METRICS, VALID, report_of_counts
from skpneumo.exceptions import LeakageWarning
from skpneumo.metrics import (
    DiagnosticReport,
    diagnostic_report,
)


def test_estimates_match_scikit_learn(study):
    y, p, patient = study
    report = diagnostic_report(y, p, threshold=0.4, groups=patient)
    predicted = p >= 0.4
    positive, negative = class_likelihood_ratios(y, predicted)
    expected = {
        "sensitivity": recall_score(y, predicted),
        "specificity": recall_score(y, predicted, pos_label=0),
        "ppv": precision_score(y, predicted),
        "npv": precision_score(y, predicted, pos_label=0),
        "positive_likelihood_ratio": positive,
        "negative_likelihood_ratio": negative,
        "accuracy": accuracy_score(y, predicted),
        "balanced_accuracy": balanced_accuracy_score(y, predicted),
        "roc_auc": roc_auc_score(y, p),
        "average_precision": average_precision_score(y, p),
        "brier_score": brier_score_loss(y, p),
    }
    for name, value in expected.items():
        assert report[name].estimate == pytest.approx(value), name
    assert list(report) == METRICS
    for name in METRICS:
        assert report[name].lower <= report[name].estimate <= report[name].upper, name
    assert (report.n, report.n_patients, report.prevalence) == (len(y), 120, pytest.approx(y.mean()))
    assert report.tp + report.fn == y.sum()


def test_bootstrap_depends_only_on_random_state(study):
    y, p, patient = study

    def limits(seed):
        report = diagnostic_report(y, p, threshold=0.5, groups=patient, n_bootstrap=50, random_state=seed)
        return report["expected_calibration_error"].upper

    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    assert limits(1) == limits(1) != limits(2)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_to_dict_is_json_and_to_frame_has_all_metrics():
    report = diagnostic_report(**VALID, prevalence=0.1)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain == report.to_dict()
    assert plain["figures"]["calibration_slope"]["estimate"] is None
    assert plain["figures"]["sensitivity"] == report["sensitivity"]._asdict()
    assert (plain["tp"], plain["n"], plain["threshold"], plain["stated_prevalence"]) == (2, 4, 0.5, 0.1)
    frame = report.to_frame()
    assert list(frame.columns) == ["estimate", "lower", "upper", "method"]
    assert list(frame.index) == list(report)
    assert frame.loc["npv", "lower"] == report["npv"].lower


def test_report_is_immutable_small_and_picklable():
    report = report_of_counts(30, 5, 6, 40)
    with pytest.raises(FrozenInstanceError):
        report.tp = 35
    assert pickle.loads(pickle.dumps(report)) == report
    assert len(pickle.dumps(report)) < 3000
    with pytest.raises(KeyError, match="no metric 'recall'; expected one of sensitivity"):
        report["recall"]


def test_printed_report_shows_counts_methods_and_caveats():
    text = str(report_of_counts(231, 27, 32, 54, prevalence=0.25))
    assert "344 images, 75.0% positive" in text
    assert "258 positive: 231 true positives,  27 false negatives" in text
    assert "Sensitivity                         0.895   0.852 to 0.927  Wilson\n" in text
    assert "Each image counts as a separate patient" in text
    assert text.endswith("hold for these images only; evaluate the model separately at every other site.")
    grouped = str(report_of_counts(20, 20, 20, 20, groups=np.arange(80) // 2))
    assert "80 images of 40 patients" in grouped
    assert "Wilson, patients" in grouped


def test_report_on_training_images_warns(clf, paths, y):
    with pytest.warns(LeakageWarning, match="^40 of 40 images"):
        DiagnosticReport.from_estimator(clf.fit(paths, y), paths, y)


@pytest.mark.parametrize("groups", [range(39), range(41), [*range(39), float("nan")], [*range(39), None]])
def test_invalid_groups_raise_before_the_leakage_check(clf, paths, y, groups):
    with pytest.raises(ValueError, match="groups must"):
        DiagnosticReport.from_estimator(clf.fit(paths, y), paths, y, groups=list(groups))
