"""Load a fitted model from a file, or raise a single kind of error."""

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from skpneumo import _model_state
from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
from skpneumo._trailer import START_OF_PICKLE, check_trailer
from skpneumo._utils.meta_estimators import find_all
from skpneumo.exceptions import ModelFileError

# Types that skops does not trust by default.
TRUSTED_TYPES = [
    "skpneumo._classifier.PneumoniaClassifier",
    "skpneumo._features.VGG19Features",
    "skpneumo.metrics._operating_points.sensitivity_at_specificity",
    "skpneumo.metrics._operating_points.specificity_at_sensitivity",
    "skpneumo.model_selection.PatientGroupKFold",
]

# Types inside searches, thresholds, calibration and pipelines; loading them runs no code of its own.
_TRUSTED_IN_WRAPPERS = [
    "imblearn.over_sampling._random_over_sampler.RandomOverSampler",
    "imblearn.over_sampling._smote.base.SMOTE",
    "imblearn.pipeline.Pipeline",
    "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.metrics._classification.accuracy_score",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._classification.f1_score",
    "sklearn.metrics._classification.log_loss",
    "sklearn.metrics._ranking.average_precision_score",
    "sklearn.metrics._ranking.roc_auc_score",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.StratifiedGroupKFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
]

_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"
_END_OF_ZIP, _N_END_OF_ZIP = b"PK\x05\x06", 22
_COMPRESSED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00": lzma.decompress,
    b"\x04\x22\x4d\x18": lambda data: bytes(_import_lz4().decompress(data)),
    b"x": zlib.decompress,
}
_OTHER_KINDS = {
    b"\xff\xd8\xff": "is a JPEG image",
    b"\x89PNG": "is a PNG image",
    b"\x89HDF": "is an HDF5 file, such as Keras weights",
    b"\x93NUMPY": "is a NumPy array",
    b"%PDF": "is a PDF document",
}
_N_START = 8  # bytes that identify the kind of a file
_NOT_REGULAR = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OTHER_CONTENT = "expected a model of skpneumo, but the file {}."
_DAMAGED = "the file is damaged, truncated or of another kind ({}). Copy it again from its source, or refit the model."
_NOT_LOADABLE = (
    "the file is intact, but it cannot be loaded here ({}). It was saved with {}. Install these versions, and import "
    "or define in __main__ the functions and classes that were defined there in the program that saved it."
)
EXPECTED = "expected a fitted estimator of skpneumo with predict_proba"


def load_model(path: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Any:
    """Load a fitted model from a file of `save_model`, or from another joblib, pickle or skops file.

    The kind of file is detected from its content. The digest in a file of `save_model` is compared with the bytes of
    the file before anything is unpickled. Loading a joblib or pickle file can run arbitrary code: only load files that
    you trust. A file whose name ends in ``.skops`` is never loaded as joblib or pickle.

    Parameters
    ----------
    path : str or path
        Path of a regular file, compressed or not.
    trusted : iterable of str, default=()
        Names of further types that a skops file may contain, such as the type of a custom scorer, in addition to
        `TRUSTED_TYPES` and the types in meta-estimators of scikit-learn.

    Returns
    -------
    estimator
        A `PneumoniaClassifier`, a meta-estimator that contains one (pipeline, search, tuned threshold, calibration),
        or a pipeline with `VGG19Features`.

    Raises
    ------
    ModelFileError
        If the file is missing, is damaged, contains something else, was written by a later version, or needs a package
        that is not installed.

    Warns
    -----
    InconsistentVersionWarning
        If the model was saved with another version of scikit-learn.

    See Also
    --------
    save_model : Save a fitted model to a file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skpneumo import PneumoniaClassifier, load_model, save_model
    >>> features = np.random.RandomState(0).rand(20, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf = PneumoniaClassifier().fit(features, np.arange(20) % 2)
    ...     save_model(clf, f"{folder}/pneumonia.joblib")
    ...     load_model(f"{folder}/pneumonia.joblib").predict_proba(features).shape
    (20, 2)
    """
    if isinstance(trusted, str):
        raise TypeError(f"trusted must be a list of names of types, but got a str: pass [{trusted!r}].")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, but got {type(path).__name__}: write the model to a file.")
    path = os.fspath(path)
    try:
        return _load(path, list(trusted))
    except InconsistentVersionWarning:  # raised if the application turns warnings into errors
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path!r}: {error}") from error.__cause__
    except MemoryError as error:
        raise ModelFileError(f"{path!r}: the file is larger than the free memory, or damaged.") from error
    except Exception as error:  # damaged bytes can raise any exception
        raise ModelFileError(f"{path!r}: {_DAMAGED.format(_describe(error))}") from error


