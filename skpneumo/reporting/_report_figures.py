"""Plots of the report, each with a table of its values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    DetCurveDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    det_curve,
    precision_recall_curve,
    roc_curve,
)

from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.inspection._threshold_display import ThresholdDisplay
from skpneumo.inspection._training_curve_display import TrainingCurveDisplay
from skpneumo.reporting import _report_tables as tables
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._svg import INK, QUIET, SERIES, svg_style, to_svg

_SIZE, _TALL = (4.6, 3.4), (4.6, 5.2)  # in inches
_MAX_POINTS = 200
_TOLERANCE = 0.001  # about half a pixel, relative to the side of a plot


class Plot(NamedTuple):
    """A plot of the report; `svg` is None if there is nothing to draw."""

    name: str
    title: str
    description: str
    svg: str | None
    table: tables.Table
    summary: tuple[str, tables.Metric] | None = None


def plots(evaluation: Evaluation, clf: Any) -> list[Plot]:
    """Draw all plots that apply to the evaluation and the classifier."""
    draw = [_confusion, _roc, _threshold, _calibration, _histogram, _precision_recall, _det]
    inner = inner_classifier(clf)
    with svg_style():
        drawn = [each(evaluation) for each in draw]
        return drawn if inner is None or not len(inner.loss_curve_) else [*drawn, _training(inner)]


def simplified(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return positions of at most 200 points that draw the same curve (Douglas-Peucker algorithm)."""
    points = np.column_stack([x, y])
    tolerance = _TOLERANCE
    while np.count_nonzero(kept := _kept_points(points, tolerance)) > _MAX_POINTS:
        tolerance *= 1.5
    return np.flatnonzero(kept)


