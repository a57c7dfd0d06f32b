"""Published data sets on disk: unpacked in one step, counted, and checked by their digests at each load."""

import os
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

from filelock import FileLock
from sklearn.datasets import get_data_home

from skpneumo._utils.messages import list_items
from skpneumo._utils.progress import progress_bar
from skpneumo._utils.validation import BOOLEAN, PATH, Constraints, Finite
from skpneumo.datasets._download import RemoteFile, brief, download, file_digest
from skpneumo.datasets._layout import Labeled, read_layout

_MANIFEST = "SHA256SUMS"  # in the format of the command sha256sum


@dataclass(frozen=True)
class Collection:
    """Published data set of images.

    Parameters
    ----------
    folder : str
        Folder of the data set in the data home.
    images : str
        Folder of the images in `folder`.
    remote : RemoteFile
        The published archive.
    unpack : callable
        Returns an iterator over names, such as "train/NORMAL/a.png", and contents of the images in an archive.
    counts : tuple of mapping of str to int
        The number of images in each folder, such as "train/NORMAL", for each published form of the collection.
    kaggle_archives : tuple of str
        Names of archives of the same images on Kaggle.
    """

    folder: str
    images: str
    remote: RemoteFile
    unpack: Callable[[Path], Iterator[tuple[str, bytes]]]
    counts: tuple[Mapping[str, int], ...]
    kaggle_archives: tuple[str, ...] = ()


FETCHING: Constraints = {
    "data_home": [*PATH, None],
    "download_if_missing": BOOLEAN,
    "n_retries": [Finite(Integral, 0, None, closed="left")],
    "delay": [Finite(Real, 0, None, closed="left")],
}


def provide_images(
    collection: Collection,
    data_home: str | os.PathLike[str] | None,
    *,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
) -> Path:
    """Return the folder with the images of a collection, after a check; download and unpack it if necessary.

    Raises
    ------
    OSError
        If the images are missing and cannot be downloaded, or are not those of the collection.
    ImportError
        If a download is necessary and pooch is not installed.
    """
    try:
        folder = Path(get_data_home(data_home)) / collection.folder
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(f"data_home must be a folder, but '{error.filename}' is a file.") from None
    images = folder / collection.images
    if (images / _MANIFEST).is_file():
        _check_manifest(images)
        return images
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        if (images / _MANIFEST).is_file():  # another process has provided them
            return images
        if images.is_dir():
            _adopt(collection, images)
            return images
        archive = _find_archive(collection, folder)
        if archive is not None:
            _unpack(collection, archive, images)
            return images
        if not download_if_missing:
            raise OSError(f"Data not found and `download_if_missing` is False. {_by_hand(collection, folder)}")
        archive = _download(collection, folder, n_retries, delay)
        _unpack(collection, archive, images)
        archive.unlink()
    return images


def _find_archive(collection: Collection, folder: Path) -> Path | None:
    """Find an archive that the user put into the folder."""
    remote = collection.remote
    for archive in (folder / name for name in (remote.name, *collection.kaggle_archives)):
        if archive.is_file():
            algorithm, expected = remote.checksum.split(":")
            if archive.name == remote.name and (actual := file_digest(archive, algorithm)) != expected:
                raise OSError(
                    f"'{archive}' is not the published file: expected {algorithm} {expected}, got {actual}. Remove it "
                    f"to download it again. {_by_hand(collection, folder)}"
                )
            return archive
    return None


def _download(collection: Collection, folder: Path, n_retries: int, delay: float) -> Path:
    try:
        return download(collection.remote, folder, n_retries, delay)
    except ImportError as error:
        message = "The download needs pooch. Install it with 'pip install \"skpneumo[fetch]\"'."
        raise ImportError(f"{message} {_by_hand(collection, folder)}") from error
    except OSError as error:
        message = f"Cannot download {collection.remote.name}: {brief(error)}"
        raise OSError(f"{message}\n{_by_hand(collection, folder)}") from error


