import re
from itertools import islice

import numpy as np
import pytest
from imblearn.combine import SMOTEENN
from imblearn.over_sampling import ADASYN, SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import ClusterCentroids, NearMiss, RandomUnderSampler, TomekLinks
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.class_weight import compute_sample_weight

from conftest import QUICK, TINY
from skpneumo import PneumoniaClassifier
from skpneumo._heads.resampling import Resampler, TrainingRows

N_RARE, N_COMMON = 12, 48


@pytest.fixture
def rows(random):
    """60 rows, a fifth of them of the second class."""
    codes = np.arange(60) % 5 == 0
    features = random.randn(60, 4) + 3 * codes[:, None]
    return TrainingRows.all_of(features.astype(np.float32), codes.astype(int), np.ones(60))


def resample(sampler, rows, n=1, n_views=1, seed=0, classes=np.arange(2)):  # noqa: B008
    return list(islice(Resampler(sampler, classes, n_views, np.random.RandomState(seed)).epochs(rows), n))


def counts(resampled):
    return np.bincount(resampled.codes[resampled.rows]).tolist()


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (None, [N_COMMON, N_RARE]),
        ("over", [N_COMMON, N_COMMON]),
        ("under", [N_RARE, N_RARE]),
        ("smote", [N_COMMON, N_COMMON]),
        (NearMiss(), [N_RARE, N_RARE]),
        (RandomOverSampler(sampling_strategy=0.5), [N_COMMON, N_COMMON // 2]),
        (RandomOverSampler(shrinkage=0.1), [N_COMMON, N_COMMON]),
    ],
)
def test_class_counts_are_those_of_the_sampler(sampler, expected, rows):
    assert counts(*resample(sampler, rows)) == expected


@pytest.mark.parametrize("sampler", ["over", "under", TomekLinks(), NearMiss()])
def test_selecting_samplers_return_unchanged_rows(sampler, rows):
    (resampled,) = resample(sampler, rows)
    assert resampled.features is rows.features
    assert resampled.codes is rows.codes
    assert set(resampled.rows) <= set(rows.rows)


@pytest.mark.parametrize("sampler", ["smote", ADASYN(), RandomOverSampler(shrinkage=0.5)])
def test_creating_samplers_return_new_rows(sampler, rows):
    (resampled,) = resample(sampler, rows)
    old = {row.tobytes() for row in rows.features}
    assert sum(row.tobytes() not in old for row in resampled.features) > 20
    assert resampled.features.dtype == np.float32


@pytest.mark.parametrize("sampler", ["over", "under", "smote"])
def test_each_epoch_is_resampled_reproducibly(sampler, rows):
    first, second = (resampled.features[resampled.rows] for resampled in resample(sampler, rows, n=2))
    assert not np.array_equal(first, second)
    again = resample(sampler, rows, n=2)[1]
    np.testing.assert_array_equal(again.features[again.rows], second)
    other = resample(sampler, rows, seed=1)[0]
    assert not np.array_equal(other.features[other.rows], first)


@pytest.mark.parametrize(
    "sampler", [RandomOverSampler(random_state=5), make_pipeline(RandomUnderSampler()), SMOTEENN(smote=SMOTE())]
)
def test_random_state_of_the_fit_seeds_the_sampler_and_its_parts(sampler, rows):
    first, again, other = (resample(sampler, rows, n=2, seed=seed) for seed in (0, 0, 1))
    features = [[resampled.features[resampled.rows] for resampled in each] for each in (first, again, other)]
    np.testing.assert_array_equal(features[0][0], features[1][0])
    assert not np.array_equal(features[0][0], features[2][0])
    assert not np.array_equal(features[0][0], features[0][1])


def test_sampler_object_is_not_changed(rows):
    sampler = RandomOverSampler(random_state=5)
    resample(sampler, rows, n=2)
    assert vars(sampler) == vars(clone(sampler))


@pytest.mark.parametrize("sampler", ["over", "under", TomekLinks()])
def test_all_views_of_a_selected_image_are_selected(sampler, rows):
    features = np.repeat(rows.features, 3, axis=0) + np.tile([[0], [0.1], [0.2]], (60, 1)).astype(np.float32)
    views = TrainingRows.all_of(features, np.repeat(rows.codes, 3), np.tile([0.5, 0.25, 0.25], 60))
    (resampled,), (plain,) = resample(sampler, views, n_views=3), resample(sampler, rows)
    np.testing.assert_array_equal(resampled.rows.reshape(-1, 3), plain.rows[:, None] * 3 + np.arange(3))


