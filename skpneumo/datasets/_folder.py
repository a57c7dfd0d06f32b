"""Load chest X-rays from a folder in the layout of the Kaggle collection."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skpneumo._images.patients import etiology, patient_key
from skpneumo._utils.messages import list_items, plain

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

DESCR = """\
Chest X-rays of children
========================

Anterior-posterior chest X-rays of children aged one to five years from one hospital, sorted into normal and
pneumonia; the file names of pneumonias distinguish bacterial and viral ones. The whole collection has 5,856
images. It was published by Kermany, Zhang and Goldbaum, "Labeled Optical Coherence
Tomography (OCT) and Chest X-Ray Images for Classification", Mendeley Data,
doi 10.17632/rscbjbr9sj, under CC BY 4.0.

Limitations:

- Up to 30 images show the same patient. Split by ``groups``, not by image.
- Some images are exact duplicates of others.
- The labels of the test images were graded with more care than those of the training images.
- In the published files, color mode, embedded metadata and aspect ratio reveal the diagnosis without the lungs.
- All images come from one hospital and one age group: a score on this collection is little evidence for other sites.
"""
_UNCHECKED = """
This text describes the published collection. The files that were read are not checked against it.
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
    """Load paths, labels and patients of the chest X-rays in a folder.

    Labels and patients are read from the names of folders and files. Images are not opened.

    Parameters
    ----------
    root : str or path-like
        Folder with subfolders ``train``, ``test`` and ``val``, each with ``NORMAL`` and ``PNEUMONIA``; or with
        ``NORMAL`` and ``PNEUMONIA`` directly; or with a folder ``chest_xray`` in one of these layouts. Names are
        case-insensitive. Files ending in ``.bmp``, ``.jpeg``, ``.jpg``, ``.png``, ``.tif``, ``.tiff`` or ``.webp`` are
        read; hidden files are skipped.
    subset : {"train", "test", "val", "all"}, default="train"
        Subset to load. "train" includes the images of ``val``: the 16 validation images of the collection are too few
        for tuning or evaluation. Without split folders, all images belong to "train".
    target : {"diagnosis", "etiology"}, default="diagnosis"
        The labels: "diagnosis" is 0 for normal and 1 for pneumonia; "etiology" is 0 for normal, 1 for bacterial and 2
        for viral pneumonia.
    shuffle : bool, default=True
        Whether to shuffle the images. Otherwise they are sorted by path.
    random_state : int, RandomState instance or None, default=0
        Determines random number generation for shuffling. Pass an int for reproducible output across multiple function
        calls.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch object.
    as_frame : bool, default=False
        If True, return pandas objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_samples, 1), dtype object
            The paths of the images. If `as_frame` is True, a DataFrame with the column ``path``.
        target : ndarray of shape (n_samples,), dtype int
            The labels. If `as_frame` is True, a Series.
        target_names : list of str
            The names of the target classes.
        groups : ndarray of shape (n_samples,), dtype object
            The patient of each image. If the file name does not contain a patient, the image is a group of its own,
            named by the file.
        etiology : ndarray of shape (n_samples,), dtype object
            "normal", "bacteria", "virus", or "unknown" if the file name of a pneumonia does not contain the etiology.
            The folder determines whether an image is normal.
        frame : DataFrame or None
            Only if `as_frame` is True: DataFrame with the columns ``path``, ``diagnosis`` ("normal" or "pneumonia"),
            ``etiology`` and ``patient``.
        DESCR : str
            Origin, license and limitations of the collection.
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    FileNotFoundError
        If `root`, or a split or class folder in it, does not exist.
    NotADirectoryError
        If `root` is a file.
    ValueError
        If an option is unknown, if no image is found, or if ``target="etiology"`` and some file names do not contain
        the etiology.
    ImportError
        If `as_frame` is True and pandas is not installed.

    See Also
    --------
    load_xray_table : Load the images that a table lists.
    fetch_chest_xrays : Download the collection.
    make_chest_xrays : Generate synthetic chest X-rays in the same layout.

    References
    ----------
    D. Kermany, K. Zhang, M. Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
    Classification", Mendeley Data, 2018, doi 10.17632/rscbjbr9sj.

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
    """List paths and classes of the images of a subset, sorted by path."""
    root = _descend(root)
    if children(root, CLASSES):
        if children(root, SPLITS):
            raise ValueError(f"Expected either split folders or class folders in '{root}', not both. {_found(root)}")
        if subset not in {"train", "all"}:
            raise FileNotFoundError(
                f"subset={subset!r} needs a folder {subset!r} in '{root}', which has no split folders. "
                f"Use subset='train' for all its images. {_found(root)}"
            )
        splits = [root]
    else:
        splits = _split_folders(root, subset)
    images = [image for split in splits for image in _class_images(split)]
    if not images:
        where = ", ".join(f"'{split}'" for split in splits)
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"Found no image in the class folders of {where}. File names must end in {endings}.")
    return sorted(images, key=lambda image: image[0].parts)


def build_bunch(found: list[tuple[Path, str]], *, target: str, as_frame: bool) -> Bunch:
    """Build the Bunch of a data set from the paths and classes of its images."""
    paths = np.array([str(path) for path, _ in found], dtype=object)
    diagnoses = np.array([diagnosis for _, diagnosis in found], dtype=object)
    etiologies = np.array([_etiology(*image) for image in found], dtype=object)
    groups = np.array([patient_key(path) or path.name for path, _ in found], dtype=object)
    names = TARGETS[target]
    if target == "etiology":
        _check_etiology(paths[etiologies == "unknown"])
    labels = diagnoses if target == "diagnosis" else etiologies
    bunch = Bunch(
        data=paths.reshape(-1, 1),
        target=np.array([names.index(label) for label in labels], dtype=np.int64),
        target_names=list(names),
        groups=groups,
        etiology=etiologies,
        frame=None,
        DESCR=DESCR + _UNCHECKED,
    )
    if as_frame:
        pd = import_pandas()
        columns = {"path": paths, "diagnosis": diagnoses, "etiology": etiologies, "patient": groups}
        bunch.frame = pd.DataFrame(columns)
        bunch.data = bunch.frame[["path"]].copy()
        bunch.target = pd.Series(bunch.target, name=target)
    return bunch


def import_pandas(
    message: str = "as_frame=True needs pandas. Install it with 'pip install pandas', or use as_frame=False to get "
    "NumPy arrays.",
) -> Any:
    """Import pandas, or raise an ImportError with the given message."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(message) from error
    return pd


