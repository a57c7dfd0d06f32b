import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from heads.conftest import DENSE
from skpneumo import PneumoniaClassifier
from skpneumo._heads.head import standardize


def test_standardize_matches_standard_scaler(random):
    X = (random.rand(30, 600) * random.choice([1, 10, 1e3], 600) + 5).astype(np.float32)
    weight = random.rand(30)
    scaled, mean, scale = standardize(X, weight, overwrite=False)
    reference = StandardScaler().fit(X.astype(np.float64), sample_weight=weight)
    np.testing.assert_allclose(mean, reference.mean_, rtol=1e-5)
    np.testing.assert_allclose(scale, reference.scale_, rtol=1e-4)
    np.testing.assert_allclose(scaled, reference.transform(X.astype(np.float64)), atol=1e-3)


def test_standardize_needs_little_more_memory_than_its_result():
    X = np.random.RandomState(0).rand(4000, 2000).astype(np.float32)
    for overwrite, copies in ((False, 1), (True, 0)):
        tracemalloc.start()
        standardize(X, np.ones(4000), overwrite=overwrite)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (copies + 0.3) * X.nbytes


@pytest.mark.parametrize("weight", [np.ones(3000), np.random.RandomState(0).rand(3000)])
def test_constant_feature_has_scale_1(weight):
    X = np.full((3000, 2), 5, np.float32)
    scaled, _, scale = standardize(X, weight, overwrite=False)
    np.testing.assert_allclose(scaled, 0, atol=1e-5)
    np.testing.assert_array_equal(scale, 1)


def test_fit_and_predict_do_not_change_the_input_matrix(random):
    X = random.rand(20, 3).astype(np.float32)
    before = X.copy()
    PneumoniaClassifier().fit(X, np.arange(20) % 2).predict(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("head", [{}, DENSE])
def test_class_weights_increase_predictions_of_the_rare_class(random, head):
    X = random.randn(300, 3)
    y = (X[:, 0] + random.randn(300) > 1.8).astype(int)
    head = head | {"max_iter": 60, "learning_rate_init": 0.01} if head else head
    weights = (None, "balanced", {0: 1, 1: 100})
    models = [PneumoniaClassifier(**head, class_weight=weight).fit(X, y) for weight in weights]
    proportions = [model.predict(X).mean() for model in models]
    assert proportions[0] < proportions[1] < proportions[2]


@pytest.mark.parametrize("head", [{}, DENSE])
@pytest.mark.parametrize(
    "handling",
    [
        {"class_weight": "balanced"},
        {"class_weight": {0: 1, 1: 100}},
        {"sampler": "over"},
        {"sampler": "under"},
        {"sampler": "smote"},
    ],
)
def test_mean_probability_equals_the_prevalence_despite_weights_or_sampler(random, head, handling):
    X = random.randn(600, 3)
    y = (X[:, 0] + random.randn(600) > 1.8).astype(int)
    head = head | {"max_iter": 60, "learning_rate_init": 0.01} if head else head
    clf = PneumoniaClassifier(**{**head, **handling, "random_state": 0}).fit(X, y)
    raw = clone(clf).set_params(prior_correction=False).fit(X, y)
    assert clf.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=1e-9)
    assert raw.predict_proba(X)[:, 1].mean() > y.mean() + 0.1
    np.testing.assert_array_equal(raw.decision_function(X), clf.decision_function(X))
