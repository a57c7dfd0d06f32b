"""What is judged: labels, probabilities and patients, all checked."""

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo.metrics._interval import Patients


class Study(NamedTuple):
    """Images: whether each is positive, its probability to be, and its patient."""

    y: np.ndarray
    p: np.ndarray
    patients: Patients


def check_study(y_true: Any, y_proba: Any, groups: Any, pos_label: Any) -> Study:
    """Check what is judged; each error names all that is wrong with one of its parts."""
    labels = column_or_1d(y_true)
    if not len(labels):
        raise ValueError("A diagnostic report needs images of both classes, positive and negative; y_true is empty.")
    probabilities = _check_numbers(y_proba)
    check_consistent_length(labels, probabilities)
    _refuse("y_true must name a label for each image", labels, _are_missing(labels))
    classes = np.unique(labels)
    pos_label = _check_pos_label_consistency(pos_label, labels)
    if len(classes) != 2:
        raise ValueError(
            f"A diagnostic report needs images of both classes, positive and negative; y_true holds {classes.tolist()}."
            + (" Of several classes, report one against the rest: y_true == label." if len(classes) > 2 else "")
        )
    if pos_label not in classes.tolist():
        raise ValueError(f"pos_label={pos_label!r} is none of the labels in y_true, {classes.tolist()}.")
    if probabilities.ndim == 2:
        probabilities = probabilities[:, int(classes[1] == pos_label)]
    return Study(labels == pos_label, probabilities, _check_patients(groups, len(labels)))


def check_share(name: str, value: Any, *, closed: bool = False) -> None:
    """Refuse what is no number between 0 and 1; `closed`: these are numbers between them too."""
    is_number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
    if not (is_number and (0 < value < 1 or (closed and value in {0, 1}))):
        raise ValueError(
            f"{name} must be a number between 0 and 1{'' if closed else ', both excluded'}; got {value!r}."
        )


def _check_numbers(y_proba: Any) -> np.ndarray:
    p = np.asarray(y_proba)
    if p.ndim == 2 and p.shape[1] == 1:
        p = p.ravel()
    if p.ndim not in {1, 2} or (p.ndim == 2 and p.shape[1] != 2):
        raise ValueError(f"y_proba must be of shape (n_samples,) or (n_samples, 2); got {p.shape}.")
    try:
        p = p if p.dtype in {np.dtype(np.float32), np.dtype(np.float64)} else p.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y_proba must be numbers between 0 and 1: {error}.") from error
    outside = ~((p >= 0) & (p <= 1))
    _refuse("y_proba must lie between 0 and 1", p, outside if p.ndim == 1 else outside.any(axis=1))
    if p.ndim == 2:
        _refuse("y_proba must add up to 1 in each row", p, np.abs(p.sum(axis=1, dtype=np.float64) - 1) > 1e-3)
    return p


def _check_patients(groups: Any, n_samples: int) -> Patients:
    if groups is None:
        return Patients(np.arange(n_samples), n_samples)
    groups = column_or_1d(groups)
    if len(groups) != n_samples:
        raise ValueError(f"groups must name a patient for each of {n_samples} images; got {len(groups)}.")
    _refuse("groups must name a patient for each image", groups, _are_missing(groups))
    try:
        kept, codes = np.unique(groups, return_inverse=True)
    except TypeError:  # names and numbers among each other
        kept, codes = np.unique([f"{type(group).__name__} {group}" for group in groups], return_inverse=True)
    return Patients(codes, len(kept))


def is_missing(value: Any) -> bool:
    """Tell whether a value is None, nan, NaT or pandas.NA."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124
    except TypeError:  # of pandas.NA nobody knows what it is equal to
        return True


def _are_missing(values: np.ndarray) -> np.ndarray:
    return np.array([is_missing(value) for value in values.tolist()], bool)


def _refuse(expected: str, values: np.ndarray, wrong: Any) -> None:
    if wrong.any():
        items = ", ".join(f"[{i}] {_plain(values[i])!r}" for i in np.flatnonzero(wrong))
        raise ValueError(f"{expected}; {np.count_nonzero(wrong)} of {len(values)} do not: {items}.")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
