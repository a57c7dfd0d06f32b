"""Chest X-rays on disk in the folder layout of the Kaggle collection."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skpneumo._images.patients import etiology, patient_key

CLASSES = ("normal", "pneumonia")
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_NESTED = "chest_xray"
SPLITS = ("train", "test", "val")
_SUBSETS = {
    "train": ("train", "val"),
    "test": ("test",),
    "val": ("val",),
    "all": SPLITS,
}
TARGETS = {"diagnosis": CLASSES, "etiology": ("normal", "bacteria", "virus")}

_DESCR = """\
Chest X-rays of children
========================

Anterior-posterior films of children of one to five years from one hospital, sorted into normal and
pneumonia, the latter told apart into bacterial and viral by the file names. The whole collection
holds 5,856 images. It was published by Kermany, Zhang and Goldbaum, "Labeled Optical Coherence
Tomography (OCT) and Chest X-Ray Images for Classification", Mendeley Data,
doi 10.17632/rscbjbr9sj, under CC BY 4.0.

What to know before trusting a score:

- Up to 30 images show the same patient. Split by ``groups``, not by image.
- Some images are exact duplicates of others.
- Labels of the test images were graded with more care than those of the training images.
- In the files as published, colour mode, embedded metadata and aspect ratio give the diagnosis
  away without a look at the lungs.
- One hospital and one age group: a score within this collection says little about another site.

This text describes the published collection; whether the files read are part of it was not checked.
"""


def load_chest_xrays(
    root: str | os.PathLike[str],
    *,
    subset: str = "train",
    target: str = "diagnosis",
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """List the chest X-rays of a folder with their labels and patients.

    No image is opened: what is returned are paths, and the labels that folders and file names
    tell.

    Parameters
    ----------
    root : str or path-like
        Folder that holds ``train``, ``test`` and ``val`` with ``NORMAL`` and ``PNEUMONIA`` in each,
        or ``NORMAL`` and ``PNEUMONIA`` themselves, or a folder ``chest_xray`` that holds either.
        Upper and lower case are the same. Read are ``.bmp``, ``.jpeg``, ``.jpg``, ``.png``,
        ``.tif``, ``.tiff`` and ``.webp`` files; hidden files are passed over.
    subset : {"train", "test", "val", "all"}, default="train"
        Which images. "train" includes the images of ``val``: the collection has 16 of these, too
        few to tune or to measure anything with. Without split folders, all images are "train".
    target : {"diagnosis", "etiology"}, default="diagnosis"
        "diagnosis" is 0 for normal and 1 for pneumonia; "etiology" is 0 for normal, 1 for bacterial
        and 2 for viral pneumonia.
    shuffle : bool, default=True
        Whether to shuffle the images, which are otherwise sorted by path.
    random_state : int, RandomState instance or None, default=0
        Decides the order of shuffled images, which depends on nothing else.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether to return pandas objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : ndarray of shape (n_samples, 1), dtype object
            Paths, one a row. A data frame with the column ``path`` if `as_frame`.
        target : ndarray of shape (n_samples,), dtype int
            Labels. A series if `as_frame`.
        target_names : list of str
            What the labels mean, by value.
        groups : ndarray of shape (n_samples,), dtype object
            Patient of each image. A file whose name does not tell the patient counts as a patient
            of its own, called by its file name.
        etiology : ndarray of shape (n_samples,), dtype object
            "normal", "bacteria", "virus", or "unknown" for a pneumonia whose file name does not
            tell. The folder decides between normal and pneumonia.
        frame : DataFrame or None
            All of this, in the columns ``path``, ``diagnosis`` ("normal" or "pneumonia"),
            ``etiology`` and ``patient``, if `as_frame`.
        DESCR : str
            Origin, licence and pitfalls of the collection.
    (data, target) : tuple if `return_X_y`
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If `root`, or a split or class folder in it, does not exist.
    NotADirectoryError
        If `root` is a file.
    ValueError
        If an option is unknown, no image is found, or the etiology is asked for and some file
        names do not tell it.
    ImportError
        If `as_frame` and pandas is not installed.

    See Also
    --------
    make_chest_xrays : Draw synthetic films in the same layout.

    References
    ----------
    D. Kermany, K. Zhang, M. Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray
    Images for Classification", Mendeley Data, 2018, doi 10.17632/rscbjbr9sj.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import load_chest_xrays, make_chest_xrays
    >>> with TemporaryDirectory() as folder:
    ...     _ = make_chest_xrays(12, folder, image_size=64, random_state=0)
    ...     xrays = load_chest_xrays(folder)
    >>> xrays.data.shape, xrays.target_names
    ((12, 1), ['normal', 'pneumonia'])
    >>> int(xrays.target.sum())
    6
    """
    check_option("subset", subset, _SUBSETS)
    check_option("target", target, TARGETS)
    found = list_images(Path(root).expanduser(), subset)
    if shuffle:
        order = check_random_state(random_state).permutation(len(found))
        found = [found[i] for i in order]
    bunch = build_bunch(found, target=target, as_frame=as_frame)
    return (bunch.data, bunch.target) if return_X_y else bunch


def list_images(root: Path, subset: str) -> list[tuple[Path, str]]:
    """Read the folders: paths and classes of the images of a subset, sorted by path."""
    root = _descend(root)
    if children(root, CLASSES):
        if children(root, SPLITS):
            raise ValueError(f"expected either split folders or class folders in '{root}'. {_found(root)}")
        if subset not in {"train", "all"}:
            raise FileNotFoundError(
                f"subset={subset!r} needs a folder {subset!r} in '{root}', which has no split "
                f"folders: all its images are subset='train'. {_found(root)}"
            )
        splits = [root]
    else:
        splits = _split_folders(root, subset)
    images = [image for split in splits for image in _class_images(split)]
    if not images:
        where = ", ".join(f"'{split}'" for split in splits)
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"no image that ends in {endings} in the class folders of {where}")
    return sorted(images, key=lambda image: image[0].parts)


def build_bunch(found: list[tuple[Path, str]], *, target: str, as_frame: bool) -> Bunch:
    """Compute labels and patients of images whose paths and classes are known."""
    paths = np.array([str(path) for path, _ in found], dtype=object)
    diagnoses = np.array([diagnosis for _, diagnosis in found], dtype=object)
    etiologies = np.array([_etiology(*image) for image in found], dtype=object)
    groups = np.array([patient_key(path) or path.name for path, _ in found], dtype=object)
    names = TARGETS[target]
    if target == "etiology":
        _check_etiology(paths[etiologies == "unknown"])
    words = diagnoses if target == "diagnosis" else etiologies
    bunch = Bunch(
        data=paths.reshape(-1, 1),
        target=np.array([names.index(word) for word in words], dtype=np.int64),
        target_names=list(names),
        groups=groups,
        etiology=etiologies,
        frame=None,
        DESCR=_DESCR,
    )
    if as_frame:
        pd = import_pandas()
        columns = {"path": paths, "diagnosis": diagnoses, "etiology": etiologies, "patient": groups}
        bunch.frame = pd.DataFrame(columns)
        bunch.data = bunch.frame[["path"]].copy()
        bunch.target = pd.Series(bunch.target, name=target)
    return bunch


def import_pandas(
    otherwise: str = "as_frame=True needs pandas: install it with 'pip install pandas', or leave as_frame out to get "
    "numpy arrays.",
) -> Any:
    """Import pandas, or say how to do without."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(otherwise) from error
    return pd


