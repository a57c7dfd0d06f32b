"""Leakage guard: what a fit has seen, remembered as short digests, and recognised when the model is judged."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.inputs import images_if_any
from skpneumo._images.patients import patient_key
from skpneumo._images.sources import Source, name_of
from skpneumo._utils.meta_estimators import find_all
from skpneumo.exceptions import LeakageWarning

Seen = dict[str, np.ndarray]  # "images" and "patients", sorted uint64, and the "salt" of the latter

_BYTES = 8  # among 10,000 images and as many others, two meet by chance with a probability of 5e-12
_SALT_BYTES = hashlib.blake2b.SALT_SIZE
_LISTED = 5
_MOST_COLUMNS = 64


def names_of(images: Sequence[Source] | None, groups: Iterable[Any] | None, n: int) -> list[set[str]]:
    """Name the patient of each of `n` images: as given, and as its file name tells."""
    names: list[set[str]] = [set() for _ in range(n)]
    for i, group in enumerate(groups if groups is not None else ()):
        names[i].add(_name(group))
    for i, image in enumerate(images or ()):
        names[i].update(filter(None, [patient_key(name_of(image) or "")]))
    return names


def remember(contents: Iterable[bytes], patients: Iterable[str], before: Seen | None = None) -> Seen:
    """Note digests of images and names of patients, beside those of `before`.

    The salt is made of the first images, or rows of features, seen. So equal fits give equal models, and what a list of
    names was hashed to for one model is of no use for another.
    """
    images = _numbers(contents)
    salt = before["salt"] if before else np.frombuffer(_digest(images.tobytes(), _SALT_BYTES), np.uint8).copy()
    names = _named(sorted(set(patients)), salt)
    if before:
        images, names = np.union1d(before["images"], images), np.union1d(before["patients"], names)
    return {"images": images, "patients": np.sort(names), "salt": salt}


def recognise(seen: Seen, contents: Mapping[int, bytes], patients: Sequence[set[str]]) -> np.ndarray:
    """Tell of each image whether it was seen, and whether a patient of it was: bool of shape (n_images, 2).

    `contents` are the digests of images by position; of some there may be none.
    """
    known = np.zeros((len(patients), 2), bool)
    numbers = np.array([_number(content) for content in contents.values()], np.uint64)
    known[list(contents), 0] = np.isin(numbers, seen["images"])
    names = sorted(set().union(*patients))
    is_familiar = np.isin(_named(names, seen["salt"]), seen["patients"])
    familiar = {name for name, is_in in zip(names, is_familiar, strict=True) if is_in}
    known[:, 1] = [bool(of_image & familiar) for of_image in patients]
    return known


def seen_by(estimator: Any, X: Any, groups: Any = None) -> np.ndarray | None:
    """Tell of each image whether any model in `estimator` was trained on it, and whether on its patient.

    Patients are known by `groups`, or else by the names of files. The result is bool of shape (n_images, 2); None where
    there is no such model.
    """
    models = list(models_within(estimator))
    if not models:
        return None
    contents = models[0]._contents(X)
    n = _num_samples(X)
    names = names_of(images_if_any(X), None, n) if groups is None else names_of(None, column_or_1d(groups), n)
    return np.any([recognise(model.seen_, contents, names) for model in models], axis=0)


def can_compare(estimator: Any, X: Any) -> bool:
    """Tell whether any model in `estimator` was trained on what `X` holds, images or features.

    Digests of images are never those of features, so nothing is found where the two differ.
    """
    has_images = images_if_any(X) is not None
    return any(has_images == (model.backbone_fingerprint_ is not None) for model in models_within(estimator))


def warn_of_seen(estimator: Any, X: Any, groups: Any = None, *, stacklevel: int = 3) -> None:
    """Warn if images of `X`, or their patients, were in the training of any model in `estimator`."""
    known = seen_by(estimator, X, groups)
    if known is not None:
        warn_of(known, stacklevel=stacklevel + 1)


def warn_of(known: np.ndarray, *, stacklevel: int = 3) -> None:
    """Warn of what `seen_by` has found."""
    images, patients = known.sum(axis=0)
    if images or patients:
        found = np.flatnonzero(known.any(axis=1))
        listed = ", ".join(f"X[{i}]" for i in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
        warnings.warn(
            f"{images} of {len(known)} images were in the training of this model, and of {patients} a patient was "
            f"({listed}): what comes out flatters it. Judge it on images of other patients; check_splits of "
            "skpneumo.model_selection finds what two sets share.",
            LeakageWarning,
            stacklevel=stacklevel,
        )


def models_within(estimator: Any) -> list[Any]:
    """List the fitted models of this package in an estimator, whatever they are wrapped in."""
    return find_all(estimator, lambda each: hasattr(each, "seen_") and hasattr(each, "_contents"))


def row_digests(features: np.ndarray) -> list[bytes]:
    """Name rows of numbers by what they hold, or by some of it, evenly spread."""
    columns = np.unique(np.linspace(0, features.shape[1] - 1, _MOST_COLUMNS).astype(int))
    some = np.ascontiguousarray(features[:, columns], np.float32)
    return [_digest(row.tobytes(), _BYTES) for row in some]


def _digest(data: bytes, size: int, salt: bytes = b"") -> bytes:
    return hashlib.blake2b(data, digest_size=size, salt=salt).digest()


def _number(content: bytes) -> int:
    return int.from_bytes(content[:_BYTES], "little")


def _numbers(contents: Iterable[bytes]) -> np.ndarray:
    return np.array(sorted(set(map(_number, contents))), np.uint64)


def _named(names: Sequence[str], salt: np.ndarray) -> np.ndarray:
    digests = [_number(_digest(name.encode("utf-8", "surrogateescape"), _BYTES, salt.tobytes())) for name in names]
    return np.array(digests, np.uint64)


def _name(group: Any) -> str:
    """Write a patient alike whatever container it was in: pandas makes 7.0 of 7."""
    is_whole = isinstance(group, (float, np.floating)) and float(group).is_integer()
    return str(int(group)) if is_whole else str(group)
