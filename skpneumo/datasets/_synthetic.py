"""Generate synthetic chest X-rays in the folder layout of the Kaggle collection."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from sklearn.utils import check_random_state

from skpneumo._images.patients import patient_key
from skpneumo._utils.validation import BOOLEAN, COUNT, PATH, RANDOM_STATE, Finite, choices, validated
from skpneumo.datasets._folder import CLASSES, TARGETS, build_bunch, import_pandas
from skpneumo.datasets._image_files import SUFFIXES, import_pydicom, recompress, write_image
from skpneumo.datasets._layout import SPLITS, read_layout
from skpneumo.datasets._listing import Exclusion, subfolders, walk
from skpneumo.datasets._opacities import PATTERNS, bounding_box, sample_opacities
from skpneumo.datasets._radiograph import draw_chest_xray, sample_acquisition
from skpneumo.datasets._site import Site
from skpneumo.datasets._thorax import sample_thorax

_BACTERIAL_FRACTION = 0.65
_MIN_IMAGE_SIZE = 32
_N_SEEDS = 2**31 - 1

_DESCR = """\
Synthetic chest X-rays
======================

Simple drawings of frontal chest X-rays of invented patients, for trying out code. Unless another pattern was requested,
bacterial pneumonia appears as one or two dense patches, viral pneumonia as a haze with a network of fine lines around
both lung roots. All images of a patient share the same anatomy and disease; framing, exposure, sharpness and grain vary
between images, independently of the diagnosis.

