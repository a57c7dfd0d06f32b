"""Evaluate a classifier on test images: all numbers of a report and of a model card."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.groups import as_groups, check_groups, is_missing
from skpneumo._images.inputs import images_if_any
from skpneumo._images.patients import etiology
from skpneumo._images.sources import base_name, name_of
from skpneumo._leakage import can_compare, seen_by, warn_of
from skpneumo._utils.messages import list_items, shortened
from skpneumo._utils.target_names import name_classes
from skpneumo._utils.validation import check_constraints
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.metrics import DiagnosticReport, diagnostic_report
from skpneumo.metrics._estimators import check_asked, patients_of, positive_label, probabilities_of, threshold_of
from skpneumo.metrics._interval import Interval, mean_interval
from skpneumo.metrics._ranking import roc_auc_interval
from skpneumo.metrics._study import SHARE, THRESHOLD, check_study
from skpneumo.reporting._model_facts import evaluated_model_digest

KIND = "Kind of pneumonia"
_UNKNOWN = "not known"
_MAX_VALUES = 20


@dataclass(frozen=True)
class Subgroup:
    """Metrics on a subgroup of the images.

    Parameters
    ----------
    column, value : str
        Column and value that define the subgroup.
    n, n_positive, n_patients : int
        Numbers of images, of positive images and of patients.
    figures : dict of str to named tuple
        "sensitivity", "specificity" and "roc_auc" as in `diagnostic_report`, except those that need images of a class
        that the subgroup lacks.
    """

    column: str
    value: str
    n: int
    n_positive: int
    n_patients: int
    figures: dict[str, Interval]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Evaluation of a classifier on test images, as returned by `report`.

    Its ``repr`` is one line without names of files or patients. Evaluations are compared by identity.

    Parameters
    ----------
    performance : DiagnosticReport
        Metrics with confidence intervals, at the operating point.
    subgroups : tuple of Subgroup
        Metrics by subgroup.
    labels : tuple
        The negative and the positive label.
    target_names : tuple of str
        Names of the negative and the positive class.
    y : ndarray of shape (n_samples,), bool
        Whether each image is positive.
    proba : ndarray of shape (n_samples,)
        Predicted probability of the positive class.
    names : list of (str or None)
        File names without folders.
    patients : ndarray of shape (n_samples,) or None
        Patient of each image; None if not known.
    novelty : ndarray of shape (n_samples,) or None
        Novelty p-value of each image; None if the classifier has no ``novelty``.
    seen : ndarray of shape (n_samples, 2) or None
        Whether each image, and whether its patient, was in the training data; None if the classifier holds no digests
        of its training data.
    are_images_compared : bool
        Whether images could be compared with the training images. False if the classifier was fitted on features and
        evaluated on images, or the reverse.
    model_digest : str or None
        Digest of the fitted `PneumoniaClassifier` in the classifier; None if there is none or more than one.
    """

    performance: DiagnosticReport
    subgroups: tuple[Subgroup, ...]
    labels: tuple[Any, Any]
    target_names: tuple[str, str]
    y: np.ndarray
    proba: np.ndarray
    names: list[str | None]
    patients: np.ndarray | None
    novelty: np.ndarray | None
    seen: np.ndarray | None
    are_images_compared: bool = True
    model_digest: str | None = None

    @property
    def names_by_label(self) -> dict[str, str]:
        """Name of each class, by its label as a string."""
        return dict(zip(map(str, self.labels), self.target_names, strict=True))

    @property
    def predicted_positive(self) -> np.ndarray:
        """Whether each image is predicted positive."""
        return self.proba >= self.performance.threshold

    def __repr__(self) -> str:
        """Return one line without names, since notebooks that print it are often shared."""
        names = ("sensitivity", "specificity", "roc_auc")
        figures = ", ".join(f"{name}={self.performance[name].estimate:.3f}" for name in names)
        return f"Evaluation(n={self.performance.n}, {figures}, subgroups={len(self.subgroups)})"


