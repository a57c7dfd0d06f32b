"""The pictures of a report, each beside its numbers."""

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
from skpneumo.reporting._svg import INK, QUIET, SERIES, inks, to_svg

_SIZE, _TALL = (4.6, 3.4), (4.6, 5.2)  # inches of 72 units of the page
_MOST_POINTS = 200
_HALF_A_PIXEL = 0.001  # of the side of a picture


class Picture(NamedTuple):
    """A picture as it stands on a page; `svg` is None where there is nothing to draw."""

    name: str
    title: str
    reading: str
    svg: str | None
    table: tables.Table
    summary: tuple[str, tables.Figure] | None = None


def pictures(evaluation: Evaluation, clf: Any) -> list[Picture]:
    """Draw all there is to draw."""
    draw = [_confusion, _roc, _threshold, _calibration, _histogram, _precision_recall, _det]
    inner = inner_classifier(clf)
    with inks():
        drawn = [each(evaluation) for each in draw]
        return drawn if inner is None or not len(inner.loss_curve_) else [*drawn, _training(inner)]


def thinned(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return positions of at most 200 points that draw the same curve in the unit square (Douglas and Peucker)."""
    points = np.column_stack([x, y])
    tolerance = _HALF_A_PIXEL
    while np.count_nonzero(kept := _needed(points, tolerance)) > _MOST_POINTS:
        tolerance *= 1.5
    return np.flatnonzero(kept)


def _needed(points: np.ndarray, tolerance: float) -> np.ndarray:
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


def _finished(figure: Any, ax: Any, name: str, title: str, x: str, y: str) -> str:
    ax.set(xlabel=x, ylabel=y)
    if legend := ax.get_legend():
        legend.remove()
    return to_svg(figure, name, title)


def _mark(ax: Any, x: float, y: float) -> None:
    """Mark the operating point."""
    ax.plot([x], [y], marker="o", markersize=7, color=SERIES[1], linestyle="none", zorder=5)
    to_left = x > 0.5
    ax.annotate(
        "in use",
        (x, y),
        xytext=(-9 if to_left else 9, -4),
        textcoords="offset points",
        ha="right" if to_left else "left",
        va="top",
    )


def _unit_square(ax: Any) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")


def _confusion(evaluation: Evaluation) -> Picture:
    from matplotlib.colors import ListedColormap

    table = tables.confusion_table(evaluation)
    counts = np.array([[each.value for each in row[1:]] for row in table.rows])
    figure, ax = _axes()
    ax.grid(visible=False)
    # A wash of one ink, so that the numbers can be read on it in light and in dark.
    wash = ListedColormap([(0.0, 0.45, 0.7, 0.4 * step) for step in np.linspace(0, 1, 64)])
    shown = ConfusionMatrixDisplay(counts, display_labels=["ill", "others"])
    shown.plot(ax=ax, cmap=wash, colorbar=False, values_format="d", text_kw={"color": INK, "size": 15})
    ax.set(xticks=[0, 1], xticklabels=["ill", "not ill"])
    ax.set_aspect("auto")
    svg = _finished(figure, ax, "confusion", "Confusion matrix; its four counts are in the table", "Called", "Label")
    reading = (
        "Each image is in one cell. Upper left and lower right are right calls; upper right are the ill that are "
        "missed, lower left false alarms."
    )
    return Picture("confusion", "Right and wrong calls", reading, svg, table)


def _roc(evaluation: Evaluation) -> Picture:
    fpr, tpr, _ = roc_curve(evaluation.y, evaluation.proba)
    kept = thinned(fpr, tpr)
    figure, ax = _axes()
    ax.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
    RocCurveDisplay(fpr=fpr[kept], tpr=tpr[kept]).plot(ax=ax)
    performance = evaluation.performance
    _mark(ax, 1 - performance["specificity"].estimate, performance["sensitivity"].estimate)
    _unit_square(ax)
    title = f"ROC curve, area {performance['roc_auc'].estimate:.3f}"
    svg = _finished(figure, ax, "roc", title, "False alarms (1 \N{MINUS SIGN} specificity)", "Sensitivity")
    reading = "Each point is a threshold. The nearer the curve comes to the upper left, the better; dotted: by chance."
    summary = "Area under the curve", tables.figure("roc.roc_auc", performance["roc_auc"])
    return Picture("roc", "ROC curve", reading, svg, tables.roc_table(evaluation), summary)


def _precision_recall(evaluation: Evaluation) -> Picture:
    precision, recall, _ = precision_recall_curve(evaluation.y, evaluation.proba)
    kept = thinned(recall, precision)
    figure, ax = _axes()
    performance = evaluation.performance
    ax.axhline(performance.prevalence, color=QUIET, linestyle=":", linewidth=1)
    PrecisionRecallDisplay(precision=precision[kept], recall=recall[kept]).plot(ax=ax)
    if performance.tp + performance.fp:
        _mark(ax, performance["sensitivity"].estimate, performance["ppv"].estimate)
    _unit_square(ax)
    title = f"Precision-recall curve, average precision {performance['average_precision'].estimate:.3f}"
    x, y = "Sensitivity (recall)", "Positive predictive value (precision)"
    svg = _finished(figure, ax, "precision-recall", title, x, y)
    reading = (
        "What a call is worth as more of the ill are found. It depends on how many are ill: dotted is their share "
        "among these images."
    )
    table = tables.precision_recall_table(precision, recall)
    summary = "Average precision", tables.figure("precision_recall.average_precision", performance["average_precision"])
    return Picture("precision-recall", "Precision and recall", reading, svg, table, summary)


def _det(evaluation: Evaluation) -> Picture:
    fpr, fnr, _ = det_curve(evaluation.y, evaluation.proba)
    inside = (fpr > 0) & (fpr < 1) & (fnr > 0) & (fnr < 1)  # the scale has no 0 and no 1
    table, reading = (
        tables.det_table(evaluation),
        "Both kinds of error on scales that stretch the ends; lower left is best.",
    )
    if np.count_nonzero(inside) < 2:
        reading += " Not drawn: no threshold makes errors of both kinds."
        return Picture("det", "Trade-off of errors", reading, None, table)
    fpr, fnr = fpr[inside], fnr[inside]
    kept = thinned(fpr, fnr)
    figure, ax = _axes()
    DetCurveDisplay(fpr=fpr[kept], fnr=fnr[kept]).plot(ax=ax)
    svg = _finished(figure, ax, "det", "Detection error trade-off", "False alarms", "Missed")
    return Picture("det", "Trade-off of errors", reading, svg, table)


def _calibration(evaluation: Evaluation) -> Picture:
    bins = tables.calibration_bins(evaluation)
    mean, shares = np.array([each[0] for each in bins]), [each[1] for each in bins]
    share = np.array([each.estimate for each in shares])
    figure, ax = _axes()
    CalibrationDisplay(share, mean, evaluation.proba).plot(ax=ax, name="bins", ref_line=False)
    ax.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
    limits = np.array([[each.estimate - each.lower, each.upper - each.estimate] for each in shares]).T
    ax.errorbar(mean, share, np.clip(np.nan_to_num(limits), 0, None), fmt="none", color=SERIES[0], linewidth=1)
    _unit_square(ax)
    svg = _finished(figure, ax, "calibration", "Calibration curve", "Mean probability", "Share of the ill")
    reading = (
        "Of images with a probability of 0.7, seven in ten should be ill. On the dotted line they are; below it, "
        "probabilities are too high. Bars: intervals."
    )
    slope = evaluation.performance["calibration_slope"]
    summary = "Calibration slope", tables.figure("calibration.slope", slope)
    return Picture("calibration", "Calibration", reading, svg, tables.calibration_table(bins), summary)


def _histogram(evaluation: Evaluation) -> Picture:
    edges, ill, others = tables.histogram(evaluation)
    figure, ax = _axes()
    middle, width = (edges[:-1] + edges[1:]) / 2, 0.4 * np.diff(edges)
    ax.bar(middle - width / 2, ill, width, color=SERIES[1], label="ill")
    ax.bar(middle + width / 2, others, width, color="none", edgecolor=SERIES[0], hatch="////", label="others")
    ax.axvline(evaluation.performance.threshold, color=INK, linestyle="--", linewidth=1)
    figure.legend(loc="outside upper center", ncols=2)
    ax.set(xlabel="Probability", ylabel="Images", xlim=(0, 1))
    svg = to_svg(figure, "histogram", "Histogram of probabilities of the ill and of the others")
    reading = "How many images have which probability. Dashed: the threshold; what lies right of it is called ill."
    return Picture("histogram", "Probabilities", reading, svg, tables.histogram_table(edges, ill, others))


def _threshold(evaluation: Evaluation) -> Picture:
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
    lines = [display.lines_[name] for name in tables.CALLS]
    names = ["sensitivity", "specificity", "PPV", "NPV"]
    figure.legend(lines, names, loc="outside upper center", ncols=4, columnspacing=1.2, handlelength=1.8)
    ax.set(xlabel="Threshold of the probability", ylabel="Share")
    svg = to_svg(figure, "threshold", "Sensitivity, specificity, PPV and NPV against the threshold")
    reading = (
        "What another threshold would cost and gain on these images, with intervals. Upright: the one in use. One that "
        "is chosen here has to be judged on other patients."
    )
    return Picture("threshold", "Other thresholds", reading, svg, tables.threshold_table(evaluation))


def _training(inner: Any) -> Picture:
    from matplotlib.figure import Figure

    figure = Figure(figsize=_TALL, layout="constrained")
    display = TrainingCurveDisplay.from_estimator(inner, ax=figure.subplots(2, 1))
    display.axes_[1].set_ylabel("Accuracy")
    svg = to_svg(figure, "training", "Loss and accuracy by epoch, over training images and, if any, held-out patients")
    reading = (
        "Loss and accuracy over the training images as they passed; dashed, where there is a second curve, over "
        "patients held out of the training, by whom it was stopped. Neither says how well other images are called."
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
    return Picture("training", "Training", reading, svg, table)
