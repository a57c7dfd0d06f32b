import pickle

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from skpneumo._heads.domain_adaptation import fit_reference
from skpneumo._heads.novelty import fit_novelty, is_shifted, p_values


def similar_images(random, n_patients, n_features, n_each=2, axes=None):
    """Features of patients with several similar images each."""
    axes = random.standard_normal((10, n_features)) if axes is None else axes
    patients = np.repeat(np.arange(n_patients), n_each)
    habitus = random.standard_normal((n_patients, 10))[patients] + 0.3 * random.standard_normal((len(patients), 10))
    image = habitus @ axes + random.standard_normal((n_patients, n_features))[patients]
    return (image + 0.3 * random.standard_normal(image.shape)).astype(np.float32) / 3, patients


@pytest.mark.parametrize(("n_patients", "n_features"), [(300, 1), (300, 30), (300, 500), (100, 1000)])
def test_p_values_of_new_patients_are_uniform(random, n_patients, n_features):
    axes = random.standard_normal((10, n_features))
    reference = fit_novelty(*similar_images(random, n_patients, n_features, axes=axes))
    new, _ = similar_images(random, 1000, n_features, n_each=1, axes=axes)
    p = p_values(reference, new)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.02 + level / 5)


def test_distances_exclude_images_of_the_same_patient(random):
    X, patients = similar_images(random, 100, 1000, n_each=3)
    alone, together = (fit_novelty(X, groups)["distances"] for groups in (np.arange(300), patients))
    assert np.median(together) > 1.5 * np.median(alone)


@pytest.mark.parametrize("n_each", [1, 2, 3, 40])
def test_distance_equals_that_of_a_fit_without_the_patient(random, n_each):
    X, patients = similar_images(random, 3, 5, n_each=n_each)
    inputs = np.column_stack([np.copysign(np.sqrt(1 + np.abs(X)) - 1, X), np.ones(len(X))]).astype(np.float64)
    ridge = np.diag([0.1 * len(X) * inputs[:, :5].var(axis=0).mean()] * 5 + [0])
    expected = []
    for patient in range(3):
        others, own = inputs[patients != patient], inputs[patients == patient]
        expected += [row @ np.linalg.inv(others.T @ others + ridge) @ row for row in own]
    np.testing.assert_allclose(fit_novelty(X, patients)["distances"], np.sort(expected), rtol=1e-5)


def test_result_does_not_depend_on_the_order_of_images(random):
    X, patients = similar_images(random, 30, 300)
    order = random.permutation(len(X))
    new = random.standard_normal((5, 300))
    one, other = (fit_novelty(X[rows], patients[rows]) for rows in (np.arange(len(X)), order))
    np.testing.assert_allclose(one["distances"], other["distances"], rtol=1e-4)
    np.testing.assert_array_equal(p_values(one, new), p_values(other, new))


def test_groups_may_be_strings(random):
    X, patients = similar_images(random, 30, 20)
    named = np.array([f"IM-{patient:04}" for patient in patients], dtype=object)
    np.testing.assert_array_equal(fit_novelty(X, named)["distances"], fit_novelty(X, patients)["distances"])


def test_unusual_combinations_of_usual_features_are_detected(random):
    axes = random.standard_normal((10, 500))
    reference = fit_novelty(*similar_images(random, 150, 500, axes=axes))
    new, _ = similar_images(random, 200, 500, n_each=1, axes=axes)
    shuffled = np.column_stack([random.permutation(feature) for feature in new.T])
    p = p_values(reference, np.concatenate([new, shuffled]))
    assert roc_auc_score(np.repeat([0, 1], 200), 1 - p) > 0.95


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [3, 500])
@pytest.mark.parametrize("far", [1e3, 1e6, 1e30, 3e38, np.inf])
def test_distant_images_get_the_smallest_p_value(random, dtype, n_features, far):
    X, patients = similar_images(random, 20, n_features)
    signs = random.choice([-1, 1], (4, n_features))
    p = p_values(fit_novelty(X.astype(dtype), patients), (far * signs).astype(dtype))
    np.testing.assert_array_equal(p, 1 / 41)


