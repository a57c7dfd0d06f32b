"""Patients of images: read from file names or DICOM headers, found by a pattern, or given."""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from skpneumo._images.dicom_patients import patient_of
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import Source, label_of, name_of
from skpneumo._utils.messages import list_items, shortened


def as_groups(groups: Any, X: Any) -> Any:
    """Return `groups`, or the patients of the images in `X` if it is a regular expression."""
    return find_patients(X, groups) if isinstance(groups, str) else groups


def check_one_column(groups: Any, name: str = "groups") -> None:
    """Raise ValueError if `groups` is not of shape (n_samples,) or (n_samples, 1)."""
    shape = np.asarray(groups, dtype=object).shape
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"{name} must contain one patient per image, in shape (n_samples,); got shape {shape}.")


def check_groups(groups: Any, n: int, name: str = "groups", *, may_be_missing: bool = False) -> np.ndarray:
    """Return `groups` as an array of one patient for each of `n` images, None if missing.

    Raises
    ------
    ValueError
        If `groups` has several columns or another length, or if values are missing but must not be.
    """
    check_one_column(groups, name)
    values = column_or_1d(groups, dtype=object)  # a list with nan and strings would become strings
    if len(values) != n:
        raise ValueError(f"{name} must contain one patient per image, but it has {len(values)} values for {n} images.")
    missing = [i for i, value in enumerate(values.tolist()) if is_missing(value)]
    if may_be_missing:
        return np.array([None if is_missing(value) else value for value in values.tolist()], dtype=object)
    if missing:
        raise ValueError(
            f"{name} must contain one patient per image, but values are missing at positions {list_items(missing)}: "
            "pass an identifier for each patient."
        )
    return column_or_1d(groups)


def is_missing(value: Any) -> bool:
    """Return whether a value is None, nan, NaT or pandas.NA."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124
    except TypeError:  # pandas.NA has no truth value
        return True


def find_patients(X: Any, pattern: str | None = None, salt: str | bytes | None = None) -> np.ndarray:
    """Return the patient of each image in `X`, from its file name or DICOM header, or by a pattern in its path.

    Raises
    ------
    ValueError
        If images have no patient, `X` has no images, or the pattern is invalid.
    """
    images = as_images(X)
    if images is None:
        raise ValueError(
            f"Expected paths of images to read patients from, but {type(X).__name__} contains none: pass the "
            "patients as groups."
        )
    if pattern is None:
        keys = [patient_of(image, salt) for image in images]
    else:
        keys = list(map(_Pattern(pattern), (name_of(image) or "" for image in images)))
    unknown = [
        f"X[{position}] {label_of(image)!r}"
        for position, image, key in zip(images.positions, images, keys, strict=True)
        if not key
    ]
    if unknown and pattern is None:
        raise ValueError(
            "Expected file names such as 'person1_bacteria_2.jpeg' or 'IM-0115-0001.jpeg', or DICOM files, but "
            f"{len(unknown)} of {len(images)} contain no patient: {list_items(unknown, max_length=300)}. Pass a "
            "pattern that finds the patient in the path, or the patients as groups."
        )
    if unknown:
        raise ValueError(
            f"The pattern {pattern!r} finds no patient in {len(unknown)} of {len(images)} paths: "
            f"{list_items(unknown, max_length=300)}. Change the pattern, or pass the patients as groups."
        )
    return np.array(keys, dtype=object)


def patients_by_name(images: Sequence[Source]) -> np.ndarray:
    """Return the patient in each file name or DICOM header; an image without one counts as a separate patient."""
    keys = [
        patient_of(image) or (os.path.abspath(image) if isinstance(image, str) else f"X[{i}]")
        for i, image in enumerate(images)
    ]
    return np.array(keys, dtype=object)


class _Pattern:
    """Regular expression that finds the patient in a path."""

    def __init__(self, pattern: Any) -> None:
        try:
            if isinstance(pattern, bytes):
                raise TypeError("expected str, not bytes")
            self.compiled = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"Expected a regular expression that finds the patient in a path; got {shortened(repr(pattern))}: "
                f"{error}."
            ) from None
        if "patient" not in self.compiled.groupindex and self.compiled.groups != 1:
            raise ValueError(
                "The pattern must have one group, or a group named 'patient' such as '(?P<patient>P[0-9]+)'; got "
                f"{pattern!r}, which has {self.compiled.groups} groups."
            )
        self.group: str | int = "patient" if "patient" in self.compiled.groupindex else 1

    def __call__(self, path: str) -> str | None:
        match = self.compiled.search(path.replace("\\", "/"))
        return match and match[self.group]
