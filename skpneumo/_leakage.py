"""Leakage detection: digests of training images and patients, compared with evaluation data."""

import hashlib
import multiprocessing
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.groups import as_groups
from skpneumo._images.inputs import images_if_any
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import Source, name_of
from skpneumo._utils.callers import LIBRARIES, call_by_sklearn, outermost_loop, splits_of_clone
from skpneumo._utils.messages import stacklevel_of_user
from skpneumo._utils.meta_estimators import find_all
from skpneumo.exceptions import LeakageWarning

Seen = dict[str, np.ndarray]  # sorted uint64 digests of "images" and "patients", and the "salt" of the latter

_BYTES = 8  # collision probability is 5e-12 for 10,000 training images and 10,000 others
_SALT_BYTES = hashlib.blake2b.SALT_SIZE
_N_SHOWN = 5
_MAX_COLUMNS = 64

_BY_GROUP = (GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, LeavePGroupsOut, StratifiedGroupKFold)

# The texts are constant, so that Python shows them once for each line of the user.
_SHARED = (
    "Images of the same patient are in both the training set and the test set of a split: the model can recognize the "
    "patient instead of the disease, and scores, thresholds and calibration are optimistically biased. Split by "
    "patient with cv=PatientGroupKFold() from skpneumo.model_selection, or with another splitter and groups."
)
_SCORED = (
    "The model is evaluated on images, or on other images of patients, of its training set: scores are optimistically "
    "biased. Evaluate on images of other patients; skpneumo.model_selection.check_splits finds overlaps between two "
    "sets."
)
_shown: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()  # by search or cross-validation
_patients_of: weakref.WeakKeyDictionary[Any, np.ndarray] = weakref.WeakKeyDictionary()


def names_of(images: Sequence[Source] | None, groups: Iterable[Any] | None, n: int) -> list[set[str]]:
    """Collect the patients of each of `n` images, from `groups` and from the file name."""
    names: list[set[str]] = [set() for _ in range(n)]
    for i, group in enumerate(groups if groups is not None else ()):
        names[i].add(_patient_name(group))
    for i, image in enumerate(images or ()):
        names[i].update(filter(None, [patient_key(name_of(image) or "")]))
    return names


def remember(contents: Iterable[bytes], patients: Iterable[str], before: Seen | None = None) -> Seen:
    """Add digests of images and patients to those in `before`.

    The salt is derived from the first images or rows of features, so that equal fits give equal models and hashes of
    names are useless for other models.
    """
    images = _to_ints(contents)
    salt = before["salt"] if before else np.frombuffer(_digest(images.tobytes(), _SALT_BYTES), np.uint8).copy()
    names = _patient_digests(sorted(set(patients)), salt)
    if before:
        images, names = np.union1d(before["images"], images), np.union1d(before["patients"], names)
    return {"images": images, "patients": np.sort(names), "salt": salt}


def find_seen(seen: Seen, contents: Mapping[int, bytes], patients: Sequence[set[str]]) -> np.ndarray:
    """Return a bool array of shape (n_images, 2): whether each image, and whether its patient, was seen in training.

    `contents` maps positions of images to digests; positions may be missing.
    """
    known = np.zeros((len(patients), 2), bool)
    digests = np.array([_to_int(content) for content in contents.values()], np.uint64)
    known[list(contents), 0] = np.isin(digests, seen["images"])
    names = sorted(set().union(*patients))
    is_known = np.isin(_patient_digests(names, seen["salt"]), seen["patients"])
    known_names = {name for name, is_in in zip(names, is_known, strict=True) if is_in}
    known[:, 1] = [bool(of_image & known_names) for of_image in patients]
    return known


def seen_by(estimator: Any, X: Any, groups: Any = None) -> np.ndarray | None:
    """Return whether any model in `estimator` was trained on each image, and whether on its patient.

    Patients are taken from `groups`, which may be a pattern, or, if None, from the file names. The result is a bool
    array of shape (n_images, 2), or None if there is no model.
    """
    models = list(models_within(estimator))
    if not models:
        return None
    contents, names = models[0]._contents(X), _patients(X, groups)
    return np.any([find_seen(model.seen_, contents, names) for model in models], axis=0)


def can_compare(estimator: Any, X: Any) -> bool:
    """Return whether any model in `estimator` was trained on the same kind of data as `X`, images or features.

    Digests of images and features never match, so nothing is found if the kinds differ.
    """
    has_images = images_if_any(X) is not None
    return any(has_images == (model.backbone_fingerprint_ is not None) for model in models_within(estimator))


def warn_of_seen(estimator: Any, X: Any, groups: Any = None, *, stacklevel: int = 3) -> None:
    """Warn if images of `X` or their patients were used to train any model in `estimator`."""
    known = seen_by(estimator, X, groups)
    if known is not None:
        warn_of(known, stacklevel=stacklevel + 1)


