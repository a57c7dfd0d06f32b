"""Load chest X-rays from a folder whose subfolders are the classes."""

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skpneumo._images.groups import find_patients, patients_by_name
from skpneumo._images.patients import etiology
from skpneumo._utils.messages import list_items, stacklevel_of_user
from skpneumo._utils.validation import BOOLEAN, RANDOM_STATE, Constraints, choices, validated
from skpneumo.datasets._layout import STANDARD, SUBSETS, Labeled, Layout, read_layout

CLASSES = ("normal", "pneumonia")
TARGETS = {"diagnosis": CLASSES, "etiology": ("normal", "bacteria", "virus")}
_ETIOLOGY_FOLDERS = re.compile(r"(?i)(?<![a-z])(?:(bacteria)l?|virus|viral)(?![a-z])")

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

_DESCR_OF_OTHERS = """\
Images of a folder with the classes {names}. Their origin and license are not known to the loader.
"""


LOADING: Constraints = {
    "shuffle": BOOLEAN,
    "random_state": RANDOM_STATE,
    "return_X_y": BOOLEAN,
    "as_frame": BOOLEAN,
}


@validated(
    subset=[choices(*SUBSETS)],
    target=[choices(*TARGETS)],
    **LOADING,
)
def load_chest_xrays(
    root: str | os.PathLike[str],
    *,
    subset: str = "train",
    target: str = "diagnosis",
    classes: Mapping[str, int] | None = None,
    exclude: str | Sequence[str] | None = None,
    pattern: str | None = None,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    r"""Load paths, labels and patients of the chest X-rays in a folder.

    Labels are the names of folders. Images are recognized by their first bytes, whatever their names, and are not
    decoded.

    Parameters
    ----------
    root : str or path-like
        Folder with class folders, such as ``NORMAL`` and ``PNEUMONIA``, or with split folders ``train``, ``test`` and
        ``val`` (or ``training``, ``testing``, ``valid``, ``validation``) that contain class folders. These may also be
        in a folder ``chest_xray``, or in an only subfolder, as in archives. Names are case-insensitive. Class folders
        may have subfolders.
    subset : {"train", "test", "val", "all"}, default="train"
        Subset to load. "train" includes the images of ``val``: the 16 validation images of the collection are too few
        for tuning or evaluation. Without split folders, all images belong to "train".
    target : {"diagnosis", "etiology"}, default="diagnosis"
        The labels: "diagnosis" is the label of the class folder, which is 0 for normal and 1 for pneumonia; "etiology"
        is 0 for normal, 1 for bacterial and 2 for viral pneumonia, and needs the folders ``NORMAL`` and ``PNEUMONIA``.
    classes : dict of str to int, default=None
        The label of each class folder, such as ``{"COVID": 1, "Viral Pneumonia": 1, "Normal": 0}``. If None, these are
        ``NORMAL`` and ``PNEUMONIA``. If there is neither of them, each class folder is a class: their sorted names have
        the labels 0, 1, 2 and so on, unless the names look like splits, or the folders contain ``NORMAL`` or
        ``PNEUMONIA``.
    exclude : str or list of str, default=None
        Names of files and folders to leave out, such as "masks" or "COVID/masks", or absolute paths, case-insensitive,
        with the wildcards ``*`` and ``?``. An error is raised if names of other files or folders contain the word mask
        or segmentation, since masks of lungs or lesions are no X-rays; pass an empty list to load everything.
    pattern : str, default=None
        Regular expression that finds the patient in the absolute path, as in
        :func:`~skpneumo.model_selection.patient_ids`. If None, patients are read from the file names of the collection.
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
            The absolute paths of the images. If `as_frame` is True, a DataFrame with the column ``path``.
        target : ndarray of shape (n_samples,), dtype int
            The labels. If `as_frame` is True, a Series.
        target_names : list of str
            The names of the target classes, in the order of the labels. Folders with the same label are joined by "or".
        groups : ndarray of shape (n_samples,), dtype object
            The patient of each image. If the file name does not contain a patient, the image is a group of its own,
            named by its path.
        etiology : ndarray of shape (n_samples,), dtype object
            "normal", "bacteria", "virus", or "unknown". The class folder determines whether an image is normal. The
            etiology of the others is read from the file name and from the names of subfolders, such as ``bacteria`` and
            ``viral``; it is unknown if there is none, or if both differ.
        skipped : dict of str to list of str
            The paths of the files that are not loaded, by reason: other formats, empty and unreadable files, broken
            links. Hidden files and those of file managers, and documents beside class folders, are not listed.
        frame : DataFrame or None
            Only if `as_frame` is True: DataFrame with the columns ``path``, ``diagnosis`` ("normal" or "pneumonia", or
            the name of the class), ``etiology`` and ``patient``.
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
        If an option is unknown; if a class folder has no image; if there are images in no class folder, in a subfolder
        with the name of a split or another class, or masks; if links put an image into several splits or classes; if
        `pattern` finds no patient in some paths; or if ``target="etiology"`` and the etiology of some images is
        unknown.
    TypeError
        If `root` is no path, `classes` is not a dict of names to integers, or `exclude` is not a list of names.
    ImportError
        If `as_frame` is True and pandas is not installed.

    Warns
    -----
    UserWarning
        If files in class folders are not loaded. The attribute ``skipped`` lists them.

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
    ...     numbers = load_chest_xrays(folder, pattern=r"(\d+)[^/]*$", shuffle=False).groups
    >>> xrays.data.shape, xrays.target_names
    ((12, 1), ['normal', 'pneumonia'])
    >>> int(xrays.target.sum())
    6
    """
    layout = read_layout(root, subset, classes, exclude)
    if layout.skipped:
        n_skipped = sum(map(len, layout.skipped.values()))
        warnings.warn(
            f"{n_skipped} file{'s' if n_skipped > 1 else ''} in '{layout.root}' {'are' if n_skipped > 1 else 'is'} not "
            f"loaded: {layout.summary()}. The attribute skipped lists all paths; exclude leaves files out.",
            stacklevel=stacklevel_of_user(),
        )
    n_images = len(layout.images)
    order = check_random_state(random_state).permutation(n_images) if shuffle else range(n_images)
    bunch = build_bunch(layout, order, target=target, pattern=pattern, as_frame=as_frame)
    return (bunch.data, bunch.target) if return_X_y else bunch


def build_bunch(
    layout: Layout, order: Iterable[int], *, target: str, pattern: str | None = None, as_frame: bool = False
) -> Bunch:
    """Build the Bunch of a data set with the images in the given order."""
    images = [layout.images[i] for i in order]
    is_standard = layout.classes is STANDARD
    paths = np.array([image.path for image in images], dtype=object)
    etiologies = np.array([_etiology(image) for image in images], dtype=object)
    names, labels = _target(layout, images)
    if target == "etiology":
        _check_etiology(paths[etiologies == "unknown"], is_standard=is_standard)
        names = list(TARGETS[target])
        labels = [names.index(each) for each in etiologies]
    bunch = Bunch(
        data=paths.reshape(-1, 1),
        target=np.array(labels, dtype=np.int64),
        target_names=names,
        groups=patients_by_name(paths.tolist()) if pattern is None else find_patients(paths, pattern),
        etiology=etiologies,
        skipped=layout.skipped,
        frame=None,
        DESCR=DESCR + _UNCHECKED if is_standard else _DESCR_OF_OTHERS.format(names=", ".join(names)),
    )
    if as_frame:
        pd = import_pandas()
        diagnoses = [image.class_name.lower() if is_standard else image.class_name for image in images]
        columns = {"path": paths, "diagnosis": diagnoses, "etiology": etiologies, "patient": bunch.groups}
        bunch.frame = pd.DataFrame(columns)
        bunch.data = bunch.frame[["path"]].copy()
        bunch.target = pd.Series(bunch.target, name=target)
    return bunch


def _target(layout: Layout, images: list[Labeled]) -> tuple[list[str], list[int]]:
    """Return the names of the classes in the order of their labels, and the label of each image."""
    names: dict[int, list[str]] = {}
    for name, label in layout.classes.items():
        names.setdefault(label, []).append(name.lower() if layout.classes is STANDARD else name)
    return [" or ".join(names[label]) for label in sorted(names)], [
        layout.classes[image.class_name] for image in images
    ]


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


def _etiology(image: Labeled) -> str:
    if image.class_name.lower() == "normal":
        return "normal"
    kinds = {etiology(image.path)} - {"normal", None}
    for folder in image.folders:
        kinds |= {"bacteria" if match[1] else "virus" for match in _ETIOLOGY_FOLDERS.finditer(folder)}
    return str(*kinds) if len(kinds) == 1 else "unknown"


def _check_etiology(unknown: Any, *, is_standard: bool) -> None:
    if not is_standard:
        raise ValueError("target='etiology' needs the class folders NORMAL and PNEUMONIA: use target='diagnosis'.")
    if len(unknown):
        raise ValueError(
            "target='etiology' needs pneumonia files named like 'person1_bacteria_1.jpeg' or 'person1_virus_1.jpeg', "
            f"or in folders 'bacteria' and 'virus', but {len(unknown)} are not, or name and folder differ: "
            f"{list_items(unknown, max_length=300)}. Rename or remove them, or use target='diagnosis'."
        )
