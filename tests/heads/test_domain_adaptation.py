import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score

from conftest import TINY
from skpneumo import PneumoniaClassifier
from skpneumo._heads.domain_adaptation import adapt_standardization, fit_reference, log_ratio, merged


@pytest.fixture
def sites(random):
    """Features of 400 images of a site, a third of them positive, and the same with a domain shift."""
    y = (np.arange(400) % 3 == 0).astype(int)
    X = random.randn(400, 6) + np.outer(y, [2, 1, 0, 0, 0, 0])
    return X, X * [0.5, 2, 1, 1, 3, 1] + [3, -2, 1, 0, 5, -4], y


def bits(array):
    return array.tobytes()


def test_fit_reference_returns_means_and_variances_of_each_class(random):
    X, codes, weight = random.randn(50, 3), np.arange(50) % 2, random.rand(50)
    reference = fit_reference(X, codes, 2, weight, np.arange(50))
    np.testing.assert_allclose(reference["class_count"], np.bincount(codes, weight))
    for code in (0, 1):
        mine = codes == code
        mean = np.average(X[mine], axis=0, weights=weight[mine])
        variance = np.average((X[mine] - mean) ** 2, axis=0, weights=weight[mine])
        np.testing.assert_allclose(reference["class_mean"][code], mean, atol=1e-6)
        np.testing.assert_allclose(reference["class_variance"][code], variance, atol=1e-6)


def test_adapt_corrects_a_shift_of_means_and_scales(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    adapted = clf.adapt(shifted[200:])
    before, after = (balanced_accuracy_score(y[200:], model.predict(shifted[200:])) for model in (clf, adapted))
    without_shift = balanced_accuracy_score(y[200:], clf.predict(X[200:]))
    assert before < 0.8
    assert abs(after - without_shift) < 0.04


def test_adapt_without_domain_shift_changes_nothing(sites):
    X, _, y = sites
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    for start in range(200, 400, 25):
        np.testing.assert_array_equal(clf.adapt(X[start : start + 25]).decision_function(X), clf.decision_function(X))


def test_adapt_on_the_training_images_changes_nothing(sites):
    X, _, y = sites
    clf = PneumoniaClassifier().fit(X, y)
    np.testing.assert_allclose(clf.adapt(X).decision_function(X), clf.decision_function(X), atol=1e-5)


def test_stated_prevalence_separates_prevalence_from_domain_shift(random):
    y = np.arange(400) % 2
    X = random.randn(400, 6) + np.outer(y, [2, 2, 2, 0, 0, 0])
    shifted = 2 * X + 1
    clf = PneumoniaClassifier().fit(X, y)
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:10]]
    stated, not_stated = (clf.adapt(shifted[rare], **kwargs) for kwargs in ({"prevalence": 10 / len(rare)}, {}))
    scores = [balanced_accuracy_score(y, model.predict(shifted)) for model in (stated, not_stated)]
    assert scores[0] > balanced_accuracy_score(y, clf.predict(X)) - 0.03
    assert scores[1] < scores[0] - 0.1


def test_mean_probability_equals_the_stated_prevalence(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier().fit(X, y)
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:13]]
    prevalence = 13 / len(rare)
    means = {}
    for prior_correction in (True, False):
        adapted = clone(clf).set_params(prior_correction=prior_correction).fit(X, y)
        means[prior_correction] = (
            adapted.adapt(shifted[rare], prevalence=prevalence).predict_proba(shifted[rare])[:, 1].mean()
        )
    assert abs(means[True] - prevalence) < 0.02 < means[False] - prevalence


def test_adapt_accepts_the_prevalence_of_three_classes(random):
    codes = np.arange(300) % 3
    X = random.randn(300, 4) + 2 * np.eye(4)[codes]
    clf = PneumoniaClassifier().fit(X, np.array(["bacteria", "normal", "virus"])[codes])
    some = np.r_[0:300:3, 1:60:3, 2:60:3]
    prevalence = np.bincount(codes[some]) / len(some)
    adapted = clf.adapt(X[some] * 2 + 1, prevalence=prevalence)
    assert np.mean(adapted.predict(X[some] * 2 + 1) == clf.classes_[codes[some]]) > 0.75
    np.testing.assert_allclose(adapted.predict_proba(X[some] * 2 + 1).mean(axis=0), prevalence, atol=0.08)


