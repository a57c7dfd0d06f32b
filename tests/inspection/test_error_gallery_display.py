import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from conftest import TINY
from pictures import assert_looks_like
from skpneumo import VGG19Features
from skpneumo.exceptions import ImageReadError, LeakageWarning
from skpneumo.inspection import ErrorGalleryDisplay, grad_cam, image_views
from skpneumo.inspection._heat_map_utils import spread
from skpneumo.inspection._overlay import overlay
from skpneumo.metrics import diagnostic_report

Y = [0, 0, 0, 1, 1, 1, 1, 0]
PROBA = [0.6, 0.9, 0.2, 0.4, 0.1, 0.8, 0.3, 0.5]  # false negatives 4, 6, 3; false positives 1, 0, 7

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def images():
    """Return different smooth images, which all versions of matplotlib enlarge alike."""
    ramp = np.arange(32)
    return [(np.add.outer(ramp, ramp * (i % 3)) + 15 * i).astype(np.uint8) for i in range(8)]


@pytest.fixture
def display(images):
    return ErrorGalleryDisplay.from_predictions(images, Y, PROBA, n_errors=2, image_size=32)


def titles(display):
    return [ax.get_title() for ax in display.axes_.ravel() if ax.get_title()]


def test_most_confident_errors_come_first(images):
    display = ErrorGalleryDisplay.from_predictions(images, Y, PROBA, image_size=32)
    assert display.positions.tolist() == [4, 6, 3, 1, 0, 7]
    assert display.y_proba.tolist() == [0.1, 0.3, 0.4, 0.9, 0.6, 0.5]
    assert display.y_true == [1, 1, 1, 0, 0, 0]


def test_at_most_n_errors_are_shown_and_all_are_counted(display):
    assert display.positions.tolist() == [4, 6, 1, 0]
    assert (display.n_shown, display.n_wrong, display.n_in_all) == ((2, 2), (3, 3), (4, 4))


@pytest.mark.parametrize("threshold", [0.5, 0.35, 0.85])
def test_errors_match_the_report(images, threshold):
    for kind, proba in ((float, PROBA), (np.float64, np.array(PROBA, np.float32))):
        display = ErrorGalleryDisplay.from_predictions(images, Y, proba, threshold=kind(threshold), image_size=32)
        report = diagnostic_report(Y, proba, threshold=kind(threshold), n_bootstrap=1)
        assert display.n_wrong == (report.fn, report.fp)


def test_ties_keep_the_order_of_images(images):
    display = ErrorGalleryDisplay.from_predictions(images, Y, [0.7, 0.7, 0, 0.1, 0.1, 1, 0.1, 0.7], image_size=32)
    assert display.positions.tolist() == [3, 4, 6, 0, 1, 7]


def test_preprocessed_images_are_shown(paths, y):
    display = ErrorGalleryDisplay.from_predictions(paths, y, 1.0 - y, n_errors=1, image_size=40, contrast="equalize")
    chosen = [paths[i] for i in display.positions]
    expected = image_views(chosen, n_views=1, image_size=40, contrast="equalize")[:, 0]
    np.testing.assert_array_equal(display.images, expected)
    for drawn, image in zip(display.images_, expected, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)


def test_titles_show_file_label_and_probability(paths, y):
    labels = np.where(y == 1, "bacterial", "normal")
    proba = np.where(y == 1, 0.9996, 0.25)
    proba[[0, 1]] = proba[[1, 0]]
    display = ErrorGalleryDisplay.from_predictions(paths, labels, proba, pos_label="bacterial", image_size=32)
    false_negative, false_positive = display.positions
    assert titles(display) == [
        f"{Path(paths[false_negative]).name}\nLabel: bacterial, probability: 0.250",
        f"{Path(paths[false_positive]).name}\nLabel: normal, probability: > 0.999",
    ]


