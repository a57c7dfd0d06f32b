import pickle

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from skpneumo._heads.novelty import fit_novelty, p_values


def films(random, n_patients, n_features, n_each=2, axes=None):
    """Features of patients who have several films each, much alike."""
    axes = random.standard_normal((10, n_features)) if axes is None else axes
    patients = np.repeat(np.arange(n_patients), n_each)
    habitus = random.standard_normal((n_patients, 10))[patients] + 0.3 * random.standard_normal((len(patients), 10))
    film = habitus @ axes + random.standard_normal((n_patients, n_features))[patients]
    return (film + 0.3 * random.standard_normal(film.shape)).astype(np.float32) / 3, patients


@pytest.mark.parametrize(("n_patients", "n_features"), [(300, 1), (300, 30), (300, 500), (100, 1000)])
def test_of_new_patients_as_many_are_flagged_as_the_p_value_says(random, n_patients, n_features):
    axes = random.standard_normal((10, n_features))
    reference = fit_novelty(*films(random, n_patients, n_features, axes=axes))
    new, _ = films(random, 1000, n_features, n_each=1, axes=axes)
    p = p_values(reference, new)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.02 + level / 5)


def test_films_of_the_training_patients_do_not_vouch_for_themselves(random):
    X, patients = films(random, 100, 1000, n_each=3)
    alone, together = (fit_novelty(X, groups)["distances"] for groups in (np.arange(300), patients))
    assert np.median(together) > 1.5 * np.median(alone)


@pytest.mark.parametrize("n_each", [1, 2, 3, 40])
def test_the_distance_is_what_a_fit_without_the_patient_would_measure(random, n_each):
    X, patients = films(random, 3, 5, n_each=n_each)
    inputs = np.column_stack([np.copysign(np.sqrt(1 + np.abs(X)) - 1, X), np.ones(len(X))]).astype(np.float64)
    ridge = np.diag([0.1 * len(X) * inputs[:, :5].var(axis=0).mean()] * 5 + [0])
    expected = []
    for patient in range(3):
        others, own = inputs[patients != patient], inputs[patients == patient]
        expected += [row @ np.linalg.inv(others.T @ others + ridge) @ row for row in own]
    np.testing.assert_allclose(fit_novelty(X, patients)["distances"], np.sort(expected), rtol=1e-5)


def test_the_order_of_the_images_does_not_matter(random):
    X, patients = films(random, 30, 300)
    order = random.permutation(len(X))
    new = random.standard_normal((5, 300))
    one, other = (fit_novelty(X[rows], patients[rows]) for rows in (np.arange(len(X)), order))
    np.testing.assert_allclose(one["distances"], other["distances"], rtol=1e-4)
    np.testing.assert_array_equal(p_values(one, new), p_values(other, new))


def test_patients_may_be_named(random):
    X, patients = films(random, 30, 20)
    named = np.array([f"IM-{patient:04}" for patient in patients], dtype=object)
    np.testing.assert_array_equal(fit_novelty(X, named)["distances"], fit_novelty(X, patients)["distances"])


def test_what_lies_off_the_training_images_is_found_though_no_feature_of_it_is_unusual(random):
    axes = random.standard_normal((10, 500))
    reference = fit_novelty(*films(random, 150, 500, axes=axes))
    new, _ = films(random, 200, 500, n_each=1, axes=axes)
    shuffled = np.column_stack([random.permutation(feature) for feature in new.T])
    p = p_values(reference, np.concatenate([new, shuffled]))
    assert roc_auc_score(np.repeat([0, 1], 200), 1 - p) > 0.95


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [3, 500])
@pytest.mark.parametrize("far", [1e3, 1e6, 1e30, 3e38, np.inf])
def test_what_is_far_away_gets_the_smallest_p_value(random, dtype, n_features, far):
    X, patients = films(random, 20, n_features)
    signs = random.choice([-1, 1], (4, n_features))
    p = p_values(fit_novelty(X.astype(dtype), patients), (far * signs).astype(dtype))
    np.testing.assert_array_equal(p, 1 / 41)


def test_p_values_lie_between_one_in_n_plus_one_and_one(random):
    X, patients = films(random, 20, 50)
    p = p_values(fit_novelty(X, patients), np.concatenate([X, 100 * X, 0 * X]))
    assert p.dtype == np.float64
    assert p.min() == 1 / 41
    assert p.max() == 1


