"""Scores of words equal those of the labels 0 and 1, as the user guide shows."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    jaccard_score,
    make_scorer,
    precision_score,
    recall_score,
)
from sklearn.model_selection import TunedThresholdClassifierCV, cross_val_score

from skpneumo.metrics import (
    DiagnosticReport,
    sensitivity_at_specificity,
    sensitivity_at_specificity_scorer,
    specificity_at_sensitivity,
    specificity_at_sensitivity_scorer,
)

RESPONSES = {"response_method": ("decision_function", "predict_proba")}
WITH_POS_LABEL = {
    "recall": (recall_score, {}),
    "precision": (precision_score, {}),
    "f1": (f1_score, {}),
    "jaccard": (jaccard_score, {}),
    "average_precision": (average_precision_score, RESPONSES),
    "neg_brier_score": (brier_score_loss, {"greater_is_better": False, "response_method": "predict_proba"}),
    sensitivity_at_specificity_scorer: (sensitivity_at_specificity, RESPONSES),
    specificity_at_sensitivity_scorer: (specificity_at_sensitivity, RESPONSES),
}
UNCHANGED = [
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "neg_log_loss",
    "matthews_corrcoef",
    "f1_macro",
    "recall_weighted",
]
WORDS = [["normal", "pneumonia"], ["healthy", "PNEUMONIA"]]  # the positive class is the last, or the first


@pytest.fixture
def hard(matrix, random):
    """Return features with noise, so that scores are neither 0 nor 1."""
    return matrix[:, :20] + 1.5 * matrix[:, :20].std(axis=0) * random.normal(size=(40, 20))


@pytest.fixture(params=WORDS, ids=["last", "first"])
def words(request):
    return request.param


def scores_of(clf, X, labels, scoring):
    return cross_val_score(clf, X, labels, cv=4, scoring=scoring)


@pytest.mark.parametrize("scoring", WITH_POS_LABEL, ids=str)
def test_scores_of_words_with_pos_label_equal_those_of_numbers(clf, hard, y, words, scoring):
    metric, settings = WITH_POS_LABEL[scoring]
    scorer = make_scorer(metric, **settings, pos_label=words[1])
    expected = scores_of(clf, hard, y, scoring)
    np.testing.assert_allclose(scores_of(clf, hard, np.array(words)[y], scorer), expected, rtol=1e-5)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("scoring", UNCHANGED)
def test_scores_without_a_positive_class_need_no_pos_label(clf, hard, y, words, scoring):
    expected = scores_of(clf, hard, y, scoring)
    np.testing.assert_allclose(scores_of(clf, hard, np.array(words)[y], scoring), expected, rtol=1e-5)


@pytest.mark.parametrize("scoring", WITH_POS_LABEL, ids=str)
def test_scores_without_pos_label_are_nan_with_a_warning(clf, hard, y, words, scoring):
    with pytest.warns(UserWarning, match="Scoring failed"):
        scores = scores_of(clf, hard, np.array(words)[y], scoring)
    assert np.isnan(scores).all()


def test_threshold_tuned_on_words_is_that_of_the_report(clf, hard, y, words):
    labels = np.array(words)[y]
    scorer = make_scorer(f1_score, pos_label=words[1])
    tuned = TunedThresholdClassifierCV(clf, scoring=scorer, cv=4).fit(hard, labels)
    report = DiagnosticReport.from_estimator(tuned, hard, labels, pos_label=words[1])
    assert report.threshold == tuned.best_threshold_
    assert report.tp + report.fp == (tuned.predict(hard) == words[1]).sum()