def test_p_values_are_between_1_over_n_plus_1_and_1(random):
    X, patients = similar_images(random, 20, 50)
    p = p_values(fit_novelty(X, patients), np.concatenate([X, 100 * X, 0 * X]))
    assert p.dtype == np.float64
    assert p.min() == 1 / 41
    assert p.max() == 1


def test_single_training_patient_gives_p_values_of_1(random):
    X, patients = similar_images(random, 1, 30, n_each=9)
    np.testing.assert_array_equal(p_values(fit_novelty(X, patients), 1e6 * X), 1)


@pytest.mark.parametrize("n_features", [1, 400])
def test_two_images_are_enough(random, n_features):
    X = random.standard_normal((2, n_features))
    p = p_values(fit_novelty(X, np.array([0, 1])), np.concatenate([X, 1e6 * X]))
    np.testing.assert_allclose(p, [1, 1, 1 / 3, 1 / 3])


@pytest.mark.parametrize("n_features", [1, 400])
@pytest.mark.parametrize("n_each", [1, 2])
def test_identical_training_images_make_any_other_image_novel(n_features, n_each):
    X = np.zeros((20, n_features), np.float32)
    reference = fit_novelty(X, np.repeat(np.arange(20 // n_each), n_each))
    np.testing.assert_array_equal(p_values(reference, X[:3]), 1)
    np.testing.assert_array_equal(p_values(reference, X[:3] + 9), 1 / 21)


def test_change_of_a_constant_feature_is_detected(random):
    X, patients = similar_images(random, 50, 40)
    X[:, 30:] = 0
    reference = fit_novelty(X, patients)
    new = np.zeros((2, 40), np.float32)
    new[1, 30:] = 20
    assert p_values(reference, new)[0] > 0.5
    assert p_values(reference, new)[1] == 1 / 101


def test_float32_and_float64_features_give_similar_p_values(random):
    X, patients = similar_images(random, 60, 700)
    new = random.standard_normal((50, 700))
    single, double = (p_values(fit_novelty(X.astype(t), patients), new.astype(t)) for t in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, atol=1 / 121)


def test_features_of_small_variance_give_accurate_distances(random):
    X, patients = similar_images(random, 60, 300)
    small = X * np.float32(1e-5)
    single, double = (fit_novelty(small.astype(t), patients)["distances"] for t in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_many_images_are_subsampled_evenly_over_patients(random):
    X, patients = similar_images(random, 1500, 4)
    X[-300:] += 5
    reference = fit_novelty(X, patients)
    assert len(reference["distances"]) == 2000
    assert np.median(p_values(reference, X[-300:])) > 0.02


def test_patient_with_more_images_than_directions_gives_finite_distances(random):
    X, patients = similar_images(random, 3, 250, n_each=300)
    distances = fit_novelty(X, patients)["distances"]
    assert np.isfinite(distances).all()
    assert distances.min() > 0


def test_reference_is_small_and_contains_plain_arrays(random):
    reference = fit_novelty(random.standard_normal((2000, 400)).astype(np.float32), np.arange(2000))
    assert {type(array) for array in reference.values()} == {np.ndarray}
    assert {array.dtype for array in reference.values()} == {np.dtype(np.float32)}
    assert len(pickle.dumps(reference)) < 170_000


def test_result_does_not_depend_on_the_number_of_threads(random):
    X, patients = similar_images(random, 200, 1500)
    fits = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            fits.append(fit_novelty(X, patients))
    for name, array in fits[0].items():
        np.testing.assert_array_equal(array, fits[1][name])


def test_global_random_state_is_not_used(random):
    X, patients = similar_images(random, 20, 300)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = fit_novelty(X, patients)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(fit_novelty(X, patients)["whitening"], first["whitening"])


def test_inputs_are_not_changed(random):
    X, patients = similar_images(random, 20, 300)
    X.flags.writeable = patients.flags.writeable = False
    p_values(fit_novelty(X, patients), X)


def test_empty_input_gives_empty_p_values(random):
    assert p_values(fit_novelty(*similar_images(random, 9, 6)), np.empty((0, 6), np.float32)).shape == (0,)


def test_noise_is_novel_and_synthetic_images_are_not(matrix, xrays, random):
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0)
    standardized = (matrix - mean) / np.where(scale > 0, scale, 1)
    train = np.isin(xrays.groups, np.unique(xrays.groups)[::2])
    reference = fit_novelty(standardized[train], xrays.groups[train])
    assert np.median(p_values(reference, standardized[~train])) > 0.2
    p = p_values(reference, 8 * random.standard_normal((5, matrix.shape[1])))
    np.testing.assert_array_equal(p, 1 / (train.sum() + 1))


# Domain shift of a set of images


def classes_and_reference(random):
    X, codes = random.standard_normal((400, 60)), np.arange(400) % 2
    X[:, 0] += 4 * codes
    return X, codes, fit_reference(X[:300], codes[:300], 2, np.ones(300), np.arange(300))


@pytest.mark.parametrize("positive", [0.1, 0.5, 0.9])
def test_domain_shift_does_not_depend_on_the_prevalence(random, positive):
    X, codes, reference = classes_and_reference(random)
    new, of_new, n_positive = X[300:], codes[300:], int(50 * positive)
    chosen = np.r_[np.flatnonzero(of_new == 1)[:n_positive], np.flatnonzero(of_new == 0)[: 50 - n_positive]]
    assert not is_shifted(reference, new[chosen], np.zeros(60), np.ones(60))


def test_domain_shift_is_found_although_each_image_is_ordinary(random):
    X, _, reference = classes_and_reference(random)
    changed = X[300:].copy()
    changed[:, 5:20] += 0.5
    assert p_values(reference, changed).mean() > 0.3
    assert is_shifted(reference, changed, np.zeros(60), np.ones(60))


def test_few_features_of_ordinary_images_are_rarely_shifted(random):
    X = random.standard_normal((4000, 4))
    reference = fit_reference(X[:1000], np.arange(1000) % 2, 2, np.ones(1000), np.arange(1000))
    sets = X[1000:].reshape(100, 30, 4)
    assert sum(is_shifted(reference, some, np.zeros(4), np.ones(4)) for some in sets) <= 2


def fitted_on_two_classes(random, n, n_features=200):
    y = np.arange(n) % 2
    X = random.standard_normal((n, n_features))
    X[:, :5] += 2 * y[:, None]
    return X, y


@pytest.mark.parametrize("rows", ["positive", "negative", "all"])
def test_set_of_one_class_is_not_shifted(random, rows):
    X, y = fitted_on_two_classes(random, 1000)
    reference = fit_reference(X[:300], y[:300], 2, np.ones(300), np.arange(300))
    new = X[300:][{"positive": y[300:] == 1, "negative": y[300:] == 0, "all": slice(None)}[rows]]
    assert not is_shifted(reference, new, np.zeros(200), np.ones(200))


def test_few_different_images_or_training_patients_are_not_shifted(random):
    X, y = fitted_on_two_classes(random, 300)
    reference = fit_reference(X, y, 2, np.ones(300), np.arange(300))
    assert not is_shifted(reference, np.repeat(X[:19] + 5, 9, axis=0), np.zeros(200), np.ones(200))
    assert is_shifted(reference, X[:20] + 5, np.zeros(200), np.ones(200))
    few = fit_reference(X[:50], y[:50], 2, np.ones(50), np.arange(50))
    assert not is_shifted(few, X[:20] + 5, np.zeros(200), np.ones(200))
