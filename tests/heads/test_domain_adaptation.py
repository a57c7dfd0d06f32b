import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score

from conftest import TINY
from skpneumo import PneumoniaClassifier
from skpneumo._heads.domain_adaptation import (
    adapt_standardization,
    estimate_site,
    fit_reference,
    fit_slope_and_shift,
    log_ratio,
    logit_statistics,
    merged,
    shift_to_mean,
)


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


def test_stated_prevalence_without_domain_shift_changes_no_decision(sites):
    X, _, y = sites
    clf = PneumoniaClassifier().fit(X[:200], y[:200])
    for start in range(200, 400, 25):
        some = slice(start, start + 25)
        adapted = clf.adapt(X[some], prevalence=y[some].mean())
        np.testing.assert_array_equal(adapted.decision_function(X), clf.decision_function(X))


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
    stated = clf.adapt(shifted[rare], prevalence=10 / len(rare))
    score = balanced_accuracy_score(y, stated.predict(shifted))
    assert score > balanced_accuracy_score(y, clf.predict(X)) - 0.03


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


def test_adapt_works_with_trainable_layers(paths, y):
    clf = PneumoniaClassifier(**TINY, n_trainable_layers=1, n_views=2, tune_learning_rate=1e-2, random_state=0)
    clf.fit(paths, y)
    adapted = clf.adapt(paths, y)
    np.testing.assert_array_equal(
        np.argsort(adapted.decision_function(paths)), np.argsort(clf.decision_function(paths))
    )


def test_adapt_works_with_dense_layers(sites):
    X, _, y = sites
    shifted = X + 2
    dense = PneumoniaClassifier(hidden_layer_sizes=(8,), max_iter=100, learning_rate_init=0.01, random_state=0)
    dense.fit(X[:200], y[:200])
    assert np.mean(dense.adapt(shifted, prevalence=1 / 3).predict(shifted) == dense.predict(X)) > 0.9


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
    for again, expected in (
        (once.adapt(shifted, prevalence=0.1), 0.1),
        (once.adapt(X, prevalence=0.1).adapt(shifted, prevalence=0.5), 0.5),
    ):
        np.testing.assert_allclose(again.predict_proba(shifted)[:, 1].mean(), expected)
        np.testing.assert_array_equal(again.reference_["stated_share"], [1 - expected, expected])


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
    assert np.isfinite(clf.adapt(shifted, prevalence=0.3).decision_function(X)).all()
    with pytest.warns(UserWarning, match="requires two classes that the model separates"):
        clf.adapt(shifted)


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


def logits_of(random, n, prevalence, *, shift=0.0, factor=1.0):
    """Return labels and logits of a site whose classes are at -6 and 6, and the statistics without shift."""
    y = (np.arange(n) < prevalence * n).astype(int)
    logits = shift + factor * (12 * y - 6 + 2.5 * random.randn(n))
    return y, logits, {"logit_mean": np.array([-6.0, 6.0]), "logit_scale": np.array([2.5, 2.5])}


def balanced_accuracy(y, logits, threshold):
    return balanced_accuracy_score(y, logits > threshold)


def test_logit_statistics_are_weighted_means_and_deviations_of_two_classes(random):
    logits, codes, weight = random.randn(60, 1), np.arange(60) % 2, random.rand(60)
    found = logit_statistics(logits, codes, weight)
    for code in (0, 1):
        mine = codes == code
        mean = np.average(logits[mine, 0], weights=weight[mine])
        np.testing.assert_allclose(found["logit_mean"][code], mean)
        variance = np.average((logits[mine, 0] - mean) ** 2, weights=weight[mine])
        np.testing.assert_allclose(found["logit_scale"][code], np.sqrt(variance))
    assert logit_statistics(random.randn(9, 3), np.arange(9) % 3, np.ones(9)) == {}
    assert logit_statistics(logits, np.zeros(60, int), weight)["logit_scale"][1] == 0


