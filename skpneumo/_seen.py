"""Leakage guard: what a fit has seen, remembered as short digests, and recognised when the model is judged."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skpneumo._patients import patient_key
from skpneumo.exceptions import LeakageWarning

Seen = dict[str, np.ndarray]  # "images" and "patients", sorted uint64, and the "salt" of the latter

_BYTES = 8  # among 10,000 images and as many others, two meet by chance with a probability of 5e-12
_SALT_BYTES = hashlib.blake2b.SALT_SIZE
_LISTED = 5
_PACKAGES = ("imblearn", "sklearn", "skpneumo")  # whose objects may hold fitted models


def names_of(paths: Sequence[str] | None, groups: Iterable[Any] | None, n: int) -> list[set[str]]:
    """Name the patient of each of `n` images: as given, and as its file name tells."""
    names: list[set[str]] = [set() for _ in range(n)]
    for i, group in enumerate(groups if groups is not None else ()):
        names[i].add(str(group))
    for i, path in enumerate(paths or ()):
        names[i].update(filter(None, [patient_key(path)]))
    return names


def remember(contents: Iterable[bytes], patients: Iterable[str], before: Seen | None = None) -> Seen:
    """Note digests of images and names of patients, beside those of `before`.

    The salt is made of the first images seen. So equal fits give equal models, and what a list of names was hashed to
    for one model is of no use for another.
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


def warn_of_seen(estimator: Any, X: Any, groups: Any = None, *, stacklevel: int = 3) -> None:
    """Warn if images of `X`, or their patients, were in the training of any model in `estimator`."""
    known = np.zeros((1, 2), bool)
    for model in models_within(estimator):
        known = known | model._recognise(X, groups)
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


def models_within(estimator: Any) -> Iterator[Any]:
    """Yield the fitted models of this package in an estimator, whatever it is wrapped in."""
    waiting, met = [estimator], set[int]()
    while waiting:
        thing = waiting.pop()
        if id(thing) in met:
            continue
        met.add(id(thing))
        if hasattr(thing, "seen_") and hasattr(thing, "_recognise"):
            yield thing
        elif isinstance(thing, (list, tuple)):
            waiting += thing
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif type(thing).__module__.split(".")[0] in _PACKAGES:
            waiting += vars(thing).values() if hasattr(thing, "__dict__") else ()


def _digest(data: bytes, size: int, salt: bytes = b"") -> bytes:
    return hashlib.blake2b(data, digest_size=size, salt=salt).digest()


def _number(content: bytes) -> int:
    return int.from_bytes(content[:_BYTES], "little")


def _numbers(contents: Iterable[bytes]) -> np.ndarray:
    return np.array(sorted(set(map(_number, contents))), np.uint64)


def _named(names: Sequence[str], salt: np.ndarray) -> np.ndarray:
    digests = [_number(_digest(name.encode("utf-8", "surrogateescape"), _BYTES, salt.tobytes())) for name in names]
    return np.array(digests, np.uint64)
