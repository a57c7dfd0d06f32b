"""Audit a data set for shortcuts to the labels and for files with problems."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import brentq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _num_samples, column_or_1d

from skpneumo._images.dicom_patients import patient_of
from skpneumo._images.duplicates import exact_pairs, near_pairs
from skpneumo._images.groups import as_groups, check_one_column, is_missing
from skpneumo._images.inputs import as_paths
from skpneumo._images.sources import absolute_sources
from skpneumo._utils.messages import list_items
from skpneumo._utils.validation import N_JOBS, validated
from skpneumo.datasets._folder import import_pandas
from skpneumo.datasets._measure import DISEASE_DEPENDENT, Measured, measure

_COLUMNS = ("check", "kind", "n", "auc", "lower", "upper", "verdict", "images")
_ALPHA = 0.05  # error rate of all intervals together
_BLANK_DEVIATION = 4.0  # gray levels
_DEFAULT_SIDE = 112  # pixels, the default image_size of the estimators

_CONSTANT, _NOTHING, _SUSPICIOUS = "the same in all", "nothing found", "suspicious"
_DIFFERS = "differs; disease may explain it"
_UNCERTAIN, _ONE_CLASS_ONLY = "worth a look", "in one class alone"
_MIN_PATIENTS = 3  # with a mark that occurs in one class only
_NOT_COMPARED = "not compared: only images of one class can be read"


@validated(n_jobs=N_JOBS)
def audit_xrays(paths: Any, y: Any, *, groups: Any = None, n_jobs: int | None = None) -> Any:
    """Audit image files for shortcuts to the labels and for problems.

    A model can learn any difference between the classes. The function measures how well each attribute of the files
    that is not anatomy separates them: size, aspect ratio, bit depth, color mode, format, compression, metadata,
    margins and exposure.

    Parameters
    ----------
    paths : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        The paths of the images, as str or pathlib.Path.
    y : array-like of shape (n_samples,)
        The labels of at least two classes.
    groups : array-like of shape (n_samples,) or str, default=None
        The patient of each image, or a pattern that finds it in the path, as in
        :func:`~skpneumo.model_selection.patient_ids`. If None, patients are read from file names or DICOM
        headers. An image without a patient (None, NaN, or none in name and header) is a group of its own.
    n_jobs : int, default=None
        The number of threads that read images. ``None`` means 1 unless in a ``joblib.parallel_config`` context.
        ``-1`` means using all processors.

    Returns
    -------
    DataFrame
        One row for each attribute and for each finding, with the following columns.

        check : str
            The attribute, such as "aspect ratio" or "colour mode: RGB", or the kind of finding: "unreadable", "blank",
            "small", "same pixels", "near duplicate" or "patient with several labels". In DICOM files also "lateral
            view", "other body part", "other modality", "burned-in annotation" and "raw image", according to the header.
        kind : str
            "attribute" or "finding".
        n : int
            The number of images compared or found.
        auc : float
            Area under the ROC curve of the attribute alone, from 0.5 (no separation of the classes) to 1. With more
            than two classes, the largest one-vs-rest value by lower bound. NaN for findings.
        lower, upper : float
            Confidence interval of the AUC. All intervals hold simultaneously with 95 % confidence.
        verdict : str
            For a finding, a description. For an attribute:

            - "suspicious": the interval excludes 0.5;
            - "worth a look": the 95 % interval of this attribute alone excludes 0.5, as happens by chance for one
              attribute in twenty;
            - "in one class alone": images of at least three patients have a mark, such as color, that no image of
              another class has;
            - "differs; disease may explain it": the interval excludes 0.5 for file size or exposure, which disease
              itself can change; these are never given one of the verdicts above;
            - "the same in all": the attribute is constant;
            - "nothing found": none of these.
        images : list of str
            The images found; empty for attributes.

    Raises
    ------
    ValueError
        If `paths` does not contain paths, `y` has a single class or missing labels, or lengths differ.
    ImportError
        If pandas is not installed.

    See Also
    --------
    skpneumo.model_selection.check_splits : Compare a training set and a test set.

    Notes
    -----
    Unreadable images are reported as findings and excluded from everything else. A categorical attribute with more than
    two categories has one row per category. "JPEG quantisation" is the mean of the first quantization table (larger for
    lower quality); it and "dots per inch" are 0 for files without them.

    The intervals are Newcombe's score intervals (method 5), with the number of patients of each class as sample size,
    regardless of the number of images. The error rate of 5 % is Bonferroni-corrected for the number of attributes that
    vary and, with more than two classes, for the number of classes. With few patients, a shortcut can go unnoticed.
    Only the attributes listed are checked; burned-in letters, for example, are not, unless a DICOM header declares
    them. For DICOM files, manufacturer, view position, photometric interpretation and transfer syntax are attributes.

    References
    ----------
    R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2:
    asymptotic methods and evaluation", Statistics in Medicine 25, 2006, doi 10.1002/sim.2324.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skpneumo.datasets import audit_xrays, make_chest_xrays
    >>> with TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(12, folder, image_size=64, random_state=0, return_X_y=True)
    ...     report = audit_xrays(X, y).set_index("check")
    >>> report.loc["EXIF data", "verdict"]
    'the same in all'
    """
    pd = import_pandas("audit_xrays returns a DataFrame and needs pandas. Install it with 'pip install pandas'.")
    names, labels, patients = _check(paths, y, groups)
    measured = Parallel(n_jobs, prefer="threads")(delayed(measure)(file) for file in absolute_sources(names))
    readable = [i for i, each in enumerate(measured) if isinstance(each, Measured)]
    images = [measured[i] for i in readable]
    rows = [
        *_attribute_rows(images, labels[readable], patients[readable]),
        *(
            _finding("unreadable", each, [name])
            for name, each in zip(names, measured, strict=True)
            if isinstance(each, str)
        ),
        *_image_findings(images, [names[i] for i in readable], labels[readable]),
        *_patient_findings(names, labels, patients),
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _check(paths: Any, y: Any, groups: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Validate the input; return paths, labels and patient numbers."""
    names = as_paths(paths) if _num_samples(paths) else None
    if names is None:
        raise ValueError(f"paths must contain paths of images; got a {type(paths).__name__} without paths.")
    labels = column_or_1d(y)
    missing = [i for i, label in enumerate(labels.tolist()) if label is None or label != label]  # noqa: PLR0124
    if missing:
        raise ValueError(
            f"y must contain a label for each image; labels are missing at positions {list_items(missing)}. Add them, "
            "or remove the images."
        )
    groups = as_groups(groups, names)
    if groups is not None:
        check_one_column(groups)
    given = list(map(patient_of, names)) if groups is None else column_or_1d(groups, dtype=object)
    if len(given) != len(names):
        raise ValueError(
            f"groups must contain one patient per image, but it has {len(given)} values for {len(names)} images."
        )
    check_consistent_length(names, labels)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"y must contain at least two classes; got only the class {labels[0]}.")
    numbers: dict[Any, int] = {}
    unknown = list(map(is_missing, given))
    keys = [("image", i) if unknown[i] else ("patient", patient) for i, patient in enumerate(given)]
    return names, labels, np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _finding(check: str, verdict: str, images: Sequence[str]) -> tuple[Any, ...]:
    return check, "finding", len(images), np.nan, np.nan, np.nan, verdict, list(images)