class _SubgroupColumn(NamedTuple):
    """Subgroup of each image ("" if none), and the subgroups in order."""

    values: np.ndarray
    subgroups: list[str]


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
    target_names: Any = None,
) -> Evaluation:
    """Predict the test images once and compute the metrics; the parameters are those of `report`."""
    n_samples = _num_samples(X)
    if not n_samples:
        raise ValueError("X is empty: at least one image is required.")
    pos_label = positive_label(clf, y, pos_label)
    check_asked(clf, pos_label)
    class_names = name_classes(clf.classes_, target_names)
    threshold = threshold_of(clf, pos_label) if threshold is None else threshold
    check_constraints(
        {"threshold": THRESHOLD, "prevalence": [*SHARE, None], "confidence": SHARE},
        {"threshold": threshold, "prevalence": prevalence, "confidence": confidence},
        "report",
    )
    threshold = float(threshold)  # a NumPy float64 would promote float32 probabilities in comparisons
    X = parse_images(clf, X)
    images = images_if_any(X)
    given = X if images is None else images
    names: list[str | None] = list(map(name_of, images)) if images else [None] * n_samples
    columns = _etiology_columns(names) if subgroups is None else _check_columns(subgroups, n_samples)
    patients = patients_of(given) if groups is None else check_groups(as_groups(groups, given), n_samples)
    check_study(y, np.full(n_samples, 0.5), patients, pos_label)  # fail before prediction, which may take hours
    proba, novelty = _predict(clf, X, pos_label, has_images=images is not None)
    known = seen_by(clf, given, patients)  # after prediction, which has cached the images
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
    predicted_positive = proba >= threshold

    def metrics(rows: np.ndarray) -> dict[str, Interval]:
        computed = {}
        among = study.patients.among
        for name, is_correct, of_class in (
            ("sensitivity", predicted_positive, study.y),
            ("specificity", ~predicted_positive, ~study.y),
        ):
            if (chosen := rows & of_class).any():
                computed[name] = mean_interval(is_correct[chosen].astype(float), among(chosen), confidence)
        if len(computed) == 2:
            computed["roc_auc"] = roc_auc_interval(study.y[rows], proba[rows], among(rows), confidence)
        return computed

    def subgroup(column: str, value: str, rows: np.ndarray) -> Subgroup:
        counts = int(rows.sum()), int(study.y[rows].sum()), study.patients.among(rows).n
        return Subgroup(column, value, *counts, metrics(rows))

    negative, positive = sorted(clf.classes_.tolist(), key=lambda label: label == pos_label)
    return Evaluation(
        performance=performance,
        subgroups=tuple(
            subgroup(name, value, column.values == value)
            for name, column in columns.items()
            for value in column.subgroups
        ),
        labels=(negative, positive),
        target_names=(str(class_names[negative]), str(class_names[positive])),
        y=study.y,
        proba=proba,
        names=[None if name is None else base_name(name) for name in names],
        patients=patients,
        novelty=novelty,
        seen=known,
        are_images_compared=can_compare(clf, given),
        model_digest=evaluated_model_digest(clf),
    )


def parse_images(clf: Any, X: Any) -> Any:
    """Return the parsed images of `X` if the inner model takes images directly; otherwise `X`."""
    images = None if inner_classifier(clf) is None else images_if_any(X)
    return X if images is None else images


def _predict(clf: Any, X: Any, pos_label: Any, *, has_images: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return probabilities and novelty with one pass of the images through the network."""
    inner = inner_classifier(clf)
    if inner is not None and has_images and inner.n_views_predict == 1:
        X = inner.features(X)
    proba = probabilities_of(clf, X, pos_label)
    novelty = inner.novelty(X) if inner is not None and inner.reference_ else None
    return proba, novelty


def _etiology_columns(names: list[str | None]) -> dict[str, _SubgroupColumn]:
    """Return subgroups by the kind of pneumonia in the file names."""
    kinds = [etiology(name) if name else None for name in names]
    values = np.array([kind if kind in ("bacteria", "virus") else "" for kind in kinds], dtype=object)
    subgroups = sorted(set(values) - {""})
    return {KIND: _SubgroupColumn(values, subgroups)} if subgroups else {}


def _check_columns(subgroups: Any, n_samples: int) -> dict[str, _SubgroupColumn]:
    """Return columns of strings by name; raise ValueError for wrong lengths, too many values or repeated names."""
    if not isinstance(subgroups, Mapping) and not hasattr(subgroups, "columns"):
        given = shortened(repr(subgroups))
        raise ValueError(f"subgroups must be a mapping of names to columns, or a DataFrame; got {given}.")
    names = [str(name) for name in subgroups]
    if repeated := [name for name, n in Counter(names).items() if n > 1]:
        raise ValueError(
            f"Names of subgroups must be unique as strings; rename the repeated names: {list_items(repeated)}."
        )
    shapes = {str(name): np.asarray(subgroups[name], dtype=object).shape for name in subgroups}
    wrong_shapes = {name: shape for name, shape in shapes.items() if shape not in ((n_samples,), (n_samples, 1))}
    if wrong := [f"{name!r} has {shape[0] if len(shape) == 1 else shape}" for name, shape in wrong_shapes.items()]:
        raise ValueError(
            f"Each column of subgroups must have one value for each of {n_samples} images, but {list_items(wrong)}."
        )
    columns = {str(name): _column(subgroups[name]) for name in subgroups}
    n_values = {name: len(set(each.subgroups) - {_UNKNOWN}) for name, each in columns.items()}
    if wrong := [f"{name!r} has {n}" for name, n in n_values.items() if n > _MAX_VALUES]:
        raise ValueError(
            f"Each column of subgroups must have at most {_MAX_VALUES} values, but {list_items(wrong)}. Bin numeric "
            "values first, for example with pandas.cut."
        )
    return columns


def _column(given: Any) -> _SubgroupColumn:
    """Return a copy of a column as strings."""
    values = column_or_1d(np.asarray(given, dtype=object)).tolist()
    texts = [_UNKNOWN if is_missing(value) or value == "" else _text(value) for value in values]
    known = {text: value for text, value in zip(texts, values, strict=True) if text != _UNKNOWN}
    subgroups = _in_order(known, getattr(getattr(given, "dtype", None), "categories", None))
    return _SubgroupColumn(np.array(texts, dtype=object), [*subgroups, _UNKNOWN] if _UNKNOWN in texts else subgroups)


def _text(value: Any) -> str:
    """Format whole numbers without a decimal point, since pandas turns 7 into 7.0 in columns with missing values."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def _in_order(known: dict[str, Any], categories: Any) -> list[str]:
    """Sort by category order, else by value (9 before 10, unlike their strings)."""
    if categories is not None:
        return [text for text in map(_text, categories) if text in known]
    try:
        return sorted(known, key=known.__getitem__)
    except TypeError:  # numbers and strings do not compare
        return sorted(known)
