"""One pass over test images, and all numbers that a report and a model card are made of."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _check_pos_label_consistency, _num_samples, column_or_1d

from skpneumo._images.inputs import images_if_any
from skpneumo._images.patients import etiology
from skpneumo._images.sources import base_name, name_of, shortened, some_of
from skpneumo._leakage import can_compare, seen_by, warn_of
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.metrics import DiagnosticReport, diagnostic_report
from skpneumo.metrics._estimators import check_asked, patients_of, probabilities_of, threshold_of
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._ranking import roc_auc_interval
from skpneumo.metrics._study import check_share, check_study, is_missing
from skpneumo.reporting._model_facts import digest_of_judged

KIND = "Kind of pneumonia"
_UNKNOWN = "not known"
_MOST_VALUES = 20


@dataclass(frozen=True)
class Subgroup:
    """Some of the images, and how they are called.

    Parameters
    ----------
    column, value : str
        What they are told from the others by.
    n, n_positive, n_patients : int
        Images, those of them that are positive, and patients.
    figures : dict of str to named tuple
        "sensitivity", "specificity" and "roc_auc" as in `diagnostic_report`, of which those are missing that need
        images of a class that is not among them.
    """

    column: str
    value: str
    n: int
    n_positive: int
    n_patients: int
    figures: dict[str, Interval]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a classifier says of test images, and what that is worth; `report` makes it.

    Printed, it is a line without files and patients. An evaluation equals itself alone.

    Parameters
    ----------
    performance : DiagnosticReport
        Figures with intervals, at the operating point.
    subgroups : tuple of Subgroup
        The same for parts of the images.
    labels : tuple
        The negative and the positive label.
    y : ndarray of shape (n_samples,), bool
        Whether an image is positive.
    proba : ndarray of shape (n_samples,)
        Its probability of being so.
    names : list of (str or None)
        Name of its file, without folders.
    patients : ndarray of shape (n_samples,) or None
        Its patient. None: nobody knows.
    novelty : ndarray of shape (n_samples,) or None
        How rare it would be among the training images. None: the classifier does not tell.
    seen : ndarray of shape (n_samples, 2) or None
        Whether the classifier was trained on it, and whether on its patient. None: the classifier does not remember.
    are_images_compared : bool
        Whether images could be found to be those of the training: not where the classifier was trained on features and
        judged on images, or the other way round.
    model_digest : str or None
        Name of what the one `PneumoniaClassifier` in the classifier has learnt. None: there is none, or several.
    """

    performance: DiagnosticReport
    subgroups: tuple[Subgroup, ...]
    labels: tuple[Any, Any]
    y: np.ndarray
    proba: np.ndarray
    names: list[str | None]
    patients: np.ndarray | None
    novelty: np.ndarray | None
    seen: np.ndarray | None
    are_images_compared: bool = True
    model_digest: str | None = None

    @property
    def predicted_positive(self) -> np.ndarray:
        """Whether an image is predicted positive."""
        return self.proba >= self.performance.threshold

    def __repr__(self) -> str:
        """Say what a notebook may show: it is often given on, and names would go with it."""
        names = ("sensitivity", "specificity", "roc_auc")
        figures = ", ".join(f"{name}={self.performance[name].estimate:.3f}" for name in names)
        return f"Evaluation(n={self.performance.n}, {figures}, subgroups={len(self.subgroups)})"


class _Column(NamedTuple):
    """Which part each image is of, "" where of none, and the parts in order."""

    values: np.ndarray
    parts: list[str]


def evaluate(
    clf: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    subgroups: Any = None,
    threshold: float | None = None,
    prevalence: float | None = None,
    confidence: float = 0.95,
    pos_label: Any = None,
) -> Evaluation:
    """Let a fitted classifier judge images once, and compute what that is worth.

    Parameters are those of `report`.
    """
    n_samples = _num_samples(X)
    if not n_samples:
        raise ValueError("There is nothing to judge: X is empty.")
    pos_label = _check_pos_label_consistency(pos_label, column_or_1d(y))
    check_asked(clf, pos_label)
    threshold = threshold_of(clf, pos_label) if threshold is None else threshold
    check_share("threshold", threshold, closed=True)
    threshold = float(threshold)  # as it is, NumPy would compare float32 with it in float64
    check_share("confidence", confidence)
    if prevalence is not None:
        check_share("prevalence", prevalence)
    X = parsed(clf, X)
    images = images_if_any(X)
    given = X if images is None else images
    names: list[str | None] = list(map(name_of, images)) if images else [None] * n_samples
    columns = _kinds(names) if subgroups is None else _check_columns(subgroups, n_samples)
    patients = patients_of(given) if groups is None else _check_groups(groups)
    check_study(y, np.full(n_samples, 0.5), patients, pos_label)  # before the pass, which may take hours
    proba, novelty = _judged(clf, X, pos_label, has_images=images is not None)
    known = seen_by(clf, given, patients)  # after the pass, which has read the images
    performance = diagnostic_report(
        y,
        proba,
        threshold=threshold,
        groups=patients,
        prevalence=prevalence,
        confidence=confidence,
        pos_label=pos_label,
    )
    if known is not None:
        warn_of(known, stacklevel=4)
    study = check_study(y, proba, patients, pos_label)
    called = proba >= threshold

    def figures(rows: np.ndarray) -> dict[str, Interval]:
        found = {}
        among = study.patients.among
        for name, right, of_class in (("sensitivity", called, study.y), ("specificity", ~called, ~study.y)):
            if (chosen := rows & of_class).any():
                found[name] = mean_interval(right[chosen].astype(float), among(chosen), confidence)
        if len(found) == 2:
            found["roc_auc"] = roc_auc_interval(study.y[rows], proba[rows], among(rows), confidence)
        return found

    def subgroup(column: str, value: str, rows: np.ndarray) -> Subgroup:
        counts = int(rows.sum()), int(study.y[rows].sum()), study.patients.among(rows).n
        return Subgroup(column, value, *counts, figures(rows))

    negative, positive = sorted(clf.classes_.tolist(), key=lambda label: label == pos_label)
    return Evaluation(
        performance=performance,
        subgroups=tuple(
            subgroup(name, part, column.values == part) for name, column in columns.items() for part in column.parts
        ),
        labels=(negative, positive),
        y=study.y,
        proba=proba,
        names=[None if name is None else base_name(name) for name in names],
        patients=patients,
        novelty=novelty,
        seen=known,
        are_images_compared=can_compare(clf, given),
        model_digest=digest_of_judged(clf),
    )


