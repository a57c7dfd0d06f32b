import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heads.conftest import penalty
from skpneumo import PneumoniaClassifier
from skpneumo._heads.logistic_regression import solve_probe


def correlated(random, n_samples, n_features):
    """Features whose variances decrease like those of a network."""
    X = random.randn(n_samples, n_features) / np.arange(1, n_features + 1) @ random.randn(n_features, n_features)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def largest_derivative(X, codes, weight, coef, intercept, penalty):
    logits = X.astype(np.float64) @ coef + intercept
    if coef.shape[1] == 1:
        residuals = weight[:, None] * (expit(logits) - codes[:, None])
    else:
        residuals = weight[:, None] * (softmax(logits, axis=1) - np.eye(coef.shape[1])[codes])
    gradient = np.vstack([X.T @ residuals + penalty * coef, residuals.sum(axis=0)])
    return np.abs(gradient).max() / weight.sum()


@pytest.mark.parametrize("shape", [(300, 20), (60, 500), (400, 150), (12, 3)])
@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_solution_equals_that_of_scikit_learn(random, shape, n_classes):
    X, codes, weight = correlated(random, *shape), np.arange(shape[0]) % n_classes, random.rand(shape[0])
    coef, intercept, _ = solve_probe(X, codes, weight, penalty=2.0, tol=1e-10)
    reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000, solver="newton-cg").fit(X, codes, weight)
    np.testing.assert_allclose(coef, reference.coef_.T, atol=1e-6)
    np.testing.assert_allclose(intercept, reference.intercept_, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tol"), [(np.float32, 1e-5), (np.float64, 1e-8)])
@pytest.mark.parametrize("penalty", [1e-3, 1, 1e3, 1e6])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_gradient_is_within_tolerance_for_any_penalty(random, dtype, tol, penalty, n_classes):
    X, codes = correlated(random, 500, 700).astype(dtype), random.randint(n_classes, size=500)
    coef, intercept, n_passes = solve_probe(X, codes, np.ones(500), penalty=penalty, tol=tol)
    assert coef.dtype == intercept.dtype == dtype
    assert largest_derivative(X, codes, np.ones(500), coef, intercept, penalty) < 1.1 * tol
    assert n_passes >= 1


def test_correlated_features_need_few_passes(random):
    X, codes = correlated(random, 1000, 2000).astype(np.float32), random.randint(2, size=1000)
    *_, n_passes = solve_probe(X, codes, np.ones(1000), penalty=100, tol=1e-5)
    assert n_passes < 15


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_equivalent_to_repetitions(random, n_classes):
    X, codes, weight = correlated(random, 120, 90), np.arange(120) % n_classes, random.randint(3, size=120)
    X[weight == 0] *= 1e6
    weighted = solve_probe(X, codes, weight.astype(np.float64), penalty=5.0, tol=1e-10)
    repeated = np.repeat(np.arange(120), weight)
    expected = solve_probe(X[repeated], codes[repeated], np.ones(len(repeated)), penalty=5.0, tol=1e-10)
    np.testing.assert_allclose(weighted[0], expected[0], atol=1e-7)
    np.testing.assert_allclose(weighted[1], expected[1], atol=1e-7)


def test_constant_features_have_coefficient_0(random):
    X, codes = random.randn(30, 4), np.arange(30) % 3 // 2
    X[:, 2] = 0
    coef, *_ = solve_probe(X, codes, np.ones(30), penalty=1.0, tol=1e-8)
    assert coef[2] == 0
    coef, intercept, _ = solve_probe(np.zeros((30, 4)), codes, np.ones(30), penalty=1.0, tol=1e-8)
    assert not coef.any()
    assert intercept == pytest.approx(np.log(1 / 2))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_all_weight_on_one_class_gives_a_model_that_predicts_it(random, n_classes):
    X, codes = random.randn(60, 5), np.arange(60) % n_classes
    coef, intercept, _ = solve_probe(X, codes, (codes == 1).astype(np.float64), penalty=1.0, tol=1e-8)
    logits = X @ coef + intercept
    assert (logits > 0).all() if n_classes == 2 else (logits.argmax(axis=1) == 1).all()


@pytest.mark.parametrize("penalty", [1e-30, 1e-9])
def test_separable_classes_are_solved_with_a_penalty_near_zero(random, penalty):
    X = random.randn(50, 200).astype(np.float32)
    codes = (X[:, 0] > 0).astype(int)
    coef, intercept, _ = solve_probe(X, codes, np.ones(50), penalty=penalty, tol=1e-5)
    np.testing.assert_array_equal((X @ coef + intercept)[:, 0] > 0, codes)


def test_unreachable_tolerance_warns(random):
    X, codes = correlated(random, 100, 50).astype(np.float32), np.arange(100) % 2
    with pytest.warns(ConvergenceWarning, match="above 1e-30: choose another alpha"):
        solve_probe(X, codes, np.ones(100), penalty=1.0, tol=1e-30)


# In the classifier


def test_probe_equals_logistic_regression_on_standardized_features(matrix, xrays):
    clf = PneumoniaClassifier(alpha=0.02).fit(matrix, xrays.target)
    C = 1 / (0.02 * matrix.shape[1])
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-10, max_iter=10_000))
    reference.fit(matrix.astype(np.float64), xrays.target)
    expected = reference.decision_function(matrix.astype(np.float64))
    np.testing.assert_allclose(clf.decision_function(matrix), expected, atol=1e-3 * np.abs(expected).max())


def test_probe_minimizes_the_documented_objective(random):
    X, y = random.randn(60, 5), random.randint(0, 2, 60)
    weight = random.rand(60)
    clf = PneumoniaClassifier(alpha=0.3, class_weight=None).fit(X, y, sample_weight=weight)

    def objective():
        logits = clf.decision_function(X)
        return weight @ np.logaddexp(0, np.where(y == 1, -logits, logits)) + penalty(clf)

    best = objective()
    for array in (clf.coefs_[0], clf.intercepts_[0]):
        for index in np.ndindex(array.shape):
            for step in (-1e-3, 1e-3):
                array[index] += step
                assert objective() > best
                array[index] -= step


def test_probe_without_penalty_equals_unpenalized_logistic_regression(random):
    X, y = random.randn(200, 2), random.randint(0, 2, 200)
    clf = PneumoniaClassifier(alpha=0, class_weight=None).fit(X, y)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(StandardScaler().fit_transform(X), y)
    np.testing.assert_allclose(clf.coefs_[0].T, reference.coef_, rtol=1e-4)
