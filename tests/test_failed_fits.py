"""A fit that fails or is interrupted leaves the estimator as it was: unfitted, or with its previous model."""

import signal

import joblib
import numpy as np
import pandas as pd
import pytest
from imblearn.over_sampling import RandomOverSampler
from sklearn.exceptions import NotFittedError

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo.exceptions import ImageReadError, WeightsError

HIDDEN = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}


class Failing(RandomOverSampler):
    """A sampler that raises an error, or interrupts the process as Ctrl-C does."""

    def __init__(self, *, interrupts=False, random_state=None):
        super().__init__(random_state=random_state)
        self.interrupts = interrupts

    def fit_resample(self, X, y):
        if self.interrupts:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background of a shell ignore it
            signal.raise_signal(signal.SIGINT)
        raise LookupError("sampler")


class RaisingCallback:
    """A callback of scikit-learn that raises at the end of a task."""

    def __init__(self, task):
        self.task = task

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name == self.task:
            raise LookupError("callback")


def unreadable(clf, X, y):
    return clf, [*X[:-1], "person9_virus_9.jpeg"], y


def one_class(clf, X, y):
    return clf, X, np.zeros(len(y))


def failing_sampler(clf, X, y):
    return clf.set_params(sampler=Failing()), X, y


def interrupted(clf, X, y):
    return clf.set_params(sampler=Failing(interrupts=True)), X, y


def too_few_for_sampler(clf, X, y):
    return clf.set_params(sampler="smote"), X[:4], [0, 0, 0, 1]


def diverging(clf, X, y):
    return clf.set_params(**HIDDEN, learning_rate_init=1e30, batch_size=4), X, y


def other_weights(clf, X, y):
    return clf.set_params(weights="missing.npz"), X, y


def raising_callback(task):
    def fails(clf, X, y):
        if not hasattr(clf, "set_callbacks"):
            pytest.skip("scikit-learn has callbacks from 1.9 on")
        return clf.set_callbacks(RaisingCallback(task)).set_params(**HIDDEN), X, y

    fails.__name__ = f"callback_at_{task}"
    return fails


FAILURES = [
    (unreadable, ImageReadError),
    (one_class, ValueError),
    (failing_sampler, LookupError),
    (interrupted, KeyboardInterrupt),
    (too_few_for_sampler, ValueError),
    (diverging, ValueError),
    (other_weights, WeightsError),
    (raising_callback("epoch"), LookupError),
    (raising_callback("fit"), LookupError),
]
all_failures = pytest.mark.parametrize(("failure", "error"), FAILURES, ids=[each.__name__ for each, _ in FAILURES])
methods = pytest.mark.parametrize("method", ["fit", "partial_fit", "warm fit"])


def call(method, clf, X, y):
    if method == "partial_fit":
        return clf.partial_fit(X, y, classes=[0, 1])
    return clf.set_params(warm_start=method == "warm fit").fit(X, y)


def state(clf):
    return {name: joblib.hash(value) for name, value in vars(clf).items() if name.endswith("_") or name == "_before"}


def fails(method, failure, error, clf, X, y):
    if method == "partial_fit" and failure.__name__.startswith("callback"):
        pytest.skip("partial_fit has no callbacks")
    if method == "partial_fit" and failure is one_class:
        pytest.skip("a call of partial_fit may have one class only")
    if method != "fit" and failure is other_weights:
        clf.set_params(memory=None)
    clf, X, y = failure(clf, X, y)
    with pytest.raises(error):
        call(method, clf, X, y)


@all_failures
@methods
def test_estimator_is_unfitted_after_a_first_fit_that_failed(method, failure, error, clf, paths, y):
    fails(method, failure, error, clf, paths, y)
    assert not state(clf)
    for predict in (clf.predict, clf.predict_or_abstain, clf.features, clf.novelty, clf.adapt):
        with pytest.raises(NotFittedError):
            predict(paths)


@all_failures
@methods
def test_model_is_unchanged_after_a_refit_that_failed(method, failure, error, clf, paths, y):
    named = pd.DataFrame({"path": paths})
    call(method, clf.set_params(**HIDDEN), named, y)
    before, params, expected = state(clf), clf.get_params(), clf.predict_proba(named)
    fails(method, failure, error, clf, paths, y)
    assert state(clf) == before
    np.testing.assert_array_equal(clf.set_params(**params).predict_proba(named), expected)


@methods
def test_training_continues_after_a_failure_as_if_there_had_been_none(method, clf, paths, y):
    clf.set_params(**HIDDEN, dropout=0.5)
    fitted = []
    for is_failing in (False, True):
        clf = call(method, PneumoniaClassifier(**clf.get_params()), paths, y)
        if is_failing:  # after the sampler has drawn its seed
            fails(method, failing_sampler, LookupError, clf, paths, y)
        fitted.append(state(call(method, clf.set_params(sampler=None), paths, y)))
    assert fitted[0] == fitted[1]


def test_failed_refit_on_features_keeps_their_names(clf, matrix, y):
    named = pd.DataFrame(matrix[:, :3], columns=["a", "b", "c"])
    clf.fit(named, y)
    with pytest.raises(LookupError):
        clf.set_params(sampler=Failing()).fit(matrix, y)
    assert (clf.n_features_in_, clf.feature_names_in_.tolist()) == (3, ["a", "b", "c"])
    assert clf.predict(named).shape == (40,)


@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_features_are_unchanged_after_a_failure(method, features, paths):
    named = pd.DataFrame({"path": paths[:2]})
    for weights, error in (("missing.npz", WeightsError), ("", ValueError)):
        with pytest.raises(error):
            VGG19Features(**{**TINY, "weights": weights}).fit_transform(paths)
    failing = np.zeros((2, 3))  # no images
    with pytest.raises(ValueError, match="expects images"):
        getattr(features, method)(failing)
    assert not state(features)
    with pytest.raises(NotFittedError):
        features.transform(paths)
    features.fit(named)
    before = state(features)
    with pytest.raises(ImageReadError):
        features.fit_transform(["person9_virus_9.jpeg"])
    assert state(features) == before
    assert len(features.transform(named)) == 2


def test_model_is_unchanged_after_copies_that_failed(clf, paths, y):
    clf.fit(paths, y)
    before = state(clf)
    for function in (clf.adapt, clf.conformalize):
        for X, labels in (([*paths[:-1], "person9_virus_9.jpeg"], y), (paths, np.zeros(40))):
            with pytest.raises(ValueError):  # noqa: PT011
                function(X, labels)
    with pytest.raises(ValueError, match="dtype"):
        clf.bundle_weights("float64")
    assert state(clf) == before


def test_unfitted_model_raises_during_its_first_fit(clf, paths, y):
    """A callback or another thread may use the model before `fit` has finished."""
    if not hasattr(clf, "set_callbacks"):
        pytest.skip("scikit-learn has callbacks from 1.9 on")
    errors = []

    class Predicts(RaisingCallback):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == self.task:
                with pytest.raises(NotFittedError) as error:
                    estimator.predict(paths)
                errors.append(error.value)

    clf.set_params(**HIDDEN).set_callbacks(Predicts("epoch")).fit(paths, y)
    assert len(errors) == 2
