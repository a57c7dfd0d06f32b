"""Training images, held-out images, and changed copies of held-out images as PNG files."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from skpneumo.datasets import load_chest_xrays
from skpneumo.model_selection import patient_ids
from tests.benchmarks.shifts import changes

MNIST_SIDE = 64  # pixels to which the images of 28 px are enlarged before the changes

# Changes that are applied to the held-out images of a source; all changes if it is missing here.
CHANGES_OF = {"second_site": (), "mnist": ("exposure up", "contrast down", "blur", "noise")}


@dataclass(frozen=True)
class Dataset:
    """Paths, labels (1 for pneumonia, or the code of the etiology) and patients of images."""

    paths: np.ndarray
    y: np.ndarray
    patients: np.ndarray

    def __getitem__(self, indices: np.ndarray) -> "Dataset":
        return Dataset(self.paths[indices], self.y[indices], self.patients[indices])

    def __len__(self) -> int:
        return len(self.paths)


def folds(
    source: str,
    folder: str | Path,
    *,
    n_splits: int = 4,
    only: int | None = None,
    n_images: int | None = None,
    target: str = "diagnosis",
) -> list[tuple[Dataset, Dataset]]:
    """Split the images of a source into training and held-out images.

    Parameters
    ----------
    source : str
        "kermany", "second_site" or "mnist" in the folder ``SKPNEUMO_SHARED``, or a folder with file names like
        Kermany's.
    folder : path
        Folder in which the images of "mnist" are written.
    n_splits : int
        Number of stratified, patient-grouped folds. "second_site" has one fold, all images of "kermany" and its own
        images, and so has "mnist", its training and validation images.
    only : int or None
        Number of folds to return, from the first. If None, return all.
    n_images : int or None
        Approximate number of held-out images in all these folds, sampled by patient and stratified. Larger samples
        contain smaller ones. If None, use all.
    target : {"diagnosis", "etiology"}
        The labels, as in `load_chest_xrays`. "mnist" has no etiology.

    Returns
    -------
    list of tuple of Dataset
        Training and held-out images of each fold.
    """
    xrays = shared() / "xrays" if source in ("kermany", "second_site", "mnist") else Path()
    if source == "mnist":
        pairs = [_mnist(xrays / "pneumoniamnist_28_train_val.npz", Path(folder))]
    elif source == "second_site":
        pairs = [(_load(xrays / "kermany", target), _load(xrays / "second_site", target))]
    else:
        everything = _load(xrays / source, target)
        splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=0)
        pairs = [
            (everything[fit], everything[held])
            for fit, held in splitter.split(everything.paths, everything.y, everything.patients)
        ][:only]
    if n_images is None:
        return pairs
    return [(fit, _some(held, n_images / len(pairs), seed)) for seed, (fit, held) in enumerate(pairs)]


def shared() -> Path:
    """Return the folder of real X-rays."""
    if not os.environ.get("SKPNEUMO_SHARED"):
        raise SystemExit("Set the environment variable SKPNEUMO_SHARED to the folder of real X-rays.")
    return Path(os.environ["SKPNEUMO_SHARED"])


def _load(root: Path, target: str) -> Dataset:
    xrays = load_chest_xrays(root, target=target)
    return Dataset(xrays.data.ravel().astype(str).astype(object), xrays.target, patient_ids(xrays.data))


def _mnist(file: Path, folder: Path) -> tuple[Dataset, Dataset]:
    """Write the training and validation images of PneumoniaMNIST; its patients are unknown, so each image is one."""
    data = np.load(file)
    return _mnist_part(data, "train", folder), _mnist_part(data, "val", folder)


def _mnist_part(data: np.lib.npyio.NpzFile, part: str, folder: Path) -> Dataset:
    images, root = data[f"{part}_images"], folder / "mnist" / part
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"{part}-{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        if not path.exists():
            _save(Image.fromarray(image).resize((MNIST_SIDE, MNIST_SIDE), Image.Resampling.BICUBIC), path)
    names = np.array([path.stem for path in paths], object)
    return Dataset(np.array([str(path) for path in paths], object), data[f"{part}_labels"].ravel().astype(int), names)


def _some(dataset: Dataset, n_images: float, seed: int) -> Dataset:
    """Sample patients in a fixed order until each class has its proportion of images."""
    patients = np.random.default_rng(seed).permutation(np.unique(dataset.patients.astype(str)))
    fraction, sampled, counts = n_images / len(dataset), [], dict.fromkeys(np.unique(dataset.y), 0)
    for patient in patients:
        own = np.flatnonzero(dataset.patients == patient)
        label = dataset.y[own[0]]
        if counts[label] < fraction * np.sum(dataset.y == label):
            counts[label] += len(own)
            sampled.append(own)
    return dataset[np.sort(np.concatenate(sampled))]


def changed(
    dataset: Dataset, folder: str | Path, names: Sequence[str], strengths: Sequence[int]
) -> dict[tuple[str, int], list[str]]:
    """Write changed copies of images, unless they exist.

    Parameters
    ----------
    dataset : Dataset
        Held-out images.
    folder : path
        Folder in which they are written, in subfolders by change and strength. Their names contain a hash of the code
        of the changes.
    names, strengths : sequence
        The changes and their strengths.

    Returns
    -------
    dict of list
        Paths by change and strength, in the order of `dataset`.
    """
    root = Path(folder) / f"changed-{code_of_changes()}"
    sites = {(name, strength): root / f"{name} {strength}" for name in names for strength in strengths}
    for site in sites.values():
        site.mkdir(parents=True, exist_ok=True)
    files = [f"{_stem(path)}.png" for path in dataset.paths]
    joblib.Parallel(n_jobs=2, batch_size=8)(
        joblib.delayed(_write)(path, {(n, s): site / file for (n, s), site in sites.items()})
        for path, file in zip(dataset.paths, files, strict=True)
    )
    return {key: [str(site / file) for file in files] for key, site in sites.items()}


def code_of_changes() -> str:
    """Return a hash of the code of the changes."""
    return hashlib.blake2b(Path(changes.__file__).read_bytes(), digest_size=4).hexdigest()


def _stem(path: str) -> str:
    folder_hash = hashlib.blake2b(os.path.abspath(path).encode(), digest_size=4).hexdigest()
    return f"{Path(path).stem}-{folder_hash}"


def _write(path: str, targets: dict[tuple[str, int], Path]) -> None:
    missing = {key: target for key, target in targets.items() if not target.exists()}
    if missing:
        image = gray(path)
        for (name, strength), target in missing.items():
            _save(changes.CHANGES[name](image, strength), target)


def gray(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def _save(image: Image.Image, path: Path) -> None:
    """Write the file atomically, so that an interrupted run leaves no incomplete file."""
    part = path.with_suffix(f".{os.getpid()}.part")
    image.save(part, "PNG", compress_level=1)
    part.replace(path)
