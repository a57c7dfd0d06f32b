"""Generate synthetic chest X-rays in the folder layout of the Kaggle collection."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.utils import check_random_state, check_scalar

from skpneumo.datasets._folder import CLASSES, TARGETS, build_bunch, check_option, import_pandas
from skpneumo.datasets._layout import SPLITS, read_layout
from skpneumo.datasets._listing import Exclusion, subfolders, walk
from skpneumo.datasets._opacities import sample_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, sample_acquisition
from skpneumo.datasets._thorax import sample_thorax

_BACTERIAL_FRACTION = 0.65
_MIN_IMAGE_SIZE = 32
_N_SEEDS = 2**31 - 1

_DESCR = """\
Synthetic chest X-rays
======================

Simple drawings of frontal chest X-rays of invented patients, for trying out code. Bacterial pneumonia appears as one
or two dense patches, viral pneumonia as a haze with a network of fine lines around both lung roots. All images of a
patient share the same anatomy and disease; framing, exposure, sharpness and grain vary between images, independently of
the diagnosis.

Scores on these images are no evidence for real X-rays.
"""


def make_chest_xrays(
    n_samples: int,
    folder: str | os.PathLike[str],
    *,
    prevalence: float = 0.5,
    images_per_patient: float = 2,
    difficulty: float = 0.5,
    image_size: int = 256,
    target: str = "diagnosis",
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Generate synthetic chest X-rays in a folder.

    Folders and file names follow the Kaggle collection, so that :func:`load_chest_xrays` can load them. All files are
    gray JPEGs without metadata. Size, aspect ratio, quality and mean brightness do not depend on the diagnosis.

    Parameters
    ----------
    n_samples : int
        The number of images.
    folder : str or path-like
        Folder in which the images are written, in ``NORMAL`` and ``PNEUMONIA``. It is created if it does not exist.
    prevalence : float, default=0.5
        The proportion of images with pneumonia. Unless it is 0 or 1, each class has at least one image. About two
        thirds of the pneumonias are bacterial, the others viral.
    images_per_patient : float, default=2
        The mean number of images per patient, at least 1.
    difficulty : float, default=0.5
        From 0 (large, dense opacities and similar images) to 1 (small, faint opacities and images that vary in
        exposure, angle, grain and vessels).
    image_size : int, default=256
        Height of the images in pixels, at least 32. All images are wider than high.
    target : {"diagnosis", "etiology"}, default="diagnosis"
        The labels, as in :func:`load_chest_xrays`.
    random_state : int, RandomState instance or None, default=None
        Determines random number generation for dataset creation. Pass an int for reproducible output across multiple
        function calls.
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch object.
    as_frame : bool, default=False
        If True, return pandas objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Shuffled images with the attributes of :func:`load_chest_xrays`, and

        opacities : list of ndarray of shape (n_opacities, 4), dtype int
            For each image, the bounding boxes of its opacities: left, top, right and bottom in pixels; right and bottom
            are exclusive. Normal images have no box.
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    FileExistsError
        If `folder` already contains X-rays.
    ImportError
        If `as_frame` is True and pandas is not installed.
    ValueError
        If a parameter is out of range. With both classes, `n_samples` must be at least 2.
    TypeError
        If a parameter is not a number.

    See Also
    --------
    load_chest_xrays : Load such a folder, or the real collection.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import make_chest_xrays
    >>> with TemporaryDirectory() as folder:
    ...     xrays = make_chest_xrays(10, folder, prevalence=0.3, image_size=64, random_state=0)
    >>> int(xrays.target.sum())
    3
    >>> [len(boxes) > 0 for boxes in xrays.opacities] == xrays.target.tolist()
    True
    """
    check_scalar(prevalence, "prevalence", Real, min_val=0, max_val=1)
    check_scalar(n_samples, "n_samples", Integral, min_val=2 if 0 < prevalence < 1 else 1)
    check_scalar(images_per_patient, "images_per_patient", Real, min_val=1)
    check_scalar(difficulty, "difficulty", Real, min_val=0, max_val=1)
    check_scalar(image_size, "image_size", Integral, min_val=_MIN_IMAGE_SIZE)
    check_option("target", target, TARGETS)
    if as_frame:
        import_pandas()
    rng = check_random_state(random_state)
    root = Path(os.path.abspath(os.path.expanduser(folder)))
    _prepare(root)
    opacities = {}
    for patient in _plan(n_samples, prevalence, images_per_patient, rng):
        for name, pixels, boxes in _draw_patient(patient, difficulty, image_size):
            path = root / patient.folder / name
            Image.fromarray(pixels).save(path, quality=90)
            opacities[name] = boxes
    layout = read_layout(root, may_be_empty=True)
    bunch = build_bunch(layout, rng.permutation(n_samples), target=target, as_frame=as_frame)
    if return_X_y:
        return bunch.data, bunch.target
    paths = np.asarray(bunch.data, dtype=object)[:, 0]
    bunch.opacities = [opacities[Path(path).name] for path in paths]
    bunch.DESCR = _DESCR
    return bunch