def _attribute_rows(images: Sequence[Measured], labels: np.ndarray, patients: np.ndarray) -> Iterator[tuple[Any, ...]]:
    values = _numeric_attributes(images)
    classes = np.unique(labels)
    contrasts = [labels == name for name in (classes[1:] if len(classes) == 2 else classes)]
    n_tests = len(contrasts) * sum(_varies(column) for column in values.values())
    for check, column in values.items():
        figures, verdict = (np.nan,) * 3, _NOT_COMPARED
        if len(classes) > 1 and not _varies(column):
            figures, verdict = (0.5, np.nan, np.nan), _CONSTANT
        elif len(classes) > 1:
            each = [_auc_with_interval(column, positive, patients, _ALPHA / n_tests) for positive in contrasts]
            figures = max(each, key=lambda figure: figure[1])
            lower = max(
                _auc_with_interval(column, positive, patients, _ALPHA / len(contrasts))[1] for positive in contrasts
            )
            if check in DISEASE_DEPENDENT:
                verdict = _DIFFERS if figures[1] > 0.5 else _NOTHING
            elif figures[1] > 0.5:
                verdict = _SUSPICIOUS
            elif lower > 0.5:
                verdict = _UNCERTAIN
            else:
                verdict = _ONE_CLASS_ONLY if _marks_one_class(column, labels, patients) else _NOTHING
        yield check, "attribute", len(images), *figures, verdict, []