def test_one_patient_tells_nothing_of_others(random):
    X, patients = films(random, 1, 30, n_each=9)
    np.testing.assert_array_equal(p_values(fit_novelty(X, patients), 1e6 * X), 1)


@pytest.mark.parametrize("n_features", [1, 400])
def test_two_images_are_enough(random, n_features):
    X = random.standard_normal((2, n_features))
    p = p_values(fit_novelty(X, np.array([0, 1])), np.concatenate([X, 1e6 * X]))
    np.testing.assert_allclose(p, [1, 1, 1 / 3, 1 / 3])


@pytest.mark.parametrize("n_features", [1, 400])
@pytest.mark.parametrize("n_each", [1, 2])
def test_images_that_are_all_the_same_are_like_each_other_and_unlike_any_other(n_features, n_each):
    X = np.zeros((20, n_features), np.float32)
    reference = fit_novelty(X, np.repeat(np.arange(20 // n_each), n_each))
    np.testing.assert_array_equal(p_values(reference, X[:3]), 1)
    np.testing.assert_array_equal(p_values(reference, X[:3] + 9), 1 / 21)


def test_constant_features_change_nothing_until_they_move(random):
    X, patients = films(random, 50, 40)
    X[:, 30:] = 0
    reference = fit_novelty(X, patients)
    new = np.zeros((2, 40), np.float32)
    new[1, 30:] = 20
    assert p_values(reference, new)[0] > 0.5
    assert p_values(reference, new)[1] == 1 / 101


def test_the_precision_of_the_features_hardly_matters(random):
    X, patients = films(random, 60, 700)
    new = random.standard_normal((50, 700))
    single, double = (p_values(fit_novelty(X.astype(t), patients), new.astype(t)) for t in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, atol=1 / 121)


def test_features_that_hardly_vary_are_measured_as_precisely(random):
    X, patients = films(random, 60, 300)
    small = X * np.float32(1e-5)
    single, double = (fit_novelty(small.astype(t), patients)["distances"] for t in (np.float32, np.float64))
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_of_many_images_some_are_taken_evenly_over_the_patients(random):
    X, patients = films(random, 1500, 4)
    X[-300:] += 5
    reference = fit_novelty(X, patients)
    assert len(reference["distances"]) == 2000
    assert np.median(p_values(reference, X[-300:])) > 0.02


def test_a_patient_with_more_images_than_directions_is_left_out_too(random):
    X, patients = films(random, 3, 250, n_each=300)
    distances = fit_novelty(X, patients)["distances"]
    assert np.isfinite(distances).all()
    assert distances.min() > 0


def test_what_is_fitted_is_small_and_plain(random):
    reference = fit_novelty(random.standard_normal((2000, 400)).astype(np.float32), np.arange(2000))
    assert {type(array) for array in reference.values()} == {np.ndarray}
    assert {array.dtype for array in reference.values()} == {np.dtype(np.float32)}
    assert len(pickle.dumps(reference)) < 170_000


def test_the_bits_do_not_depend_on_the_number_of_threads(random):
    X, patients = films(random, 200, 1500)
    fits = []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            fits.append(fit_novelty(X, patients))
    for name, array in fits[0].items():
        np.testing.assert_array_equal(array, fits[1][name])


def test_nothing_is_drawn_from_the_global_random_state(random):
    X, patients = films(random, 20, 300)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = fit_novelty(X, patients)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(fit_novelty(X, patients)["whitening"], first["whitening"])


def test_what_is_given_is_left_as_it_was(random):
    X, patients = films(random, 20, 300)
    X.flags.writeable = patients.flags.writeable = False
    p_values(fit_novelty(X, patients), X)


def test_no_image_gives_no_p_value(random):
    assert p_values(fit_novelty(*films(random, 9, 6)), np.empty((0, 6), np.float32)).shape == (0,)


def test_synthetic_films_are_like_each_other_and_noise_is_not(matrix, xrays, random):
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0)
    standardized = (matrix - mean) / np.where(scale > 0, scale, 1)
    train = np.isin(xrays.groups, np.unique(xrays.groups)[::2])
    reference = fit_novelty(standardized[train], xrays.groups[train])
    assert np.median(p_values(reference, standardized[~train])) > 0.2
    p = p_values(reference, 8 * random.standard_normal((5, matrix.shape[1])))
    np.testing.assert_array_equal(p, 1 / (train.sum() + 1))
