"""Calls by scikit-learn, from the call stack: splits of a cross-validation, and scorers."""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from types import FrameType
from typing import Any, Literal, NamedTuple

from sklearn.frozen import FrozenEstimator

_PACKAGE = __name__.partition(".")[0]
LIBRARIES = ("imblearn", "joblib", "optuna", "optuna_integration", "sklearn", _PACKAGE)
_PREFIXES = tuple(f"{name}." for name in LIBRARIES)

_LOOPS = {"Parallel", "Study"}  # classes of joblib and Optuna

# Functions of scikit-learn that fit an estimator, cloned for them, on one side of a split and predict the other.
_FIT_OF_SPLIT = {
    "_fit_and_predict",
    "_fit_and_score",
    "_fit_and_score_over_thresholds",
    "_fit_classifier_calibrator_pair",
    "_incremental_fit_estimator",
    "_permutation_test_score",
    "_rfe_single_fit",
}


class Splits(NamedTuple):
    """Splits into training and test set.

    Parameters
    ----------
    loop : joblib.Parallel
        The loop over all splits.
    X : list, array or DataFrame
        All images or features.
    pairs : iterable of (array-like, array-like)
        Indices, or masks, of the training and the test set of each split.
    groups : object
        Groups passed to `fit`, or to the splitter; None without groups.
    cv : object
        The splitter.
    """

    loop: Any
    X: Any
    pairs: Iterable[tuple[Any, Any]]
    groups: Any
    cv: Any


def splits_of_clone() -> Splits | None:
    """Return the splits for which scikit-learn is cloning an estimator, or None.

    scikit-learn clones estimators in the process of the user, even if other processes fit them, in an expression such
    as ``(delayed(_fit_and_score)(clone(estimator), X, y, train=train, test=test) for train, test in splits)``.
    """
    frames = iter(_frames())
    cloning = next((frame for frame in frames if not _module(frame).startswith((_PACKAGE, "sklearn.base"))), None)
    if cloning is None or cloning.f_code.co_name != "<genexpr>" or not _module(cloning).startswith("sklearn."):
        return None
    loop, outer = None, {}
    for frame in frames:  # up to the function with this expression
        if loop is None and type(found := frame.f_locals.get("self")).__name__ == "Parallel":
            loop = found
        if "cv" in frame.f_locals:
            outer = frame.f_locals
            break
    # There is no such function in the threads of joblib, where a warning must not become an error.
    if loop is None or not outer:
        return None
    values, cv, routed = cloning.f_locals, outer["cv"], outer.get("routed_params")
    groups = _groups(routed, "fit", "split")
    for train, test in (("train", "test"), ("train_idx", "val_idx")):
        if train in values and test in values:
            return Splits(loop, outer.get("X"), [(values[train], values[test])], groups, cv)
    is_random = getattr(cv, "random_state", 0) is None and getattr(cv, "shuffle", True)
    if "cv" not in values or is_random:  # a copy would make other splits
        return None
    # The clone is for all splits, as in permutation_test_score and stacking.
    pairs = copy.deepcopy(cv).split(outer.get("X"), outer.get("y"), groups=_groups(routed, "split"))
    return Splits(loop, outer.get("X"), pairs, groups, cv)


def call_by_sklearn() -> Literal["split", "scorer"] | None:
    """Return whether scikit-learn calls an estimator for a split that it was cloned for, or otherwise for a score."""
    is_scored = False
    for frame in _frames():
        module = _module(frame)
        if module.startswith("sklearn."):
            if frame.f_code.co_name in _FIT_OF_SPLIT:
                return "scorer" if _is_prefit(frame.f_locals) else "split"
            if module.startswith("sklearn.callback."):  # scores of the training set, by epoch
                return "split"
            is_scored = is_scored or module.startswith("sklearn.metrics.")
    return "scorer" if is_scored else None


def _is_prefit(values: Mapping[str, Any]) -> bool:
    """Return whether a function of a split, with these variables, evaluates an estimator that it does not fit."""
    return values.get("train_idx", 0) is None or any(isinstance(each, FrozenEstimator) for each in values.values())


def outermost_loop() -> Any:
    """Return the outermost object that runs a loop of fits, such as that of a search, or None."""
    loops = [frame.f_locals.get("self") for frame in _frames() if _module(frame).startswith(("joblib.", "optuna."))]
    return next((loop for loop in reversed(loops) if type(loop).__name__ in _LOOPS), None)


def _groups(routed_params: Any, *methods: str) -> Any:
    """Return the groups that are passed to the first of these methods that gets any, also to that of a step."""
    receivers = routed_params.values() if isinstance(routed_params, Mapping) else ()
    for method, receiver in product(methods, receivers):
        for name, value in (receiver.get(method) or {}).items():
            if value is not None and name.rpartition("__")[2] == "groups":
                return value
    return None


def _frames() -> Iterator[FrameType]:
    """Yield the frames that call this module, from the innermost, up to the code of the user."""
    frame = inspect.currentframe()
    while frame is not None and _module(frame).startswith(_PREFIXES):
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name