def _by_hand(collection: Collection, folder: Path) -> str:
    """Describe where to put files that were downloaded by hand."""
    remote = collection.remote
    algorithm, digest = remote.checksum.split(":")
    kaggle = "".join(f", or Kaggle's '{name}'" for name in collection.kaggle_archives)
    return (
        f"To provide the data by hand, download {remote.url} on another machine and put it into the folder '{folder}' "
        f"as '{remote.name}' ({algorithm} {digest}){kaggle}, or the unpacked folder '{collection.images}'."
    )


def _unpack(collection: Collection, archive: Path, images: Path) -> None:
    """Write the images of an archive to a folder, which appears when it is complete."""
    counts: Counter[str] = Counter()
    n_images = sum(collection.counts[0].values())
    new = images.with_name(".unpacking")
    shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed
    try:
        with progress_bar(n_images, f"Unpacking {archive.name}", "image", 1) as bar:
            for name, content in collection.unpack(archive):
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                counts[name.rpartition("/")[0]] += 1
                bar.update()
        _check_counts(collection, counts, archive)
        _write_manifest(new)
        os.replace(new, images)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(f"'{archive}' is damaged: {error}. {_by_hand(collection, images.parent)}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _adopt(collection: Collection, images: Path) -> None:
    """Check the number of images in a folder that the user unpacked, and store their digests."""
    try:
        found = _images(images)
    except OSError as error:
        raise OSError(f"{error} Remove '{images}'. {_by_hand(collection, images.parent)}") from error
    counts = Counter(f"{Path(image.class_folder).parent.name.lower()}/{image.class_name}" for image in found)
    _check_counts(collection, counts, images)
    _write_manifest(images)


def _check_counts(collection: Collection, counts: Counter[str], source: Path) -> None:
    if counts not in collection.counts:
        expected = " or ".join(_listed(form) for form in collection.counts)
        raise OSError(
            f"'{source}' is not the published collection: expected {expected} images; found {_listed(counts)}. Remove "
            f"it. {_by_hand(collection, source.parent)}"
        )


def _listed(counts: Mapping[str, int]) -> str:
    return list_items([f"{counts[folder]} in {folder}" for folder in sorted(counts)]) or "none"


def _write_manifest(images: Path) -> None:
    digests = _digests(images, _names(images))
    new = images / f".{_MANIFEST}"
    lines = (f"{digest}  {name}\n" for name, digest in digests.items())
    new.write_text("".join(lines), encoding="utf-8", newline="\n")
    os.replace(new, images / _MANIFEST)


def _check_manifest(images: Path) -> None:
    """Check that the images are those that were unpacked."""
    lines = (images / _MANIFEST).read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = _digests(images, [name for name in expected if (images / name).is_file()])
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "changed": [name for name, digest in found.items() if digest != expected[name]],
        "unexpected": sorted(set(_names(images)) - expected.keys()),
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {list_items(items)}" for kind, items in problems.items() if items)
        raise OSError(
            f"The images in '{images}' have changed since they were unpacked; {listed}. Remove the folder to provide "
            "them again."
        )


def _names(images: Path) -> list[str]:
    return [Path(os.path.relpath(image.path, images)).as_posix() for image in _images(images)]


def _images(images: Path) -> list[Labeled]:
    try:
        return read_layout(images, "all", may_be_empty=True).images
    except ValueError as error:
        raise OSError(f"'{images}' is not the published collection: {error}") from error


def _digests(images: Path, names: list[str]) -> dict[str, str]:
    """Return the SHA-256 digests of images, computed in parallel."""
    with ThreadPoolExecutor() as pool, progress_bar(len(names), "Checking", "image", 1) as bar:
        digests = {}
        for name, digest in zip(names, pool.map(lambda name: file_digest(images / name, "sha256"), names), strict=True):
            digests[name] = digest
            bar.update()
    return digests
