"""report: a page about a fitted classifier and the images it was judged on."""

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing, check_scalar
from sklearn.utils.validation import check_is_fitted

from skpneumo._images.inputs import images_if_any
from skpneumo._version import __version__
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._heat_map_utils import spread
from skpneumo.inspection._overlay import overlay
from skpneumo.reporting import _report_sections as sections
from skpneumo.reporting._atomic_write import check_parent, write_whole
from skpneumo.reporting._evaluation import Evaluation, evaluate, parsed
from skpneumo.reporting._report_figures import pictures
from skpneumo.reporting._report_tables import Number, decimal, figure_rows
from skpneumo.reporting._templates import check_installed, fill_in
from skpneumo.reporting._thumbnails import SIDE, data_uri, place_of_most, preprocessed_of


def report(
    clf: Any,
    X: Any,
    y: Any,
    path: str | os.PathLike[str],
    *,
    groups: Any = None,
    subgroups: Any = None,
    threshold: float | None = None,
    prevalence: float | None = None,
    confidence: float = 0.95,
    pos_label: Any = None,
    excluded: Any = None,
    overlap: Any = None,
    audit: Any = None,
    n_errors: int = 6,
    file_names: bool = True,
    model_file: str | os.PathLike[str] | None = None,
    title: str = "Evaluation of a chest X-ray classifier",
    date: Any = None,
) -> Evaluation:
    """Judge a fitted classifier on images it was not fitted on, and write a page about it.

    The page is one HTML file that holds its pictures itself, asks nothing of a network and runs no script. It says how
    often the ill and the others are called rightly, with intervals, for parts of the images too; shows curves beside
    their numbers, and the errors that the classifier is surest of, with heat maps of what it looked at; tells which way
    images went, what the model had seen before, and how to get the figures again. Every number stands in a ``data``
    element that holds it with all its digits.

    A research tool, not a medical device: figures hold for the images that they are made of, and no others.

    Parameters
    ----------
    clf : estimator instance
        Fitted classifier of two labels with ``predict_proba``: a `PneumoniaClassifier`, a search, calibration or tuned
        threshold around one, or another.
    X : list, tuple, Series, ndarray, matrix or DataFrame
        What the classifier takes: images, or features, which cannot be shown.
    y : array-like of shape (n_samples,)
        Labels.
    path : str or path-like
        Where the page is written, in a folder that exists. What is there is replaced once the page is whole.
    groups : array-like of shape (n_samples,), default=None
        Patient of each image. None: read from the names of files, as in `DiagnosticReport.from_estimator`.
    subgroups : mapping of str to array-like of shape (n_samples,), or DataFrame; default=None
        Columns that tell parts of the images, such as age group or machine, which are judged by themselves; at most 20
        values each. None: kinds of pneumonia, where the names of files tell. An empty mapping: none.
    threshold : float, default=None
        Lowest probability that is called positive. None: that of the classifier, as in `DiagnosticReport`.
    prevalence : float, default=None
        Share of the ill where the classifier is to be used; the predictive values on top are for it. None: the share
        among these images.
    confidence : float, default=0.95
        Share of studies in which an interval is to cover the true value.
    pos_label : int, float, bool or str, default=None
        The label of the ill. None: 1, if labels are 0 and 1, or -1 and 1.
    excluded : mapping of str to int or list, default=None
        Images that were left out before, by reason: their number, or the images, which are counted.
    overlap : list of Overlap, default=None
        What `check_splits` returned of the training and the test images.
    audit : DataFrame, default=None
        What `audit_xrays` returned.
    n_errors : int, default=6
        How many of the ill that are missed are shown, and how many false alarms.
    file_names : bool, default=True
        Whether files are named; folders never are. False: images go by their position in `X`.
    model_file : str or path-like, default=None
        File of the classifier, of which the SHA-256 is stated.
    title : str, default="Evaluation of a chest X-ray classifier"
        Heading of the page.
    date : str or date, default=None
        Date on the page. None: none, and the same call writes the same bytes.

    Returns
    -------
    Evaluation
        The numbers, for `model_card` and for others: ``performance`` is a `DiagnosticReport`.

    Warns
    -----
    LeakageWarning
        A ``PneumoniaClassifier`` in the estimator saw some of these images, or of these patients, in its training.

    Raises
    ------
    ImportError
        Jinja2 or matplotlib is not installed.
    FileNotFoundError, OSError
        The folder of `path` does not exist, or `model_file` does not; nothing can be written there.
    TypeError, ValueError
        The classifier is not one of two labels with probabilities, or parameters cannot be used; offending items are
        named.

    See Also
    --------
    skpneumo.metrics.diagnostic_report : How figures and intervals are made.
    skpneumo.model_selection.check_splits : Makes `overlap`.
    skpneumo.datasets.audit_xrays : Makes `audit`.

    Notes
    -----
    What is taken for a name of a patient is not on the page: neither `groups`, nor folders. Names of files are, unless
    ``file_names=False``, and films are, unless ``n_errors=0``.

    While curves are drawn, settings of matplotlib, which belong to the whole process, are those of the page; what
    users have set of it does not change the page.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.reporting import report
    >>> from skpneumo.model_selection import patient_train_test_split
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(40, folder, random_state=0, return_X_y=True)
    ...     X_train, X_test, y_train, y_test = patient_train_test_split(X, y, test_size=0.5, random_state=0)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X_train, y_train)
    ...     evaluation = report(clf, X_test, y_test, Path(folder) / "report.html")
    >>> evaluation.performance.n == len(y_test)
    True
    """
    check_installed("report", "jinja2", "matplotlib")
    path = check_parent(path)
    check_is_fitted(clf)
    if not hasattr(clf, "classes_"):
        raise TypeError(f"A report is about a classifier; {type(clf).__name__} has no classes_.")
    if len(clf.classes_) != 2:
        raise ValueError(
            f"A report is about a classifier of two labels; this one has {len(clf.classes_)}: "
            f"{list(clf.classes_)}. Fit one that tells a label from the rest."
        )
    check_scalar(n_errors, "n_errors", Integral, min_val=0)
    for check, given in (
        (sections.check_excluded, excluded),
        (sections.check_overlap, overlap),
        (sections.check_audit, audit),
    ):
        check(given)
    model_path = None if model_file is None else Path(model_file)
    if model_path is not None and not model_path.is_file():
        raise FileNotFoundError(f"model_file={str(model_file)!r} is no file.")
    X = parsed(clf, X)
    evaluation = evaluate(
        clf,
        X,
        y,
        groups=groups,
        subgroups=subgroups,
        threshold=threshold,
        prevalence=prevalence,
        confidence=confidence,
        pos_label=pos_label,
    )
    failures = sections.failures(evaluation, n_errors, file_names=file_names)
    html = fill_in(
        "report.html",
        version=__version__,
        title=str(title),
        date=None if date is None else str(date),
        confidence=f"{100 * evaluation.performance.confidence:g} %",
        has_groups=evaluation.performance.has_groups,
        has_repeats=evaluation.performance.n_patients < evaluation.performance.n,
        positive=str(evaluation.labels[1]),
        negative=str(evaluation.labels[0]),
        source_of_threshold=sections.source_of_threshold(clf, is_given=threshold is not None),
        headline=sections.headline(evaluation),
        figures=figure_rows(evaluation),
        pictures=pictures(evaluation, clf),
        subgroups=sections.subgroup_tables(evaluation),
        n_errors=(evaluation.performance.fn, evaluation.performance.fp),
        failures=list(zip(failures, _films(clf, X, failures, evaluation.labels[1]), strict=True)),
        flow=sections.flow(clf, evaluation, excluded),
        leakage=sections.leakage(evaluation, overlap, file_names=file_names),
        audit=sections.audit_rows(audit),
        novelty=sections.novelty(evaluation),
        model=sections.model(clf, model_path),
        code=sections.code(
            evaluation,
            model_path,
            groups="None" if groups is None else "groups",
            pos_label=evaluation.labels[1],
        ),
    )
    write_whole(path, html)
    return evaluation


class _Film(NamedTuple):
    """An image as the network sees it, and with its heat map over it."""

    plain: str
    heat: str | None
    place: str | None
    most: Number | None


def _films(clf: Any, X: Any, failures: Sequence[sections.Failure], positive: Any) -> list[_Film | None]:
    """Return what is to be seen of failures; None where there are no images."""
    if not failures or images_if_any(X) is None:
        return [None] * len(failures)
    positions = np.array([each.position for each in failures])
    squares = preprocessed_of(clf, X, positions)
    inner = inner_classifier(clf)
    if inner is None or inner.backbone_fingerprint_ is None:
        return [_Film(data_uri(square), None, None, None) for square in squares]
    grids = grad_cam(clf, _safe_indexing(X, positions), class_of_interest=positive, coordinates="grid")
    heats = [spread(grid, (SIDE, SIDE), "stretch") for grid in grids]
    return [
        _Film(
            data_uri(square),
            data_uri(overlay(square, heat)),
            place_of_most(grid),
            decimal(f"failures.{each.position}.warmest", grid.max(), digits=2),
        )
        for each, square, grid, heat in zip(failures, squares, grids, heats, strict=True)
    ]
