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
    """60 images of 25 patients: labels, probabilities, patients."""
    random = np.random.RandomState(0)
    y = np.arange(60) % 2
    return y, np.clip(0.5 + 0.4 * (y - 0.5) + 0.2 * random.normal(size=60), 0.01, 0.99), random.randint(25, size=60)


@pytest.fixture
def display(study):
    y, p, groups = study
    return ThresholdDisplay.from_predictions(y, p, groups=groups, threshold=0.5)


def figures_of(y, p, **settings):
    report = diagnostic_report(y, p, n_bootstrap=1, **settings)
    return np.array([report[name][:3] for name in NAMES])


@pytest.mark.parametrize(("with_groups", "confidence"), [(True, 0.95), (False, 0.8)])
def test_figures_are_those_of_the_report_at_each_threshold(study, with_groups, confidence):
    y, p, groups = study
    settings = {"groups": groups if with_groups else None, "confidence": confidence}
    display = ThresholdDisplay.from_predictions(y, p, threshold=0.37, **settings)
    shown = np.stack([display.figures[name] for name in NAMES], axis=1)
    for threshold, figures in zip(display.thresholds.tolist()[::6], shown[::6], strict=True):
        np.testing.assert_array_equal(figures, figures_of(y, p, threshold=threshold, **settings))


def test_steps_between_two_thresholds_are_those_of_the_report(study):
    y, p, _ = study
    display = ThresholdDisplay.from_predictions(y, p)
    for threshold in np.linspace(0.003, 0.997, 23):
        row = np.searchsorted(display.thresholds, threshold)
        shown = [display.figures[name][row] for name in NAMES]
        np.testing.assert_array_equal(shown, figures_of(y, p, threshold=float(threshold)))


def test_single_precision_is_judged_as_the_report_does(study):
    y, p, _ = study
    display = ThresholdDisplay.from_predictions(y, p.astype(np.float32), threshold=0.5)
    for row in range(0, len(display.thresholds), 9):
        expected = figures_of(y, p.astype(np.float32), threshold=display.thresholds[row].item())
        np.testing.assert_array_equal([display.figures[name][row] for name in NAMES], expected)


def test_of_many_probabilities_fewer_than_200_thresholds_are_kept(random):
    y, p = np.arange(3000) % 2, random.beta(0.2, 0.2, size=3000)
    display = ThresholdDisplay.from_predictions(y, p, threshold=0.123)
    assert 150 < len(display.thresholds) < 200
    assert {0.0, 0.123, 1.0, p.min(), p.max()} <= set(display.thresholds)
    assert np.diff(np.searchsorted(np.sort(p), display.thresholds)).max() <= 3000 / 97 + 1


def test_the_drawn_lines_and_bands_hold_the_figures(display):
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


def test_the_operating_point_is_marked_on_every_line(study, display):
    y, p, groups = study
    assert set(display.threshold_line_.get_xdata()) == {0.5}
    report = diagnostic_report(y, p, groups=groups, threshold=0.5, n_bootstrap=1)
    for name in NAMES:
        marker = display.markers_[name]
        assert (*marker.get_xdata(), *marker.get_ydata()) == (0.5, report[name].estimate)


def test_without_an_operating_point_none_is_marked(study):
    display = ThresholdDisplay.from_predictions(*study[:2])
    assert display.threshold_line_ is None
    assert display.markers_ == {}
    assert len(display.ax_.lines) == 4


def test_lines_differ_in_style_and_marker_too(display):
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in display.lines_.values()}) == 4
    assert len({marker.get_marker() for marker in display.markers_.values()}) == 4


def test_words_say_what_is_drawn(display):
    assert display.ax_.get_xlabel() == "Threshold: lowest probability called positive (positive label: 1)"
    assert display.ax_.get_ylabel() == "Share of the images, with its 95 % interval"
    words = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert words[0] == "sensitivity"
    assert words[-1] == "operating point, 0.5"


def test_an_estimator_is_judged_by_its_own_threshold_and_by_patients(clf, paths, y):
    clf.fit(paths[:20], y[:20])
    display = ThresholdDisplay.from_estimator(clf, paths[20:], y[20:])
    report = DiagnosticReport.from_estimator(clf, paths[20:], y[20:])
    assert report.n_patients < report.n
    row = list(display.thresholds).index(report.threshold)
    for name in NAMES:
        np.testing.assert_array_equal(display.figures[name][row], report[name][:3])


def test_a_fixed_threshold_is_the_operating_point(random):
    X, y = random.normal(size=(40, 2)), np.arange(40) % 2
    clf = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, response_method="predict_proba").fit(X, y)
    display = ThresholdDisplay.from_estimator(make_pipeline(clf), X, y)
    assert display.threshold == 0.3
    assert ThresholdDisplay.from_estimator(clf, X, y, threshold=0.6).threshold == 0.6


@pytest.mark.filterwarnings("always::skpneumo.exceptions.LeakageWarning")
def test_images_of_the_training_are_warned_of(clf, paths, y):
    clf.fit(paths, y)
    with pytest.warns(LeakageWarning):
        ThresholdDisplay.from_estimator(clf, paths, y)


def test_given_axes_are_drawn_on_and_no_others(pyplot, study):
    figure, ax = pyplot.subplots()
    display = ThresholdDisplay.from_predictions(*study[:2], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"confidence": 1}, {"groups": [1]}, {"pos_label": 7}])
def test_what_cannot_be_judged_is_refused(study, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ThresholdDisplay.from_predictions(*study[:2], **wrong)


def test_without_matplotlib_one_error_says_what_to_install(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ThresholdDisplay\.plot requires matplotlib"):
        display.plot()


def test_the_picture(display):
    assert_looks_like(display.figure_, "threshold_display")


@pytest.mark.parametrize("part", ["lines_", "bands_"])
@pytest.mark.parametrize("name", NAMES)
def test_a_picture_with_a_part_missing_fails(display, part, name, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    getattr(display, part)[name].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "threshold_display")


def test_one_axes_are_needed(clf, paths, y):
    with pytest.raises(ValueError, match="draws on one Axes; got ndarray"):
        ThresholdDisplay.from_estimator(clf.fit(paths, y), paths, y, ax=np.array([1, 2]))
