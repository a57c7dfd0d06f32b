"""Fetch PneumoniaMNIST, a benchmark of small chest X-rays."""

import io
import os
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.utils._param_validation import Options

from skpneumo._utils.validation import choices, validated
from skpneumo.datasets._collection import FETCHING, Collection, provide_images
from skpneumo.datasets._download import RemoteFile
from skpneumo.datasets._folder import CLASSES, LOADING, load_chest_xrays

_URL = "https://zenodo.org/records/10519652/files/"
_MD5 = {  # as published with the files and in the package medmnist
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
_SPLITS = ("train", "val", "test")
_SUBSETS = (*_SPLITS, "all")
_COUNTS = {
    "train/NORMAL": 1214,
    "train/PNEUMONIA": 3494,
    "val/NORMAL": 135,
    "val/PNEUMONIA": 389,
    "test/NORMAL": 234,
    "test/PNEUMONIA": 390,
}

_DESCR = """\
PneumoniaMNIST
==============

5,856 anterior-posterior chest X-rays of children aged one to five years from one hospital: the images that Kermany et
al. published, cropped to their central square and resized to 28, 64, 128 or 224 pixels, in 8-bit gray. The training,
validation and test sets of 4,708, 524 and 624 images are those of the benchmark. The published arrays (CC BY 4.0) are
stored as PNG files with the same pixels. Cite both publications:

J. Yang, R. Shi, D. Wei, Z. Liu, L. Zhao, B. Ke, H. Pfister, B. Ni, "MedMNIST v2 - A large-scale lightweight benchmark
for 2D and 3D biomedical image classification", Scientific Data, 10, 41, 2023, doi 10.1038/s41597-022-01721-8; data: doi
10.5281/zenodo.10519652.

D. S. Kermany, M. Goldbaum, et al., "Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning",
Cell, 172 (5), 1122-1131, 2018, doi 10.1016/j.cell.2018.02.010.

Limitations:

- The patients are unknown: each image is a group of its own. Several images of a patient may be in different sets, so
  that scores on the validation set are optimistically biased.
- The etiology of pneumonias is unknown.
- Exact and near duplicates of the original collection remain.
- All images come from one hospital and one age group: a score on this collection is little evidence for other sites.
"""


def _unpack(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Encode the arrays as PNG files, named by their set and position, which are the same for all sizes."""
    with np.load(archive) as arrays:
        for split in _SPLITS:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"].ravel()
            for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                yield f"{split}/{CLASSES[label].upper()}/pneumoniamnist-{split}-{i:04d}.png", file.getvalue()


def _collection(size: int) -> Collection:
    name = "pneumoniamnist" if size == 28 else f"pneumoniamnist_{size}"
    return Collection(
        folder="pneumoniamnist",
        images=f"{size}px",
        remote=RemoteFile(url=f"{_URL}{name}.npz?download=1", name=f"{name}.npz", checksum=f"md5:{_MD5[size]}"),
        unpack=_unpack,
        counts=(_COUNTS,),
    )


COLLECTIONS = {size: _collection(size) for size in _MD5}


@validated(size=[Options(Integral, COLLECTIONS.keys())], subset=[choices(*_SUBSETS)], **FETCHING, **LOADING)
def fetch_pneumoniamnist(
    *,
    size: int = 28,
    subset: str = "train",
    data_home: str | os.PathLike[str] | None = None,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load PneumoniaMNIST as image files, and download it if necessary.

    ==============   ===============================
    Classes          2
    Images           4,708 train, 524 val, 624 test
    Pixels           28, 64, 128 or 224 squared
    License          CC BY 4.0
    ==============   ===============================

    The images are written once as PNG files. Their names, such as 'pneumoniamnist-test-0000.png', contain the set and
    the position in the published array, which are the same for all sizes. The published file is checked by its digest,
    and the images by their digests whenever they are loaded.

    Parameters
    ----------
    size : {28, 64, 128, 224}, default=28
        Width and height of the images in pixels.
    subset : {"train", "val", "test", "all"}, default="train"
        Subset to load. These are the sets of the benchmark; "train" does not include "val".
    data_home : str or path-like, default=None
        Specify another download and cache folder for the datasets. By default, all scikit-learn data is stored in
        '~/scikit_learn_data' subfolders, or in the folder that the environment variable SCIKIT_LEARN_DATA names. These
        images are in its subfolder 'pneumoniamnist'.
    shuffle : bool, default=True
        Whether to shuffle the images. Otherwise they are sorted by path.
    random_state : int, RandomState instance or None, default=0
        Determines random number generation for shuffling. Pass an int for reproducible output across multiple function
        calls.
    download_if_missing : bool, default=True
        If False, raise an OSError if the data is not locally available instead of trying to download the data from the
        source site.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch object.
    as_frame : bool, default=False
        If True, return pandas objects.
    n_retries : int, default=3
        Number of retries when HTTP errors are encountered. Each retry continues the download.
    delay : float, default=1.0
        Number of seconds between retries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the attributes of :func:`load_chest_xrays`: `data`, `target`, `target_names`,
        `groups`, `etiology`, `frame` and `DESCR`. The patients are unknown: each image is a group of its own, named by
        its file. The etiology of pneumonias is "unknown".
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    OSError
        If the data is missing and cannot be downloaded, or is not the published data set, or has changed. The error
        names the address, the digest, and the folder for a file that is downloaded by hand.
    ImportError
        If a download is necessary and pooch is not installed, or if `as_frame` is True and pandas is not installed.
    ValueError
        If an option is unknown.

    See Also
    --------
    fetch_chest_xrays : Load the original images.

    Notes
    -----
    Without network access, put the published file, such as 'pneumoniamnist_64.npz', into the subfolder
    'pneumoniamnist' of `data_home`.

    References
    ----------
    J. Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification",
    Scientific Data, 10, 41, 2023, doi 10.1038/s41597-022-01721-8.

    D. S. Kermany et al., "Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning", Cell, 172
    (5), 1122-1131, 2018, doi 10.1016/j.cell.2018.02.010.

    Examples
    --------
    >>> from skpneumo.datasets import fetch_pneumoniamnist
    >>> xrays = fetch_pneumoniamnist(size=64)  # doctest: +SKIP
    >>> xrays.data.shape, xrays.target_names  # doctest: +SKIP
    ((4708, 1), ['normal', 'pneumonia'])
    """
    images = provide_images(
        COLLECTIONS[size], data_home, download_if_missing=download_if_missing, n_retries=n_retries, delay=delay
    )
    loaded = load_chest_xrays(
        images if subset == "all" else images / subset,
        subset="all",
        shuffle=shuffle,
        random_state=random_state,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
    if not return_X_y:
        loaded.DESCR = _DESCR
    return loaded