def test_target_names_replace_labels(clf, paths, y, images):
    names = ["normal", "pneumonia"]
    display = ErrorGalleryDisplay.from_predictions(images, Y, PROBA, n_errors=1, image_size=32, target_names=names)
    assert [title.split("\n")[1] for title in titles(display)] == [
        "Label: pneumonia, probability: 0.100",
        "Label: normal, probability: 0.900",
    ]
    clf.fit(paths[::2], 1 - y[::2])
    display = ErrorGalleryDisplay.from_estimator(
        clf, paths[1::2], y[1::2], pos_label=0, plot_heat_maps=True, target_names=names
    )
    assert display.y_true == ["normal"] * display.n_shown[0] + ["pneumonia"] * display.n_shown[1]
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of normal"


def test_invalid_target_names_raise_before_predictions(clf, paths, y, images, monkeypatch):
    expected = r"target_names must be .* classes \[0, 1\]; got \['pneumonia'\]"
    with pytest.raises(ValueError, match=expected):
        ErrorGalleryDisplay.from_predictions(images, Y, PROBA, target_names=["pneumonia"])
    monkeypatch.setattr(type(clf), "predict_proba", lambda self, X: pytest.fail("predict_proba was called"))
    with pytest.raises(ValueError, match=expected):
        ErrorGalleryDisplay.from_estimator(clf.fit(paths, y), paths, y, target_names=["pneumonia"])


def test_estimator_that_is_not_fitted_raises(clf, paths, y):
    with pytest.raises(NotFittedError):
        ErrorGalleryDisplay.from_estimator(clf, paths, y)


def test_rows_show_the_number_of_errors(display):
    assert display.axes_[0, 0].get_ylabel() == "False negatives: 3 of 4 positive\n(probability below 0.5)"
    assert display.axes_[1, 0].get_ylabel() == "False positives: 3 of 4 negative\n(probability 0.5 or above)"


def test_images_without_a_file_are_named_by_position(display):
    assert display.names == ["X[4]", "X[6]", "X[1]", "X[0]"]


def test_mathtext_in_names_and_labels_is_escaped(images):
    labels = np.where(np.array(Y) == 1, "$a_{$", "$b^$")
    display = ErrorGalleryDisplay.from_predictions(images, labels, PROBA, pos_label="$a_{$", image_size=32)
    display.figure_.canvas.draw()
    assert all(title.count(r"\$") == 2 for title in titles(display))


def test_long_names_are_shortened_in_titles_only(tmp_path, paths):
    long = tmp_path / f"{'a' * 30}{'z' * 30}.png"
    long.write_bytes(Path(paths[0]).read_bytes())
    display = ErrorGalleryDisplay.from_predictions([str(long), paths[1]], [1, 0], [0.1, 0.2], image_size=32)
    assert display.names == [long.name]
    shown = titles(display)[0].split("\n")[0]
    assert len(shown) <= 32
    assert shown.startswith("aaa")
    assert shown.endswith("z.png")


def test_no_errors_are_shown_as_text(images):
    display = ErrorGalleryDisplay.from_predictions(images, Y, Y)
    assert display.images.shape == (0, 224, 224)
    assert display.images_ == []
    assert [ax.texts[0].get_text() for ax in display.axes_.ravel()] == [
        "False negatives: 0 of 4 positive\n(probability below 0.5)",
        "False positives: 0 of 4 negative\n(probability 0.5 or above)",
    ]
    assert not any(ax.axison for ax in display.axes_.ravel())


def test_row_without_errors_shows_text(images):
    proba = [0, 0, 0, 0.1, 0.2, 1, 1, 0]
    display = ErrorGalleryDisplay.from_predictions(images, Y, proba, image_size=32)
    assert display.n_shown == (2, 0)
    assert display.axes_[1, 0].texts[0].get_text().startswith("False positives: 0 of 4 negative")
    assert display.axes_[0, 0].get_ylabel().startswith("False negatives: 2 of 4 positive")


