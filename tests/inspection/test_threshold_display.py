import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline

from pictures import assert_looks_like
from skpneumo.exceptions import LeakageWarning
from skpneumo.inspection import ThresholdDisplay
from skpneumo.metrics import DiagnosticReport, diagnostic_report

NAMES = ("sensitivity", "specificity", "ppv", "npv")

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def study():
    """Return labels, probabilities and patients of 60 images of 25 patients."""
    random = np.random.RandomState(0)
    y = np.arange(60) % 2
    return y, np.clip(0.5 + 0.4 * (y - 0.5) + 0.2 * random.normal(size=60), 0.01, 0.99), random.randint(25, size=60)


@pytest.fixture
def display(study):
    y, p, groups = study
    return ThresholdDisplay.from_predictions(y, p, groups=groups, threshold=0.5)


def metrics_of(y, p, **settings):
    report = diagnostic_report(y, p, n_bootstrap=1, **settings)
    return np.array([report[name][:3] for name in NAMES])


@pytest.mark.parametrize(("with_groups", "confidence"), [(True, 0.95), (False, 0.8)])
def test_metrics_match_the_report_at_each_threshold(study, with_groups, confidence):
    y, p, groups = study
    settings = {"groups": groups if with_groups else None, "confidence": confidence}
    display = ThresholdDisplay.from_predictions(y, p, threshold=0.37, **settings)
    shown = np.stack([display.figures[name] for name in NAMES], axis=1)
    for threshold, metrics in zip(display.thresholds.tolist()[::6], shown[::6], strict=True):
        np.testing.assert_array_equal(metrics, metrics_of(y, p, threshold=threshold, **settings))


def test_metrics_between_thresholds_match_the_report(study):
    y, p, _ = study
    display = ThresholdDisplay.from_predictions(y, p)
    for threshold in np.linspace(0.003, 0.997, 23):
        row = np.searchsorted(display.thresholds, threshold)
        shown = [display.figures[name][row] for name in NAMES]
        np.testing.assert_array_equal(shown, metrics_of(y, p, threshold=float(threshold)))


def test_float32_probabilities_match_the_report(study):
    y, p, _ = study
    display = ThresholdDisplay.from_predictions(y, p.astype(np.float32), threshold=0.5)
    for row in range(0, len(display.thresholds), 9):
        expected = metrics_of(y, p.astype(np.float32), threshold=display.thresholds[row].item())
        np.testing.assert_array_equal([display.figures[name][row] for name in NAMES], expected)


def test_fewer_than_200_thresholds_are_plotted(random):
    y, p = np.arange(3000) % 2, random.beta(0.2, 0.2, size=3000)
    display = ThresholdDisplay.from_predictions(y, p, threshold=0.123)
    assert 150 < len(display.thresholds) < 200
    assert {0.0, 0.123, 1.0, p.min(), p.max()} <= set(display.thresholds)
    assert np.diff(np.searchsorted(np.sort(p), display.thresholds)).max() <= 3000 / 97 + 1


def test_lines_and_bands_show_estimates_and_intervals(display):
    for name in NAMES:
        line, band = display.lines_[name], display.bands_[name]
        estimates, lower, upper = display.figures[name].T
        np.testing.assert_array_equal(line.get_xdata(), display.thresholds)
        np.testing.assert_array_equal(line.get_ydata(), estimates)
        assert line.get_drawstyle() == "steps-pre"
        corners = {tuple(corner) for path in band.get_paths() for corner in path.vertices}
        is_known = ~np.isnan(lower)
        for limits in (lower, upper):
            assert set(zip(display.thresholds[is_known], limits[is_known], strict=True)) <= corners


def test_operating_point_is_marked_on_each_line(study, display):
    y, p, groups = study
    assert set(display.threshold_line_.get_xdata()) == {0.5}
    report = diagnostic_report(y, p, groups=groups, threshold=0.5, n_bootstrap=1)
    for name in NAMES:
        marker = display.markers_[name]
        assert (*marker.get_xdata(), *marker.get_ydata()) == (0.5, report[name].estimate)


