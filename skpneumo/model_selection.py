"""Splits that keep all images of a patient together."""

from collections import defaultdict
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.dicom_patients import patient_of, reproducible
from skpneumo._images.duplicates import exact_pairs, near_pairs, read_fingerprint
from skpneumo._images.groups import as_groups, check_groups, find_patients
from skpneumo._images.inputs import as_paths
from skpneumo._images.sources import absolute_sources, label_of
from skpneumo._utils.validation import BOOLEAN, N_JOBS, RANDOM_STATE, Finite, validated
from skpneumo.exceptions import ImageReadError

__all__ = ["Overlap", "PatientGroupKFold", "check_splits", "patient_ids", "patient_train_test_split"]


def patient_ids(paths: Any, *, pattern: str | None = None, salt: str | bytes | None = None) -> np.ndarray:
    r"""Extract the patient of each image from its path or DICOM header.

    Without a pattern, file names of the Kermany data are supported: the patient of "person78_bacteria_380.jpeg" is
    "person78_bacteria" (numbers repeat across kinds of pneumonia, so the number alone does not identify a patient),
    that of "IM-0115-0001.jpeg" is "IM-0115", and that of "NORMAL2-IM-0383-0001.jpeg" is "NORMAL2-IM-0383".

    For DICOM files with other names, the patient is a digest of the patient ID in the header, or of the study if there
    is none. The identifiers themselves are not returned.

    Parameters
    ----------
    paths : array-like of shape (n_samples,) or (n_samples, 1)
        Paths of images (str or pathlib.Path) as a list, tuple, Series, ndarray or one-column DataFrame.
    pattern : str, default=None
        Regular expression that finds the patient in the path as given, with ``/`` between folders. The patient is the
        match of the group ``patient``, or of the only group.
    salt : str or bytes, default=None
        Secret that the digests of DICOM patients depend on. If None, it is random and differs between processes. The
        same salt gives the same digests; whoever knows it can test whether a known patient is among them.

    Returns
    -------
    groups : ndarray of shape (n_samples,), object
        Patient of each image.

    Raises
    ------
    ValueError
        If paths and DICOM headers contain no patient. Pass a pattern, or your own patients as ``groups`` instead.

    Examples
    --------
    >>> from skpneumo.model_selection import patient_ids
    >>> patient_ids(["train/PNEUMONIA/person78_bacteria_380.jpeg", "IM-0115-0001.jpeg"])
    array(['person78_bacteria', 'IM-0115'], dtype=object)
    >>> patient_ids(["COVID/P07/front.png", "Normal/P12/a.png"], pattern=r"/(?P<patient>P\d+)/")
    array(['P07', 'P12'], dtype=object)
    """
    return find_patients(paths, pattern, salt)


class PatientGroupKFold(StratifiedGroupKFold):
    """Stratified K-Fold cross-validator with non-overlapping patients.

    A ``StratifiedGroupKFold`` that reads the groups from the paths in ``X`` if none are given. Patients therefore also
    stay apart inside meta-estimators that do not pass groups, such as ``CalibratedClassifierCV``,
    ``TunedThresholdClassifierCV`` and stacking.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds. Must be at least 2.
    shuffle : bool, default=False
        Whether to shuffle the patients before splitting into folds.
    random_state : int, RandomState instance or None, default=None
        When `shuffle` is True, affects the ordering of the patients.
    pattern : str, default=None
        Regular expression that finds the patient in the path, as in :func:`patient_ids`. If None, patients are read
        from the file names of the Kermany data.

    See Also
    --------
    patient_ids : Extract the patient of each image from its path.

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

    @validated(
        n_splits=[Finite(Integral, 2, None, closed="left")],
        shuffle=BOOLEAN,
        random_state=RANDOM_STATE,
    )
    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None, pattern: str | None = None
    ) -> None:
        super().__init__(n_splits=n_splits, shuffle=shuffle, random_state=random_state)
        self.pattern = pattern

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Generate indices to split data into training and test set.

        Parameters
        ----------
        X : array-like of length n_samples
            Paths of images; any data if `groups` is given.
        y : array-like of shape (n_samples,)
            Labels used for stratification.
        groups : array-like of shape (n_samples,) or str, default=None
            Patient of each image, or a pattern that finds it in the path. If None, patients are read as by
            :func:`patient_ids`.

        Yields
        ------
        train : ndarray
            The training set indices for that split.
        test : ndarray
            The testing set indices for that split.
        """
        if groups is None:
            return super().split(X, y, reproducible(find_patients(X, self.pattern)))
        return super().split(X, y, check_groups(as_groups(groups, X), _num_samples(X)))