def warn_of(known: np.ndarray, *, stacklevel: int = 3) -> None:
    """Issue a `LeakageWarning` for the result of `seen_by`."""
    images, patients = known.sum(axis=0)
    if images or patients:
        found = np.flatnonzero(known.any(axis=1))
        listed = ", ".join(f"X[{i}]" for i in found[:_N_SHOWN]) + (", ..." if len(found) > _N_SHOWN else "")
        warnings.warn(
            f"{images} of {len(known)} images are in the training set, and {patients} of {len(known)} images are of "
            f"patients in the training set ({listed}): scores are optimistically biased. Evaluate on images of other "
            "patients; skpneumo.model_selection.check_splits finds overlaps between two sets.",
            LeakageWarning,
            stacklevel=stacklevel,
        )


class SplitCheckMixin:
    """Mixin for estimators that warn if scikit-learn fits and evaluates them on images of the same patients.

    The check is part of `clone`, which cross-validation calls for each split, and always in the process of the user:
    warnings in a worker process are neither caught nor counted with those of the others.
    """

    def __sklearn_clone__(self) -> Any:
        warn_of_splits()
        return super().__sklearn_clone__()  # type: ignore[misc]


def warn_of_splits() -> None:
    """Warn if scikit-learn is cloning an estimator for a split with the same patients on both sides."""
    try:
        splits = splits_of_clone()
        if splits is None or isinstance(getattr(splits.cv, "base_cv", splits.cv), _BY_GROUP):  # of halving searches
            return
        patients = _patients_of.get(splits.loop)
        if patients is None:
            patients = _patients_of[splits.loop] = _numbered(_patients(splits.X, splits.groups))
        shared = [np.intersect1d(patients[train], patients[test]) for train, test in splits.pairs]
    except Exception:  # invalid images, groups or splits, for which fit raises, or another version of scikit-learn
        return
    if (np.concatenate(shared) >= 0).any():
        _warn_once(_SHARED)


def warn_of_scorer(estimator: Any, X: Any) -> None:
    """Warn if a scorer of scikit-learn calls, and images of `X` or their patients were used to train the model.

    Splits are excluded, since `warn_of_splits` has checked them.
    """
    if call_by_sklearn() == "scorer":
        known = seen_by(estimator, X)
        if known is not None and known.any():
            _warn_once(_SCORED)


def _warn_once(message: str) -> None:
    """Issue a `LeakageWarning` at the line of the user, once in a search or cross-validation, and in a worker process.

    scikit-learn resets the filters of warnings in each fit, so that Python would show all of them.
    """
    caller = multiprocessing.parent_process() or outermost_loop()
    shown = set() if caller is None else _shown.setdefault(caller, set())
    if message not in shown:
        shown.add(message)
        warnings.warn(message, LeakageWarning, stacklevel=stacklevel_of_user(LIBRARIES))


def _patients(X: Any, groups: Any) -> list[set[str]]:
    """Return the patients of each image, from `groups`, which may be a pattern, or, if None, from the file names."""
    groups = as_groups(groups, X)
    n = _num_samples(X)
    return names_of(images_if_any(X), None, n) if groups is None else names_of(None, column_or_1d(groups), n)


def _numbered(patients: Iterable[set[str]]) -> np.ndarray:
    """Return a number for each patient, and -1 where there is none."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(min(names), len(numbers)) if names else -1 for names in patients])


def models_within(estimator: Any) -> list[Any]:
    """List the fitted models of this package in an estimator, including nested ones."""
    return find_all(estimator, lambda each: hasattr(each, "seen_") and hasattr(each, "_contents"))


def row_digests(features: np.ndarray) -> list[bytes]:
    """Compute a digest of each row, from at most 64 evenly spaced columns."""
    columns = np.unique(np.linspace(0, features.shape[1] - 1, _MAX_COLUMNS).astype(int))
    sampled = np.ascontiguousarray(features[:, columns], np.float32)
    return [_digest(row.tobytes(), _BYTES) for row in sampled]


def _digest(data: bytes, size: int, salt: bytes = b"") -> bytes:
    return hashlib.blake2b(data, digest_size=size, salt=salt).digest()


def _to_int(content: bytes) -> int:
    return int.from_bytes(content[:_BYTES], "little")


def _to_ints(contents: Iterable[bytes]) -> np.ndarray:
    return np.array(sorted(set(map(_to_int, contents))), np.uint64)


def _patient_digests(names: Sequence[str], salt: np.ndarray) -> np.ndarray:
    digests = [_to_int(_digest(name.encode("utf-8", "surrogateescape"), _BYTES, salt.tobytes())) for name in names]
    return np.array(digests, np.uint64)


def _patient_name(group: Any) -> str:
    """Write the patient as a string, with 7.0 as 7, since pandas may convert integers to floats."""
    is_whole = isinstance(group, (float, np.floating)) and float(group).is_integer()
    return str(int(group)) if is_whole else str(group)
