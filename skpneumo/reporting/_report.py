"""Write an HTML report on the evaluation of a fitted classifier."""

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skpneumo._images.inputs import images_if_any
from skpneumo._utils.atomic_write import check_parent, write_atomically
from skpneumo._utils.messages import list_items
from skpneumo._utils.validation import BOOLEAN, PATH, Finite, validated
from skpneumo._version import __version__
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._heat_map_utils import spread
from skpneumo.inspection._overlay import overlay
from skpneumo.reporting import _report_sections as sections
from skpneumo.reporting._evaluation import Evaluation, evaluate, parse_images
from skpneumo.reporting._report_figures import plots
from skpneumo.reporting._report_tables import Number, decimal, metric_rows
from skpneumo.reporting._templates import check_installed, render
from skpneumo.reporting._thumbnails import SIDE, data_uri, position_of_maximum, preprocessed_images


@validated(
    path=PATH,
    n_errors=[Finite(Integral, 0, None, closed="left")],
    file_names=BOOLEAN,
    model_file=[*PATH, None],
)
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
    target_names: Any = None,
    excluded: Any = None,
    overlap: Any = None,
    audit: Any = None,
    n_errors: int = 6,
    file_names: bool = True,
    model_file: str | os.PathLike[str] | None = None,
    title: str = "Evaluation of a chest X-ray classifier",
    date: Any = None,
) -> Evaluation:
    """Evaluate a fitted classifier on test images and write an HTML report.

    The report is one HTML file without scripts and external resources. It shows sensitivity, specificity and other
    metrics with confidence intervals, also by subgroup; ROC, calibration and other curves with tables of their values;
    the most confident errors with heat maps; the flow of images and patients; checks for leakage, shortcuts and
    novelty; and code that reproduces the metrics. Each number is in a ``data`` element with all its digits.

    The classifier is a research tool, not a medical device. The metrics apply to the evaluated images only.

    Parameters
    ----------
    clf : estimator instance
        Fitted binary classifier with ``predict_proba``: a `PneumoniaClassifier`, a search, calibration or tuned
        threshold around one, or any other.
    X : list, tuple, Series, ndarray, matrix or DataFrame
        Test images, or features, in any form that the classifier takes. Features have no thumbnails and heat maps.
    y : array-like of shape (n_samples,)
        True labels.
    path : str or path-like
        Path of the HTML file, in an existing folder. An existing file is replaced atomically.
    groups : array-like of shape (n_samples,) or str, default=None
        Patient of each image, or a pattern that finds it in the path. If None, patients are read from file names as in
        `DiagnosticReport.from_estimator`.
    subgroups : mapping of str to array-like of shape (n_samples,), or DataFrame; default=None
        Columns that define subgroups, such as age group or X-ray machine, with at most 20 values each. If None,
        subgroups are the kinds of pneumonia in file names, if any. Pass an empty mapping for no subgroups.
    threshold : float, default=None
        Lowest probability that is predicted positive. If None, the threshold of the classifier, as in
        `DiagnosticReport.from_estimator`.
    prevalence : float, default=None
        Prevalence in the intended setting, for the predictive values in the summary. If None, the prevalence in the
        test images.
    confidence : float, default=0.95
        Confidence level of the intervals.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. When ``pos_label=None``, if `y` is in {-1, 1} or {0, 1}, ``pos_label`` is set
        to 1, otherwise an error will be raised.
    target_names : array-like of shape (2,), default=None
        Names of the classes, in the order of ``clf.classes_``. If None, labels are shown.
    excluded : mapping of str to int or list, default=None
        Images excluded before the evaluation, by reason: their number or the list of images.
    overlap : list of Overlap, default=None
        Overlap of training and test images, as returned by `check_splits`.
    audit : DataFrame, default=None
        Audit of the test images, as returned by `audit_xrays`.
    n_errors : int, default=6
        Maximum number of false negatives, and of false positives, to show.
    file_names : bool, default=True
        Whether to show file names, without folders. If False, images are identified by their position in `X`.
    model_file : str or path-like, default=None
        File of the classifier, whose SHA-256 digest is shown.
    title : str, default="Evaluation of a chest X-ray classifier"
        Title of the report.
    date : str or date, default=None
        Date of the report. If None, no date is shown, and equal calls write equal files.

    Returns
    -------
    Evaluation
        Results of the evaluation, for `model_card`. Its ``performance`` is a `DiagnosticReport`.

    Warns
    -----
    LeakageWarning
        If test images or their patients were in the training data of a ``PneumoniaClassifier`` in `clf`.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib is not installed.
    FileNotFoundError, OSError
        If the folder of `path`, or `model_file`, does not exist, or if `path` cannot be written.
    TypeError, ValueError
        If the classifier is not binary or has no ``predict_proba``, or if a parameter is invalid.

    See Also
    --------
    skpneumo.metrics.diagnostic_report : Compute the metrics and their intervals.
    skpneumo.model_selection.check_splits : Compute `overlap`.
    skpneumo.datasets.audit_xrays : Compute `audit`.

    Notes
    -----
    The report contains neither `groups` nor folders. It contains file names unless ``file_names=False``, and X-rays
    unless ``n_errors=0``.

    Matplotlib settings of the user do not affect the report. They are replaced for the whole process while the curves
    are drawn, and then restored.

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
        raise TypeError(f"clf must be a classifier with classes_; got {type(clf).__name__}.")
    if len(clf.classes_) != 2:
        raise ValueError(
            f"clf must be a binary classifier; got {len(clf.classes_)} classes: "
            f"{list_items([*map(repr, clf.classes_.tolist())])}. Fit a classifier of one class against the rest."
        )
    for check, given in (
        (sections.check_excluded, excluded),
        (sections.check_overlap, overlap),
        (sections.check_audit, audit),
    ):
        check(given)
    model_path = None if model_file is None else Path(model_file)
    if model_path is not None and not model_path.is_file():
        raise FileNotFoundError(f"model_file={str(model_file)!r} is not a file. Pass the path of a saved classifier.")
    X = parse_images(clf, X)
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
        target_names=target_names,
    )
    errors = sections.most_confident_errors(evaluation, n_errors, file_names=file_names)
    html = render(
        "report.html",
        version=__version__,
        title=str(title),
        date=None if date is None else str(date),
        confidence=f"{100 * evaluation.performance.confidence:g} %",
        has_groups=evaluation.performance.has_groups,
        has_repeats=evaluation.performance.n_patients < evaluation.performance.n,
        positive=evaluation.target_names[1],
        negative=evaluation.target_names[0],
        threshold_source=sections.threshold_source(clf, is_given=threshold is not None),
        summary=sections.summary(evaluation),
        metrics=metric_rows(evaluation),
        plots=plots(evaluation, clf),
        subgroups=sections.subgroup_tables(evaluation),
        n_errors=(evaluation.performance.fn, evaluation.performance.fp),
        errors=list(zip(errors, _error_images(clf, X, errors, evaluation.labels[1]), strict=True)),
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
    write_atomically(path, html.encode())
    return evaluation


class _ErrorImage(NamedTuple):
    """A preprocessed image, and its overlay with the heat map."""

    plain: str
    heat: str | None
    position: str | None
    maximum: Number | None


def _error_images(clf: Any, X: Any, errors: Sequence[sections.Error], positive: Any) -> list[_ErrorImage | None]:
    """Return the images of the errors, or None for each if `X` holds features."""
    if not errors or images_if_any(X) is None:
        return [None] * len(errors)
    positions = np.array([each.position for each in errors])
    images = preprocessed_images(clf, X, positions)
    inner = inner_classifier(clf)
    if inner is None or inner.backbone_fingerprint_ is None:
        return [_ErrorImage(data_uri(image), None, None, None) for image in images]
    grids = grad_cam(clf, _safe_indexing(X, positions), class_of_interest=positive, coordinates="grid")
    heats = [spread(grid, (SIDE, SIDE), "stretch") for grid in grids]
    return [
        _ErrorImage(
            data_uri(image),
            data_uri(overlay(image, heat)),
            position_of_maximum(grid),
            decimal(f"failures.{each.position}.warmest", grid.max(), digits=2),
        )
        for each, image, grid, heat in zip(errors, images, grids, heats, strict=True)
    ]