Scores on these images are no evidence for real X-rays.
"""


@validated(
    n_samples=COUNT,
    folder=PATH,
    prevalence=[Finite(Real, 0, 1, closed="both")],
    images_per_patient=[Finite(Real, 1, None, closed="left")],
    difficulty=[Finite(Real, 0, 1, closed="both")],
    pattern=[choices(*PATTERNS), None],
    image_size=[Finite(Integral, _MIN_IMAGE_SIZE, None, closed="left")],
    file_format=[choices(*SUFFIXES)],
    site=[Mapping, None],
    shortcut=[Finite(Real, 0, 1, closed="both"), None],
    duplicates=[Finite(Real, 0, 0.5, closed="both")],
    masks=BOOLEAN,
    target=[choices(*TARGETS)],
    random_state=RANDOM_STATE,
    return_X_y=BOOLEAN,
    as_frame=BOOLEAN,
)
def make_chest_xrays(
    n_samples: int,
    folder: str | os.PathLike[str],
    *,
    prevalence: float = 0.5,
    images_per_patient: float = 2,
    difficulty: float = 0.5,
    pattern: str | None = None,
    image_size: int = 256,
    file_format: str = "jpeg",
    site: Mapping[str, Any] | None = None,
    shortcut: float | None = None,
    duplicates: float = 0.0,
    masks: bool = False,
    target: str = "diagnosis",
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Generate synthetic chest X-rays in a folder.

    Folders and file names follow the Kaggle collection, so that :func:`load_chest_xrays` can load them. All files are
    gray and, except for DICOM files, without metadata. Without `shortcut`, size, aspect ratio, quality, mean brightness
    and markers do not depend on the diagnosis.

    The same `random_state` draws the same patients in the same order for any `difficulty`, `pattern`, `file_format`,
    `site`, `shortcut`, `duplicates` and `masks`, so that data sets that differ in one of them can be compared image by
    image.

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
    pattern : {"patchy", "lobar", "perihilar", "diffuse"} or None, default=None
        How pneumonia looks, bacterial or viral:

        - "patchy": one or two dense patches;
        - "lobar": the part of one lung above or below a fissure, which is a sharp edge;
        - "perihilar": a haze with fine lines around both lung roots;
        - "diffuse": the same haze over the whole of both lungs;
        - None: "patchy" for bacterial and "perihilar" for viral pneumonia.
    image_size : int, default=256
        Height of the images in pixels, at least 32. All images are wider than high.
    file_format : {"jpeg", "png16", "dicom"}, default="jpeg"
        8-bit JPEG, 16-bit PNG, or uncompressed DICOM (computed radiography, 12 bits). The patient ID of a DICOM file is
        the patient in the file name. "dicom" needs pydicom (``pip install "skpneumo[dicom]"``).
    site : dict or None, default=None
        Settings of the hospital, the same for all images. Missing keys have their default, which changes nothing.

        - "exposure" (-0.2 to 0.2, default 0): added to the mean gray value, as a fraction of white; 0.1 is about 25 of
          255 gray levels;
        - "haze" (0 to 0.8, default 0): proportion of the contrast lost by scattered radiation, i.e. by which the
          standard deviation of the gray values decreases; the mean is unchanged;
        - "zoom" (-0.3 to 0.25, default 0): relative change of the size of the chest in the image; 0.2 is 20 % larger;
        - "blur" (0 to 10, default 0): standard deviation of an additional Gaussian blur, in 1/256 of the image height;
        - "letter" ("R", "L" or None, default "R"): the letter on about 80 % of the images, on that side of the patient.
    shortcut : float or None, default=None
        If not None, some images have a bead of lead as a marker, a white disk above the left shoulder, in the upper
        right corner of the central square. `shortcut` is the proportion of images, in each class, whose marker agrees
        with the diagnosis: with 1, exactly the images with pneumonia have it; with 0.5, it is independent of the
        diagnosis; with 0, exactly the normal images have it.
    duplicates : float, default=0.0
        The proportion of images, at most 0.5, that are replaced by a copy of an image of another patient with the same
        etiology. Copies are alternately the same file and the same image after JPEG compression of quality 50. No image
        is copied twice.
    masks : bool, default=False
        Whether to return a mask of each opacity.
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
        masks : list of ndarray of shape (n_opacities, height, width), dtype bool, or None
            Only if `masks` is True: for each image, the pixels of each opacity that are at least a third as strong as
            its strongest one, without holes.
        marker : ndarray of shape (n_samples,), dtype bool
            Whether an image has the marker of `shortcut`.
        duplicate_of : ndarray of shape (n_samples,), dtype int
            For a copy, the position of the original; -1 for all other images.
    (data, target) : tuple if `return_X_y`
        The paths and the labels.

    Raises
    ------
    FileExistsError
        If `folder` already contains X-rays.
    ImportError
        If `as_frame` is True and pandas is not installed, or `file_format` is "dicom" and pydicom is not installed.
    ValueError
        If a parameter is out of range or of the wrong type, if `n_samples` is 1 with both classes, or if there are too
        few patients for the requested duplicates.

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

    A hospital with blurred, brighter images, and a marker that agrees with the diagnosis in 8 of 10 images:

    >>> other = {"exposure": 0.1, "blur": 2}
    >>> with TemporaryDirectory() as folder:
    ...     xrays = make_chest_xrays(10, folder, site=other, shortcut=0.8, image_size=64, random_state=0)
    >>> int((xrays.marker == xrays.target).sum())
    8
    """
    if n_samples < 2 and 0 < prevalence < 1:
        raise ValueError(f"n_samples must be at least 2 for both classes (prevalence={prevalence}); got {n_samples}.")
    if masks and return_X_y:
        raise ValueError("masks=True needs return_X_y=False, since masks are an attribute of the Bunch.")
    if as_frame:
        import_pandas()
    if file_format == "dicom":
        import_pydicom()
    settings = Site.from_dict(site)
    rng = check_random_state(random_state)
    patients = _plan(n_samples, prevalence, images_per_patient, SUFFIXES[file_format], rng)
    marked = set() if shortcut is None else _choose_marked(patients, shortcut)
    copies = _choose_copies(patients, round(duplicates * n_samples))
    root = Path(os.path.abspath(os.path.expanduser(folder)))
    _prepare(root)
    style = _Style(difficulty, pattern, image_size, settings, np.uint8 if file_format == "jpeg" else np.uint16)
    opacities, regions = _write_images(root, patients, style, marked, copies, with_masks=masks)

    layout = read_layout(str(root), may_be_empty=True)
    bunch = build_bunch(layout, rng.permutation(n_samples), target=target, as_frame=as_frame)
    if return_X_y:
        return bunch.data, bunch.target
    names = [Path(path).name for path in np.asarray(bunch.data, dtype=object)[:, 0]]
    position = {name: i for i, name in enumerate(names)}
    source = {copy.name: copy.original for copy in copies}
    shown = [source.get(name, name) for name in names]
    bunch.opacities = [opacities[name] for name in shown]
    bunch.masks = [regions[name] for name in shown] if masks else None
    bunch.marker = np.array([name in marked for name in shown])
    bunch.duplicate_of = np.array([position[source[name]] if name in source else -1 for name in names])
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


@dataclass(frozen=True)
class _Copy:
    original: str
    name: str
    is_recompressed: bool


@dataclass(frozen=True)
class _Style:
    """Settings that all images share."""

    difficulty: float
    pattern: str | None
    image_size: int
    site: Site
    dtype: type[np.unsignedinteger[Any]]


def _plan(
    n_samples: int, prevalence: float, images_per_patient: float, suffix: str, rng: np.random.RandomState
) -> list[_Patient]:
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
            stems = _normal_stems(number, n_images) if kind == "normal" else []
            stems = stems or [f"person{number}_{kind}_{done + k + 1}" for k in range(n_images)]
            patients.append(_Patient(kind, [stem + suffix for stem in stems], int(rng.randint(_N_SEEDS))))
            done += n_images
    return patients