def test_no_marker_without_an_operating_point(study):
    display = ThresholdDisplay.from_predictions(*study[:2])
    assert display.threshold_line_ is None
    assert display.markers_ == {}
    assert len(display.ax_.lines) == 4


def test_lines_differ_in_style_and_marker(display):
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in display.lines_.values()}) == 4
    assert len({marker.get_marker() for marker in display.markers_.values()}) == 4


def test_axes_and_legend_are_labeled(display):
    assert display.ax_.get_xlabel() == "Threshold on the probability (positive label: 1)"
    assert display.ax_.get_ylabel() == "Proportion, with 95% confidence interval"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[0] == "True positive rate (sensitivity)"
    assert labels[-1] == "Operating point: 0.5"


@pytest.mark.parametrize(("pos_label", "name"), [(None, "pneumonia"), (0, "normal")])
def test_target_names_replace_the_positive_label(study, random, pos_label, name):
    X, y = random.normal(size=(40, 2)), np.arange(40) % 2
    settings = {"pos_label": pos_label, "target_names": ["normal", "pneumonia"]}
    for display in (
        ThresholdDisplay.from_predictions(*study[:2], **settings),
        ThresholdDisplay.from_estimator(LogisticRegression().fit(X, y), X, y, **settings),
    ):
        assert display.ax_.get_xlabel() == f"Threshold on the probability (positive label: {name})"


def test_words_are_shown_as_words(study):
    words = np.array(["normal", "pneumonia"])[study[0]]
    for pos_label in ("pneumonia", words[1]):
        display = ThresholdDisplay.from_predictions(words, study[1], pos_label=pos_label)
        assert display.ax_.get_xlabel() == "Threshold on the probability (positive label: pneumonia)"


def test_from_estimator_uses_its_threshold_and_patients(clf, paths, y):
    clf.fit(paths[:20], y[:20])
    display = ThresholdDisplay.from_estimator(clf, paths[20:], y[20:])
    report = DiagnosticReport.from_estimator(clf, paths[20:], y[20:])
    assert report.n_patients < report.n
    row = list(display.thresholds).index(report.threshold)
    for name in NAMES:
        np.testing.assert_array_equal(display.figures[name][row], report[name][:3])


def test_fixed_threshold_is_the_operating_point(random):
    X, y = random.normal(size=(40, 2)), np.arange(40) % 2
    clf = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, response_method="predict_proba").fit(X, y)
    display = ThresholdDisplay.from_estimator(make_pipeline(clf), X, y)
    assert display.threshold == 0.3
    assert ThresholdDisplay.from_estimator(clf, X, y, threshold=0.6).threshold == 0.6


@pytest.mark.filterwarnings("always::skpneumo.exceptions.LeakageWarning")
def test_training_images_warn(clf, paths, y):
    clf.fit(paths, y)
    with pytest.warns(LeakageWarning):
        ThresholdDisplay.from_estimator(clf, paths, y)


def test_given_axes_are_used(pyplot, study):
    figure, ax = pyplot.subplots()
    display = ThresholdDisplay.from_predictions(*study[:2], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize(
    "wrong", [{"threshold": 1.5}, {"confidence": 1}, {"groups": [1]}, {"pos_label": 7}, {"target_names": "ab"}]
)
def test_invalid_parameters_raise(study, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ThresholdDisplay.from_predictions(*study[:2], **wrong)


def test_missing_matplotlib_raises(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ThresholdDisplay\.plot requires matplotlib"):
        display.plot()


def test_figure_matches_the_baseline(display):
    assert_looks_like(display.figure_, "threshold_display")


@pytest.mark.parametrize("part", ["lines_", "bands_"])
@pytest.mark.parametrize("name", NAMES)
def test_figure_without_an_artist_fails(display, part, name, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    getattr(display, part)[name].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "threshold_display")


def test_several_axes_raise(clf, paths, y):
    with pytest.raises(ValueError, match="requires a single Axes; got ndarray"):
        ThresholdDisplay.from_estimator(clf.fit(paths, y), paths, y, ax=np.array([1, 2]))
