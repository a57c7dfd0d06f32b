"""Fetch the chest X-rays of children that Kermany, Zhang and Goldbaum published."""

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from skpneumo._images.patients import patient_key
from skpneumo._utils.validation import choices, validated
from skpneumo.datasets._collection import FETCHING, Collection, provide_images
from skpneumo.datasets._download import RemoteFile
from skpneumo.datasets._folder import DESCR, LOADING, TARGETS, load_chest_xrays
from skpneumo.datasets._layout import read_layout

_SUBSETS = ("train", "test", "all")

# An image of the collection in an archive, at any depth. Other members are skipped.
_MEMBER = re.compile(r"(?:.*/)?(train|test|val)/(NORMAL|PNEUMONIA)/([^./\\:][^/\\:]*\.jpeg)")


def _unpack(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Read the images; those of ``val`` belong to ``train``, from which the Kaggle collection took them."""
    members: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            match = _MEMBER.fullmatch(member.filename)
            if match is None or "__MACOSX/" in member.filename:
                continue
            split, folder, image = match.groups()
            # Folders are never created from the names in the archive, which may point outside the target folder.
            name = f"{'test' if split == 'test' else 'train'}/{folder}/{image}"
            first = members.setdefault(name, member)  # the archive of Kaggle contains the collection twice
            if (first.CRC, first.file_size) != (member.CRC, member.file_size):
                raise OSError(f"'{archive}' contains two images '{name}': '{first.filename}', '{member.filename}'.")
        for name, member in members.items():
            yield name, file.read(member)


COLLECTION = Collection(
    folder="chest_xrays",
    images="chest_xray",
    remote=RemoteFile(
        url="https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/f12eaf6d-6023-432f-acc9-80c9d7393433/"
        "file_downloaded",
        name="ChestXRay2017.zip",
        checksum="sha256:13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
    ),
    unpack=_unpack,
    counts=(
        {"train/NORMAL": 1349, "train/PNEUMONIA": 3883, "test/NORMAL": 234, "test/PNEUMONIA": 390},
        {
            **{"train/NORMAL": 1341, "train/PNEUMONIA": 3875, "test/NORMAL": 234, "test/PNEUMONIA": 390},
            **{"val/NORMAL": 8, "val/PNEUMONIA": 8},
        },
    ),
    kaggle_archives=("archive.zip", "chest-xray-pneumonia.zip"),  # from the web page, and from the command kaggle
)


@validated(subset=[choices(*_SUBSETS)], target=[choices(*TARGETS)], **FETCHING, **LOADING)
def fetch_chest_xrays(
    *,
    subset: str = "train",
    target: str = "diagnosis",
    data_home: str | os.PathLike[str] | None = None,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Any:
    """Load the chest X-rays of Kermany et al., and download them if necessary.

    ==============   ======================
    Classes          2 or 3
    Images           5,232 train, 624 test
    Download         1.2 GB
    License          CC BY 4.0
    ==============   ======================

    The archive is downloaded once and unpacked to a folder; an interrupted download is continued by the next call. The
    archive is checked by its digest, and the images by their digests whenever they are loaded.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Subset to load. "train" includes the 16 images that the Kaggle collection moved to ``val``.
    target : {"diagnosis", "etiology"}, default="diagnosis"
        The labels: "diagnosis" is 0 for normal and 1 for pneumonia; "etiology" is 0 for normal, 1 for bacterial and 2
        for viral pneumonia.
    data_home : str or path-like, default=None
        Specify another download and cache folder for the datasets. By default, all scikit-learn data is stored in
        '~/scikit_learn_data' subfolders, or in the folder that the environment variable SCIKIT_LEARN_DATA names. These
        images are in its subfolder 'chest_xrays'.
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
        `groups`, `etiology`, `frame` and `DESCR`.
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    OSError
        If the data is missing and cannot be downloaded, or is not the published collection, or has changed. The error
        names the address, the digest, and the folder for files that are downloaded by hand.
    ImportError
        If a download is necessary and pooch is not installed, or if `as_frame` is True and pandas is not installed.
    ValueError
        If an option is unknown.

    See Also
    --------
    load_chest_xrays : Load images from a folder.
    fetch_pneumoniamnist : Load the same images at low resolution; the download is smaller.

    Notes
    -----
    Without network access, put one of these into the subfolder 'chest_xrays' of `data_home`: the file
    'ChestXRay2017.zip'; the archive of the Kaggle collection 'chest-xray-pneumonia', as 'archive.zip' or
    'chest-xray-pneumonia.zip'; or the unpacked folder 'chest_xray' of either.

    References
    ----------
    D. Kermany, K. Zhang, M. Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
    Classification", Mendeley Data, V2, 2018, doi 10.17632/rscbjbr9sj.2.

    Examples
    --------
    >>> from skpneumo.datasets import fetch_chest_xrays
    >>> xrays = fetch_chest_xrays()  # doctest: +SKIP
    >>> xrays.data.shape, xrays.target_names  # doctest: +SKIP
    ((5232, 1), ['normal', 'pneumonia'])
    """
    images = provide_images(
        COLLECTION, data_home, download_if_missing=download_if_missing, n_retries=n_retries, delay=delay
    )
    if not any(patient_key(image.path) for image in read_layout(images, "all").images):
        raise OSError(
            f"The file names in '{images}' do not contain the patients, as in version 3 of the collection: remove the "
            "folder and provide version 2, or use load_chest_xrays with patients of your own."
        )
    loaded = load_chest_xrays(
        images,
        subset=subset,
        target=target,
        shuffle=shuffle,
        random_state=random_state,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
    if not return_X_y:
        loaded.DESCR = DESCR
    return loaded