def test_from_estimator_uses_its_predictions_and_preprocessing(clf, paths, y):
    clf.set_params(aspect="pad").fit(paths[::2], 1 - y[::2])
    display = ErrorGalleryDisplay.from_estimator(clf, paths[1::2], y[1::2], n_errors=3)
    proba = clf.predict_proba(paths[1::2])[:, 1]
    np.testing.assert_allclose(display.y_proba, proba[display.positions], rtol=1e-6)
    assert sum(display.n_wrong) == (clf.predict(paths[1::2]) != y[1::2]).sum() > 3
    chosen = [paths[1::2][i] for i in display.positions]
    np.testing.assert_array_equal(display.images, image_views(chosen, n_views=1, image_size=32, aspect="pad")[:, 0])


@pytest.mark.parametrize(
    "around",
    [
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        lambda clf: make_pipeline(FunctionTransformer(), clf),
    ],
)
def test_preprocessing_of_a_wrapped_classifier_is_used(clf, paths, y, around):
    wrapped = around(clf.set_params(aspect="pad")).fit(np.array(paths, object).reshape(-1, 1), 1 - y)
    display = ErrorGalleryDisplay.from_estimator(wrapped, np.array(paths, object).reshape(-1, 1), y, n_errors=2)
    chosen = [paths[i] for i in display.positions]
    np.testing.assert_array_equal(display.images, image_views(chosen, n_views=1, image_size=32, aspect="pad")[:, 0])


def test_preprocessing_of_a_pipeline_is_used(paths, y):
    pipe = make_pipeline(VGG19Features(**TINY), GaussianNB()).fit(paths[::2], 1 - y[::2])
    search = GridSearchCV(pipe, {"gaussiannb__var_smoothing": [1e-9]}, cv=2).fit(paths, 1 - y)
    for model in (pipe, search):
        assert ErrorGalleryDisplay.from_estimator(model, paths, y).images.shape[1:] == (32, 32)


@pytest.mark.filterwarnings("always::skpneumo.exceptions.LeakageWarning")
def test_training_images_warn(clf, paths, y):
    clf.fit(paths, y)
    with pytest.warns(LeakageWarning):
        ErrorGalleryDisplay.from_estimator(clf, paths, y)


@pytest.mark.parametrize("container", [tuple, np.array, pd.Series, lambda X: pd.DataFrame({"path": X})])
def test_containers_are_equivalent(paths, y, container):
    expected = ErrorGalleryDisplay.from_predictions(paths, y, 1.0 - y, image_size=32)
    display = ErrorGalleryDisplay.from_predictions(container(paths), y, 1.0 - y, image_size=32)
    np.testing.assert_array_equal(display.images, expected.images)
    assert display.names == expected.names


def test_heat_maps_are_overlaid_on_one_scale(display):
    maps = np.arange(4 * 9, dtype=float).reshape(4, 3, 3)
    display.plot(heat_maps=maps)
    for drawn, heat, pixels, image in zip(display.heat_maps_, maps, display.images, display.images_, strict=True):
        expected = overlay(pixels, spread(heat, pixels.shape, "stretch"), limit=35)
        np.testing.assert_array_equal(drawn.get_array(), expected)
        assert drawn.axes is image.axes
    assert display.color_bar_.mappable.get_clim() == (0, 35)


def test_plot_heat_maps_overlays_grad_cam(clf, paths, y):
    clf.fit(paths[::2], 1 - y[::2])
    display = ErrorGalleryDisplay.from_estimator(clf, paths[1::2], y[1::2], n_errors=2, plot_heat_maps=True)
    maps = grad_cam(clf, [paths[1::2][i] for i in display.positions], coordinates="grid")
    for drawn, heat, image in zip(display.heat_maps_, maps, display.images, strict=True):
        expected = overlay(image, spread(heat, image.shape, "stretch"), limit=maps.max())
        np.testing.assert_array_equal(drawn.get_array(), expected)
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of class 1"