def _load(path: str, trusted: list[str]) -> Any:
    data = _decompressed(_contents(path))
    is_zip = data.startswith(_ZIP)
    if not is_zip and path.lower().endswith(".skops"):
        raise ModelFileError("the name ends in .skops, but the file is not a skops file, or is damaged.")
    is_expected = not _ends_without_comment(data) if is_zip else data.startswith(START_OF_PICKLE)
    saved_with = check_trailer(data, is_expected=is_expected)
    try:
        model = _read_zip(data, trusted) if is_zip else joblib.load(io.BytesIO(data))
    except (InconsistentVersionWarning, ModelFileError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"the file needs the module {error.name!r}, which is not installed: install its package, in the version "
            "used for saving." + (" If there is no such package, the file is damaged." if saved_with is None else "")
        ) from error
    except Exception as error:
        if saved_with is None:
            raise
        raise ModelFileError(_NOT_LOADABLE.format(_describe(error), _compared(saved_with))) from error
    if problem := problem_of(model):
        raise ModelFileError(f"{EXPECTED}, but the file contains {problem}.")
    return model


def _contents(path: str) -> bytes:
    """Read a regular file, unless its first bytes show that it is not a model."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _not_regular(status.st_mode)
            if not status.st_size:
                raise ModelFileError("the file is empty.")
            start = file.read(_N_START)
            if not start.startswith((_PICKLE, _ZIP, *_COMPRESSED)):
                raise _other_kind(start)
            return start + file.read(status.st_size - len(start))
    except ModelFileError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError("no such file.") from None
    except (OSError, ValueError) as error:
        if os.path.exists(path) and not os.path.isfile(path):  # folders and sockets cannot be opened
            raise _not_regular(os.stat(path).st_mode) from None
        raise ModelFileError(f"the file cannot be read: {_describe(error)}.") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file, without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _not_regular(mode: int) -> ModelFileError:
    return ModelFileError(f"expected a regular file, got {_NOT_REGULAR.get(stat.S_IFMT(mode), 'something else')}.")


def _other_kind(start: bytes) -> ModelFileError:
    kinds = (kind for prefix, kind in _OTHER_KINDS.items() if start.startswith(prefix))
    return ModelFileError(_OTHER_CONTENT.format(next(kinds, "is of another kind, or damaged")))


def _decompressed(data: bytes) -> bytes:
    """Decompress all data, which also verifies the checksum at its end."""
    for prefix, decompress in _COMPRESSED.items():
        if data.startswith(prefix):
            data = decompress(data)
            if not data.startswith(_PICKLE):
                raise _other_kind(data[:_N_START])
            break
    return data


def _ends_without_comment(archive: bytes) -> bool:
    """Whether a zip archive ends as those of skops do; those of `save_model` have a comment, which is their trailer."""
    end = archive[-_N_END_OF_ZIP:]
    return end.startswith(_END_OF_ZIP) and end.endswith(bytes(2))  # the length of the comment


def _compared(saved_with: Mapping[str, str]) -> str:
    here = _model_state.versions()
    return ", ".join(
        f"{name} {version}" + ("" if here.get(name) == version else f" (here: {here.get(name, 'not installed')})")
        for name, version in saved_with.items()
        if name != "preprocessing"
    )


def _read_zip(data: bytes, trusted: list[str]) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    if "schema.json" not in names:
        kind = "a Keras model" if "model.weights.h5" in names else "another zip archive, such as NumPy arrays"
        raise ModelFileError(_OTHER_CONTENT.format(f"is {kind}"))
    skops = _import_skops()
    allowed = [*TRUSTED_TYPES, *_TRUSTED_IN_WRAPPERS, *trusted]
    unknown = sorted(set(skops.get_untrusted_types(data=data)) - set(allowed))
    if unknown:
        raise ModelFileError(
            "the file contains types that are not trusted. If you know that they are harmless, pass "
            f"trusted={unknown!r}."
        )
    return skops.loads(data, trusted=allowed)


def _import_lz4() -> ModuleType:
    try:
        import lz4.frame
    except ImportError as error:
        raise ModelFileError("the file is compressed with lz4, which is not installed: pip install lz4.") from error
    return lz4.frame


def _import_skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise ModelFileError(
            "reading a skops file needs skops, which is not installed: pip install 'skpneumo[skops]'."
        ) from error
    return skops.io


def problem_of(model: Any) -> str | None:
    """Describe an object that is not a fitted estimator of this package, nor one that contains one; None if it is."""
    kind = type(model).__name__
    if not find_all(model, lambda each: isinstance(each, (PneumoniaClassifier, VGG19Features))):
        return f"an object of type {kind}"
    if isinstance(model, type) or not isinstance(model, BaseEstimator):
        return f"a model inside an object of type {kind}: save the estimator alone, or use joblib"
    try:
        check_is_fitted(model)
    except NotFittedError:
        return f"a {kind} that is not fitted: save it after fit"
    return None if hasattr(model, "predict_proba") else f"a {kind} without it"


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". :")
