import re
from itertools import repeat

import numpy as np
import pytest

from heads.conftest import DENSE, penalty, three_classes
from skpneumo import PneumoniaClassifier
from skpneumo._heads.head import standardize
from skpneumo._heads.mlp import train_dense
from skpneumo._heads.resampling import TrainingRows
from skpneumo._utils import progress


def test_dense_layers_learn_classes_that_are_not_linearly_separable(random):
    X = random.uniform(-1, 1, (400, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    clf = PneumoniaClassifier(
        hidden_layer_sizes=(32,), alpha=1e-4, learning_rate_init=0.02, max_iter=100, random_state=0
    )
    assert clf.fit(X, y).score(X, y) > 0.95
    assert PneumoniaClassifier().fit(X, y).score(X, y) < 0.7


def test_weights_are_arrays_of_the_requested_shapes(random):
    X, y, _ = three_classes(random)
    clf = PneumoniaClassifier(hidden_layer_sizes=[7, 4], dropout=0.5, max_iter=2, random_state=0).fit(X, y)
    assert [coef.shape for coef in clf.coefs_] == [(6, 7), (7, 4), (4, 3)]
    assert [intercept.shape for intercept in clf.intercepts_] == [(7,), (4,), (3,)]
    assert {type(array) for array in clf.coefs_ + clf.intercepts_} == {np.ndarray}


def test_training_starts_from_random_weights_and_zero_biases(random):
    X, y, _ = three_classes(random)
    clf = PneumoniaClassifier(**DENSE | {"max_iter": 1, "learning_rate_init": 1e-12}).fit(X, y)
    for intercept in clf.intercepts_:
        np.testing.assert_allclose(intercept, 0, atol=1e-9)
    assert all(coef.std() > 0.1 for coef in clf.coefs_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_curves_contain_loss_and_accuracy_of_each_epoch(random, n_classes):
    X = random.randn(90, 6)
    y = np.digitize(X[:, 0], [0] if n_classes == 2 else [-0.5, 0.5])
    clf = PneumoniaClassifier(**DENSE | {"max_iter": 120, "learning_rate_init": 0.01}).fit(X, y)
    assert clf.n_iter_ == len(clf.loss_curve_) == len(clf.accuracy_curve_) == 120
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]
    assert clf.accuracy_curve_[-1] > max(0.9, clf.accuracy_curve_[0])
    assert all(0 <= accuracy <= 1 for accuracy in clf.accuracy_curve_)


def test_loss_of_a_full_batch_equals_the_documented_objective(random):
    X, y, weight = random.randn(50, 3), np.arange(50) % 2, 10 * random.rand(50)
    clf = PneumoniaClassifier(
        **DENSE | {"max_iter": 1, "learning_rate_init": 1e-12, "batch_size": 50, "alpha": 0.5}, class_weight=None
    )
    logits = clf.fit(X, y, sample_weight=weight).decision_function(X)
    loss = weight @ np.logaddexp(0, np.where(y == 1, -logits, logits)) + penalty(clf)
    assert clf.loss_curve_[0] == pytest.approx(loss / weight.sum(), rel=1e-4)


def test_each_epoch_uses_all_images_for_any_batch_size(random):
    X = np.eye(7)
    clf = PneumoniaClassifier(hidden_layer_sizes=(64,), alpha=0, batch_size=3, max_iter=300, learning_rate_init=0.01)
    y = [0, 1, 0, 1, 1, 0, 1]
    assert clf.set_params(random_state=0).fit(X, y).score(X, y) == 1


def test_images_of_negligible_weight_do_not_affect_training(random):
    X, y, _ = three_classes(random)
    binary = (y == "virus").astype(int)
    weight = np.ones(90)
    weight[binary == 1] = 1e-9
    clf = PneumoniaClassifier(**DENSE | {"max_iter": 100, "learning_rate_init": 0.05}, class_weight=None)
    assert clf.fit(X, binary, sample_weight=weight).predict(X).sum() == 0


def test_verbose_shows_a_progress_bar_of_epochs(random, capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    X, y, _ = three_classes(random)
    PneumoniaClassifier(**DENSE, verbose=1).fit(X, y)
    assert re.search(r"head: .*/5 \[.*<.*epoch/s", capsys.readouterr().err)


@pytest.mark.parametrize("sizes", [(4,), [4], 4, np.array([4]), (np.int64(4),)])
def test_hidden_layer_sizes_accepts_any_container_of_integers(random, sizes):
    clf = PneumoniaClassifier(**DENSE | {"hidden_layer_sizes": sizes}).fit(random.rand(6, 2), [0, 1] * 3)
    assert [coef.shape for coef in clf.coefs_] == [(2, 4), (4, 1)]


@pytest.mark.parametrize("rate", ["1e+30", "1e+300"])
def test_diverging_training_raises(random, rate):
    clf = PneumoniaClassifier(**DENSE | {"learning_rate_init": float(rate)})
    with pytest.raises(ValueError, match=re.escape(f"not finite: choose a learning_rate_init below {rate}")):
        clf.fit(random.rand(20, 3), np.arange(20) % 2)


def test_dense_layers_are_trained_by_adam(random):
    X, y = random.randn(40, 5).astype(np.float32), np.arange(40) % 2
    parameters = DENSE | {"hidden_layer_sizes": (4,), "alpha": 0.5, "batch_size": 40}
    fits = [
        PneumoniaClassifier(**parameters | {"max_iter": n, "learning_rate_init": 0.01}).fit(X, y) for n in (1, 2, 3)
    ]
    start = PneumoniaClassifier(**parameters | {"max_iter": 1, "learning_rate_init": 1e-12}).fit(X, y)
    standardized, _, _ = standardize(X, np.ones(40), overwrite=False)
    weights, biases = (start.coefs_[0].astype(float), start.coefs_[1].astype(float)), (np.zeros(4), np.zeros(1))
    variables, first, second = [*weights, *biases], [0] * 4, [0] * 4
    for step, clf in enumerate(fits, start=1):
        inner, outer, inner_bias, outer_bias = variables
        hidden = np.maximum(standardized @ inner + inner_bias, 0)
        residuals = (1 / (1 + np.exp(-(hidden @ outer + outer_bias))) - y[:, None]) / 40
        back = (residuals @ outer.T) * (hidden > 0)
        decay = 0.5 / 40
        gradients = [
            standardized.T @ back + decay * 5 * inner,
            hidden.T @ residuals + decay * 4 * outer,
            back.sum(axis=0),
            residuals.sum(axis=0),
        ]
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradients, strict=True)]
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        variables = [x - rate * m / (np.sqrt(v) + 1e-7) for x, m, v in zip(variables, first, second, strict=True)]
        for trained, expected in zip([*clf.coefs_, *clf.intercepts_], variables, strict=True):
            np.testing.assert_allclose(trained, expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [(), (4,), (5, 3)])
def test_training_resumed_from_saved_state_equals_uninterrupted_training(random, sizes):
    X, y = random.randn(40, 5).astype(np.float32), np.arange(40) % 3

    def train(n_epochs, **begin):
        return train_dense(
            repeat(TrainingRows.all_of(X, y, np.ones(40))), n_classes=3,
            hidden_layer_sizes=sizes, alpha=0.1, dropout=0, learning_rate_init=0.05,
            batch_size=40, max_iter=n_epochs, device="cpu", random=np.random.RandomState(0), on_epoch=lambda *_: False,
            **begin,
        )  # fmt: skip

    (coefs, _), state = train(5)
    start, half = train(2)
    assert [len(array) for array in coefs] == [5, *sizes]
    assert (half[0], state[0]) == (2, 5)
    (resumed, _), _ = train(3, start=start, state=half)
    (without_state, _), _ = train(3, start=start)
    for array, expected, other in zip(resumed, coefs, without_state, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-5)
        assert abs(other - expected).max() > 1e-3
