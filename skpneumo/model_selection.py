"""Splits that keep a patient on one side, the patient read from the name of the file."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import column_or_1d

from skpneumo._inputs import as_paths
from skpneumo._patients import patient_key

__all__ = ["PatientGroupKFold", "patient_ids", "patient_train_test_split"]


def patient_ids(paths: Any) -> np.ndarray:
    """Read the patient of each image from the name of its file.

    The names of Kermany's data are known: "person78_bacteria_380.jpeg" is of "person78_bacteria" (numbers are given
    anew for each kind of pneumonia, so the bare number is not a patient), "IM-0115-0001.jpeg" of "IM-0115" and
    "NORMAL2-IM-0383-0001.jpeg" of "NORMAL2-IM-0383".

    Parameters
    ----------
    paths : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        Paths of images, str or pathlib.Path.

    Returns
    -------
    ndarray of shape (n_samples,), object
        Patients.

    Raises
    ------
    ValueError
        Some names do not tell the patient; it names all of them. Pass patients of your own as ``groups`` then.

    Examples
    --------
    >>> from skpneumo.model_selection import patient_ids
    >>> patient_ids(["train/PNEUMONIA/person78_bacteria_380.jpeg", "IM-0115-0001.jpeg"])
    array(['person78_bacteria', 'IM-0115'], dtype=object)
    """
    known = as_paths(paths)
    if known is None:
        raise ValueError(
            f"Patients are read from paths of images, but {type(paths).__name__} holds none: pass them as groups."
        )
    keys = [patient_key(path) for path in known]
    unknown = [f"X[{i}] {path!r}" for i, (path, key) in enumerate(zip(known, keys, strict=True)) if key is None]
    if unknown:
        raise ValueError(
            "The patient cannot be read from the names of these files; expected 'person1_bacteria_2.jpeg' "
            f"or 'IM-0115-0001.jpeg', or patients passed as groups: {', '.join(unknown)}."
        )
    return np.array(keys, dtype=object)


class PatientGroupKFold(StratifiedGroupKFold):
    """Stratified folds that keep all images of a patient on one side.

    ``StratifiedGroupKFold`` that reads the groups from the paths in ``X`` when none are given. So it keeps patients
    apart where a meta-estimator splits by itself and hands on no groups: ``CalibratedClassifierCV``,
    ``TunedThresholdClassifierCV``, stacking.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether patients are shuffled before they are dealt out.
    random_state : int, RandomState instance or None, default=None
        Draws the order, where `shuffle` is True.

    See Also
    --------
    patient_ids : How a patient is read from a path.

    Examples
    --------
    >>> from skpneumo.model_selection import PatientGroupKFold
    >>> X = ["IM-0001-0001.jpeg", "IM-0001-0002.jpeg", "IM-0003-0001.jpeg",
    ...      "person1_virus_1.jpeg", "person1_virus_2.jpeg", "person2_virus_3.jpeg"]
    >>> for train, test in PatientGroupKFold(2).split(X, [0, 0, 0, 1, 1, 1]):
    ...     print(train, test)
    [2 3 4] [0 1 5]
    [0 1 5] [2 3 4]
    """

    def __init__(self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None) -> None:
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate indices of training and test images.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame; or matrix
            Paths of images; or anything with `n_samples` items where `groups` are given.
        y : array-like of shape (n_samples,)
            Labels to stratify by.
        groups : array-like of shape (n_samples,), default=None
            Patients; None reads them from the paths.

        Yields
        ------
        train, test : ndarray of int
            Indices of one fold.
        """
        return super().split(X, y, patient_ids(X) if groups is None else groups)


def patient_train_test_split(
    X: Any, y: Any, *, groups: Any = None, test_size: float = 0.25, random_state: Any = None
) -> list[Any]:
    """Split images into training and test set with every patient on one side, stratified.

    Parameters
    ----------
    X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame; or matrix
        Paths of images; or anything with `n_samples` items where `groups` are given.
    y : array-like of shape (n_samples,)
        Labels. A patient with several of them is stratified by the most frequent.
    groups : array-like of shape (n_samples,), default=None
        Patients; None reads them from the paths.
    test_size : float, default=0.25
        Share of the patients that become test patients, between 0 and 1; of images it is about the same.
    random_state : int, RandomState instance or None, default=None
        Draws the patients.

    Returns
    -------
    list of X_train, X_test, y_train, y_test
        In the containers of `X` and `y`.

    Examples
    --------
    >>> from skpneumo.model_selection import patient_train_test_split
    >>> X = [f"IM-{n}-{i}.jpeg" for n in range(4) for i in range(2)]
    >>> X += [f"person{n}_virus_{i}.jpeg" for n in range(4) for i in range(2)]
    >>> X_train, X_test, y_train, y_test = patient_train_test_split(X, [0] * 8 + [1] * 8, random_state=0)
    >>> len(X_train), sorted(y_test)
    (12, [0, 0, 1, 1])
    """
    groups = patient_ids(X) if groups is None else column_or_1d(groups)
    labels = column_or_1d(y)
    check_consistent_length(X, labels, groups)
    patients, patient_of = np.unique(groups, return_inverse=True)
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(patients), len(classes)), int)
    np.add.at(counts, (patient_of, codes), 1)
    _, test_patients = train_test_split(
        np.arange(len(patients)), test_size=test_size, stratify=counts.argmax(axis=1), random_state=random_state
    )
    in_test = np.isin(patient_of, test_patients)
    sides = [np.flatnonzero(~in_test), np.flatnonzero(in_test)]
    return [_safe_indexing(container, side) for container in (X, y) for side in sides]