def parsed(clf: Any, X: Any) -> Any:
    """Return the images that `X` holds, parsed, where the model inside takes them as they are; otherwise `X`."""
    images = None if inner_classifier(clf) is None else images_if_any(X)
    return X if images is None else images


def _judged(clf: Any, X: Any, pos_label: Any, *, has_images: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return probabilities and novelty; images pass the network once."""
    inner = inner_classifier(clf)
    if inner is not None and has_images and inner.n_views_predict == 1:
        X = inner.features(X)
    proba = probabilities_of(clf, X, pos_label)
    novelty = inner.novelty(X) if inner is not None and inner.reference_ else None
    return proba, novelty


def _kinds(names: list[str | None]) -> dict[str, _Column]:
    """Return the kinds of pneumonia that names of files tell; images without any are of no part."""
    kinds = [etiology(name) if name else None for name in names]
    values = np.array([kind if kind in ("bacteria", "virus") else "" for kind in kinds], dtype=object)
    parts = sorted(set(values) - {""})
    return {KIND: _Column(values, parts)} if parts else {}


def _check_columns(subgroups: Any, n_samples: int) -> dict[str, _Column]:
    """Return columns of strings by name.

    Raises
    ------
    ValueError
        A column is of another length, or has too many values to be one of groups; two have the same name.
    """
    if not isinstance(subgroups, Mapping) and not hasattr(subgroups, "columns"):
        given = shortened(repr(subgroups))
        raise ValueError(f"subgroups must be a mapping from names to columns, or a DataFrame; got {given}.")
    names = [str(name) for name in subgroups]
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(f"Columns of subgroups need names that are told apart as text; not so: {some_of(twice)}.")
    shapes = {str(name): np.asarray(subgroups[name], dtype=object).shape for name in subgroups}
    of_another = {name: shape for name, shape in shapes.items() if shape not in ((n_samples,), (n_samples, 1))}
    if wrong := [f"{name!r} has {shape[0] if len(shape) == 1 else shape}" for name, shape in of_another.items()]:
        raise ValueError(f"A column of subgroups has a value for each of {n_samples} images, but {some_of(wrong)}.")
    columns = {str(name): _column(subgroups[name]) for name in subgroups}
    most = _MOST_VALUES
    n_values = {name: len(set(each.parts) - {_UNKNOWN}) for name, each in columns.items()}
    if wrong := [f"{name!r} has {n}" for name, n in n_values.items() if n > most]:
        raise ValueError(
            f"A column of subgroups has at most {most} values, but {some_of(wrong)}: bin numbers before, such as by "
            "pandas.cut."
        )
    return columns


def _column(given: Any) -> _Column:
    """Return a column as text, in an array of its own: the one that was given stays as it is."""
    values = column_or_1d(np.asarray(given, dtype=object)).tolist()
    written = [_UNKNOWN if is_missing(value) or value == "" else _text(value) for value in values]
    known = {text: value for text, value in zip(written, values, strict=True) if text != _UNKNOWN}
    parts = _in_order(known, getattr(getattr(given, "dtype", None), "categories", None))
    return _Column(np.array(written, dtype=object), [*parts, _UNKNOWN] if _UNKNOWN in written else parts)


def _text(value: Any) -> str:
    """Write a whole number without a point: pandas makes 7.0 of 7 where another one is missing."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def _check_groups(groups: Any) -> np.ndarray:
    try:
        return column_or_1d(groups)
    except ValueError as error:
        raise ValueError(f"groups must name a patient for each image, in one column: {error}") from None


def _in_order(known: dict[str, Any], categories: Any) -> list[str]:
    """Order values as their categories are, else as they compare: 9 before 10, which their texts do not."""
    if categories is not None:
        return [text for text in map(_text, categories) if text in known]
    try:
        return sorted(known, key=known.__getitem__)
    except TypeError:  # numbers and names among each other
        return sorted(known)
