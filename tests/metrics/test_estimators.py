import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skpneumo import PneumoniaClassifier
from skpneumo.metrics import (
    DiagnosticReport,
    diagnostic_report,
)


class PathLengthClassifier(ClassifierMixin, BaseEstimator):
    """Predict probabilities from the lengths of paths."""

    classes_ = np.array([0, 1])

    def predict_proba(self, X):
        lengths = np.array([len(str(path)) + i % 7 for i, path in enumerate(np.ravel(X))])
        p = lengths / (lengths.max() + 1)
        return np.column_stack([1 - p, p])


def test_patients_are_read_from_file_names(paths, y, xrays):
    expected = diagnostic_report(y, PathLengthClassifier().predict_proba(paths), threshold=0.5, groups=xrays.groups)
    assert DiagnosticReport.from_estimator(PathLengthClassifier(), xrays.data, y) == expected
    assert expected.n_patients == len(set(xrays.groups)) < 40


def test_feature_rows_are_separate_patients_without_groups(features):
    X, y = features
    clf = LogisticRegression().fit(X, y)
    assert not DiagnosticReport.from_estimator(clf, X, y).has_groups
    assert DiagnosticReport.from_estimator(clf, pd.DataFrame(X), y, groups=np.arange(80) // 4).n_patients == 20


def test_threshold_of_the_classifier_is_used(features):
    X, y = features
    tuned = TunedThresholdClassifierCV(LogisticRegression(), cv=3, scoring="balanced_accuracy").fit(X, y)
    fixed = FixedThresholdClassifier(LogisticRegression(), threshold=0.3).fit(X, y)
    piped = make_pipeline(StandardScaler(), clone(fixed)).fit(X, y)
    searched = GridSearchCV(clone(fixed), {"estimator__C": [1.0, 2.0]}, cv=2).fit(X, y)
    thresholds = [(tuned, tuned.best_threshold_), (fixed, 0.3), (piped, 0.3), (searched, 0.3)]
    for clf, threshold in [*thresholds, (FrozenEstimator(piped), 0.3)]:
        report = DiagnosticReport.from_estimator(clf, X, y)
        assert report.threshold == threshold
        assert report["accuracy"].estimate == clf.score(X, y)
    assert DiagnosticReport.from_estimator(fixed, X, y, threshold=0.5).threshold == 0.5
    auto = FixedThresholdClassifier(LogisticRegression()).fit(X, y)
    assert DiagnosticReport.from_estimator(auto, X, y).threshold == 0.5


def test_threshold_on_logits_or_on_another_label_raises(features):
    X, y = features
    logits = FixedThresholdClassifier(LogisticRegression(), threshold=1.0, response_method="decision_function")
    with pytest.raises(ValueError, match="applies to decision_function"):
        DiagnosticReport.from_estimator(logits.fit(X, y), X, y)
    other = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label=0).fit(X, y)
    with pytest.raises(ValueError, match=r"pos_label=1; .* applies to the probability of 0"):
        DiagnosticReport.from_estimator(other, X, y)


def test_labels_of_no_class_raise_with_the_classes(features):
    X, y = features
    clf = LogisticRegression().fit(X, y)
    words = np.where(y == 1, "sick", "ok")
    for pos_label in (None, "sick"):
        with pytest.raises(
            ValueError, match=r"y must contain labels of the classes \[0, 1\] of the .*; got \['"
        ) as error:
            DiagnosticReport.from_estimator(clf, X, words, pos_label=pos_label)
        assert "'sick'" in str(error.value)
    with pytest.raises(ValueError, match="pos_label is not specified"):
        DiagnosticReport.from_estimator(LogisticRegression().fit(X, words), X, words)


def test_string_labels_require_pos_label(features):
    X, y = features
    labels = np.array(["normal", "bacterial"])[y]
    clf = LogisticRegression().fit(X, labels)
    with pytest.raises(ValueError, match="pos_label is not specified"):
        DiagnosticReport.from_estimator(clf, X, labels)
    found = DiagnosticReport.from_estimator(clf, X, labels, pos_label="bacterial")
    expected = DiagnosticReport.from_estimator(LogisticRegression().fit(X, y), X, y)
    assert found["roc_auc"].estimate == pytest.approx(expected["roc_auc"].estimate)
    three = LogisticRegression().fit(X, np.arange(80) % 3)
    with pytest.raises(ValueError, match=r"two classes.*its classes are \[.*0.*1.*2.*\]"):
        DiagnosticReport.from_estimator(three, X, y)


def test_file_names_without_patients_are_not_used_as_groups(clf, paths, y, tmp_path):
    anonymous = [str(tmp_path / f"scan{i}.png") for i in range(10)]
    for path, copy in zip(paths[30:], anonymous, strict=True):
        shutil.copy(path, copy)
    report = DiagnosticReport.from_estimator(clf.fit(paths[:30], y[:30]), anonymous, y[30:])
    assert not report.has_groups
    assert "if a patient has several" in str(report)


@pytest.mark.parametrize("labels", [[0, 1], ["normal", "bacterial"], ["healthy", "pneumonia"]])
@pytest.mark.parametrize("handling", [{}, {"class_weight": "balanced"}, {"sampler": "under", "random_state": 0}])
def test_report_predictions_match_the_classifier(labels, handling, matrix, xrays):
    y = np.array(labels)[xrays.target]
    keep = np.r_[np.flatnonzero(xrays.target == 0), np.flatnonzero(xrays.target == 1)[:8]]
    clf = PneumoniaClassifier(**handling).fit(matrix[keep][::2], y[keep][::2])
    X, truth = matrix[keep][1::2], y[keep][1::2]
    report = DiagnosticReport.from_estimator(clf, X, truth, pos_label=labels[1])
    assert report.tp + report.fp == np.sum(clf.predict(X) == labels[1])
    assert report["accuracy"].estimate == pytest.approx(clf.score(X, truth))