def _etiology(path: Path, diagnosis: str) -> str:
    if diagnosis == "normal":
        return "normal"
    kind = etiology(path)
    return kind if kind in {"bacteria", "virus"} else "unknown"


def _descend(root: Path) -> Path:
    """Descend into nested ``chest_xray`` folders, as in the published archive."""
    if not root.exists():
        raise FileNotFoundError(f"The folder '{root}' does not exist: pass the folder with the images.")
    if not root.is_dir():
        raise NotADirectoryError(f"Expected a folder with X-rays, got the file '{root}': pass its folder.")
    folder = root
    while not children(folder, (*CLASSES, *SPLITS)):
        nested = children(folder, (_NESTED,))
        if not nested:
            raise FileNotFoundError(
                f"Expected the folders train, test and val, or NORMAL and PNEUMONIA, in '{folder}'. {_found(folder)}"
            )
        folder = nested[0]
    return folder


def _split_folders(root: Path, subset: str) -> list[Path]:
    """Return the folders of a subset; ``val`` may be missing unless it is the subset."""
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
            raise FileNotFoundError(f"Expected the folders NORMAL and PNEUMONIA in '{split}'. {_found(split)}")
        for folder in folders:
            yield from ((path, diagnosis) for path in folder.iterdir() if is_image(path))


def is_image(path: Path) -> bool:
    """Check by the suffix whether a file is an image that is not hidden."""
    if path.name.startswith("."):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def children(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the subfolders with one of the names, ignoring case."""
    entries = sorted(folder.iterdir())
    return [entry for entry in entries if entry.name.lower() in names and entry.is_dir()]


def _found(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"Found: {list_items(names) or 'nothing'}."


def check_option(name: str, value: Any, options: Collection[Any]) -> None:
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {plain(value)!r}.")


def _check_etiology(unknown: Any) -> None:
    if len(unknown):
        raise ValueError(
            "target='etiology' needs pneumonia files named like 'person1_bacteria_1.jpeg' or 'person1_virus_1.jpeg', "
            f"but {len(unknown)} are not: {list_items(unknown, max_length=300)}. Rename or remove them, or use "
            "target='diagnosis'."
        )
