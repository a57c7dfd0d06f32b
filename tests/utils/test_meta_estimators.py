import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skpneumo._utils.meta_estimators import chain, find_all, inner, inner_or_last_step, unwrap

X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


def probe():
    return LogisticRegression()


def is_fitted_probe(each):
    return isinstance(each, LogisticRegression) and hasattr(each, "coef_")


def types(estimators):
    return [type(each).__name__ for each in estimators]


AROUND_ONE = {
    "search": lambda clf: GridSearchCV(clf, {}, cv=2),
    "tuned threshold": lambda clf: TunedThresholdClassifierCV(clf, cv=2),
    "fixed threshold": lambda clf: FixedThresholdClassifier(clf, threshold=0.3),
    "calibration of one model": lambda clf: CalibratedClassifierCV(clf, cv=2, ensemble=False),
    "pipeline of one step": make_pipeline,
    "threshold around a search": lambda clf: FixedThresholdClassifier(GridSearchCV(make_pipeline(clf), {}, cv=2)),
}
AROUND_SEVERAL = {
    "calibration of a model per fold": lambda clf: CalibratedClassifierCV(clf, cv=2, ensemble=True),
    "bagging": lambda clf: BaggingClassifier(clf, n_estimators=2, random_state=0),
    "voting": lambda clf: VotingClassifier([("a", clf), ("b", make_pipeline(LogisticRegression(C=2.0)))]),
}


@pytest.mark.parametrize("wrap", AROUND_ONE.values(), ids=AROUND_ONE)
def test_single_fitted_estimator_is_found_instead_of_the_original(wrap):
    original = probe().fit(X, y)
    wrapped = wrap(original).fit(X, y)
    found = unwrap(wrapped, LogisticRegression)
    assert is_fitted_probe(found)
    assert find_all(wrapped, is_fitted_probe) == [found]
    assert chain(wrapped)[-1] is found
    assert (found is original) == isinstance(wrapped, type(make_pipeline(probe())))  # a pipeline fits its steps


@pytest.mark.parametrize("wrap", AROUND_SEVERAL.values(), ids=AROUND_SEVERAL)
def test_ensembles_have_no_inner_estimator_but_all_members_are_found(wrap):
    original = probe().fit(X, y)
    wrapped = wrap(original).fit(X, y)
    assert inner(wrapped) is None
    assert unwrap(wrapped, LogisticRegression) is None
    found = find_all(wrapped, is_fitted_probe)
    assert len(found) == 2
    assert all(each is not original for each in found)


def test_stacked_estimators_and_the_final_one_are_found():
    stack = StackingClassifier([("a", probe()), ("b", make_pipeline(probe()))], final_estimator=probe(), cv=2)
    assert len(find_all(stack.fit(X, y), is_fitted_probe)) == 3


def test_frozen_estimators_are_unwrapped():
    clf = probe().fit(X, y)
    frozen = FrozenEstimator(FrozenEstimator(clf))
    assert unwrap(frozen, LogisticRegression) is clf
    assert find_all(frozen, lambda each: hasattr(each, "coef_")) == [clf]
    calibrated = CalibratedClassifierCV(frozen, cv=2, ensemble=False).fit(X, y)
    assert types(chain(calibrated)) == [
        "CalibratedClassifierCV", "FrozenEstimator", "FrozenEstimator", "LogisticRegression",
    ]  # fmt: skip
    assert find_all(calibrated, is_fitted_probe) == [clf]


def test_last_step_of_a_pipeline_is_found_by_inner_or_last_step_only():
    pipeline = make_pipeline(StandardScaler(), probe()).fit(X, y)
    assert inner(pipeline) is None
    assert unwrap(pipeline, LogisticRegression) is None
    assert inner_or_last_step(pipeline) is pipeline[-1]
    assert find_all(pipeline, is_fitted_probe) == [pipeline[-1]]


def test_chain_of_an_ensemble_continues_with_the_cloned_estimator():
    pipeline = make_pipeline(StandardScaler(), probe())
    for wrapped in (CalibratedClassifierCV(pipeline, cv=2), BaggingClassifier(pipeline, n_estimators=2)):
        found = chain(wrapped.fit(X, y))
        assert types(found) == [type(wrapped).__name__, "Pipeline", "LogisticRegression"]
        assert not is_fitted_probe(found[-1])


def test_parameters_are_searched_if_nothing_is_fitted():
    original = probe().fit(X, y)
    assert find_all(GridSearchCV(original, {}), is_fitted_probe) == [original]
    assert find_all(probe(), is_fitted_probe) == []


def test_fitted_clone_shared_by_two_searches_is_found_once():
    original, shared = probe().fit(X, y), probe().fit(X, y)
    searches = [GridSearchCV(original, {}), GridSearchCV(original, {})]
    for search in searches:
        search.best_estimator_ = make_pipeline(shared)
    searches[1].best_estimator_ = searches[0].best_estimator_
    assert find_all(searches, is_fitted_probe) == [shared]


class Holder:
    """An object that contains an estimator but is not one."""

    def __init__(self, model):
        self.model = model


def test_containers_and_objects_are_searched_and_each_model_is_found_once():
    clf = probe().fit(X, y)
    assert find_all({"a": [Holder(clf), (clf,)], "b": Holder({"model": clf})}, is_fitted_probe) == [clf]
    assert find_all(["text", 1, X, None, Holder, np], is_fitted_probe) == []


def test_search_ends_with_cycles_and_deep_nesting():
    clf = probe().fit(X, y)
    first, second = Holder(None), Holder(clf)
    first.model, second.first = [second, first], first
    assert find_all(first, is_fitted_probe) == [clf]
    deep = None
    for _ in range(5000):
        deep = Holder(deep)
    assert find_all([deep, clf], is_fitted_probe) == [clf]
