"""One pass over test images, and all numbers that a report and a model card are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_pos_label_consistency, _num_samples, column_or_1d

from skpneumo._inputs import images_if_any
from skpneumo._patients import etiology
from skpneumo._seen import seen_by, warn_of
from skpneumo._sources import name_of
from skpneumo.inspection._facts import digest_of_judged
from skpneumo.inspection._inner import inner_classifier
from skpneumo.metrics import DiagnosticReport, diagnostic_report
from skpneumo.metrics._estimators import patients_of, probabilities_of, threshold_of
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._ranking import roc_auc_interval
from skpneumo.metrics._study import check_study

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


@dataclass(frozen=True)
class Evaluation:
    """What a classifier says of test images, and what that is worth; `report` makes it.

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
    model_digest: str | None = None

    @property
    def called(self) -> np.ndarray:
        """Whether an image is called positive."""
        return self.proba >= self.performance.threshold


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
    pos_label = _check_pos_label_consistency(pos_label, column_or_1d(y))
    threshold = threshold_of(clf, pos_label) if threshold is None else threshold
    images = images_if_any(X)
    names: list[str | None] = list(map(name_of, images)) if images else [None] * _num_samples(X)
    columns = _check_columns(subgroups, names, _num_samples(X))
    patients = patients_of(X) if groups is None else column_or_1d(groups)
    known = seen_by(clf, X, patients)
    proba, novelty = _judged(clf, X, pos_label, has_images=images is not None)
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

    negative = next(label for label in np.unique(column_or_1d(y)).tolist() if label != pos_label)
    return Evaluation(
        performance=performance,
        subgroups=tuple(
            subgroup(column, value, values == value) for column, values in columns.items() for value in _sorted(values)
        ),
        labels=(negative, pos_label),
        y=study.y,
        proba=proba,
        names=[None if name is None else name.replace("\\", "/").rsplit("/", 1)[-1] for name in names],
        patients=patients,
        novelty=novelty,
        seen=known,
        model_digest=digest_of_judged(clf),
    )


def _judged(clf: Any, X: Any, pos_label: Any, *, has_images: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return probabilities and novelty; images pass the network once."""
    inner = inner_classifier(clf)
    if inner is not None and has_images and inner.n_views_predict == 1:
        X = inner.features(X)
    proba = probabilities_of(clf, X, pos_label)
    novelty = inner.novelty(X) if inner is not None and inner.reference_ else None
    return proba, novelty


def _check_columns(subgroups: Any, names: list[str | None], n_samples: int) -> dict[str, np.ndarray]:
    """Return columns of strings by name.

    Raises
    ------
    ValueError
        A column is of another length, or has too many values to be one of groups.
    """
    if subgroups is None:
        kinds = [etiology(name) if name else None for name in names]
        values = np.array([kind if kind in ("bacteria", "virus") else "" for kind in kinds], dtype=object)
        return {KIND: values} if values.any() else {}
    if not isinstance(subgroups, Mapping) and not hasattr(subgroups, "columns"):
        raise ValueError(f"subgroups must be a mapping from names to columns, or a DataFrame; got {subgroups!r}.")
    columns = {str(name): column_or_1d(np.asarray(subgroups[name], dtype=object)) for name in subgroups}
    wrong = []
    for name, values in columns.items():
        check_consistent_length(names, values)
        is_missing = [value is None or value != value for value in values]  # noqa: PLR0124
        values[:] = [_UNKNOWN if missing else str(value) for value, missing in zip(values, is_missing, strict=True)]
        if len(set(values)) > _MOST_VALUES:
            wrong.append(f"{name!r} has {len(set(values))}")
    if wrong:
        raise ValueError(
            f"A column of subgroups has at most {_MOST_VALUES} values, but {', '.join(wrong)}: bin numbers before, "
            "such as by pandas.cut."
        )
    return columns


def _sorted(values: np.ndarray) -> list[str]:
    return sorted(set(values) - {""})