def _normal_stems(number: int, n_images: int) -> list[str]:
    """Generate file names of both normal series, with overlapping numbers as in the collection."""
    prefix = "NORMAL2-" if number % 2 == 0 else ""
    stem = f"{prefix}IM-{114 + (number + 1) // 2:04d}-0001"
    return [stem, *(f"{stem}-{k:04d}" for k in range(1, n_images))]


def _separate_random_state(patients: list[_Patient], number: int) -> np.random.RandomState:
    """Return a source of random numbers whose use leaves the patients and the order of the images unchanged."""
    return np.random.RandomState([number, *(patient.seed for patient in patients)])


def _choose_marked(patients: list[_Patient], shortcut: float) -> set[str]:
    """Choose the images with a marker, so that it agrees with the diagnosis in a proportion of each class."""
    rng = _separate_random_state(patients, 0)
    marked: set[str] = set()
    for diagnosis in CLASSES:
        names = [name for patient in patients if patient.folder == diagnosis.upper() for name in patient.names]
        shuffled = [names[i] for i in rng.permutation(len(names))]
        n_agreeing = round(shortcut * len(names))
        marked.update(shuffled[n_agreeing:] if diagnosis == "normal" else shuffled[:n_agreeing])
    return marked


def _choose_copies(patients: list[_Patient], n_copies: int) -> list[_Copy]:
    """Choose images to be replaced by an image of another patient with the same etiology, each used once."""
    if not n_copies:
        return []
    images = [(name, patient.kind, number) for number, patient in enumerate(patients) for name in patient.names]
    names, kinds, owners = (np.array(column) for column in zip(*images, strict=True))
    free = np.ones(len(names), dtype=bool)
    rng = _separate_random_state(patients, 1)
    copies: list[_Copy] = []
    for i in rng.permutation(len(names)):
        candidates = np.flatnonzero(free & (kinds == kinds[i]) & (owners != owners[i]))
        if free[i] and len(candidates):
            original = rng.choice(candidates)
            free[[i, original]] = False
            copies.append(_Copy(str(names[original]), str(names[i]), len(copies) % 2 == 1))
        if len(copies) == n_copies:
            return copies
    raise ValueError(
        f"duplicates is {n_copies} of {len(names)} images, but only {len(copies)} of them have an image of another "
        "patient with the same etiology to copy. Decrease duplicates, or increase n_samples."
    )


def _write_images(
    root: Path, patients: list[_Patient], style: _Style, marked: set[str], copies: list[_Copy], *, with_masks: bool
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.bool_]]]:
    """Write all images; return the boxes and, if requested, the masks of those that are no copies."""
    copy_of = {copy.original: copy for copy in copies}
    replaced = {copy.name for copy in copies}
    boxes, regions = {}, {}
    for patient in patients:
        for name, pixels, masks in _draw_patient(patient, style, marked):
            if name in replaced:
                continue
            _write(root / patient.folder / name, pixels, copy_of.get(name))
            boxes[name] = np.array([bounding_box(mask) for mask in masks], dtype=np.int64).reshape(-1, 4)
            if with_masks:
                regions[name] = np.array([binary_fill_holes(mask) for mask in masks], dtype=bool).reshape(masks.shape)
    return boxes, regions


def _draw_patient(
    patient: _Patient, style: _Style, marked: set[str]
) -> Iterator[tuple[str, NDArray[Any], NDArray[np.bool_]]]:
    rng = np.random.RandomState(patient.seed)
    thorax = sample_thorax(rng)
    opacities = sample_opacities(patient.kind, thorax, style.difficulty, rng)
    if style.pattern and opacities:
        other_rng = _separate_random_state([patient], 2)
        opacities = sample_opacities(style.pattern, thorax, style.difficulty, other_rng)
    for name in patient.names:
        acquisition = style.site.apply(sample_acquisition(style.image_size, style.difficulty, rng))
        acquisition = replace(acquisition, marker=name in marked)
        yield name, *draw_chest_xray(thorax, opacities, acquisition, rng, style.dtype)


def _write(path: Path, pixels: NDArray[Any], copy: _Copy | None) -> None:
    """Write an image, and its copy if there is one."""
    write_image(path, pixels, patient_key(path))
    if copy is None:
        return
    if copy.is_recompressed:
        write_image(path.with_name(copy.name), recompress(pixels), patient_key(copy.name))
    else:
        shutil.copyfile(path, path.with_name(copy.name))


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
