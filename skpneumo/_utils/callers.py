"""Calls by scikit-learn, from the call stack: splits of a cross-validation, and scorers."""

import inspect
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Literal, NamedTuple

import joblib
from sklearn.frozen import FrozenEstimator

_PACKAGE = __name__.partition(".")[0]
LIBRARIES = ("imblearn", "joblib", "sklearn", _PACKAGE)

# Functions of scikit-learn that fit an estimator, cloned for them, on one side of a split and predict the other.
_FIT_OF_SPLIT = {
    "_fit_and_predict",
    "_fit_and_score",
    "_fit_and_score_over_thresholds",
    "_fit_classifier_calibrator_pair",
    "_incremental_fit_estimator",
    "_rfe_single_fit",
}


class Split(NamedTuple):
    """Split into training and test set.

    Parameters
    ----------
    X : list, array or DataFrame
        All images or features.
    train, test : array-like
        Indices, or masks, of both sets.
    groups : object
        Groups passed to `fit`, or to the splitter; None without groups.
    cv : object
        The splitter.
    """

    X: Any
    train: Any
    test: Any
    groups: Any
    cv: Any


def split_of_clone() -> Split | None:
    """Return the split for which scikit-learn is cloning an estimator, or None.

    scikit-learn clones estimators in the process of the user, even if other processes fit them.
    """
    frames = (frame for frame in _frames() if not _module(frame).startswith((f"{_PACKAGE}.", "sklearn.base")))
    cloning = next(frames, None)
    values = cloning.f_locals if cloning and _module(cloning).startswith("sklearn.") else {}
    for train, test in (("train", "test"), ("train_idx", "val_idx")):
        if train in values and test in values:
            # The function that made the split. It is missing in a thread of joblib, which must not raise warnings.
            outer = next((frame.f_locals for frame in frames if "cv" in frame.f_locals), None)
            if outer:
                groups = _groups(outer.get("routed_params") or {})
                return Split(values.get("X"), values[train], values[test], groups, outer["cv"])
    return None


def call_by_sklearn() -> Literal["split", "scorer"] | None:
    """Return whether scikit-learn calls the estimator to evaluate it, in a split that it was cloned for or elsewhere."""
    is_scored = False
    for frame in _frames():
        module = _module(frame)
        if module.startswith("sklearn."):
            if frame.f_code.co_name in _FIT_OF_SPLIT:
                is_frozen = any(isinstance(value, FrozenEstimator) for value in frame.f_locals.values())
                return "scorer" if is_frozen else "split"
            if module.startswith("sklearn.callback."):  # scores of the training set, by epoch
                return "split"
            is_scored = is_scored or module.startswith("sklearn.metrics.")
    return "scorer" if is_scored else None


def outermost_parallel() -> joblib.Parallel | None:
    """Return the outermost loop of joblib below the code of the user, or None."""
    loops = [frame.f_locals.get("self") for frame in _frames() if _module(frame).startswith("joblib.")]
    return next((loop for loop in reversed(loops) if isinstance(loop, joblib.Parallel)), None)


def _groups(routed_params: Mapping[str, Any]) -> Any:
    """Return the groups among parameters that are passed to `fit`, also of a step, or else to the splitter."""
    for receiver, method in (("estimator", "fit"), ("splitter", "split")):
        for name, value in routed_params.get(receiver, {}).get(method, {}).items():
            if value is not None and name.rpartition("__")[2] == "groups":
                return value
    return None


def _frames() -> Iterator[FrameType]:
    """Yield the frames of this package and of those that call it, from the innermost, up to the code of the user."""
    frame = inspect.currentframe()
    while frame is not None and _module(frame).partition(".")[0] in LIBRARIES:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