def test_adapt_does_not_change_the_original_model(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier().fit(X, y)
    before = bits(clf.decision_function(X)), bits(clf.predict_proba(X))
    clf.adapt(shifted, prevalence=0.1)
    assert (bits(clf.decision_function(X)), bits(clf.predict_proba(X))) == before


def test_adapting_twice_equals_adapting_once(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier().fit(X, y)
    once, twice = clf.adapt(shifted), clf.adapt(X * 3).adapt(shifted)
    assert np.corrcoef(once.decision_function(shifted), twice.decision_function(shifted))[0, 1] > 0.99


def test_scale_of_features_constant_in_training_is_unchanged(sites):
    X, shifted, y = sites
    X, shifted = np.c_[X, np.full(400, 7.0)], np.c_[shifted, np.full(400, 9.0)]
    adapted = PneumoniaClassifier().fit(X, y).adapt(shifted)
    assert np.isfinite(adapted.decision_function(shifted)).all()
    assert adapted.feature_scale_[-1] == 1


def test_adapt_uses_plain_views_only(paths, y):
    clf = PneumoniaClassifier(**TINY, n_views=4, n_views_predict=3).fit(paths, y)
    np.testing.assert_allclose(clf.adapt(paths).decision_function(paths), clf.decision_function(paths), atol=1e-4)


def test_adapt_works_with_trainable_layers(paths, y):
    clf = PneumoniaClassifier(**TINY, n_trainable_layers=1, n_views=2, tune_learning_rate=1e-2, random_state=0)
    clf.fit(paths, y)
    np.testing.assert_allclose(clf.adapt(paths).decision_function(paths), clf.decision_function(paths), atol=1e-3)


def test_adapt_works_with_dense_layers(sites):
    X, shifted, y = sites
    dense = PneumoniaClassifier(hidden_layer_sizes=(8,), max_iter=100, learning_rate_init=0.01, random_state=0)
    dense.fit(X[:200], y[:200])
    assert np.mean(dense.adapt(shifted).predict(shifted) == dense.predict(X)) > 0.9


def test_adapt_raises_on_too_few_images(clf, paths, y):
    clf.fit(paths, y)
    clf.adapt(paths[:20])
    with pytest.raises(ValueError, match="requires at least 20 different images of the new site, but got 19"):
        clf.adapt(paths[:19])


@pytest.mark.parametrize(
    "prevalence", [1.2, -0.1, 0, 1, True, "0.1", {0: 0.1}, [0.2, 0.9], [0.1, 0.2, 0.7], float("nan")]
)
def test_adapt_raises_on_invalid_prevalence(clf, paths, y, prevalence):
    with pytest.raises(ValueError, match=r"must be the proportion of each of the classes \[0, 1\]"):
        clf.fit(paths, y).adapt(paths, prevalence=prevalence)


def test_log_ratio_does_not_shift_missing_classes():
    np.testing.assert_allclose(log_ratio(np.array([3.0, 1.0]), np.array([5.0, 5.0])), [np.log(1 / 3)])
    np.testing.assert_array_equal(log_ratio(np.array([3.0, 0.0]), np.array([5.0, 5.0]))[0] < 0, True)
    assert np.isfinite(log_ratio(np.array([3.0, 0.0, 1.0]), np.array([5.0, 5.0, 0.0]))).all()


def test_adapting_again_uses_the_last_stated_prevalence(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier(class_weight="balanced").fit(X, y)
    once = clf.adapt(shifted, prevalence=0.1)
    for again in (
        once.adapt(shifted, prevalence=0.1),
        once.adapt(shifted, prevalence=0.5).adapt(X, prevalence=0.1),
    ):
        np.testing.assert_allclose(again.prior_shift_, once.prior_shift_)
    np.testing.assert_allclose(once.adapt(shifted).prior_shift_, clf.prior_shift_, atol=1e-12)


def test_adapted_model_cannot_be_trained_further(sites):
    X, shifted, y = sites
    adapted = PneumoniaClassifier(warm_start=True).fit(X, y).adapt(shifted)
    for train in (adapted.fit, adapted.partial_fit):
        with pytest.raises(ValueError, match="adapted to another site cannot be trained further"):
            train(X, y)
    clone(adapted).fit(X, y)
    adapted.set_params(warm_start=False).fit(X, y).partial_fit(X, y)


def test_adapt_counts_duplicate_images_once(clf, paths, y):
    with pytest.raises(ValueError, match="at least 20 different images of the new site, but got 2"):
        clf.fit(paths, y).adapt(paths[:2] * 15)


def test_merged_statistics_equal_those_of_all_rows(sites):
    X, _, y = sites
    whole = fit_reference(X, y, 2, np.ones(400), np.arange(400))
    halves = [
        fit_reference(X[rows], y[rows], 2, np.ones(200), np.arange(200)) for rows in (slice(200), slice(200, 400))
    ]
    for half in halves:
        half["drawn_count"] = half["class_count"]
    both = merged(*halves, is_alike=True)
    for name in ("class_count", "class_mean", "class_variance"):
        np.testing.assert_allclose(both[name], whole[name], atol=1e-5)
    np.testing.assert_array_equal(merged(*halves, is_alike=False)["class_mean"], halves[1]["class_mean"])


def test_adapt_raises_if_training_lacks_a_class(sites):
    X, shifted, y = sites
    clf = PneumoniaClassifier().partial_fit(X[y == 1], y[y == 1], classes=[0, 1])
    with pytest.raises(ValueError, match=r"there were none of \[0\]"):
        clf.adapt(shifted)
    clf.partial_fit(X[y == 0], y[y == 0])
    assert np.isfinite(clf.adapt(shifted).decision_function(X)).all()


def test_adaptation_is_weaker_with_fewer_images(random):
    X = random.randn(500, 3)
    reference = fit_reference(X, np.arange(500) % 2, 2, np.ones(500), np.arange(500))
    proportions = np.array([0.5, 0.5])
    shifts = [
        adapt_standardization(X[:n] - X[:n].mean(axis=0) + 0.5, np.zeros(3), np.ones(3), reference, proportions)[
            0
        ].mean()
        for n in (20, 100, 500)
    ]
    assert 0.3 < shifts[0] < shifts[1] < shifts[2] < 0.55