@pytest.mark.parametrize("heat", [-1.0, np.nan])
def test_heat_maps_without_positive_values_leave_images_unchanged(display, heat):
    display.plot(heat_maps=np.full((4, 2, 2), heat))
    for drawn, image in zip(display.heat_maps_, display.images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), np.repeat(image[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("shape", [(3, 2, 2), (4, 4), (4, 2, 2, 3)])
def test_heat_maps_of_wrong_shape_raise(display, shape):
    with pytest.raises(ValueError, match=r"heat_maps must have shape \(4, height, width\)"):
        display.plot(heat_maps=np.ones(shape))


def test_heat_maps_of_different_shapes_raise(display):
    maps = [np.ones((side, side)) for side in (2, 3, 4, 5)]
    with pytest.raises(ValueError, match="coordinates='grid' or coordinates='preprocessed'"):
        display.plot(heat_maps=maps)


def test_plot_without_heat_maps_resets_the_color_bar(display):
    assert display.plot(heat_maps=np.ones((4, 2, 2))).color_bar_ is not None
    assert display.plot().color_bar_ is None


@pytest.mark.parametrize("predictions", ["correct", "wrong"])
def test_heat_maps_of_unsupported_estimator_raise_before_predictions(pyplot, paths, y, predictions, monkeypatch):
    pipe = make_pipeline(VGG19Features(**TINY), GaussianNB()).fit(paths, y if predictions == "correct" else 1 - y)
    monkeypatch.setattr(GaussianNB, "predict_proba", lambda self, X: pytest.fail("predict_proba was called"))
    with pytest.raises(TypeError, match="Expected a fitted PneumoniaClassifier"):
        ErrorGalleryDisplay.from_estimator(pipe, paths, y, plot_heat_maps=True)
    assert pyplot.get_fignums() == []


def test_unreadable_images_are_listed_by_position(images):
    images[4] = images[1] = b"no image"
    with pytest.raises(ImageReadError) as caught:
        ErrorGalleryDisplay.from_predictions(images, Y, PROBA)
    assert [position for position, _, _ in caught.value.failures] == [1, 4]


def test_features_raise(clf, matrix, y):
    clf.fit(matrix, y)
    with pytest.raises(ValueError, match="X must contain images"):
        ErrorGalleryDisplay.from_estimator(clf, matrix, y)


@pytest.mark.parametrize(("name", "value"), [("n_errors", 0), ("threshold", 2), ("image_size", 3), ("pos_label", 5)])
def test_invalid_parameters_raise(images, name, value):
    with pytest.raises(ValueError, match=name):
        ErrorGalleryDisplay.from_predictions(images, Y, PROBA, **{name: value})


def test_wrong_number_of_labels_raises(images):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ErrorGalleryDisplay.from_predictions(images[1:], Y, PROBA)


def test_single_axes_are_divided(pyplot, images):
    figure, ax = pyplot.subplots()
    display = ErrorGalleryDisplay.from_predictions(images, Y, PROBA, image_size=32, ax=ax)
    assert display.bounding_ax_ is ax
    assert display.axes_.shape == (2, 3)
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1


def test_missing_matplotlib_raises(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ErrorGalleryDisplay\.plot requires matplotlib"):
        display.plot()


def test_figure_matches_the_baseline(display):
    assert_looks_like(display.figure_, "error_gallery_display")


def test_figure_with_heat_maps_matches_the_baseline():
    ramp = np.arange(256)
    images = [(np.add.outer(ramp, ramp * (i % 3)) // 4 + 15 * i).astype(np.uint8) for i in range(8)]
    display = ErrorGalleryDisplay.from_predictions(images, Y, PROBA, n_errors=2, image_size=256)
    bumps = np.array([np.outer(*np.eye(8)[[2 + i, 5]]) for i in range(4)])
    assert_looks_like(display.plot(heat_maps=bumps).figure_, "error_gallery_heat_maps")


@pytest.mark.parametrize("number", range(4))
def test_figure_without_an_image_fails(display, number, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    display.images_[number].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "error_gallery_display")
