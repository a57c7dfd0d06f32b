"""Validation of labels, probabilities and patients."""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo._images.groups import check_one_column, is_missing
from skpneumo._utils.messages import list_items, list_values, plain
from skpneumo._utils.validation import Finite
from skpneumo.metrics._interval import Patients

SHARE: list[Any] = [Finite(Real, 0, 1, closed="neither")]
THRESHOLD: list[Any] = [Finite(Real, 0, 1, closed="both")]


class Study(NamedTuple):
    """Labels, probabilities of the positive class, and patients."""

    y: np.ndarray
    p: np.ndarray
    patients: Patients


def check_study(y_true: Any, y_proba: Any, groups: Any, pos_label: Any) -> Study:
    """Validate labels, probabilities and patients."""
    labels = column_or_1d(y_true)
    if not len(labels):
        raise ValueError("y_true must contain both classes, positive and negative; it is empty.")
    probabilities = _check_numbers(y_proba)
    check_consistent_length(labels, probabilities)
    _raise_if_any(_are_missing(labels), labels, "y_true must not contain missing values", "are missing")
    classes = np.unique(labels)
    pos_label = _check_pos_label_consistency(pos_label, labels)
    if len(classes) != 2:
        raise ValueError(
            f"y_true must contain both classes, positive and negative; got the labels {list_values(classes)}."
            + (" For several classes, compare one with the rest: pass y_true == label." if len(classes) > 2 else "")
        )
    if pos_label not in classes.tolist():
        raise ValueError(
            f"pos_label must be one of the labels in y_true, {list_values(classes)}; got {plain(pos_label)!r}."
        )
    if probabilities.ndim == 2:
        probabilities = probabilities[:, int(classes[1] == pos_label)]
    return Study(labels == pos_label, probabilities, _check_patients(groups, len(labels)))


def _check_numbers(y_proba: Any) -> np.ndarray:
    p = np.asarray(y_proba)
    if p.ndim == 2 and p.shape[1] == 1:
        p = p.ravel()
    if p.ndim not in {1, 2} or (p.ndim == 2 and p.shape[1] != 2):
        raise ValueError(f"y_proba must be of shape (n_samples,) or (n_samples, 2); got {p.shape}.")
    try:
        p = p if p.dtype in {np.dtype(np.float32), np.dtype(np.float64)} else p.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y_proba must contain numbers between 0 and 1: {error}.") from error
    outside = ~((p >= 0) & (p <= 1))
    _raise_if_any(outside if p.ndim == 1 else outside.any(axis=1), p, "y_proba must be between 0 and 1", "are not")
    if p.ndim == 2:
        wrong = np.abs(p.sum(axis=1, dtype=np.float64) - 1) > 1e-3
        _raise_if_any(wrong, p, "y_proba must add up to 1 in each row", "do not")
    return p


def _check_patients(groups: Any, n_samples: int) -> Patients:
    if groups is None:
        return Patients(np.arange(n_samples), n_samples)
    check_one_column(groups)
    groups = column_or_1d(groups, dtype=object)  # a list with nan and strings would become strings
    if len(groups) != n_samples:
        raise ValueError(f"groups must contain one patient per image ({n_samples}); got {len(groups)}.")
    _raise_if_any(_are_missing(groups), groups, "groups must not contain missing values", "are missing")
    try:
        kept, codes = np.unique(groups, return_inverse=True)
    except TypeError:  # strings and numbers cannot be sorted together
        kept, codes = np.unique([f"{type(group).__name__} {group}" for group in groups], return_inverse=True)
    return Patients(codes, len(kept))


def _are_missing(values: np.ndarray) -> np.ndarray:
    return np.array([is_missing(value) for value in values.tolist()], bool)


def _raise_if_any(wrong: Any, values: np.ndarray, expected: str, fault: str) -> None:
    if wrong.any():
        items = list_items([f"[{i}] {plain(values[i])!r}" for i in np.flatnonzero(wrong)])
        raise ValueError(f"{expected}; {np.count_nonzero(wrong)} of {len(values)} {fault}: {items}.")