@pytest.mark.parametrize("prevalence", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("shift", "factor"), [(0, 1), (3, 0.8), (-3, 1), (0, 0.6)])
def test_interval_contains_the_prevalence_despite_a_shift(random, prevalence, shift, factor):
    _, logits, reference = logits_of(random, 150, prevalence, shift=shift, factor=factor)
    site = estimate_site(logits, reference)
    assert site.interval[0] <= prevalence <= site.interval[1]
    assert abs(site.prevalence - prevalence) < 0.06


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("prevalence", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_estimated_threshold_does_no_harm(random, n, prevalence):
    for shift, factor in ((0, 1), (4, 0.8), (-4, 1), (2, 0.6)):
        for _ in range(3):
            y, logits, reference = logits_of(random, n, prevalence, shift=shift, factor=factor)
            site = estimate_site(logits, reference)
            y, logits, _ = logits_of(random, 2000, 0.5, shift=shift, factor=factor)
            if site.is_identifiable:
                gain = balanced_accuracy(y, logits, site.threshold) - balanced_accuracy(y, logits, 0)
                assert gain > -0.01


def test_estimated_threshold_follows_a_certain_shift(random):
    _, logits, reference = logits_of(random, 200, 0.5, shift=5)
    assert estimate_site(logits, reference).threshold > 2
    _, logits, reference = logits_of(random, 200, 0.5)
    assert estimate_site(logits, reference).threshold == 0


@pytest.mark.parametrize("prevalence", [0, 0.02, 0.98, 1])
def test_prevalence_of_one_class_is_not_identifiable(random, prevalence):
    for shift in (-6, 0, 6):
        _, logits, reference = logits_of(random, 100, prevalence, shift=shift)
        assert not estimate_site(logits, reference).is_identifiable


def test_one_extreme_logit_hardly_changes_the_estimate(random):
    _, logits, reference = logits_of(random, 100, 0.4)
    before, after = (estimate_site(values, reference) for values in (logits, np.append(logits, 1e6)))
    assert abs(before.prevalence - after.prevalence) < 0.03
    assert before.threshold == after.threshold == 0


def test_estimate_of_many_logits_equals_that_of_all(random):
    _, logits, reference = logits_of(random, 5000, 0.3)
    assert abs(estimate_site(logits, reference).prevalence - 0.3) < 0.02


def test_shift_to_mean_sets_the_mean_probability(random):
    for logits in (random.randn(50), 40 + random.randn(50), np.zeros(50)):
        np.testing.assert_allclose(expit(logits + shift_to_mean(logits, 0.2)).mean(), 0.2)


@pytest.fixture
def separated(random):
    """Features of 300 images, 40 % of them positive, whose classes are far apart."""
    y = (np.arange(300) % 5 < 2).astype(int)
    return random.randn(300, 6) + np.outer(y, [3, 3, 3, 0, 0, 0]), y


def test_adapt_without_labels_or_prevalence_records_the_estimate(separated):
    X, y = separated
    clf = PneumoniaClassifier().fit(X, y)
    rows = np.r_[np.flatnonzero(y == 0)[:90], np.flatnonzero(y == 1)[:30]]
    adapted = clf.adapt(X[rows])
    low, high = adapted.reference_["prevalence_interval"]
    assert low < 0.25 < high
    prevalence = adapted.reference_["stated_share"][1]
    assert abs(prevalence - 0.25) < 0.05
    np.testing.assert_allclose(adapted.predict_proba(X[rows])[:, 1].mean(), prevalence, atol=1e-6)
    np.testing.assert_array_equal(adapted.predict_proba(X)[:, 1] > adapted.threshold_, adapted.predict(X) == 1)


def test_adapt_without_labels_does_not_change_probabilities_without_prior_correction(separated):
    X, y = separated
    clf = PneumoniaClassifier(prior_correction=False).fit(X, y)
    np.testing.assert_array_equal(clf.adapt(X).prior_shift_, [0])


def test_adapt_warns_and_changes_nothing_if_the_prevalence_cannot_be_determined(separated):
    X, y = separated
    clf = PneumoniaClassifier().fit(X, y)
    with pytest.warns(
        UserWarning, match=r"from these 40 images: its 95 % interval.*pass y, labels of 50 to 100 images"
    ):
        adapted = clf.adapt(X[y == 0][:40])
    assert bits(adapted.predict_proba(X)) == bits(clf.predict_proba(X))
    assert "stated_share" not in adapted.reference_


def test_adapt_warns_without_labels_or_prevalence_of_three_classes(random):
    codes = np.arange(90) % 3
    clf = PneumoniaClassifier().fit(random.randn(90, 4) + 3 * np.eye(4)[codes], codes)
    with pytest.warns(UserWarning, match="requires two classes"):
        clf.adapt(random.randn(90, 4))


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_labels_correct_a_shift_of_the_logits(separated, hidden):
    X, y = separated
    clf = PneumoniaClassifier(hidden_layer_sizes=hidden, random_state=0).fit(X, y)
    shifted = X + np.array([1.5, 1.5, 1.5, 0, 0, 0])
    adapted = clf.adapt(shifted[:50], y[:50])
    before, after = (balanced_accuracy_score(y[50:], model.predict(shifted[50:])) for model in (clf, adapted))
    assert after > before + 0.05
    np.testing.assert_allclose(adapted.predict_proba(shifted[:50])[:, 1].mean(), y[:50].mean(), atol=1e-5)
    np.testing.assert_array_equal(adapted.decision_function(X) > 0, adapted.predict(X) == 1)
    proba = expit(adapted.decision_function(X) + adapted.prior_shift_[0])
    np.testing.assert_array_equal(adapted.predict_proba(X)[:, 1], proba)
    assert adapted.reference_["label_count"].tolist() == np.bincount(y[:50]).tolist()


def test_labels_do_not_change_the_ranking(separated, random):
    X, y = separated
    clf = PneumoniaClassifier().fit(X, y)
    adapted = clf.adapt(X[:40], random.permutation(y[:40]))  # even labels without information
    order = np.argsort(clf.decision_function(X))
    assert (np.diff(adapted.decision_function(X)[order]) >= -1e-6).all()


def test_prevalence_in_addition_to_labels_changes_probabilities_only(separated):
    X, y = separated
    clf = PneumoniaClassifier().fit(X, y)
    without, stated = clf.adapt(X[:50], y[:50]), clf.adapt(X[:50], y[:50], prevalence=0.1)
    np.testing.assert_array_equal(stated.decision_function(X), without.decision_function(X))
    expected = np.log(0.1 / 0.9) - np.log(y[:50].mean() / (1 - y[:50].mean()))
    np.testing.assert_allclose(stated.prior_shift_ - without.prior_shift_, expected)
    assert stated.reference_["stated_share"].tolist() == [0.9, 0.1]


def test_labels_of_three_classes_correct_a_shift(random):
    codes = np.arange(300) % 3
    names = np.array(["bacteria", "normal", "virus"])[codes]
    X = random.randn(300, 4) + 3 * np.eye(4)[codes]
    clf = PneumoniaClassifier().fit(X, names)
    shifted = X + np.array([2, 0, 0, 0])
    adapted = clf.adapt(shifted[:60], names[:60])
    before, after = (np.mean(model.predict(shifted[60:]) == names[60:]) for model in (clf, adapted))
    assert after > before + 0.05


def test_slope_is_positive_and_shrunk_towards_one(random):
    logits, codes = 3 * random.randn(40, 1), np.arange(40) % 2
    slope, _ = fit_slope_and_shift(logits, codes, np.ones(40))  # labels without information
    assert 0 < slope < 1
    slope, shift = fit_slope_and_shift(np.where(codes == 1, 2.0, -2.0)[:, np.newaxis], codes, np.ones(40))
    assert 1 < slope < 3
    np.testing.assert_allclose(shift, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0] * 20, r"there are none of \[1\]: add images"),
        ([0, 1] * 9 + [2, 3], r"labels of the classes \[0, 1\], but it also contains \[2, 3\]"),
        ([0, 1] * 9, r"inconsistent numbers of samples: \[20, 18\]"),
    ],
)
def test_adapt_raises_on_invalid_labels(separated, y, message):
    X, y_train = separated
    with pytest.raises(ValueError, match=message):
        PneumoniaClassifier().fit(X, y_train).adapt(X[:20], y)


def test_adapt_raises_on_too_few_labels(separated):
    X, y = separated
    with pytest.raises(ValueError, match="at least 20 different images of the new site, but got 19"):
        PneumoniaClassifier().fit(X, y).adapt(X[:19], y[:19])


def test_adapt_without_class_weights_aims_at_accuracy(separated):
    X, y = separated
    overlapping = X - np.outer(y, [2, 2, 2, 0, 0, 0])
    clf = PneumoniaClassifier(class_weight=None).fit(overlapping, y)
    adapted = clf.adapt(overlapping[:100], y[:100])
    np.testing.assert_allclose(expit(adapted.decision_function(overlapping[:100])).mean(), y[:100].mean(), atol=0.02)


def test_adapt_uses_the_views_of_prediction(paths, y):
    clf = PneumoniaClassifier(**TINY, n_views=2, n_views_predict=3).fit(paths, y)
    adapted = clf.adapt(paths, prevalence=0.3)
    assert adapted.predict_proba(paths)[:, 1].mean() == pytest.approx(0.3, abs=1e-6)
