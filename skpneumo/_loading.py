"""Load a fitted model from a file, or raise a single kind of error."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import joblib
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
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
_COMPRESSED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"\x5d\x00": lzma.decompress,
    b"x": zlib.decompress,
}
_LZ4 = b"\x04\x22\x4d\x18"
_OTHER_KINDS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file, such as Keras weights",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF": "a PDF document",
}
_OTHER_CONTENT = "expected a model of skpneumo, but the file {}"
_DAMAGED = "the file is damaged, truncated or of another kind ({}). Copy it again from its source, or refit the model"


def load_model(path: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Any:
    """Load a fitted model from a joblib, pickle or skops file.

    The kind of file is detected from its content. Loading a joblib or pickle file can run arbitrary code: only load
    files that you trust. A file whose name ends in ``.skops`` is never loaded as joblib or pickle.

    Parameters
    ----------
    path : str or path
        Path of the file, compressed or not.
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

    Examples
    --------
    >>> import tempfile, joblib
    >>> import numpy as np
    >>> from skpneumo import PneumoniaClassifier, load_model
    >>> features = np.random.RandomState(0).rand(20, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf = PneumoniaClassifier().fit(features, np.arange(20) % 2)
    ...     _ = joblib.dump(clf, f"{folder}/pneumonia.joblib")
    ...     load_model(f"{folder}/pneumonia.joblib").predict_proba(features).shape
    (20, 2)
    """
    if isinstance(trusted, str):
        raise TypeError(f"trusted must be a list of names of types, but got a str: pass [{trusted!r}].")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path, but got {type(path).__name__}: write the model to a file.")
    path = os.fspath(path)
    try:
        return _validated(_read(path, _contents(path), list(trusted)))
    except InconsistentVersionWarning:  # raised if the application turns warnings into errors
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path!r}: {error}") from error.__cause__
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"{path!r}: the file needs the module {error.name!r}, which is not installed: install its package, in the "
            "version used for saving. If there is no such package, the file is damaged."
        ) from error
    except Exception as error:  # damaged bytes can raise any exception
        raise ModelFileError(f"{path!r}: {_DAMAGED.format(_describe(error))}.") from error


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError("no such file.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "expected a file, got a folder." if os.path.isdir(path) else f"the file cannot be read: {_describe(error)}."
        ) from error
    if not data:
        raise ModelFileError("the file is empty.")
    return data


def _read(path: str, data: bytes, trusted: list[str]) -> Any:
    if data.startswith(_ZIP):
        return _read_zip(data, trusted)
    if path.lower().endswith(".skops"):
        raise ModelFileError("the name ends in .skops, but the file is not a skops file, or is damaged.")
    if not data.startswith((_PICKLE, _LZ4)):
        data = _decompressed(data)
    buffer = io.BytesIO(data)
    return joblib.load(buffer)


def _decompressed(data: bytes) -> bytes:
    """Decompress all data, which also verifies the checksum at its end."""
    for prefix, decompress in _COMPRESSED.items():
        if data.startswith(prefix):
            plain = decompress(data)
            if plain.startswith(_PICKLE):
                return plain
    kinds = [kind for prefix, kind in _OTHER_KINDS.items() if data.startswith(prefix)]
    raise ModelFileError(f"{_OTHER_CONTENT.format(f'is {kinds[0]}' if kinds else 'is of another kind, or damaged')}.")


def _read_zip(data: bytes, trusted: list[str]) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "schema.json" not in names:
            kind = "a Keras model" if "model.weights.h5" in names else "another zip archive, such as NumPy arrays"
            raise ModelFileError(f"{_OTHER_CONTENT.format(f'is {kind}')}.")
    skops = _import_skops()
    allowed = [*TRUSTED_TYPES, *_TRUSTED_IN_WRAPPERS, *trusted]
    unknown = sorted(set(skops.get_untrusted_types(data=data)) - set(allowed))
    if unknown:
        raise ModelFileError(
            "the file contains types that are not trusted. If you know that they are harmless, pass "
            f"trusted={unknown!r}."
        )
    return skops.loads(data, trusted=allowed)


def _import_skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise ModelFileError(
            "reading a skops file needs skops, which is not installed: pip install 'skpneumo[skops]'."
        ) from error
    return skops.io


def _validated(model: Any) -> Any:
    """Check that the object is a fitted estimator of this package, or contains one."""
    if not find_all(model, lambda each: isinstance(each, (PneumoniaClassifier, VGG19Features))):
        raise ModelFileError(f"{_OTHER_CONTENT.format(f'contains an object of type {type(model).__name__}')}.")
    if isinstance(model, type) or not isinstance(model, BaseEstimator):
        raise ModelFileError(
            f"expected an estimator, but the file contains a model inside an object of type {type(model).__name__}: "
            "load it with joblib.load, and save the estimator alone."
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ModelFileError(
            f"the file contains a {type(model).__name__} that is not fitted: save it after fit."
        ) from None
    if not hasattr(model, "predict_proba"):
        raise ModelFileError(
            f"expected an estimator with predict_proba, but the file contains a {type(model).__name__} without it."
        )
    return model


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". :")
