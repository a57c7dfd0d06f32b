"""Whether labels can be told from what is not anatomy, and what is wrong with the files."""

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

from skpneumo._images.duplicates import exact_pairs, near_pairs
from skpneumo._images.inputs import as_paths
from skpneumo._images.patients import patient_key
from skpneumo.datasets._folder import import_pandas
from skpneumo.datasets._measure import PICTURE, Measured, measure

_COLUMNS = ("check", "kind", "n", "auc", "lower", "upper", "verdict", "images")
_LEVEL = 0.05  # chance that any one of all intervals misses its value
_BLANK = 4.0  # gray levels of standard deviation
_SMALL = 224  # pixels, what the estimators look at by default

_SAME, _NOTHING, _SUSPICIOUS = "the same in all", "nothing found", "suspicious"
_DIFFERS = "differs; disease may explain it"
_LOOK, _ALONE = "worth a look", "in one class alone"
_FEW = 3  # patients with a mark that one class alone has; fewer say nothing
_ONE_CLASS = "not compared: images of one class alone can be read"


def audit_xrays(paths: Any, y: Any, *, groups: Any = None, n_jobs: int | None = None) -> Any:
    """Look for shortcuts to the labels, and for files that should not be learned from as they are.

    A model takes whatever tells classes apart. Here each attribute of the files that is no anatomy tries it alone:
    size, shape, depth, colour mode, format, compression, metadata, margins, exposure.

    Parameters
    ----------
    paths : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
        Paths of images, str or pathlib.Path.
    y : array-like of shape (n_samples,)
        Labels of two or more classes.
    groups : array-like of shape (n_samples,), default=None
        Patients; None reads them from the names of the files. An image whose name does not tell, or whose patient is
        None or NaN, counts as a patient of its own.
    n_jobs : int, default=None
        Threads that read images; None means 1 unless in a ``joblib.parallel_config``.

    Returns
    -------
    DataFrame
        A row for each attribute and for each finding, with the columns

        check : str
            The attribute, such as "aspect ratio" or "colour mode: RGB", or what was found: "unreadable", "blank",
            "small", "same pixels", "near duplicate" or "patient with several labels".
        kind : str
            "attribute" or "finding".
        n : int
            Number of images compared, or found.
        auc : float
            How well the attribute alone tells the classes apart, from 0.5, not at all, to 1; with more than two
            classes one against the rest, that whose interval begins highest. NaN for findings.
        lower, upper : float
            Interval of the AUC. All intervals together hold with 95 % confidence.
        verdict : str
            Of an attribute "suspicious" where its interval excludes 0.5; "worth a look" where its own 95 % interval
            would, which is so for one attribute in twenty by chance; "in one class alone" where films of three patients
            or more have a mark, such as colour, that no image of another class has; otherwise "nothing found", or "the
            same in all". File size and exposure are never called any of this, since disease itself changes them, but
            "differs; disease may explain it". Of a finding what is the matter.
        images : list of str
            What was found; empty for attributes.

    Raises
    ------
    ValueError
        `paths` are no paths, `y` holds one class alone, or lengths differ.
    ImportError
        pandas is not installed.

    See Also
    --------
    skpneumo.model_selection.check_splits : Compare a training set and a test set.

    Notes
    -----
    Images that cannot be read are findings, and left out of all else. A categorical attribute of more than two
    categories has a row for each of them. Where there is no such thing, an attribute is 0: "JPEG quantisation", the
    mean of the first table, which is larger the lower the quality, and "dots per inch".

    Intervals are Newcombe's score intervals (his method 5) on as many samples as there are patients of each class,
    however many films these have. They are Bonferroni's: the chance of an error, 5 %, is divided among all attributes
    that vary, and among classes where there are more than two. With few patients a shortcut can go unnoticed. Nothing
    but the attributes listed is looked at: burned-in letters, for one, are not.

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
    pd = import_pandas("audit_xrays returns a DataFrame and needs pandas: install it with 'pip install pandas'.")
    names, labels, patients = _check(paths, y, groups)
    measured = Parallel(n_jobs, prefer="threads")(delayed(measure)(name) for name in names)
    readable = [i for i, each in enumerate(measured) if isinstance(each, Measured)]
    images = [measured[i] for i in readable]
    rows = [
        *_judge_attributes(images, labels[readable], patients[readable]),
        *(
            _finding("unreadable", each, [name])
            for name, each in zip(names, measured, strict=True)
            if isinstance(each, str)
        ),
        *_judge_images(images, [names[i] for i in readable], labels[readable]),
        *_judge_patients(names, labels, patients),
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _check(paths: Any, y: Any, groups: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, labels, and patients by number."""
    names = as_paths(paths) if _num_samples(paths) else None
    if names is None:
        raise ValueError(f"paths must hold paths of images, but {type(paths).__name__} holds none.")
    labels = column_or_1d(y)
    missing = [i for i, label in enumerate(labels.tolist()) if label is None or label != label]  # noqa: PLR0124
    if missing:
        raise ValueError(f"y must hold a label for each image, but has none for paths{missing}.")
    given = [patient_key(name) for name in names] if groups is None else column_or_1d(np.asarray(groups, dtype=object))
    check_consistent_length(names, labels, given)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"y must hold two or more classes; it holds {labels[0]} alone.")
    numbers: dict[Any, int] = {}
    unknown = [patient is None or patient != patient for patient in given]  # noqa: PLR0124
    keys = [("image", i) if unknown[i] else ("patient", patient) for i, patient in enumerate(given)]
    return names, labels, np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _finding(check: str, verdict: str, images: Sequence[str]) -> tuple[Any, ...]:
    return check, "finding", len(images), np.nan, np.nan, np.nan, verdict, list(images)


