"""Facts of the performance of a fitted classifier, for its model card."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from skpneumo._classifier import PneumoniaClassifier
from skpneumo.metrics._estimators import threshold_of
from skpneumo.metrics._interval import Interval
from skpneumo.metrics._report import WORDS, _written
from skpneumo.reporting._evaluation import Evaluation, Subgroup
from skpneumo.reporting._model_facts import (
    NOVEL,
    can_be_novel,
    class_name,
    knows_patients,
    origin_of_threshold,
    percent,
    seen_of,
)

_PROBABILITIES = {"brier_score", "calibration_slope", "calibration_intercept", "expected_calibration_error"}
_OF_SUBGROUPS = ("sensitivity", "specificity", "roc_auc")


class _Line(NamedTuple):
    """A class, the least probability of it at which it is called, and whether figures count it as positive."""

    name: str
    threshold: float
    is_positive: bool


def facts_of_line(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> dict[str, Any]:
    """Gather where the line between two classes is drawn, and who drew it."""
    if len(inner.classes_) != 2:
        return {}
    negative, positive = inner.classes_.tolist() if evaluation is None else evaluation.labels
    return {"line": _line_of(clf, negative, positive), "origin_of_threshold": origin_of_threshold(clf)}


def _line_of(clf: Any, negative: Any, positive: Any) -> _Line | None:
    """Return from which probability on a model calls which class; None where its line is no probability."""
    for label in (positive, negative):
        with suppress(ValueError):  # it is a line of the other class, or of neither
            return _Line(class_name(label), threshold_of(clf, label), label is positive)
    return None


def facts_of_evaluation(
    clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation, line: _Line | None
) -> dict[str, Any]:
    """Gather test images, figures with intervals and wrong calls."""
    performance = evaluation.performance
    negative, positive = map(class_name, evaluation.labels)
    own = None if line is None else line.threshold if line.is_positive else 1 - line.threshold
    n_novel = _n_novel(inner, evaluation)
    sides = {"training": knows_patients(clf), "test": evaluation.patients is not None}
    compared = evaluation.are_images_compared
    return {
        "performance": performance,
        "prevalence": percent(performance.prevalence),
        "negative": negative,
        "positive": positive,
        "confidence": f"{100 * performance.confidence:g} %",
        "seen": seen_of(clf, evaluation.seen, evaluation.patients, are_images_compared=compared),
        "unnamed_sides": [side for side, is_named in sides.items() if not is_named],
        "novel": NOVEL,
        "n_novel": n_novel,
        "share_of_novel": None if n_novel is None else percent(n_novel / performance.n),
        "is_own_threshold": own is not None and np.isclose(performance.threshold, own),
        "names_of_figures": [WORDS[name] for name in performance],
        "figures": _figures(performance, [name for name in performance if name not in _PROBABILITIES]),
        "figures_of_probabilities": _figures(performance, [name for name in performance if name in _PROBABILITIES]),
        "subgroups": [_subgroup(each, has_groups=performance.has_groups) for each in evaluation.subgroups],
        "failures": [
            _failures(evaluation, positive, evaluation.y),
            _failures(evaluation, negative, ~evaluation.y),
        ],
    }


def _n_novel(inner: PneumoniaClassifier, evaluation: Evaluation) -> int | None:
    """Count the novel test images; None where the model cannot tell."""
    if evaluation.novelty is None or not can_be_novel(inner):
        return None
    return int((evaluation.novelty <= NOVEL).sum())


def _figures(intervals: Any, names: Iterable[str]) -> list[dict[str, str]]:
    """Write intervals by name; one that a subgroup lacks is a dash."""
    lacking = {"estimate": "-", "limits": "", "method": ""}
    return [{"name": WORDS[name], **(_figure(intervals[name]) if name in intervals else lacking)} for name in names]


def _figure(figure: Interval) -> dict[str, str]:
    limits = "-" if np.isnan(figure.lower) else f"{_written(figure.lower)} to {_written(figure.upper)}"
    return {"estimate": _written(figure.estimate), "limits": limits, "method": figure.method}


def _subgroup(group: Subgroup, *, has_groups: bool) -> dict[str, Any]:
    return {
        "column": group.column,
        "value": group.value,
        "n": group.n,
        "n_positive": group.n_positive,
        "n_patients": group.n_patients if has_groups else "not known",
        "figures": _figures(group.figures, _OF_SUBGROUPS),
    }


def _failures(evaluation: Evaluation, name: str, rows: np.ndarray) -> dict[str, Any]:
    """Count the wrong calls of a class, with the probabilities of the positive class at which they were made."""
    is_wrong = rows & (evaluation.predicted_positive != evaluation.y)
    p = evaluation.proba[is_wrong]
    limits = {"least": p.min(), "most": p.max()} if len(p) else {}
    return {"name": name, "n": int(rows.sum()), "n_wrong": len(p), **limits}
