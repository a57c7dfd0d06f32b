"""Films to fit on, patients held out, and what another site would make of their films, written as PNG."""

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

_MNIST_SIDE = 64  # what its 28 px are enlarged to before they are changed


@dataclass(frozen=True)
class Films:
    """Paths with their labels (1 is pneumonia) and patients."""

    paths: np.ndarray
    y: np.ndarray
    patients: np.ndarray

    def __getitem__(self, places: np.ndarray) -> "Films":
        return Films(self.paths[places], self.y[places], self.patients[places])

    def __len__(self) -> int:
        return len(self.paths)


def folds(
    source: str, folder: str | Path, *, n_splits: int = 4, only: int | None = None, n_images: int | None = None
) -> list[tuple[Films, Films]]:
    """Split the films of a source into those to fit on and those held out.

    Parameters
    ----------
    source : str
        "kermany" or "mnist", from the folder that ``SKPNEUMO_SHARED`` names; or a folder of films named like Kermany's.
    folder : path
        Where the images of "mnist" are written.
    n_splits : int
        Folds, stratified, a patient on one side. "mnist" has one: its train and val images.
    only : int or None
        How many of the folds, from the first.
    n_images : int or None
        About how many films are held out, over these folds, in all: whole patients, stratified. More of them
        include those that fewer would be.

    Returns
    -------
    list of tuple of Films
        Fit on, held out; one a fold.
    """
    if source == "mnist":
        pairs = [_mnist(Path(folder))]
    else:
        films = load_chest_xrays(shared() / "xrays" / "kermany" if source == "kermany" else source)
        known = Films(films.data.ravel().astype(str).astype(object), films.target, patient_ids(films.data))
        splitter = StratifiedGroupKFold(n_splits, shuffle=True, random_state=0)
        pairs = [(known[fit], known[held]) for fit, held in splitter.split(known.paths, known.y, known.patients)][:only]
    if n_images is None:
        return pairs
    return [(fit, _some(held, n_images / len(pairs), seed)) for seed, (fit, held) in enumerate(pairs)]


def shared() -> Path:
    """Name the folder of real films."""
    if not os.environ.get("SKPNEUMO_SHARED"):
        raise SystemExit("The real films are in the folder named by the environment variable SKPNEUMO_SHARED: set it.")
    return Path(os.environ["SKPNEUMO_SHARED"])


def _mnist(folder: Path) -> tuple[Films, Films]:
    """Write the train and val images of PneumoniaMNIST; nothing says who is on them, so each is a patient."""
    data = np.load(shared() / "xrays" / "pneumoniamnist_28_train_val.npz")
    return _mnist_part(data, "train", folder), _mnist_part(data, "val", folder)


def _mnist_part(data: np.lib.npyio.NpzFile, part: str, folder: Path) -> Films:
    images, root = data[f"{part}_images"], folder / "mnist" / part
    root.mkdir(parents=True, exist_ok=True)
    paths = [root / f"{part}-{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        if not path.exists():
            _save(Image.fromarray(image).resize((_MNIST_SIDE, _MNIST_SIDE), Image.Resampling.BICUBIC), path)
    names = np.array([path.stem for path in paths], object)
    return Films(np.array([str(path) for path in paths], object), data[f"{part}_labels"].ravel().astype(int), names)


def _some(films: Films, n_images: float, seed: int) -> Films:
    """Draw patients in one order until each class has its share of the films, and no fewer."""
    patients = np.random.default_rng(seed).permutation(np.unique(films.patients.astype(str)))
    share, drawn, counts = n_images / len(films), [], dict.fromkeys(np.unique(films.y), 0)
    for patient in patients:
        own = np.flatnonzero(films.patients == patient)
        label = films.y[own[0]]
        if counts[label] < share * np.sum(films.y == label):
            counts[label] += len(own)
            drawn.append(own)
    return films[np.sort(np.concatenate(drawn))]


def changed(
    films: Films, folder: str | Path, names: Sequence[str], strengths: Sequence[int]
) -> dict[tuple[str, int], list[str]]:
    """Write films as other sites would have made them, where they are not written yet.

    Parameters
    ----------
    films : Films
        Films held out.
    folder : path
        Where they are written, in folders by change and strength. These change their names with the code of the
        changes.
    names, strengths : sequence
        Which changes.

    Returns
    -------
    dict of list
        Paths by change and strength, in the order of `films`.
    """
    root = Path(folder) / f"changed-{code_of_changes()}"
    sites = {(name, strength): root / f"{name} {strength}" for name in names for strength in strengths}
    for site in sites.values():
        site.mkdir(parents=True, exist_ok=True)
    files = [f"{_stem(path)}.png" for path in films.paths]
    joblib.Parallel(n_jobs=2, batch_size=8)(
        joblib.delayed(_write)(path, {(n, s): site / file for (n, s), site in sites.items()})
        for path, file in zip(films.paths, files, strict=True)
    )
    return {key: [str(site / file) for file in files] for key, site in sites.items()}


def code_of_changes() -> str:
    """Tell whether films were changed by the same code."""
    return hashlib.blake2b(Path(changes.__file__).read_bytes(), digest_size=4).hexdigest()


def _stem(path: str) -> str:
    place = hashlib.blake2b(os.path.abspath(path).encode(), digest_size=4).hexdigest()
    return f"{Path(path).stem}-{place}"


def _write(path: str, targets: dict[tuple[str, int], Path]) -> None:
    missing = {key: target for key, target in targets.items() if not target.exists()}
    if missing:
        film = gray(path)
        for (name, strength), target in missing.items():
            _save(changes.CHANGES[name](film, strength), target)


def gray(path: str) -> Image.Image:
    with Image.open(path) as film:
        return film.convert("L")


def _save(film: Image.Image, path: Path) -> None:
    """Write whole files only: a run that was stopped leaves none that look done."""
    part = path.with_suffix(f".{os.getpid()}.part")
    film.save(part, "PNG", compress_level=1)
    part.replace(path)
