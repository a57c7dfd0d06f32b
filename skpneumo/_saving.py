"""Save a fitted model to a file that records its own digest."""

import gzip
import io
import os
import zipfile
from numbers import Integral
from types import ModuleType
from typing import Any

import joblib

from skpneumo._loading import EXPECTED, problem_of
from skpneumo._trailer import START_OF_PICKLE, trailer
from skpneumo._utils.atomic_write import write_atomically
from skpneumo._utils.validation import Finite, validated


@validated(compress=[Finite(Integral, 0, 9, closed="both")])
def save_model(model: Any, path: str | os.PathLike[str], *, compress: int = 0) -> None:
    """Save a fitted model to a joblib or skops file.

    The file ends with a digest of its content, which `load_model` checks before it reads the model: a file that was
    damaged or truncated after saving raises an error. The file is written in one step: if saving is interrupted or
    fails, an existing file of this name stays unchanged.

    Parameters
    ----------
    model : estimator
        A fitted `PneumoniaClassifier`, a meta-estimator that contains one (pipeline, search, tuned threshold,
        calibration), or a pipeline of `VGG19Features` and a classifier.
    path : str or path
        Path of the file, in an existing folder. If it ends in ``.skops``, a skops file is written, which can be loaded
        without running code from the file; otherwise, a joblib file, which ``joblib.load`` reads too.
    compress : int, default=0
        Level of compression, from 0 (not compressed) to 9. Joblib files are compressed with gzip.

    Raises
    ------
    ValueError
        If `model` is not a fitted model that `load_model` can load.
    OSError
        If the file cannot be written.
    ImportError
        If the path ends in ``.skops``, but skops is not installed.

    See Also
    --------
    load_model : Load a fitted model from a file.

    Notes
    -----
    The digest detects accidents, such as a failing disk or an interrupted transfer. It is not a signature: whoever
    changes a file on purpose can change the digest too. ``joblib.load`` does not check it.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skpneumo import PneumoniaClassifier, load_model, save_model
    >>> features = np.random.RandomState(0).rand(20, 3)
    >>> clf = PneumoniaClassifier().fit(features, np.arange(20) % 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(clf, f"{folder}/pneumonia.joblib")
    ...     load_model(f"{folder}/pneumonia.joblib").predict_proba(features).shape
    (20, 2)
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, but got {type(path).__name__}.")
    if problem := problem_of(model):
        raise ValueError(f"{EXPECTED}, but got {problem}.")
    path, level = os.fspath(path), int(compress)
    is_skops = path.lower().endswith(".skops")
    write_atomically(path, _skops_file(model, level) if is_skops else _joblib_file(model, level))


def _joblib_file(model: Any, level: int) -> bytes:
    buffer = io.BytesIO(START_OF_PICKLE)
    buffer.seek(0, io.SEEK_END)
    joblib.dump(model, buffer)
    body = buffer.getvalue()
    content = body + trailer(body)
    # The trailer is inside the compressed data, because joblib.load can read neither zlib nor gzip data with more
    # bytes after them.
    return gzip.compress(content, level, mtime=0) if level else content


def _skops_file(model: Any, level: int) -> bytes:
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    buffer = io.BytesIO(_import_skops().dumps(model, compression=method, compresslevel=level or None))
    n_bytes = len(trailer(b""))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = bytes(n_bytes)  # the end of the file, whose place the trailer takes
    body = buffer.getvalue()[:-n_bytes]
    return body + trailer(body)


def _import_skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError("writing a skops file needs skops: pip install 'skpneumo[skops]'.") from error
    return skops.io