def _etiology(path: Path, diagnosis: str) -> str:
    if diagnosis == "normal":
        return "normal"
    kind = etiology(path)
    return kind if kind in {"bacteria", "virus"} else "unknown"


def _descend(root: Path) -> Path:
    """Go down into the folders of the published archive that hold nothing but another one."""
    if not root.exists():
        raise FileNotFoundError(f"no folder '{root}'")
    if not root.is_dir():
        raise NotADirectoryError(f"expected a folder that holds X-rays, got the file '{root}'")
    here = root
    while not children(here, (*CLASSES, *SPLITS)):
        nested = children(here, (_NESTED,))
        if not nested:
            raise FileNotFoundError(
                f"expected folders train, test and val, or NORMAL and PNEUMONIA, in '{here}'. {_found(here)}"
            )
        here = nested[0]
    return here


def _split_folders(root: Path, subset: str) -> list[Path]:
    """Folders of a subset; only the validation images that train includes may be absent."""
    splits = []
    for name in _SUBSETS[subset]:
        folders = children(root, (name,))
        if not folders and (name != "val" or subset == "val"):
            raise FileNotFoundError(f"subset={subset!r} needs a folder {name!r} in '{root}'. {_found(root)}")
        splits += folders
    return splits


def _class_images(split: Path) -> Iterator[tuple[Path, str]]:
    for diagnosis in CLASSES:
        folders = children(split, (diagnosis,))
        if not folders:
            raise FileNotFoundError(f"expected folders NORMAL and PNEUMONIA in '{split}'. {_found(split)}")
        for folder in folders:
            yield from ((path, diagnosis) for path in folder.iterdir() if is_image(path))


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def children(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Sub-folders that have one of the names, in any case."""
    entries = sorted(folder.iterdir())
    return [entry for entry in entries if entry.name.lower() in names and entry.is_dir()]


def _found(folder: Path, most: int = 10) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"Found: {', '.join(names[:most]) or 'nothing'}{more}."


def check_option(name: str, value: str, options: dict[str, Any]) -> None:
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")


def _check_etiology(unknown: Any) -> None:
    if len(unknown):
        listed = "\n".join(f"  {path}" for path in unknown)
        raise ValueError(
            "target='etiology' needs pneumonia files named like 'person1_bacteria_1.jpeg' or "
            f"'person1_virus_1.jpeg'; {len(unknown)} are not:\n{listed}"
        )
