"""Splits that keep a patient on one side, the patient read from the name of the file."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.duplicates import exact_pairs, near_pairs, read_fingerprint
from skpneumo._images.inputs import as_images, as_paths
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import label_of, name_of
from skpneumo.exceptions import ImageReadError

__all__ = ["Overlap", "PatientGroupKFold", "check_splits", "patient_ids", "patient_train_test_split"]


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
    images = as_images(paths)
    if images is None:
        raise ValueError(
            f"Patients are read from paths of images, but {type(paths).__name__} holds none: pass them as groups."
        )
    keys = [patient_key(name_of(image) or "") for image in images]
    unknown = [f"X[{i}] {label_of(images[i])!r}" for i, key in enumerate(keys) if key is None]
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


class Overlap(NamedTuple):
    """An image of the training set and one of the test set that should not stand on two sides.

    Parameters
    ----------
    kind : {"same file", "same pixels", "near duplicate", "shared patient"}
        What the two have in common.
    train, test : str
        Paths of the two.
    patient : object or None
        The patient, where both are known to be of the same.
    similarity : float or None
        How well details of the two agree, up to 1 for equal pixels; None where they were not compared.

    See Also
    --------
    check_splits : Finds them.

    Examples
    --------
    >>> from skpneumo.model_selection import Overlap
    >>> Overlap("shared patient", "IM-0001-0001.jpeg", "IM-0001-0002.jpeg", "IM-0001", None).kind
    'shared patient'
    """

    kind: str
    train: str
    test: str
    patient: Any
    similarity: float | None


def check_splits(
    train: Any,
    test: Any,
    *,
    train_groups: Any = None,
    test_groups: Any = None,
    near: bool = True,
    n_jobs: int | None = None,
) -> list[Overlap]:
    """Find what a training set and a test set have in common: duplicates, near duplicates and patients.

    Near duplicates show the same film: compressed or scaled anew, brighter or darker, of more or less contrast, framed
    or cropped by some 3 % of the sides. Turned, mirrored and inverted copies are not found. Films of one patient taken
    one after the other are no duplicates, but they share a patient. Where a side is shorter than 64 pixels, more
    agreement is asked for, and copies that lost much are missed.

    Parameters
    ----------
    train, test : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        Paths of images, str or pathlib.Path.
    train_groups, test_groups : array-like of shape (n_samples,), default=None
        Patients; pass both or none. None reads them from the names of the files, see :func:`patient_ids`; a file
        whose name does not tell, and a patient that is None or NaN, shares none.
    near : bool, default=True
        Whether images are decoded and compared. Otherwise files alone are, byte by byte, which is faster.
    n_jobs : int, default=None
        Threads that read images; None means 1 unless in a ``joblib.parallel_config``.

    Returns
    -------
    list of Overlap
        A named tuple ``(kind, train, test, patient, similarity)`` for each pair of images and each kind: "same file"
        (the same bytes), "same pixels", "near duplicate" and "shared patient", in this order. A pair is listed under
        the first of the first three that holds. Empty where nothing was found. ``pandas.DataFrame`` makes a table.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them, of both sets.
    ValueError
        `train` or `test` are no paths, or the patients of one of them alone are given.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.model_selection import check_splits, patient_train_test_split
    >>> with TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(12, folder, image_size=64, random_state=0, return_X_y=True)
    ...     X_train, X_test, y_train, y_test = patient_train_test_split(X, y, random_state=0)
    ...     clean, leaking = check_splits(X_train, X_test), check_splits(X_train, X_train[:1])
    >>> len(clean), leaking[0].kind
    (0, 'same file')
    """
    sides = {"train": _paths_of("train", train), "test": _paths_of("test", test)}
    if (train_groups is None) != (test_groups is None):
        raise ValueError("Pass patients of both sets, train_groups and test_groups, or of neither.")
    patients = _patients(sides["train"], train_groups), _patients(sides["test"], test_groups)
    overlaps = []
    for kind, i, j, similarity in [*_duplicates(sides, near, n_jobs), *_shared(*patients)]:
        patient = patients[0][i] if patients[0][i] == patients[1][j] else None
        overlaps.append(Overlap(kind, sides["train"][i], sides["test"][j], patient, similarity))
    return overlaps


def _paths_of(name: str, images: Any) -> list[str]:
    paths = as_paths(images) if _num_samples(images) else None
    if paths is None:
        raise ValueError(f"{name} must hold paths of images, but {type(images).__name__} holds none.")
    return paths


def _patients(paths: list[str], groups: Any) -> list[Any]:
    """Patients of images, None where they are not known."""
    if groups is None:
        return [patient_key(path) for path in paths]
    given = column_or_1d(np.asarray(groups, dtype=object))
    check_consistent_length(paths, given)
    return [None if patient is None or patient != patient else patient for patient in given]  # noqa: PLR0124


_Pair = tuple[str, int, int, float | None]  # kind, position in train and in test, similarity


def _shared(train: list[Any], test: list[Any]) -> Iterator[_Pair]:
    where = defaultdict(list)
    for j, patient in enumerate(test):
        where[patient].append(j)
    for i, patient in enumerate(train):
        if patient is not None:
            yield from (("shared patient", i, j, None) for j in where.get(patient, ()))


def _duplicates(sides: dict[str, list[str]], near: bool, n_jobs: int | None) -> list[_Pair]:
    paths = [*sides["train"], *sides["test"]]
    distinct = list(dict.fromkeys(paths))
    read = Parallel(n_jobs, prefer="threads")(delayed(read_fingerprint)(path, near) for path in distinct)
    of = dict(zip(distinct, read, strict=True))
    failures = [(i, path, of[path]) for i, path in enumerate(paths) if isinstance(of[path], str)]
    if failures:
        raise ImageReadError(failures, {name: len(side) for name, side in sides.items()})
    train, test = ([of[path] for path in side] for side in sides.values())
    equal = exact_pairs(train, test)
    known = {(i, j) for i, j, _ in equal}
    pairs: list[_Pair] = [("same file", i, j, 1.0) for i, j, same_file in equal if same_file]
    pairs += [("same pixels", i, j, 1.0) for i, j, same_file in equal if not same_file]
    if near:
        pairs += [("near duplicate", i, j, value) for i, j, value in near_pairs(train, test) if (i, j) not in known]
    return pairs