@validated(test_size=[Finite(Real, 0, 1, closed="neither")], random_state=RANDOM_STATE)
def patient_train_test_split(
    X: Any, y: Any, *, groups: Any = None, test_size: float = 0.25, random_state: Any = None
) -> list[Any]:
    """Split images into stratified training and test sets without shared patients.

    Parameters
    ----------
    X : array-like of length n_samples
        Paths of images; any data if `groups` is given.
    y : array-like of shape (n_samples,)
        Labels. Patients with several labels are stratified by the most frequent one.
    groups : array-like of shape (n_samples,) or str, default=None
        Patient of each image, or a pattern that finds it in the path, as in :func:`patient_ids`. If None, patients are
        read from file names or DICOM headers.
    test_size : float, default=0.25
        The proportion of the patients to include in the test split, between 0 and 1.
    random_state : int, RandomState instance or None, default=None
        Controls which patients are selected.

    Returns
    -------
    splitting : list of X_train, X_test, y_train, y_test
        Train-test split, in the same types of container as `X` and `y`.

    Examples
    --------
    >>> from skpneumo.model_selection import patient_train_test_split
    >>> X = [f"IM-{n}-{i}.jpeg" for n in range(4) for i in range(2)]
    >>> X += [f"person{n}_virus_{i}.jpeg" for n in range(4) for i in range(2)]
    >>> X_train, X_test, y_train, y_test = patient_train_test_split(X, [0] * 8 + [1] * 8, random_state=0)
    >>> len(X_train), sorted(y_test)
    (12, [0, 0, 1, 1])
    """
    labels = column_or_1d(y)
    check_consistent_length(X, labels)
    groups = reproducible(find_patients(X)) if groups is None else check_groups(as_groups(groups, X), len(labels))
    patients, patient_of = np.unique(groups, return_inverse=True)
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(patients), len(classes)), int)
    np.add.at(counts, (patient_of, codes), 1)
    _, test_patients = train_test_split(
        np.arange(len(patients)), test_size=test_size, stratify=counts.argmax(axis=1), random_state=random_state
    )
    in_test = np.isin(patient_of, test_patients)
    train_test = [np.flatnonzero(~in_test), np.flatnonzero(in_test)]
    return [_safe_indexing(container, indices) for container in (X, y) for indices in train_test]