def test_new_rows_of_each_view_get_its_weight(rows):
    features = np.stack([rows.features, rows.features + 100], axis=1).reshape(-1, 4)
    views = TrainingRows.all_of(features, np.repeat(rows.codes, 2), np.tile([0.75, 0.25], 60))
    (resampled,) = resample("smote", views, n_views=2)
    is_plain = resampled.features[:, 0] < 50
    assert (is_plain.sum(), (~is_plain).sum()) == (96, 96)
    assert set(resampled.weights[is_plain]) == {0.75}
    assert set(resampled.weights[~is_plain]) == {0.25}
    np.testing.assert_allclose(resampled.features[is_plain] + 100, resampled.features[~is_plain], atol=1e-4)


def test_sample_weight_requires_a_selecting_sampler(rows):
    weighted = TrainingRows.all_of(rows.features, rows.codes, np.arange(60.0))
    (resampled,) = resample("over", weighted)
    np.testing.assert_array_equal(resampled.weights[resampled.rows], resampled.rows)
    with pytest.raises(ValueError, match="creates new rows, which have no sample_weight"):
        resample("smote", weighted)


def test_error_on_too_few_images_contains_the_class_counts():
    rows = TrainingRows.all_of(np.zeros((12, 2)), np.array([0] * 9 + [1] * 3), np.ones(12))
    classes = np.array(["common", "rare"])
    with pytest.raises(ValueError, match=re.escape("cannot resample {'common': 9, 'rare': 3} images per class")):
        resample("smote", rows, classes=classes)


def test_sampler_gets_the_original_labels(rows):
    strategy = {"negative": 20, "positive": 5}
    (resampled,) = resample(
        RandomUnderSampler(sampling_strategy=strategy), rows, classes=np.array(["negative", "positive"])
    )
    assert counts(resampled) == [20, 5]


def test_images_of_weight_0_are_not_resampled(rows):
    weights = np.where(np.arange(60) < 30, 1.0, 0.0)
    weighted = TrainingRows.all_of(rows.features, rows.codes, weights)
    (resampled,) = resample("over", weighted)
    assert resampled.rows.max() < 30
    assert counts(resampled) == [24, 24]
    (created,) = resample("smote", weighted)
    assert len(created.codes) == 48


def test_images_of_a_single_class_are_not_resampled(rows):
    alone = TrainingRows.all_of(rows.features, np.zeros(60, int), np.ones(60))
    assert resample("under", alone) == [alone]


@pytest.mark.parametrize("wrong", ["oversample", 3, object()])
def test_fit_raises_on_invalid_sampler(wrong, matrix, y):
    with pytest.raises(ValueError, match=r"'sampler' parameter .*'over'.* object implementing 'fit_resample'"):
        PneumoniaClassifier(sampler=wrong).fit(matrix, y)


def test_fit_raises_on_sampler_class(matrix, y):
    with pytest.raises(ValueError, match=r"pass SMOTE\(\)"):
        PneumoniaClassifier(sampler=SMOTE).fit(matrix, y)


# In the classifier


@pytest.fixture
def rare(random):
    X = random.randn(200, 4)
    return X, (X[:, 0] + random.randn(200) > 1.6).astype(int)


def test_probe_on_resampled_rows_equals_weighted_logistic_regression(rare):
    X, y = rare
    clf = PneumoniaClassifier(sampler="over", prior_correction=False, random_state=0).fit(X, y)
    (resampled,) = resample("over", TrainingRows.all_of(X, y, np.ones(len(y))))
    unsampled = PneumoniaClassifier(class_weight=None).fit(X, y)
    mean, scale = unsampled.feature_mean_, unsampled.feature_scale_
    counts = np.bincount(resampled.rows, minlength=len(y)).astype(float)
    from sklearn.linear_model import LogisticRegression

    reference = LogisticRegression(C=1 / (0.02 * 4), tol=1e-10).fit((X - mean) / scale, y, sample_weight=counts)
    np.testing.assert_allclose(clf.coefs_[0][:, 0], reference.coef_[0], atol=1e-5)
    np.testing.assert_allclose(clf.intercepts_[0], reference.intercept_, atol=1e-5)


