"""Find the estimators inside meta-estimators: searches, thresholds, calibration, pipelines and ensembles."""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from sklearn.frozen import FrozenEstimator

T = TypeVar("T")

_MAX_LEVELS = 100  # nested attributes and containers; a meta-estimator has at most four


def inner(estimator: Any) -> Any:
    """Return the single inner estimator, which gets the same input as `estimator` and makes its predictions.

    Parameters
    ----------
    estimator : estimator
        A fitted search, threshold, calibration, frozen estimator or pipeline of one step; or any other object.

    Returns
    -------
    estimator or None
        None if there is none, or several, as in an ensemble or a calibration with ``ensemble=True``.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> inner(make_pipeline(FrozenEstimator(LogisticRegression())))
    FrozenEstimator(estimator=LogisticRegression())
    """
    if isinstance(estimator, FrozenEstimator):  # first, since it has all attributes of its estimator
        return estimator.estimator
    if hasattr(estimator, "calibrated_classifiers_"):
        calibrated = estimator.calibrated_classifiers_
        return calibrated[0].estimator if len(calibrated) == 1 else None
    if hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_
    if hasattr(estimator, "steps"):
        return estimator.steps[0][1] if len(estimator.steps) == 1 else None
    # If there are estimators_, estimator_ is the one that they were cloned from, often the original.
    return None if hasattr(estimator, "estimators_") else getattr(estimator, "estimator_", None)


def inner_or_last_step(estimator: Any) -> Any:
    """Return the single estimator that makes the predictions of `estimator`, for any input; None without one."""
    found = inner(estimator)
    return _last_step(estimator) if found is None else found


def unwrap(estimator: Any, cls: type[T]) -> T | None:
    """Return the single estimator of class `cls` that gets the same input as `estimator`; None without one.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of this class, or a meta-estimator that contains one.
    cls : type
        The class.

    Returns
    -------
    instance of `cls`, or None
        The estimator, not necessarily fitted.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> unwrap(FrozenEstimator(LogisticRegression()), LogisticRegression)
    LogisticRegression()
    """
    while not isinstance(estimator, cls):
        if (estimator := inner(estimator)) is None:
            return None
    return estimator


def chain(estimator: Any) -> list[Any]:
    """Return an estimator and the estimators inside it, from the outermost to the innermost.

    A pipeline continues with its last step; an ensemble of clones, with the estimator that was cloned.
    """
    found = [estimator]
    while (wrapped := _wrapped(found[-1])) is not None:
        found.append(wrapped)
    return found


def find_all(estimator: Any, is_wanted: Callable[[Any], bool]) -> list[Any]:
    """Find all matching objects inside an estimator.

    Fitted attributes are searched first. Parameters are searched only if no fitted attribute contains a match, since a
    meta-estimator fits clones of its parameters.

    Parameters
    ----------
    estimator : object
        An estimator, a container of estimators, or any object with estimators in its attributes.
    is_wanted : callable
        Returns whether an object matches. Matching objects are not searched further.

    Returns
    -------
    list
        Each object once, in the order in which they were found.

    Examples
    --------
    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> vote = VotingClassifier([("weak", LogisticRegression(C=0.1)), ("strong", LogisticRegression(C=10.0))])
    >>> find_all(vote.fit([[0], [1]], [0, 1]), lambda each: isinstance(each, LogisticRegression))
    [LogisticRegression(C=0.1), LogisticRegression(C=10.0)]
    """
    return list(_find(estimator, is_wanted, {}, 0).values())


def _last_step(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else None


def _wrapped(estimator: Any) -> Any:
    if (found := inner_or_last_step(estimator)) is not None:
        return found
    return getattr(estimator, "estimator_", getattr(estimator, "estimator", None))


def _find(value: Any, is_wanted: Callable[[Any], bool], seen: dict[int, dict[int, Any]], level: int) -> dict[int, Any]:
    """Return the matches in `value`, by id; `seen` contains the matches of the objects searched before."""
    while isinstance(value, FrozenEstimator):  # it has all attributes of its estimator
        value = value.estimator
    if id(value) in seen or level > _MAX_LEVELS:
        return seen.get(id(value), {})
    parts: list[Iterable[Any]]
    if isinstance(value, (list, tuple)):
        parts = [value]
    elif isinstance(value, dict):
        parts = [value.values()]
    elif not hasattr(value, "__dict__") or isinstance(value, (type, ModuleType)):
        return {}
    elif is_wanted(value):
        return {id(value): value}
    else:
        attributes = dict(vars(value))
        excluded = {"scorer_"} | ({"estimator_"} if "estimators_" in attributes else set())  # may contain parameters
        fitted = [each for name, each in attributes.items() if name.endswith("_") and name not in excluded]
        parts = [fitted, [each for name, each in attributes.items() if name != "scorer_"]]
    found = seen[id(value)] = {}  # set before the search of the parts, which may contain cycles
    for part in parts:
        for each in part:
            found.update(_find(each, is_wanted, seen, level + 1))
        if found:
            break
    return found
