"""List DICOM files with their patients and studies."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skpneumo._images.dicom import check_installed, check_path, directory_entries
from skpneumo._images.dicom_header import PREAMBLE_SIZE, PREFIX, is_dicom
from skpneumo._images.dicom_patients import identifiers
from skpneumo._images.sources import MAX_FILE_BYTES
from skpneumo._utils.files import open_file, read_at_most
from skpneumo._utils.messages import list_items
from skpneumo.datasets._listing import absolute


def load_dicom(
    path: str | os.PathLike[str],
    *,
    extract_to: str | os.PathLike[str] | None = None,
    salt: str | bytes | None = None,
) -> Any:
    """List the DICOM images in a folder, a DICOMDIR or a ZIP archive, with their patients and studies.

    Only headers are read. Files are recognized by their content, not by their names.

    Parameters
    ----------
    path : str or path-like
        Folder, which is searched with its subfolders; DICOMDIR file; or ZIP archive.
    extract_to : str or path-like, default=None
        Folder for the DICOM files of an archive, which must be empty or missing. Only used for an archive.
    salt : str or bytes, default=None
        Secret that the digests of patients and studies depend on, as in
        :func:`~skpneumo.model_selection.patient_ids`. If None, it is random and differs between processes, and so may
        splits by ``groups``.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_samples, 1), dtype object
            The absolute paths of the images, sorted, or in the order of the DICOMDIR.
        groups : ndarray of shape (n_samples,), dtype object
            Digest of the patient ID of each image, or of its study if the header has none, or the path.
        studies : ndarray of shape (n_samples,), dtype object
            Digest of the study instance UID of each image, or the path if the header has none.
        skipped : dict of str to str
            The reason why each of the other files is not listed. Hidden files are ignored.

    Raises
    ------
    FileNotFoundError
        If `path`, or a file that a DICOMDIR lists, does not exist.
    ValueError
        If there are no images, the file is neither a DICOMDIR nor an archive, or an archive is damaged, encrypted, or
        holds files that would be written outside `extract_to`.
    FileExistsError
        If `extract_to` is not empty.
    ImportError
        If pydicom is not installed.

    See Also
    --------
    audit_xrays : Report lateral views, other body parts and burned-in annotations.

    Notes
    -----
    DICOM files hold no labels of pneumonia: join them by path, or by your own table of studies.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import load_dicom, make_chest_xrays
    >>> with TemporaryDirectory() as folder:
    ...     _ = make_chest_xrays(6, folder, image_size=64, file_format="dicom", random_state=0)
    ...     xrays = load_dicom(folder)
    >>> xrays.data.shape, xrays.skipped
    ((6, 1), {})
    """
    try:
        check_installed()
    except ValueError as error:
        raise ImportError("load_dicom needs pydicom. Install it with \"pip install 'skpneumo[dicom]'\".") from error
    root, skipped = Path(absolute("path", path)), dict[str, str]()
    if root.is_dir():
        files = list(_files_in(root))
    elif not root.exists():
        raise FileNotFoundError(f"'{root}' does not exist: pass a folder, a DICOMDIR or a ZIP archive.")
    elif root.is_file() and zipfile.is_zipfile(root):
        if extract_to is None:
            raise ValueError(f"'{root}' is an archive: pass extract_to, a folder for its DICOM files.")
        folder = Path(absolute("extract_to", extract_to))
        skipped = _extract(root, folder)
        files = list(_files_in(folder))
    else:
        files = _listed_files(root)
    reasons = {str(file): check_path(str(file)) for file in files}
    skipped |= {file: why for file, why in reasons.items() if why}
    images = [file for file, why in reasons.items() if not why]
    if not images:
        others = f" Other files: {list_items(sorted(set(skipped.values())), max_length=150)}." if skipped else ""
        raise ValueError(f"Found no DICOM image in '{root}'.{others}")
    found = [identifiers(image, salt) or (None, None) for image in images]
    return Bunch(
        data=np.array(images, dtype=object).reshape(-1, 1),
        groups=np.array([patient or image for (patient, _), image in zip(found, images, strict=True)], dtype=object),
        studies=np.array([study or image for (_, study), image in zip(found, images, strict=True)], dtype=object),
        skipped=skipped,
    )


def _files_in(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _listed_files(directory: Path) -> list[Path]:
    """Return the files that a DICOMDIR lists; their names may be in lower case, as after a copy from a disk."""
    try:
        with open_file(directory) as file:
            entries = directory_entries(read_at_most(file, MAX_FILE_BYTES))
    except ValueError as error:
        raise ValueError(f"Expected a folder, a DICOMDIR or a ZIP archive; '{directory}' is {error}.") from None
    folder, files, missing = directory.parent, list[Path](), []
    for parts in entries:
        candidates = [folder.joinpath(*parts), folder.joinpath(*map(str.lower, parts))]
        file = next((each for each in candidates if each.is_file()), None)
        if file is None or not _is_inside(file, folder):
            missing.append("/".join(parts))
        else:
            files.append(file)
    if missing:
        raise FileNotFoundError(
            f"'{directory}' lists {len(missing)} files that do not exist beside it: {list_items(missing)}. Copy them, "
            "or pass the folder."
        )
    return files


def _extract(archive: Path, folder: Path) -> dict[str, str]:
    """Extract the DICOM files of an archive; return the reasons why the other files are skipped."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"extract_to='{folder}' is not empty: pass an empty folder.")
    skipped = {}
    try:
        with zipfile.ZipFile(archive) as file:
            members = [each for each in file.infolist() if not each.is_dir()]
            _check_members(archive, members, folder)
            for member in members:
                with file.open(member) as stream:
                    is_wanted = is_dicom(stream.read(PREAMBLE_SIZE + len(PREFIX)))
                if not is_wanted or member.file_size > MAX_FILE_BYTES:
                    skipped[f"{archive}/{member.filename}"] = "too large" if is_wanted else "not a DICOM file"
                else:
                    file.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"The archive '{archive}' is damaged: {error}.") from error
    return skipped


def _check_members(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    if any(member.flag_bits & 1 for member in members):
        raise ValueError(f"The archive '{archive}' is encrypted: extract it, and pass the folder.")
    outside = [member.filename for member in members if not _is_inside(folder / member.filename, folder)]
    if outside:
        raise ValueError(
            f"The archive '{archive}' holds {len(outside)} files that would be written outside extract_to: "
            f"{list_items(outside)}. Do not trust it."
        )
    if len({member.filename.lower() for member in members}) < len(members):
        raise ValueError(f"The archive '{archive}' holds several files of one name: extract it, and pass the folder.")


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())
