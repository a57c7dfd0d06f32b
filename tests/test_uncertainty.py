"""The benchmark of uncertainty."""

import numpy as np
import pytest

from skpneumo import PneumoniaClassifier
from tests.benchmarks.uncertainty import lines, risk_coverage


@pytest.mark.parametrize(("confidence", "expected"), [([4, 3, 2, 1], (0 + 0 + 0 + 1 / 4) / 4), ([1, 2, 3, 4], 25 / 48)])
def test_risk_coverage_is_the_mean_error_rate_of_the_most_confident_images(confidence, expected):
    is_wrong = np.array([False, False, False, True])
    assert risk_coverage(is_wrong, np.array(confidence)) == pytest.approx(expected)


def test_errors_are_counted_in_empty_and_full_sets(random):
    y = np.arange(300) % 2
    X = random.standard_normal((300, 5)) + y[:, np.newaxis]
    clf = PneumoniaClassifier().fit(X[:100], y[:100]).conformalize(X[100:200], y[100:200])
    X, y = X[200:], y[200:]
    text = "\n".join(lines(clf, X, y, 0.1))
    is_wrong, both = clf.predict(X) != y, clf.predict_set(X, alpha=0.1).all(axis=1)
    assert f"100 images, {is_wrong.sum()} errors" in text
    assert f"both classes in the set: {both.mean():.1%} of the images, {is_wrong[both].sum()} of" in text