def _numeric_attributes(images: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Collect the attributes as numbers, one-hot encoded if there are more than two categories."""
    columns = {}
    for name in dict.fromkeys(name for each in images for name in each.attributes):
        values = np.array([each.attributes.get(name, "") for each in images])  # only DICOM files have all attributes
        if values.dtype.kind != "U":
            columns[name] = values.astype(float)
            continue
        found = np.unique(values)
        if len(found) == 1:
            columns[name] = np.zeros(len(values))
        for category in found[len(found) == 2 :] if len(found) > 1 else ():
            columns[f"{name}: {category}"] = (values == category).astype(float)
    return columns


def _varies(column: np.ndarray) -> bool:
    return bool(np.ptp(column) > 1e-9 * max(1.0, np.abs(column).max()))


def _marks_one_class(column: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> bool:
    """Check whether the rarer of two values occurs in one class only, in several patients."""
    values, counts = np.unique(column, return_counts=True)
    marked = column == values[counts.argmin()]
    return (
        len(values) == 2 and len(np.unique(labels[marked])) == 1 and len(np.unique(patients[marked])) >= _MIN_PATIENTS
    )


def _auc_with_interval(
    column: np.ndarray, positive: np.ndarray, patients: np.ndarray, alpha: float
) -> tuple[float, float, float]:
    """Compute the AUC of a column, at least 0.5, with its confidence interval."""
    auc = roc_auc_score(positive, column)
    auc = float(max(auc, 1 - auc))
    m, n = (len(np.unique(patients[side])) for side in (positive, ~positive))
    return auc, *_interval(auc, m, n, float(norm.isf(alpha / 2)))


def _interval(auc: float, m: int, n: int, z: float) -> tuple[float, float]:
    """Compute the interval of AUCs within `z` of their own standard errors of the estimate."""

    def excess(true: float) -> float:
        half = (m + n) / 2 - 1
        variance = true * (1 - true) * (1 + half * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)
        return (auc - true) ** 2 - z**2 * variance

    # The standard error of an AUC of 1 is 0, so that 1 itself is a root.
    lower = brentq(excess, 0.0, min(auc, 1 - 1e-9))
    return float(lower), float(brentq(excess, auc, 1.0)) if auc < 1 else 1.0


def _image_findings(images: Sequence[Measured], paths: Sequence[str], labels: np.ndarray) -> Iterator[tuple[Any, ...]]:
    fingerprints = [each.fingerprint for each in images]
    blank = [
        path for path, each in zip(paths, images, strict=True) if float(each.attributes["contrast"]) < _BLANK_DEVIATION
    ]
    small = [path for path, each in zip(paths, images, strict=True) if each.fingerprint.short_side < _DEFAULT_SIDE]
    if blank:
        yield _finding("blank", f"standard deviation below {_BLANK_DEVIATION:g} of 255 gray levels", blank)
    if small:
        yield _finding("small", f"a side is shorter than {_DEFAULT_SIDE} pixels, the default image_size", small)
    for check in sorted({check for each in images for check in each.findings}):
        of = {path: each.findings[check] for path, each in zip(paths, images, strict=True) if check in each.findings}
        yield _finding(check, list_items(sorted(set(of.values()))), list(of))
    exact = [(i, j) for i, j, _ in exact_pairs(fingerprints, fingerprints) if i < j]
    near = [(i, j) for i, j, _ in near_pairs(fingerprints)]
    equal = _components(exact, len(fingerprints))
    similar = [group for group in _components([*exact, *near], len(fingerprints)) if group not in equal]
    for check, groups in (("same pixels", equal), ("near duplicate", similar)):
        for group in groups:
            found = np.unique(labels[group])
            verdict = "one label" if len(found) == 1 else f"labels differ: {', '.join(map(str, found))}"
            yield _finding(check, verdict, [paths[i] for i in group])


def _components(pairs: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """Return the groups of at least two items that are connected by pairs."""
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    _, component = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (n, n)), directed=False)
    members: dict[int, list[int]] = {}
    for i, number in enumerate(component):
        members.setdefault(int(number), []).append(i)
    return [group for group in members.values() if len(group) > 1]


def _patient_findings(paths: Sequence[str], labels: np.ndarray, patients: np.ndarray) -> Iterator[tuple[Any, ...]]:
    order = np.argsort(patients, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(patients[order])) + 1):
        found = np.unique(labels[rows])
        if len(found) > 1:
            verdict = f"labels: {', '.join(map(str, found))}"
            yield _finding("patient with several labels", verdict, [paths[i] for i in rows])
