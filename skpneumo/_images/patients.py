"""Patient and etiology from the file names of the Kermany collection."""

import os
import re

_PNEUMONIA = re.compile(r"(?i)(person\d+_(bacteria|virus))(?![0-9A-Za-z])")
_NORMAL = re.compile(r"(?i)((?:NORMAL2-)?IM-\d+)(?![0-9A-Za-z])")


def patient_key(path: str | os.PathLike[str]) -> str | None:
    r"""Return the patient in the name of an image file.

    The collection has two numbering schemes, and in both the prefix is part of the key:
    ``person7_bacteria`` and ``person7_virus`` are two patients, and so are ``IM-0115`` and
    ``NORMAL2-IM-0115``. The rest of the name distinguishes images of one patient. Names are case-insensitive.

    Parameters
    ----------
    path : str or path-like
        Path or name of the file; ``/`` and ``\`` both separate folders. Only the last part is
        used, and the file need not exist.

    Returns
    -------
    str or None
        The key; None if the name does not start with one.

    Examples
    --------
    >>> from skpneumo._images.patients import patient_key
    >>> patient_key("train/PNEUMONIA/person78_bacteria_380.jpeg")
    'person78_bacteria'
    >>> patient_key("NORMAL2-IM-0383-0001.jpeg")
    'NORMAL2-IM-0383'
    >>> patient_key("scan.png") is None
    True
    """
    name = _file_name(path)
    if match := _PNEUMONIA.match(name):
        return match[1].lower()
    return match[1].upper() if (match := _NORMAL.match(name)) else None


def etiology(path: str | os.PathLike[str]) -> str | None:
    """Return the etiology in the name of an image file.

    Parameters
    ----------
    path : str or path-like
        Path or name of the file, as for :func:`patient_key`.

    Returns
    -------
    {"normal", "bacteria", "virus"} or None
        None if the name does not contain it.

    Examples
    --------
    >>> from skpneumo._images.patients import etiology
    >>> etiology("person78_bacteria_380.jpeg"), etiology("IM-0115-0001.jpeg")
    ('bacteria', 'normal')
    """
    name = _file_name(path)
    if match := _PNEUMONIA.match(name):
        return match[2].lower()
    return "normal" if _NORMAL.match(name) else None


def _file_name(path: str | os.PathLike[str]) -> str:
    return re.split(r"[\\/]", os.fspath(path))[-1]
