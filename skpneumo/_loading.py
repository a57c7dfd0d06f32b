"""From a file to the fitted model in it, or to one error that says why there is none."""

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

# What skops has to be told to trust, beside what it trusts by itself.
TRUSTED_TYPES = [
    "skpneumo._classifier.PneumoniaClassifier",
    "skpneumo._features.VGG19Features",
    "skpneumo.metrics._operating_points.sensitivity_at_specificity",
    "skpneumo.metrics._operating_points.specificity_at_sensitivity",
    "skpneumo.model_selection.PatientGroupKFold",
]

# What searches, thresholds, calibration and pipelines hold; none of it does anything while it is read.
_OF_WRAPPERS = [
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
_FOREIGN = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file, such as weights of Keras",
    b"\x93NUMPY": "an array of numpy",
    b"%PDF": "a PDF document",
}
_NO_MODEL = "holds no model of this package, but {}"
_DAMAGED = "is damaged, cut off or of another kind: {}. Copy it anew from where it was made, or fit anew"


def load_model(path: str | os.PathLike[str], *, trusted: Iterable[str] = ()) -> Any:
    """Read a fitted model from a file of joblib, pickle or skops.

    What kind of file it is, is told by its content. Files of joblib and pickle can run any code: read only those that
    you trust. A file whose name ends in ``.skops`` is never read as one of these.

    Parameters
    ----------
    path : str or path
        The file, compressed or not.
    trusted : iterable of str, default=()
        Further types that a ``.skops`` file may hold, beside `TRUSTED_TYPES` and what scikit-learn's
        own wrappers hold, such as the type of a scorer of your own.

    Returns
    -------
    estimator
        A `PneumoniaClassifier`, or what it is wrapped in: a pipeline, a search, a tuned threshold, a calibration. Or a
        pipeline with `VGG19Features`.

    Raises
    ------
    ModelFileError
        There is no such file, it is damaged, holds something else, was written by a later version, or needs a package
        that is not installed.

    Warns
    -----
    InconsistentVersionWarning
        scikit-learn's, where the model was saved with another version of it.

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
        raise TypeError(f"trusted must be a list of names of types; got the bare str {trusted!r}.")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a path; got {type(path).__name__}. Write its bytes to a file first.")
    path = os.fspath(path)
    try:
        return _checked(_read(path, _contents(path), list(trusted)))
    except InconsistentVersionWarning:  # raised where the host makes errors of warnings
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path!r}: {error}") from error.__cause__
    except ModuleNotFoundError as error:
        raise ModelFileError(
            f"{path!r}: needs the module {error.name!r}, which is not installed here: install its package in a "
            "version like the one of then. If there is no such package, the file is damaged."
        ) from error
    except Exception as error:  # whatever damaged bytes make of a reader
        raise ModelFileError(f"{path!r}: {_DAMAGED.format(_sentence(error))}.") from error


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError("no such file.") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "a folder, not a file." if os.path.isdir(path) else f"cannot be read: {_sentence(error)}."
        ) from error
    if not data:
        raise ModelFileError("an empty file.")
    return data


def _read(path: str, data: bytes, trusted: list[str]) -> Any:
    if data.startswith(_ZIP):
        return _read_zip(data, trusted)
    if path.lower().endswith(".skops"):
        raise ModelFileError("is no file of skops, whose name it has, or is damaged.")
    if not data.startswith((_PICKLE, _LZ4)):
        data = _decompressed(data)
    buffer = io.BytesIO(data)
    return joblib.load(buffer)


def _decompressed(data: bytes) -> bytes:
    """Decompress all of it, which compares it with the checksum behind it."""
    for prefix, decompress in _COMPRESSED.items():
        if data.startswith(prefix):
            plain = decompress(data)
            if plain.startswith(_PICKLE):
                return plain
    kinds = [kind for prefix, kind in _FOREIGN.items() if data.startswith(prefix)]
    raise ModelFileError(f"{_NO_MODEL.format(f'is {kinds[0]}' if kinds else 'something else, or is damaged')}.")


def _read_zip(data: bytes, trusted: list[str]) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "schema.json" not in names:
            kind = "a file of Keras" if "model.weights.h5" in names else "another zip archive, such as arrays of numpy"
            raise ModelFileError(f"{_NO_MODEL.format(f'is {kind}')}.")
    skops = _import_skops()
    allowed = [*TRUSTED_TYPES, *_OF_WRAPPERS, *trusted]
    unknown = sorted(set(skops.get_untrusted_types(data=data)) - set(allowed))
    if unknown:
        raise ModelFileError(
            f"holds types that are not trusted: {', '.join(unknown)}. If you know that they are harmless, pass "
            f"trusted={unknown!r}."
        )
    return skops.loads(data, trusted=allowed)


def _import_skops() -> ModuleType:
    try:
        import skops.io
    except ImportError as error:
        raise ModelFileError(
            "a file of skops, which is not installed: pip install 'skpneumo[skops]', or pip install skops."
        ) from error
    return skops.io


def _checked(model: Any) -> Any:
    """Return a fitted model that holds an estimator of this package, and nothing else."""
    if not find_all(model, lambda each: isinstance(each, (PneumoniaClassifier, VGG19Features))):
        raise ModelFileError(f"{_NO_MODEL.format(f'an object of type {type(model).__name__}')}.")
    if isinstance(model, type) or not isinstance(model, BaseEstimator):
        raise ModelFileError(
            f"holds a {type(model).__name__} around a model, not an estimator: read it with joblib.load, and save the "
            "estimator alone."
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ModelFileError(f"holds a {type(model).__name__} that has not been fitted: save it after fit.") from None
    if not hasattr(model, "predict_proba"):
        raise ModelFileError(f"holds a {type(model).__name__}, which has no predict_proba.")
    return model


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". :")
