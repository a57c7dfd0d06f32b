"""Find the estimators that meta-estimators wrap: searches, thresholds, calibration, pipelines, ensembles."""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

from sklearn.frozen import FrozenEstimator

T = TypeVar("T")

_MOST_LEVELS = 100  # attributes and containers within one another; a meta-estimator takes four at most


def inner(estimator: Any) -> Any:
    """Return the one estimator that gets the same input as `estimator` and predicts in its place.

    Parameters
    ----------
    estimator : estimator
        A fitted search, threshold, calibration, frozen estimator or pipeline of one step; or any other object.

    Returns
    -------
    estimator or None
        None where there is none, or several, as in an ensemble and in a calibration by ``ensemble=True``.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> inner(make_pipeline(FrozenEstimator(LogisticRegression())))
    FrozenEstimator(estimator=LogisticRegression())
    """
    if isinstance(estimator, FrozenEstimator):  # first, since it has every attribute of the estimator in it
        return estimator.estimator
    if hasattr(estimator, "calibrated_classifiers_"):
        calibrated = estimator.calibrated_classifiers_
        return calibrated[0].estimator if len(calibrated) == 1 else None
    if hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_
    if hasattr(estimator, "steps"):
        return estimator.steps[0][1] if len(estimator.steps) == 1 else None
    # Beside estimators_, estimator_ is what these were cloned from: often the very estimator that was given.
    return None if hasattr(estimator, "estimators_") else getattr(estimator, "estimator_", None)


def inner_or_last_step(estimator: Any) -> Any:
    """Return the one estimator whose predictions are those of `estimator`, whatever its input is; None without one."""
    found = inner(estimator)
    return _last_step(estimator) if found is None else found


def unwrap(estimator: Any, cls: type[T]) -> T | None:
    """Return the one estimator of class `cls` that gets the same input as `estimator`; None without one.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator, of this class or around one.
    cls : type
        The class.

    Returns
    -------
    instance of `cls`, or None
        Not necessarily fitted.

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
    """List an estimator and what it wraps, from the outermost to the innermost.

    Of a pipeline it goes on with the last step; of several estimators that are alike, with what they were made from.
    """
    found = [estimator]
    while (wrapped := _wrapped(found[-1])) is not None:
        found.append(wrapped)
    return found


def find_all(estimator: Any, is_wanted: Callable[[Any], bool]) -> list[Any]:
    """Find all objects of a kind in an estimator, whatever they are wrapped in.

    The attributes that an object has fitted are searched first. Only where they hold nothing are its parameters
    searched, too: a meta-estimator fits clones, and leaves alone the estimator that it was given.

    Parameters
    ----------
    estimator : object
        An estimator, a container of some, or any object whose attributes hold some.
    is_wanted : callable
        Says of an object whether it is of that kind. What is wanted is not searched itself.

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


def _find(value: Any, is_wanted: Callable[[Any], bool], met: dict[int, dict[int, Any]], level: int) -> dict[int, Any]:
    """Return what is found in `value`, by id; `met` holds what was found in the objects that were searched before."""
    while isinstance(value, FrozenEstimator):  # it would pass for what is in it
        value = value.estimator
    if id(value) in met or level > _MOST_LEVELS:
        return met.get(id(value), {})
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
        held = dict(vars(value))
        given = {"scorer_"} | ({"estimator_"} if "estimators_" in held else set())  # these may hold a parameter
        fitted = [each for name, each in held.items() if name.endswith("_") and name not in given]
        parts = [fitted, [each for name, each in held.items() if name != "scorer_"]]
    found = met[id(value)] = {}  # before its parts, which may hold it
    for part in parts:
        for each in part:
            found.update(_find(each, is_wanted, met, level + 1))
        if found:
            break
    return found
