import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    make_scorer,
)
from sklearn.model_selection import (
    GridSearchCV,
    cross_validate,
)

from skpneumo.metrics import (
    sensitivity_at_specificity,
    sensitivity_at_specificity_scorer,
    specificity_at_sensitivity,
    specificity_at_sensitivity_scorer,
)


def test_best_operating_point_matches_exhaustive_search(study):
    y, p, _ = study
    p = p.round(1)
    for bound in (0.0, 0.5, 0.9, 0.95, 1.0):
        predictions = [p >= threshold for threshold in [*np.unique(p), 2]]
        points = [((predicted & (y == 1)).sum() / (y == 1).sum(), (~predicted & (y == 0)).sum() / (y == 0).sum())
                  for predicted in predictions]  # fmt: skip
        sensitivity = max(sens for sens, spec in points if spec >= bound)
        assert sensitivity_at_specificity(y, p, specificity=bound) == pytest.approx(sensitivity)
        specificity = max(spec for sens, spec in points if sens >= bound)
        assert specificity_at_sensitivity(y, p, sensitivity=bound) == pytest.approx(specificity)


@pytest.mark.parametrize("n", [10, 20, 30, 70, 300])
def test_constraint_includes_equality(n):
    for wrong in range(n):
        y = np.r_[np.zeros(n), 1].astype(int)
        score = np.r_[np.arange(n), n - wrong - 0.5]
        assert sensitivity_at_specificity(y, score, specificity=1 - wrong / n) == 1
        assert sensitivity_at_specificity(y, score, specificity=(n - wrong) / n) == 1


def test_sample_weight_is_equivalent_to_repeating_samples():
    y, score, weight = [0, 0, 0, 1, 1], [0.1, 0.4, 0.6, 0.5, 0.9], [1, 1, 3, 2, 1]
    copies = np.repeat(np.arange(5), weight)
    for metric in (sensitivity_at_specificity, specificity_at_sensitivity):
        for bound in (0.3, 0.5, 0.8):
            option = {"specificity" if metric is sensitivity_at_specificity else "sensitivity": bound}
            weighted = metric(y, score, sample_weight=weight, **option)
            assert weighted == pytest.approx(metric(np.take(y, copies), np.take(score, copies), **option))


def test_scorers_work_in_searches_and_cross_validation(features):
    X, y = features
    scoring = {"sens": sensitivity_at_specificity_scorer, "spec": specificity_at_sensitivity_scorer}
    scores = cross_validate(LogisticRegression(), X, y, cv=2, scoring=scoring)
    assert np.all((scores["test_sens"] > 0) & (scores["test_sens"] <= 1))
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2, scoring=sensitivity_at_specificity_scorer)
    clone(search).fit(X, y)
    again = pickle.loads(pickle.dumps(specificity_at_sensitivity_scorer))
    clf = LogisticRegression().fit(X, y)
    assert again(clf, X, y) == specificity_at_sensitivity(y, clf.predict_proba(X)[:, 1])


def test_scorer_of_string_labels_takes_pos_label(features):
    X, y = features
    labels = np.array(["normal", "bacterial"])[y]
    response = ("decision_function", "predict_proba")
    scorer = make_scorer(sensitivity_at_specificity, response_method=response, specificity=0.8, pos_label="bacterial")
    expected = sensitivity_at_specificity(y, LogisticRegression().fit(X, y).decision_function(X), specificity=0.8)
    assert scorer(LogisticRegression().fit(X, labels), X, labels) == pytest.approx(expected)


def test_operating_point_is_undefined_without_both_classes():
    for metric in (sensitivity_at_specificity, specificity_at_sensitivity):
        for y in ([0, 0], [1, 1]):
            with pytest.warns(UndefinedMetricWarning):
                assert np.isnan(metric(y, [0.1, 0.2]))
    with pytest.raises(ValueError, match=r"'specificity' parameter .* Got 2 instead"):
        sensitivity_at_specificity([0, 1], [0.1, 0.2], specificity=2)
