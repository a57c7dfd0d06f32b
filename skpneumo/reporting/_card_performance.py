"""Facts about the performance of a classifier for its model card."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from skpneumo._classifier import PneumoniaClassifier
from skpneumo.metrics import DiagnosticReport
from skpneumo.metrics._estimators import threshold_of
from skpneumo.metrics._interval import Interval
from skpneumo.metrics._report import _written
from skpneumo.reporting._evaluation import Evaluation, Subgroup
from skpneumo.reporting._model_facts import (
    METRIC_NAMES,
    NOVEL,
    can_be_novel,
    count_seen,
    holds_patients,
    percent,
    threshold_origin,
)

_CALIBRATION_METRICS = {"brier_score", "calibration_slope", "calibration_intercept", "expected_calibration_error"}
_SUBGROUP_METRICS = ("sensitivity", "specificity", "roc_auc")


class _Threshold(NamedTuple):
    """Lowest probability at which a class is predicted, and whether this is the positive class of the evaluation."""

    name: str
    probability: float
    is_positive: bool


def threshold_facts(clf: Any, evaluation: Evaluation | None, names: Mapping[Any, str]) -> dict[str, Any]:
    """Collect the decision threshold of a binary classifier and its origin."""
    if len(names) != 2:
        return {}
    negative, positive = names if evaluation is None else evaluation.labels
    return {"threshold": _threshold(clf, negative, positive, names), "threshold_origin": threshold_origin(clf)}


def _threshold(clf: Any, negative: Any, positive: Any, names: Mapping[Any, str]) -> _Threshold | None:
    """Return the decision threshold, or None if it is not a probability."""
    for label in (positive, negative):
        with suppress(ValueError):  # the threshold is for the other class, or for decision_function
            return _Threshold(names[label], threshold_of(clf, label), label is positive)
    return None


def evaluation_facts(
    clf: Any,
    inner: PneumoniaClassifier,
    evaluation: Evaluation,
    threshold: _Threshold | None,
    names: Mapping[Any, str],
) -> dict[str, Any]:
    """Collect test images, metrics with intervals and errors."""
    performance = evaluation.performance
    negative, positive = (names[label] for label in evaluation.labels)
    own = None if threshold is None else threshold.probability if threshold.is_positive else 1 - threshold.probability
    n_novel = _n_novel(inner, evaluation)
    sides = {"training": holds_patients(clf), "test": evaluation.patients is not None}
    compared = evaluation.are_images_compared
    return {
        "performance": performance,
        "prevalence": percent(performance.prevalence),
        "negative": negative,
        "positive": positive,
        "confidence": f"{100 * performance.confidence:g} %",
        "seen": count_seen(clf, evaluation.seen, evaluation.patients, are_images_compared=compared),
        "sides_without_patients": [side for side, is_named in sides.items() if not is_named],
        "novelty_level": NOVEL,
        "n_novel": n_novel,
        "proportion_novel": None if n_novel is None else percent(n_novel / performance.n),
        "is_own_threshold": own is not None and np.isclose(performance.threshold, own),
        "metric_names": [METRIC_NAMES[name] for name in performance],
        "main_metrics": _metrics(performance, _main_metrics(performance)),
        "metrics": _metrics(performance, [name for name in performance if name not in _CALIBRATION_METRICS]),
        "calibration_metrics": _metrics(performance, [name for name in performance if name in _CALIBRATION_METRICS]),
        "subgroups": [_subgroup(each, has_groups=performance.has_groups) for each in evaluation.subgroups],
        "errors": [
            _errors(evaluation, "False negatives", positive, evaluation.y),
            _errors(evaluation, "False positives", negative, ~evaluation.y),
        ],
    }


def _n_novel(inner: PneumoniaClassifier, evaluation: Evaluation) -> int | None:
    """Return the number of novel test images; None if the model has too few training images."""
    if evaluation.novelty is None or not can_be_novel(inner):
        return None
    return int((evaluation.novelty <= NOVEL).sum())


def _main_metrics(performance: DiagnosticReport) -> tuple[str, ...]:
    """Return the names of the metrics on top of the card."""
    suffix = "" if performance.stated_prevalence is None else "_at_prevalence"
    return "sensitivity", "specificity", f"ppv{suffix}", f"npv{suffix}", "roc_auc"


def _metrics(intervals: Any, names: Iterable[str]) -> list[dict[str, str]]:
    """Format metrics by name; a dash stands for a metric that a subgroup lacks."""
    missing = {"estimate": "-", "limits": "", "method": ""}
    return [
        {"name": METRIC_NAMES[name], **(_metric(intervals[name]) if name in intervals else missing)} for name in names
    ]


def _metric(interval: Interval) -> dict[str, str]:
    limits = "-" if np.isnan(interval.lower) else f"{_written(interval.lower)} to {_written(interval.upper)}"
    return {"estimate": _written(interval.estimate), "limits": limits, "method": interval.method}


def _subgroup(group: Subgroup, *, has_groups: bool) -> dict[str, Any]:
    return {
        "column": group.column,
        "value": group.value,
        "n": group.n,
        "n_positive": group.n_positive,
        "n_patients": group.n_patients if has_groups else "not known",
        "metrics": _metrics(group.figures, _SUBGROUP_METRICS),
    }


def _errors(evaluation: Evaluation, kind: str, label: str, rows: np.ndarray) -> dict[str, Any]:
    """Count the errors in a class, with the range of their probabilities of the positive class."""
    is_wrong = rows & (evaluation.predicted_positive != evaluation.y)
    p = evaluation.proba[is_wrong]
    limits = {"least": p.min(), "most": p.max()} if len(p) else {}
    return {"kind": kind, "label": label, "n": int(rows.sum()), "n_wrong": len(p), **limits}
