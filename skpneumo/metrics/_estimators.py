"""What a fitted classifier says of images, where it draws the line, and whose images they are."""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skpneumo._images.inputs import images_if_any, patients_by_name
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import name_of
from skpneumo._utils.meta_estimators import inner_or_last_step

_WITH_OWN_THRESHOLD = (CalibratedClassifierCV, FixedThresholdClassifier, TunedThresholdClassifierCV)


def threshold_of(estimator: Any, pos_label: Any) -> float:
    """Read the threshold of a classifier that has one; 0.5 of others."""
    while not isinstance(estimator, _WITH_OWN_THRESHOLD) and (inner := inner_or_last_step(estimator)) is not None:
        estimator = inner
    if hasattr(estimator, "prior_shift_") and (threshold := estimator.threshold_) is not None:
        return threshold if pos_label in (None, estimator.classes_[1]) else 1 - threshold
    if not isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        return 0.5
    threshold = estimator.best_threshold_ if isinstance(estimator, TunedThresholdClassifierCV) else estimator.threshold
    if estimator.response_method == "decision_function":
        raise ValueError(
            f"The threshold of this {type(estimator).__name__} is one of decision_function, not of a probability: pass "
            "threshold, or make it with response_method='predict_proba'."
        )
    label = _label_of_threshold(estimator)
    if pos_label is not None and pos_label != label:
        raise ValueError(
            f"The threshold of this {type(estimator).__name__} is one of the probability of {label!r}, but pos_label "
            f"is {pos_label!r}: pass threshold."
        )
    return 0.5 if threshold == "auto" else float(threshold)


def _label_of_threshold(estimator: Any) -> Any:
    if isinstance(estimator, FixedThresholdClassifier):
        label = estimator.pos_label
    else:
        label = estimator._curve_scorer._get_pos_label()
    return estimator.classes_[1] if label is None else label


def patients_of(X: Any) -> np.ndarray | None:
    """Read the patients from the names of files, as `PneumoniaClassifier.fit` does; None where none is told."""
    images = images_if_any(X)
    if images is None or not any(patient_key(name_of(image) or "") for image in images):
        return None
    return patients_by_name(images)


def probabilities_of(estimator: Any, X: Any, label: Any) -> np.ndarray:
    """Let a fitted classifier say how probable a label is."""
    return np.asarray(estimator.predict_proba(X))[:, check_asked(estimator, label)]


def check_asked(estimator: Any, label: Any) -> int:
    """Return the column in which a fitted classifier says how probable a label is; it is not asked yet.

    Raises
    ------
    TypeError, ValueError
        It says no probabilities; it is not one of two classes, one of them this label.
    """
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba here: pass a classifier that says probabilities, such as "
            "CalibratedClassifierCV around this one."
        )
    classes = list(estimator.classes_)
    if len(classes) != 2 or label not in classes:
        raise ValueError(
            f"A diagnostic report needs a classifier of two classes, one of them pos_label={label!r}; its classes are "
            f"{classes}."
        )
    return classes.index(label)