def _judge_attributes(
    images: Sequence[Measured], labels: np.ndarray, patients: np.ndarray
) -> Iterator[tuple[Any, ...]]:
    values = _columns(images)
    classes = np.unique(labels)
    contrasts = [labels == name for name in (classes[1:] if len(classes) == 2 else classes)]
    n_tests = len(contrasts) * sum(_varies(column) for column in values.values())
    for check, column in values.items():
        figures, verdict = (np.nan,) * 3, _ONE_CLASS
        if len(classes) > 1 and not _varies(column):
            figures, verdict = (0.5, np.nan, np.nan), _SAME
        elif len(classes) > 1:
            each = [_telling(column, positive, patients, _LEVEL / n_tests) for positive in contrasts]
            figures = max(each, key=lambda figure: figure[1])
            alone = max(_telling(column, positive, patients, _LEVEL / len(contrasts))[1] for positive in contrasts)
            if check in PICTURE:
                verdict = _DIFFERS if figures[1] > 0.5 else _NOTHING
            elif figures[1] > 0.5:
                verdict = _SUSPICIOUS
            elif alone > 0.5:
                verdict = _LOOK
            else:
                verdict = _ALONE if _marks_one_class(column, labels, patients) else _NOTHING
        yield check, "attribute", len(images), *figures, verdict, []


def _columns(images: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Numbers by attribute; of more than two categories, whether it is this one."""
    columns = {}
    for name in images[0].attributes if images else ():
        values = np.array([each.attributes[name] for each in images])
        if values.dtype.kind != "U":
            columns[name] = values.astype(float)
            continue
        found = np.unique(values)
        if len(found) == 1:
            columns[name] = np.zeros(len(values))
        for one in found[len(found) == 2 :] if len(found) > 1 else ():
            columns[f"{name}: {one}"] = (values == one).astype(float)
    return columns


def _varies(column: np.ndarray) -> bool:
    return bool(np.ptp(column) > 1e-9 * max(1.0, np.abs(column).max()))


def _marks_one_class(column: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> bool:
    """Tell whether the rarer of two values stands on films of one class alone, and of several patients."""
    values, counts = np.unique(column, return_counts=True)
    marked = column == values[counts.argmin()]
    return len(values) == 2 and len(np.unique(labels[marked])) == 1 and len(np.unique(patients[marked])) >= _FEW


def _telling(
    column: np.ndarray, positive: np.ndarray, patients: np.ndarray, level: float
) -> tuple[float, float, float]:
    """AUC of a number, 0.5 or more, with its interval at one chance of error."""
    auc = roc_auc_score(positive, column)
    auc = float(max(auc, 1 - auc))
    m, n = (len(np.unique(patients[side])) for side in (positive, ~positive))
    return auc, *_interval(auc, m, n, float(norm.isf(level / 2)))


def _interval(auc: float, m: int, n: int, z: float) -> tuple[float, float]:
    """All AUCs that lie within `z` of their own standard errors of the one that was found."""

    def excess(true: float) -> float:
        half = (m + n) / 2 - 1
        variance = true * (1 - true) * (1 + half * ((1 - true) / (2 - true) + true / (1 + true))) / (m * n)
        return (auc - true) ** 2 - z**2 * variance

    # An AUC of 1 has no error of its own: what is looked for lies below it.
    lower = brentq(excess, 0.0, min(auc, 1 - 1e-9))
    return float(lower), float(brentq(excess, auc, 1.0)) if auc < 1 else 1.0


def _judge_images(images: Sequence[Measured], paths: Sequence[str], labels: np.ndarray) -> Iterator[tuple[Any, ...]]:
    films = [each.film for each in images]
    blank = [path for path, each in zip(paths, images, strict=True) if float(each.attributes["contrast"]) < _BLANK]
    small = [path for path, each in zip(paths, images, strict=True) if each.film.short_side < _SMALL]
    if blank:
        yield _finding("blank", f"gray values deviate by less than {_BLANK:g} of 255 levels", blank)
    if small:
        yield _finding("small", f"a side is shorter than {_SMALL} pixels, what the network sees by default", small)
    exact = [(i, j) for i, j, _ in exact_pairs(films, films) if i < j]
    near = [(i, j) for i, j, _ in near_pairs(films)]
    equal = _components(exact, len(films))
    alike = [group for group in _components([*exact, *near], len(films)) if group not in equal]
    for check, groups in (("same pixels", equal), ("near duplicate", alike)):
        for group in groups:
            found = np.unique(labels[group])
            verdict = "one label" if len(found) == 1 else f"labels differ: {', '.join(map(str, found))}"
            yield _finding(check, verdict, [paths[i] for i in group])


def _components(pairs: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """Gather into groups what pairs link; what stands alone is left out."""
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    _, component = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), (n, n)), directed=False)
    members: dict[int, list[int]] = {}
    for i, number in enumerate(component):
        members.setdefault(int(number), []).append(i)
    return [group for group in members.values() if len(group) > 1]


def _judge_patients(paths: Sequence[str], labels: np.ndarray, patients: np.ndarray) -> Iterator[tuple[Any, ...]]:
    order = np.argsort(patients, kind="stable")
    for films in np.split(order, np.flatnonzero(np.diff(patients[order])) + 1):
        found = np.unique(labels[films])
        if len(found) > 1:
            verdict = f"labels: {', '.join(map(str, found))}"
            yield _finding("patient with several labels", verdict, [paths[i] for i in films])
