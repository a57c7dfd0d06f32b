"""Synthetic chest X-rays, drawn into a folder in the layout of the Kaggle collection."""

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

from skpneumo.datasets._folder import (
    CLASSES,
    SPLITS,
    TARGETS,
    check_option,
    children,
    import_pandas,
    is_image,
    load_chest_xrays,
)
from skpneumo.datasets._opacities import draw_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, draw_film
from skpneumo.datasets._thorax import draw_thorax

_BACTERIA_SHARE = 0.65
_SMALLEST = 32
_SEEDS = 2**31 - 1

_DESCR = """\
Synthetic chest X-rays
======================

Drawings, not films: crude frontal chest X-rays of invented patients, made to try code on. Bacterial
pneumonia is one or two dense patches, viral pneumonia a veil with a network of fine lines around
both lung roots. Every patient has an anatomy and, if ill, a disease, which all films of the patient
share; framing, exposure, sharpness and grain change from film to film whatever the diagnosis.

A score on these images says nothing about real ones.
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
    """Draw synthetic chest X-rays into a folder.

    The folder gets the layout and the kind of file names of the Kaggle collection, so that
    :func:`load_chest_xrays` reads it back. All files are gray JPEGs without metadata; size, aspect
    ratio, quality and mean brightness do not depend on the diagnosis.

    Parameters
    ----------
    n_samples : int
        Number of images.
    folder : str or path-like
        Where to write them, into ``NORMAL`` and ``PNEUMONIA``; created if need be.
    prevalence : float, default=0.5
        Share of images that show pneumonia. Unless it is 0 or 1, each class gets an image at
        least. Some two thirds of the pneumonias are bacterial, the others viral.
    images_per_patient : float, default=2
        Mean number of images a patient, 1 or more.
    difficulty : float, default=0.5
        From 0, where opacities are large and dense and films alike, to 1, where opacities are
        small and faint and films differ in exposure, angle, grain and vessels.
    image_size : int, default=256
        Height of the images in pixels, 32 or more. All are wider than high.
    target : {"diagnosis", "etiology"}, default="diagnosis"
        What to predict, as for :func:`load_chest_xrays`.
    random_state : int, RandomState instance or None, default=None
        Pass an int to get the same files and the same order again.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether to return pandas objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As from :func:`load_chest_xrays`, in shuffled order, and

        opacities : list of ndarray of shape (n_opacities, 4), dtype int
            For each image, in the order of `data`, a box around each opacity drawn: left, top,
            right and bottom in pixels, of which right and bottom lie just outside. Normal images
            have no box.
    (data, target) : tuple if `return_X_y`
        Paths and labels.

    Raises
    ------
    FileExistsError
        If `folder` holds X-rays already.
    ImportError
        If `as_frame` and pandas is not installed.
    ValueError
        If a parameter is out of its range. Two images are the fewest that hold both classes.
    TypeError
        If a parameter is not a number.

    See Also
    --------
    load_chest_xrays : Read such a folder, or the real collection.

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
    check_scalar(image_size, "image_size", Integral, min_val=_SMALLEST)
    check_option("target", target, TARGETS)
    if as_frame:
        import_pandas()
    rng = check_random_state(random_state)
    root = Path(folder).expanduser()
    _prepare(root)
    opacities = {}
    for patient in _plan(n_samples, prevalence, images_per_patient, rng):
        for name, pixels, boxes in _draw_patient(patient, difficulty, image_size):
            path = root / patient.folder / name
            Image.fromarray(pixels).save(path, quality=90)
            opacities[name] = boxes
    bunch = load_chest_xrays(root, target=target, random_state=rng, as_frame=as_frame)
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
    """Decide who the patients are, how many films each has and what the files are called."""
    n_ill = round(n_samples * prevalence)
    if 0 < prevalence < 1:
        n_ill = min(max(n_ill, 1), n_samples - 1)
    n_bacteria = round(n_ill * _BACTERIA_SHARE)
    counts = {"normal": n_samples - n_ill, "bacteria": n_bacteria, "virus": n_ill - n_bacteria}
    patients = []
    for kind, count in counts.items():
        done, number = 0, 0
        while done < count:
            films = int(min(1 + rng.poisson(images_per_patient - 1), count - done))
            number += 1
            names = _normal_names(number, films) if kind == "normal" else []
            names = names or [f"person{number}_{kind}_{done + k + 1}.jpeg" for k in range(films)]
            patients.append(_Patient(kind, names, int(rng.randint(_SEEDS))))
            done += films
    return patients


def _normal_names(number: int, films: int) -> list[str]:
    """Name films of both series, whose numbers overlap as they do in the collection."""
    prefix = "NORMAL2-" if number % 2 == 0 else ""
    stem = f"{prefix}IM-{114 + (number + 1) // 2:04d}-0001"
    return [f"{stem}.jpeg", *(f"{stem}-{k:04d}.jpeg" for k in range(1, films))]


def _draw_patient(
    patient: _Patient, difficulty: float, image_size: int
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    rng = np.random.RandomState(patient.seed)
    thorax = draw_thorax(rng)
    disease = draw_opacities(patient.kind, thorax, difficulty, rng)
    for name in patient.names:
        film = draw_film(image_size, difficulty, rng)
        yield name, *draw_chest_xray(thorax, disease, film, rng)


def _prepare(root: Path) -> None:
    """Make the class folders; never mix new images with old ones."""
    root.mkdir(parents=True, exist_ok=True)
    splits = children(root, SPLITS)
    old = [path for folder in children(root, CLASSES) for path in folder.iterdir() if is_image(path)]
    if splits or old:
        what = f"the folder '{splits[0].name}'" if splits else f"{len(old)} in class folders"
        raise FileExistsError(
            f"expected a folder without X-rays, got '{root}', which holds {what} already: choose "
            "another folder, or empty this one"
        )
    for name in CLASSES:
        (root / name.upper()).mkdir(exist_ok=True)