class Overlap(NamedTuple):
    """Pair of a training image and a test image that overlap.

    Parameters
    ----------
    kind : {"same file", "same pixels", "near duplicate", "shared patient"}
        Kind of overlap.
    train, test : str
        Paths of the images.
    patient : object or None
        Patient of both images; None if unknown or different.
    similarity : float or None
        Agreement of image details, up to 1 for equal pixels; None if the images were not compared.

    See Also
    --------
    check_splits : Find overlaps between a training set and a test set.

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


@validated(near=BOOLEAN, n_jobs=N_JOBS)
def check_splits(
    train: Any,
    test: Any,
    *,
    train_groups: Any = None,
    test_groups: Any = None,
    near: bool = True,
    n_jobs: int | None = None,
) -> list[Overlap]:
    """Find duplicates, near duplicates and patients shared by a training set and a test set.

    Near duplicates are copies of the same image after compression, scaling, a change of brightness or contrast, or
    framing or cropping by up to about 3 % of the sides. Rotated, mirrored and inverted copies are not found.
    Consecutive images of a patient are no duplicates, but share a patient. Images with a side shorter than 64 pixels
    need closer agreement, so strongly degraded copies are missed.

    Parameters
    ----------
    train, test : array-like of shape (n_samples,) or (n_samples, 1)
        Paths of images (str or pathlib.Path) as a list, tuple, Series, ndarray or one-column DataFrame.
    train_groups, test_groups : array-like of shape (n_samples,) or str, default=None
        Patient of each image, or a pattern that finds it in the path; pass both or neither. If None, patients are read
        from file names or DICOM headers, see :func:`patient_ids`; images without a patient there share
        none. An image whose patient is None or NaN shares none either.
    near : bool, default=True
        Whether to decode and compare images. If False, only compare files byte by byte, which is faster.
    n_jobs : int, default=None
        Number of threads that read images. None means 1 unless in a ``joblib.parallel_config`` context.

    Returns
    -------
    overlaps : list of Overlap
        A named tuple ``(kind, train, test, patient, similarity)`` for each pair of images and each kind, in the order
        "same file" (the same bytes), "same pixels", "near duplicate" and "shared patient". Of the first three kinds,
        only the first that applies is listed. ``pandas.DataFrame(overlaps)`` converts the list to a table.

    Raises
    ------
    ImageReadError
        If images cannot be read. The error lists all of them, from both sets.
    ValueError
        If `train` or `test` contains no paths, or only one of `train_groups` and `test_groups` is given.

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
    sets = {"train": _paths_of("train", train), "test": _paths_of("test", test)}
    if (train_groups is None) != (test_groups is None):
        raise ValueError("Only one of train_groups and test_groups is given: pass both or neither.")
    patients = _patients("train", sets, train_groups), _patients("test", sets, test_groups)
    overlaps = []
    for kind, i, j, similarity in [*_duplicates(sets, near, n_jobs), *_shared(*patients)]:
        patient = patients[0][i] if patients[0][i] == patients[1][j] else None
        overlaps.append(Overlap(kind, sets["train"][i], sets["test"][j], patient, similarity))
    return overlaps


def _paths_of(name: str, images: Any) -> list[str]:
    paths = as_paths(images) if _num_samples(images) else None
    if paths is None:
        raise ValueError(
            f"{name} must contain paths of images, but {type(images).__name__} contains none: "
            "pass the paths of the files."
        )
    return paths


def _patients(name: str, sets: dict[str, list[str]], groups: Any) -> list[Any]:
    """Return the patient of each image of a set, or None if unknown."""
    paths = sets[name]
    if groups is None:
        return list(map(patient_of, paths))
    return list(check_groups(as_groups(groups, paths), len(paths), f"{name}_groups", may_be_missing=True))


_Pair = tuple[str, int, int, float | None]  # kind, position in train, position in test, similarity


def _shared(train: list[Any], test: list[Any]) -> Iterator[_Pair]:
    positions = defaultdict(list)
    for j, patient in enumerate(test):
        positions[patient].append(j)
    for i, patient in enumerate(train):
        if patient is not None:
            yield from (("shared patient", i, j, None) for j in positions.get(patient, ()))


def _duplicates(sets: dict[str, list[str]], near: bool, n_jobs: int | None) -> list[_Pair]:
    paths = [*sets["train"], *sets["test"]]
    distinct = list(dict.fromkeys(paths))
    files = dict(zip(distinct, absolute_sources(distinct), strict=True))
    read = Parallel(n_jobs, prefer="threads")(delayed(read_fingerprint)(file, near) for file in files.values())
    fingerprints = dict(zip(distinct, read, strict=True))
    failures = [
        (i, label_of(files[path]), fingerprints[path])
        for i, path in enumerate(paths)
        if isinstance(fingerprints[path], str)
    ]
    if failures:
        raise ImageReadError(failures, {name: len(paths_of_set) for name, paths_of_set in sets.items()})
    train, test = ([fingerprints[path] for path in paths_of_set] for paths_of_set in sets.values())
    equal = exact_pairs(train, test)
    known = {(i, j) for i, j, _ in equal}
    pairs: list[_Pair] = [("same file", i, j, 1.0) for i, j, same_file in equal if same_file]
    pairs += [("same pixels", i, j, 1.0) for i, j, same_file in equal if not same_file]
    if near:
        pairs += [("near duplicate", i, j, value) for i, j, value in near_pairs(train, test) if (i, j) not in known]
    return pairs