def test_over_sampling_predicts_like_balanced_weights(rare):
    X, y = rare
    over = PneumoniaClassifier(sampler="over", random_state=0).fit(X, y)
    balanced = PneumoniaClassifier(class_weight="balanced").fit(X, y)
    plain = PneumoniaClassifier(class_weight=None).fit(X, y)
    assert np.mean(over.predict(X) == balanced.predict(X)) > 0.9
    assert over.predict(X).sum() > 1.5 * plain.predict(X).sum()


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("sampler", ["over", "under", "smote"])
def test_dense_layers_are_trained_on_resampled_rows(sampler, early_stopping, rare):
    X, y = rare
    parameters = {"hidden_layer_sizes": (4,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0}
    clf = PneumoniaClassifier(**parameters, sampler=sampler, early_stopping=early_stopping).fit(X, y)
    plain = PneumoniaClassifier(**parameters, class_weight=None).fit(X, y)
    assert clf.predict(X).sum() > 1.5 * plain.predict(X).sum()
    again = clone(clf).fit(X, y)
    np.testing.assert_array_equal(again.decision_function(X), clf.decision_function(X))


def test_validation_images_are_reweighted_instead_of_resampled(rare):
    X, y = rare
    parameters = {"hidden_layer_sizes": (4,), "max_iter": 1, "early_stopping": True, "random_state": 0}
    over = PneumoniaClassifier(**parameters, sampler="over", validation_fraction=0.3).fit(X, y)
    from skpneumo._training.checks import check_examples

    train, validation = check_examples(over, X, y, None).hold_out(0.3, np.random.RandomState(0))
    weight = compute_sample_weight("balanced", train.codes)
    of_class = [weight[train.codes == code][0] for code in (0, 1)]
    logits = over.decision_function(validation.X)[:, None]
    from dataclasses import replace

    expected = replace(validation, loss_weight=np.array(of_class)[validation.codes]).score(logits)
    assert over.validation_scores_ == [pytest.approx(expected, rel=1e-4)]


@pytest.mark.parametrize("sampler", ["over", "under"])
def test_trainable_layers_are_tuned_on_selected_images(sampler, paths, y):
    rare = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:6]]
    X, labels = np.array(paths)[rare], y[rare]
    clf = PneumoniaClassifier(
        **TINY, n_trainable_layers=1, n_views=2, plain_weight=0.99, sampler=sampler, random_state=0, batch_size=8
    )
    clf.fit(X, labels)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1].mean(), labels.mean(), atol=0.02)
    np.testing.assert_array_equal(clone(clf).fit(X, labels).decision_function(X), clf.decision_function(X))


@pytest.mark.parametrize("sampler", ["smote", SMOTE(), RandomOverSampler(shrinkage=1.0)])
def test_creating_sampler_with_trainable_layers_raises_before_reading_images(sampler):
    clf = PneumoniaClassifier(**QUICK, n_trainable_layers=1, sampler=sampler)
    with pytest.raises(ValueError, match="creates new features, but trainable layers require images"):
        clf.fit(["absent.png", "missing.png"], [0, 1])


def test_trainable_layers_raise_on_features_created_by_a_sampler(paths, y):
    clf = PneumoniaClassifier(**QUICK, n_trainable_layers=1, sampler=ClusterCentroids())
    with pytest.raises(ValueError, match="creates new features, but trainable layers require images"):
        clf.fit(paths, (np.arange(40) % 3 == 0).astype(int))


def test_grid_search_over_samplers_and_their_parameters(rare):
    X, y = rare
    grid = [{"sampler": [None, "over", "under"]}, {"sampler": [SMOTE()], "sampler__k_neighbors": [2, 5]}]
    search = GridSearchCV(PneumoniaClassifier(random_state=0), grid, scoring="roc_auc", cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 5
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()


def test_partial_fit_resamples_each_call(rare):
    X, y = rare
    clf = PneumoniaClassifier(sampler="over", random_state=0, learning_rate_init=0.05)
    for _ in range(60):
        clf.partial_fit(X, y, classes=[0, 1])
    assert clf.predict(X).sum() > y.sum()
    assert clf.predict_proba(X)[:, 1].mean() == pytest.approx(y.mean(), abs=0.05)


def test_partial_fit_corrects_probabilities_by_the_counts_of_all_calls(rare):
    X, y = rare
    clf = PneumoniaClassifier(class_weight={0: 1, 1: 4}, learning_rate_init=0.05)
    for _ in range(50):
        clf.partial_fit(X, y, classes=[0, 1])
    before = clf.predict_proba(X)[:, 1].mean()
    positive = np.flatnonzero(y)[:5]
    clf.partial_fit(X[positive], y[positive])
    np.testing.assert_allclose(clf.prior_shift_, -np.log(4), atol=0.01)
    assert abs(before - y.mean()) < 0.05
    assert abs(clf.predict_proba(X)[:, 1].mean() - before) < 0.1


@pytest.mark.parametrize("class_weight", [{0: 1, 1: 1, 2: 30}, "balanced"])
def test_mean_probabilities_of_three_classes_equal_their_prevalence(class_weight, random):
    X = random.randn(400, 3)
    y = X.argmax(axis=1) * (random.rand(400) < 0.4)
    clf = PneumoniaClassifier(class_weight=class_weight).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X).mean(axis=0), np.bincount(y) / 400, atol=1e-4)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(X)), clf.predict_proba(X))


@pytest.mark.parametrize("handling", [{"class_weight": None}, {"prior_correction": False, "class_weight": "balanced"}])
def test_prior_shift_is_0_without_weights_and_samplers_or_without_prior_correction(handling, rare):
    clf = PneumoniaClassifier(**handling).fit(*rare)
    assert clf.prior_shift_ == [0]


def test_prior_correction_must_be_boolean(rare):
    with pytest.raises(ValueError, match=r"'prior_correction' parameter .* Got 0\.3"):
        PneumoniaClassifier(prior_correction=0.3).fit(*rare)
