"""What an evaluation tells of a classifier, in the words of a model card."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from skpneumo._classifier import PneumoniaClassifier
from skpneumo.metrics._estimators import threshold_of
from skpneumo.metrics._interval import Interval
from skpneumo.metrics._report import WORDS, _written
from skpneumo.reporting._evaluation import Evaluation, Subgroup
from skpneumo.reporting._markdown import bullets, plain, table
from skpneumo.reporting._model_facts import NOVEL, can_be_novel, class_name, origin_of_threshold, percent

_PROBABILITIES = {"brier_score", "calibration_slope", "calibration_intercept", "expected_calibration_error"}


class _Line(NamedTuple):
    """A class, the least probability of it at which it is called, and whether figures count it as positive."""

    label: Any
    threshold: float
    is_positive: bool


def testing_data(inner: PneumoniaClassifier, evaluation: Evaluation) -> list[str]:
    """Count the test images, and say what they have to do with the training."""
    performance = evaluation.performance
    n_positive = performance.tp + performance.fn
    patients = f" of {performance.n_patients} patients" if performance.has_groups else ""
    items = [
        f"{performance.n} images{patients}, {n_positive} of them ({percent(performance.prevalence)}) "
        f"{plain(class_name(evaluation.labels[1]))}.",
    ]
    if evaluation.novelty is not None and can_be_novel(inner):
        n_novel = int((evaluation.novelty <= NOVEL).sum())
        items.append(
            f"{n_novel} of them ({percent(n_novel / performance.n)}) {'has' if n_novel == 1 else 'have'} a novelty of "
            f"at most {NOVEL:g}; of images like those of the training about {100 * NOVEL:g} % would."
        )
    return [bullets(items)]


def operating_point(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> list[str]:
    """Say where the line is drawn, and who drew it."""
    if len(inner.classes_) != 2:
        return ["An image is called what the highest logit names."]
    negative, positive = inner.classes_.tolist() if evaluation is None else evaluation.labels
    own = _line_of(clf, negative, positive)
    if own is None:
        items = ["The line of this model is drawn on what decision_function gives, and is no probability."]
    else:
        called, least = plain(class_name(own.label)), f"{own.threshold:.4g}"
        items = [
            f"An image is called {called} where its probability is at least {least}: {plain(origin_of_threshold(clf))}."
        ]
    if evaluation is not None:
        threshold = evaluation.performance.threshold
        is_own = own is not None and np.isclose(threshold, own.threshold if own.is_positive else 1 - own.threshold)
        whose = "the same" if is_own else "another one, stated for the evaluation"
        of = "" if own is None or own.is_positive else f" of {plain(class_name(positive))}"
        items.append(f"The figures below are at a probability of {threshold:.4g}{of}, {whose}.")
    return [bullets(items)]


def _line_of(clf: Any, negative: Any, positive: Any) -> _Line | None:
    """Return from which probability on a model calls which class; None where its line is no probability."""
    for label in (positive, negative):
        with suppress(ValueError):  # it is a line of the other class, or of neither
            return _Line(label, threshold_of(clf, label), label is positive)
    return None


def metrics(evaluation: Evaluation) -> list[str]:
    """Say which figures there are and how their intervals were made."""
    performance = evaluation.performance
    counted = (
        "Intervals allow for several images of a patient."
        if performance.has_groups
        else "Patients are not known: each image counts as one, and intervals are too narrow where that is wrong."
    )
    names = "; ".join(WORDS[name] for name in performance)
    return [f"Figures: {names}. Each has an interval of {100 * performance.confidence:g} %. {counted}"]


def results(evaluation: Evaluation) -> list[str]:
    """Tabulate calls, and figures with intervals but for those of calibration."""
    performance = evaluation.performance
    negative, positive = map(class_name, evaluation.labels)
    calls = table(
        ("", f"Called {positive}", f"Called {negative}"),
        [(f"Is {positive}", performance.tp, performance.fn), (f"Is {negative}", performance.fp, performance.tn)],
        numbers={1, 2},
    )
    blocks = [calls, _figures(evaluation, [name for name in performance if name not in _PROBABILITIES])]
    if performance.stated_prevalence is not None:
        blocks.append(f"That prevalence: {performance.stated_prevalence:g}, as stated by the user.")
    return [*blocks, "These figures are of these images alone; another site has to be measured itself."]


def calibration(evaluation: Evaluation) -> list[str]:
    """Tabulate how well probabilities agree with frequencies."""
    return [
        _figures(evaluation, [name for name in evaluation.performance if name in _PROBABILITIES]),
        "A slope below 1 says that probabilities are too extreme, an intercept below 0 that they are too high.",
    ]


def _figures(evaluation: Evaluation, names: Sequence[str]) -> str:
    performance = evaluation.performance
    head = ("Figure", "Estimate", f"{100 * performance.confidence:g} % interval", "Method")
    rows = [
        (WORDS[name], _written(performance[name].estimate), _limits(performance[name]), performance[name].method)
        for name in names
    ]
    return table(head, rows, numbers={1, 2})


def _limits(figure: Interval) -> str:
    return "-" if np.isnan(figure.lower) else f"{_written(figure.lower)} to {_written(figure.upper)}"


def subgroups(evaluation: Evaluation) -> list[str]:
    """Tabulate figures for parts of the images."""
    if not evaluation.subgroups:
        return []
    names = ("sensitivity", "specificity", "roc_auc")
    head = ("By", "Value", "Images", "Positive", "Patients", *(WORDS[name] for name in names))
    return [
        table(head, [_subgroup(each, evaluation, names) for each in evaluation.subgroups], numbers=range(2, 8)),
        'Differences between groups may be chance: compare their intervals. "-" stands where a group lacks the '
        "images that a figure needs.",
    ]


def _subgroup(group: Subgroup, evaluation: Evaluation, names: Sequence[str]) -> list[Any]:
    figures = [
        f"{_written(group.figures[name].estimate)} ({_limits(group.figures[name])})" if name in group.figures else "-"
        for name in names
    ]
    n_patients = group.n_patients if evaluation.performance.has_groups else "not known"
    return [group.column, group.value, group.n, group.n_positive, n_patients, *figures]


def failures(evaluation: Evaluation) -> list[str]:
    """Count wrong calls, and how sure the model was of them."""
    items = []
    of_class = ((evaluation.labels[1], evaluation.y), (evaluation.labels[0], ~evaluation.y))
    for label, rows in of_class:
        is_wrong = rows & (evaluation.predicted_positive != evaluation.y)
        if is_wrong.any():
            p = evaluation.proba[is_wrong]
            items.append(
                f"{int(is_wrong.sum())} of {int(rows.sum())} images of {plain(class_name(label))} are called wrongly, "
                f"at probabilities of {plain(class_name(evaluation.labels[1]))} from {p.min():.3f} to {p.max():.3f}."
            )
        else:
            items.append(f"None of {int(rows.sum())} images of {plain(class_name(label))} is called wrongly.")
    return [bullets([*items, "Names of images are left out of this card, since they can name patients."])]