@dataclass(frozen=True)
class _Patient:
    kind: str
    names: list[str]
    seed: int

    @property
    def folder(self) -> str:
        return CLASSES[self.kind != "normal"].upper()


def _plan(n_samples: int, prevalence: float, images_per_patient: float, rng: np.random.RandomState) -> list[_Patient]:
    """Choose the patients, their numbers of images and the file names."""
    n_pneumonia = round(n_samples * prevalence)
    if 0 < prevalence < 1:
        n_pneumonia = min(max(n_pneumonia, 1), n_samples - 1)
    n_bacteria = round(n_pneumonia * _BACTERIAL_FRACTION)
    counts = {"normal": n_samples - n_pneumonia, "bacteria": n_bacteria, "virus": n_pneumonia - n_bacteria}
    patients = []
    for kind, count in counts.items():
        done, number = 0, 0
        while done < count:
            n_images = int(min(1 + rng.poisson(images_per_patient - 1), count - done))
            number += 1
            names = _normal_names(number, n_images) if kind == "normal" else []
            names = names or [f"person{number}_{kind}_{done + k + 1}.jpeg" for k in range(n_images)]
            patients.append(_Patient(kind, names, int(rng.randint(_N_SEEDS))))
            done += n_images
    return patients


def _normal_names(number: int, n_images: int) -> list[str]:
    """Generate file names of both normal series, with overlapping numbers as in the collection."""
    prefix = "NORMAL2-" if number % 2 == 0 else ""
    stem = f"{prefix}IM-{114 + (number + 1) // 2:04d}-0001"
    return [f"{stem}.jpeg", *(f"{stem}-{k:04d}.jpeg" for k in range(1, n_images))]


def _draw_patient(
    patient: _Patient, difficulty: float, image_size: int
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    rng = np.random.RandomState(patient.seed)
    thorax = sample_thorax(rng)
    opacities = sample_opacities(patient.kind, thorax, difficulty, rng)
    for name in patient.names:
        acquisition = sample_acquisition(image_size, difficulty, rng)
        yield name, *draw_chest_xray(thorax, opacities, acquisition, rng)


def _prepare(root: Path) -> None:
    """Create the class folders, or raise an error if there are images already."""
    root.mkdir(parents=True, exist_ok=True)
    splits = [name for name in subfolders(str(root), Exclusion()) if name.lower() in SPLITS]
    old = [path for path, reason in walk(str(root), Exclusion(), set()) if reason is None]
    if splits or old:
        content = f"the folder '{splits[0]}'" if splits else f"{len(old)} image(s)"
        raise FileExistsError(
            f"Expected a folder without X-rays, got '{root}', which already contains {content}. Choose another folder, "
            "or empty this one."
        )
    for name in CLASSES:
        (root / name.upper()).mkdir(exist_ok=True)