def _kept_points(points: np.ndarray, tolerance: float) -> np.ndarray:
    kept = np.zeros(len(points), bool)
    kept[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        between = points[first + 1 : last] - points[first]
        chord = points[last] - points[first]
        length = np.hypot(*chord)
        if length:
            along = np.clip(between @ chord / length**2, 0, 1)
            between = between - along[:, None] * chord
        distance = np.hypot(*between.T)
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return kept


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.subplots()


def _labeled_svg(figure: Any, ax: Any, name: str, title: str, x: str, y: str) -> str:
    ax.set(xlabel=x, ylabel=y)
    if legend := ax.get_legend():
        legend.remove()
    return to_svg(figure, name, title)


def _mark_operating_point(ax: Any, x: float, y: float) -> None:
    """Mark the operating point on a curve."""
    ax.plot([x], [y], marker="o", markersize=7, color=SERIES[1], linestyle="none", zorder=5)
    to_left = x > 0.5
    ax.annotate(
        "operating point",
        (x, y),
        xytext=(-9 if to_left else 9, -4),
        textcoords="offset points",
        ha="right" if to_left else "left",
        va="top",
    )


def _unit_square(ax: Any) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")


def _confusion(evaluation: Evaluation) -> Plot:
    from matplotlib.colors import ListedColormap

    table = tables.confusion_table(evaluation)
    counts = np.array([[each.value for each in row[1:]] for row in table.rows])
    figure, ax = _axes()
    ax.grid(visible=False)
    # A transparent color keeps the numbers legible on light and dark pages.
    colormap = ListedColormap([(0.0, 0.45, 0.7, 0.4 * step) for step in np.linspace(0, 1, 64)])
    display = ConfusionMatrixDisplay(counts, display_labels=["positive", "negative"])
    display.plot(ax=ax, cmap=colormap, colorbar=False, values_format="d", text_kw={"color": INK, "size": 15})
    ax.set_aspect("auto")
    svg = _labeled_svg(
        figure, ax, "confusion", "Confusion matrix with the counts of the table", "Predicted label", "Label"
    )
    description = (
        "Number of images by label and predicted label. Top: true positives and false negatives; bottom: false "
        "positives and true negatives."
    )
    return Plot("confusion", "Confusion matrix", description, svg, table)


def _roc(evaluation: Evaluation) -> Plot:
    fpr, tpr, _ = roc_curve(evaluation.y, evaluation.proba)
    kept = simplified(fpr, tpr)
    figure, ax = _axes()
    ax.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
    RocCurveDisplay(fpr=fpr[kept], tpr=tpr[kept]).plot(ax=ax)
    performance = evaluation.performance
    _mark_operating_point(ax, 1 - performance["specificity"].estimate, performance["sensitivity"].estimate)
    _unit_square(ax)
    title = f"ROC curve, AUC {performance['roc_auc'].estimate:.3f}"
    svg = _labeled_svg(figure, ax, "roc", title, "False positive rate", "True positive rate")
    description = (
        "True positive rate (sensitivity) against false positive rate (1 \N{MINUS SIGN} specificity) at each "
        "threshold. Dotted: chance."
    )
    summary = "Area under the ROC curve (AUC)", tables.metric("roc.roc_auc", performance["roc_auc"])
    return Plot("roc", "ROC curve", description, svg, tables.roc_table(evaluation), summary)


def _precision_recall(evaluation: Evaluation) -> Plot:
    precision, recall, _ = precision_recall_curve(evaluation.y, evaluation.proba)
    kept = simplified(recall, precision)
    figure, ax = _axes()
    performance = evaluation.performance
    ax.axhline(performance.prevalence, color=QUIET, linestyle=":", linewidth=1)
    PrecisionRecallDisplay(precision=precision[kept], recall=recall[kept]).plot(ax=ax)
    if performance.tp + performance.fp:
        _mark_operating_point(ax, performance["sensitivity"].estimate, performance["ppv"].estimate)
    _unit_square(ax)
    title = f"Precision-recall curve, average precision {performance['average_precision'].estimate:.3f}"
    x, y = "Sensitivity (recall)", "Positive predictive value (precision)"
    svg = _labeled_svg(figure, ax, "precision-recall", title, x, y)
    description = (
        "PPV (precision) against sensitivity (recall) at each threshold. PPV depends on the prevalence; dotted: "
        "prevalence in the test data."
    )
    table = tables.precision_recall_table(precision, recall)
    summary = "Average precision", tables.metric("precision_recall.average_precision", performance["average_precision"])
    return Plot("precision-recall", "Precision-recall curve", description, svg, table, summary)


def _det(evaluation: Evaluation) -> Plot:
    fpr, fnr, _ = det_curve(evaluation.y, evaluation.proba)
    inside = (fpr > 0) & (fpr < 1) & (fnr > 0) & (fnr < 1)  # normal deviates of 0 and 1 are infinite
    table = tables.det_table(evaluation)
    description = "False negative rate against false positive rate at each threshold, on normal deviate scales."
    if np.count_nonzero(inside) < 2:
        description += " Not drawn: fewer than two thresholds have both false positives and false negatives."
        return Plot("det", "Detection error tradeoff (DET) curve", description, None, table)
    fpr, fnr = fpr[inside], fnr[inside]
    kept = simplified(fpr, fnr)
    figure, ax = _axes()
    DetCurveDisplay(fpr=fpr[kept], fnr=fnr[kept]).plot(ax=ax)
    svg = _labeled_svg(
        figure, ax, "det", "Detection error tradeoff curve", "False positive rate", "False negative rate"
    )
    return Plot("det", "Detection error tradeoff (DET) curve", description, svg, table)


def _calibration(evaluation: Evaluation) -> Plot:
    bins = tables.calibration_bins(evaluation)
    mean, intervals = np.array([each[0] for each in bins]), [each[1] for each in bins]
    frequency = np.array([each.estimate for each in intervals])
    figure, ax = _axes()
    CalibrationDisplay(frequency, mean, evaluation.proba).plot(ax=ax, name="bins", ref_line=False)
    ax.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
    limits = np.array([[each.estimate - each.lower, each.upper - each.estimate] for each in intervals]).T
    ax.errorbar(mean, frequency, np.clip(np.nan_to_num(limits), 0, None), fmt="none", color=SERIES[0], linewidth=1)
    _unit_square(ax)
    svg = _labeled_svg(figure, ax, "calibration", "Calibration curve", "Predicted probability", "Observed frequency")
    description = (
        "Observed frequency of the positive class against mean predicted probability, by bin. Dotted: perfect "
        "calibration; points below it: probabilities are too high. Bars: confidence intervals."
    )
    slope = evaluation.performance["calibration_slope"]
    summary = "Calibration slope", tables.metric("calibration.slope", slope)
    return Plot("calibration", "Calibration", description, svg, tables.calibration_table(bins), summary)


def _histogram(evaluation: Evaluation) -> Plot:
    edges, positive, negative = tables.histogram(evaluation)
    figure, ax = _axes()
    middle, width = (edges[:-1] + edges[1:]) / 2, 0.4 * np.diff(edges)
    ax.bar(middle - width / 2, positive, width, color=SERIES[1], label="positive")
    ax.bar(middle + width / 2, negative, width, color="none", edgecolor=SERIES[0], hatch="////", label="negative")
    ax.axvline(evaluation.performance.threshold, color=INK, linestyle="--", linewidth=1)
    figure.legend(loc="outside upper center", ncols=2)
    ax.set(xlabel="Predicted probability", ylabel="Images", xlim=(0, 1))
    svg = to_svg(figure, "histogram", "Histogram of predicted probabilities of positive and negative images")
    description = (
        "Number of images by predicted probability. Dashed: threshold; images to its right are predicted positive."
    )
    return Plot(
        "histogram",
        "Predicted probabilities",
        description,
        svg,
        tables.histogram_table(edges, positive, negative),
    )


def _threshold(evaluation: Evaluation) -> Plot:
    performance = evaluation.performance
    figure, ax = _axes()
    display = ThresholdDisplay.from_predictions(
        evaluation.y,
        evaluation.proba,
        threshold=performance.threshold,
        groups=evaluation.patients,
        confidence=performance.confidence,
        pos_label=True,
        ax=ax,
    )
    ax.get_legend().remove()
    lines = [display.lines_[name] for name in tables.THRESHOLD_METRICS]
    names = ["Sensitivity", "Specificity", "PPV", "NPV"]
    figure.legend(lines, names, loc="outside upper center", ncols=4, columnspacing=1.2, handlelength=1.8)
    ax.set(xlabel="Threshold", ylabel="Value")
    svg = to_svg(figure, "threshold", "Sensitivity, specificity, PPV and NPV against the threshold")
    description = (
        "Metrics at each threshold on the test data, with confidence intervals. Vertical line: threshold of this "
        "report. A threshold chosen here must be evaluated on other patients."
    )
    return Plot(
        "threshold",
        "Sensitivity, specificity and predictive values by threshold",
        description,
        svg,
        tables.threshold_table(evaluation),
    )


def _training(inner: Any) -> Plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_TALL, layout="constrained")
    display = TrainingCurveDisplay.from_estimator(inner, ax=figure.subplots(2, 1))
    display.axes_[1].set_ylabel("Accuracy")
    svg = to_svg(figure, "training", "Loss and accuracy by epoch on training and held-out images")
    description = (
        "Loss and accuracy by epoch on the training images; dashed, if shown: on held-out patients used for early "
        "stopping. Neither estimates the performance on new images."
    )
    scores = inner.validation_scores_
    curves: dict[str, Sequence[float]] = {
        "Loss, training": inner.loss_curve_,
        "Accuracy, training": inner.accuracy_curve_,
        "Loss, held out": [] if scores is None else [-score for score in scores],
        "Accuracy, held out": inner.validation_accuracy_curve_ or [],
    }
    first = 1 if scores is None else len(inner.loss_curve_) + 1 - len(scores)
    table = tables.epoch_table({name: values for name, values in curves.items() if len(values)}, first)
    return Plot("training", "Training", description, svg, table)
