"""Probabilities and threshold of a fitted classifier, and patients of the images."""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo._images.dicom_patients import patient_of, reproducible
from skpneumo._images.groups import as_groups, patients_by_name
from skpneumo._images.inputs import images_if_any
from skpneumo._utils.messages import list_values, plain
from skpneumo._utils.meta_estimators import inner_or_last_step

_WITH_OWN_THRESHOLD = (CalibratedClassifierCV, FixedThresholdClassifier, TunedThresholdClassifierCV)


def positive_label(estimator: Any, y: Any, pos_label: Any) -> Any:
    """Return `pos_label`, or its default for the labels in `y`.

    Raises
    ------
    ValueError
        If no label in `y` is a class of the estimator, or if `pos_label` has no default.
    """
    labels = column_or_1d(y)
    classes = np.asarray(getattr(estimator, "classes_", []))
    if len(labels) and len(classes) and not set(labels.tolist()) & set(classes.tolist()):
        found = list(dict.fromkeys(labels.tolist()))
        raise ValueError(
            f"y must contain labels of the classes {list_values(classes)} of the estimator; got {list_values(found)}: "
            "pass labels as in fit."
        )
    return _check_pos_label_consistency(pos_label, labels)


def threshold_of(estimator: Any, pos_label: Any) -> float:
    """Return the threshold of a classifier, or 0.5 if it has none."""
    while not isinstance(estimator, _WITH_OWN_THRESHOLD) and (inner := inner_or_last_step(estimator)) is not None:
        estimator = inner
    if hasattr(estimator, "prior_shift_") and (threshold := estimator.threshold_) is not None:
        return threshold if pos_label in (None, estimator.classes_[1]) else 1 - threshold
    if not isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return 0.5
    threshold = estimator.best_threshold_ if isinstance(estimator, TunedThresholdClassifierCV) else estimator.threshold
    if estimator.response_method == "decision_function":
        raise ValueError(
            f"Expected a threshold on a probability; the threshold of this {type(estimator).__name__} applies to "
            "decision_function. Pass threshold, or fit with response_method='predict_proba'."
        )
    label = _label_of_threshold(estimator)
    if pos_label is not None and pos_label != label:
        raise ValueError(
            f"Expected a threshold on the probability of pos_label={plain(pos_label)!r}; the threshold of this "
            f"{type(estimator).__name__} applies to the probability of {plain(label)!r}. Pass threshold."
        )
    return 0.5 if threshold == "auto" else float(threshold)


def _label_of_threshold(estimator: Any) -> Any:
    if isinstance(estimator, FixedThresholdClassifier):
        label = estimator.pos_label
    else:
        label = estimator._curve_scorer._get_pos_label()
    return estimator.classes_[1] if label is None else label


def patients_of(X: Any, groups: Any = None) -> Any:
    """Return the given patients, or those found by a pattern, or those that `PneumoniaClassifier.fit` reads.

    The result is None if neither `groups` nor any file name or DICOM header contains a patient.
    """
    if groups is not None:
        return as_groups(groups, X)
    images = images_if_any(X)
    if images is None or not any(map(patient_of, images)):
        return None
    return reproducible(patients_by_name(images))


def probabilities_of(estimator: Any, X: Any, label: Any) -> np.ndarray:
    """Return the probability of a label, by a fitted classifier."""
    return np.asarray(estimator.predict_proba(X))[:, check_asked(estimator, label)]


def check_asked(estimator: Any, label: Any) -> int:
    """Return the column of a label in the output of `predict_proba`.

    Raises
    ------
    TypeError
        If the classifier has no `predict_proba`.
    ValueError
        If the classifier does not have two classes, or `label` is not one of them.
    """
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"Expected a classifier of probabilities; {type(estimator).__name__} has no predict_proba. Wrap it in "
            "CalibratedClassifierCV."
        )
    classes = np.asarray(estimator.classes_).tolist()
    if len(classes) != 2 or label not in classes:
        raise ValueError(
            f"Expected a classifier with two classes, one of them pos_label={plain(label)!r}; its classes are "
            f"{list_values(classes)}."
        )
    return classes.index(label)
