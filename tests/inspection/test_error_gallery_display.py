import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
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
PROBA = [0.6, 0.9, 0.2, 0.4, 0.1, 0.8, 0.3, 0.5]  # 4, 6, 3 are missed; 1, 0, 7 are false alarms

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def films():
    """Smooth squares, each of its own, that all versions of matplotlib enlarge alike."""
    rise = np.arange(32)
    return [(np.add.outer(rise, rise * (i % 3)) + 15 * i).astype(np.uint8) for i in range(8)]


@pytest.fixture
def display(films):
    return ErrorGalleryDisplay.from_predictions(films, Y, PROBA, n_errors=2, image_size=32)


def titles(display):
    return [ax.get_title() for ax in display.axes_.ravel() if ax.get_title()]


def test_the_most_confident_errors_come_first(films):
    display = ErrorGalleryDisplay.from_predictions(films, Y, PROBA, image_size=32)
    assert display.positions.tolist() == [4, 6, 3, 1, 0, 7]
    assert display.y_proba.tolist() == [0.1, 0.3, 0.4, 0.9, 0.6, 0.5]
    assert display.y_true == [1, 1, 1, 0, 0, 0]


def test_no_more_than_asked_for_are_shown_and_all_are_counted(display):
    assert display.positions.tolist() == [4, 6, 1, 0]
    assert (display.n_shown, display.n_wrong, display.n_in_all) == ((2, 2), (3, 3), (4, 4))


@pytest.mark.parametrize("threshold", [0.5, 0.35, 0.85])
def test_errors_are_those_of_the_report(films, threshold):
    for kind, proba in ((float, PROBA), (np.float64, np.array(PROBA, np.float32))):
        display = ErrorGalleryDisplay.from_predictions(films, Y, proba, threshold=kind(threshold), image_size=32)
        report = diagnostic_report(Y, proba, threshold=kind(threshold), n_bootstrap=1)
        assert display.n_wrong == (report.fn, report.fp)


def test_of_equal_probabilities_the_first_image_comes_first(films):
    display = ErrorGalleryDisplay.from_predictions(films, Y, [0.7, 0.7, 0, 0.1, 0.1, 1, 0.1, 0.7], image_size=32)
    assert display.positions.tolist() == [3, 4, 6, 0, 1, 7]


def test_squares_are_shown_as_the_network_sees_them(paths, y):
    display = ErrorGalleryDisplay.from_predictions(paths, y, 1.0 - y, n_errors=1, image_size=40, contrast="equalize")
    chosen = [paths[i] for i in display.positions]
    expected = image_views(chosen, n_views=1, image_size=40, contrast="equalize")[:, 0]
    np.testing.assert_array_equal(display.images, expected)
    for drawn, square in zip(display.images_, expected, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), square)


def test_titles_tell_file_label_and_probability(paths, y):
    labels = np.where(y == 1, "ill", "well")
    proba = np.where(y == 1, 0.9996, 0.25)
    proba[[0, 1]] = proba[[1, 0]]
    display = ErrorGalleryDisplay.from_predictions(paths, labels, proba, pos_label="ill", image_size=32)
    missed, alarm = display.positions
    assert titles(display) == [
        f"{Path(paths[missed]).name}\nlabelled ill, probability 0.250",
        f"{Path(paths[alarm]).name}\nlabelled well, probability > 0.999",
    ]


def test_rows_tell_how_many_errors_there_are(display):
    assert display.axes_[0, 0].get_ylabel() == "missed: 3 of 4 positive\n(probability below 0.5)"
    assert display.axes_[1, 0].get_ylabel() == "false alarms: 3 of 4 negative\n(probability 0.5 or above)"


def test_images_without_a_file_are_named_by_their_place(display):
    assert display.names == ["X[4]", "X[6]", "X[1]", "X[0]"]


def test_names_and_labels_are_no_mathematics(films):
    words = np.where(np.array(Y) == 1, "$a_{$", "$b^$")
    display = ErrorGalleryDisplay.from_predictions(films, words, PROBA, pos_label="$a_{$", image_size=32)
    display.figure_.canvas.draw()
    assert all(title.count(r"\$") == 2 for title in titles(display))


def test_long_names_are_shortened_in_titles_alone(tmp_path, paths):
    long = tmp_path / f"{'a' * 30}{'z' * 30}.png"
    long.write_bytes(Path(paths[0]).read_bytes())
    display = ErrorGalleryDisplay.from_predictions([str(long), paths[1]], [1, 0], [0.1, 0.2], image_size=32)
    assert display.names == [long.name]
    shown = titles(display)[0].split("\n")[0]
    assert len(shown) <= 32
    assert shown.startswith("aaa")
    assert shown.endswith("z.png")


def test_without_errors_the_picture_says_so(films):
    display = ErrorGalleryDisplay.from_predictions(films, Y, Y)
    assert display.images.shape == (0, 224, 224)
    assert display.images_ == []
    assert [ax.texts[0].get_text() for ax in display.axes_.ravel()] == [
        "missed: none of 4 positive\n(probability below 0.5)",
        "false alarms: none of 4 negative\n(probability 0.5 or above)",
    ]
    assert not any(ax.axison for ax in display.axes_.ravel())


def test_one_kind_of_errors_alone_leaves_the_other_row_to_words(films):
    proba = [0, 0, 0, 0.1, 0.2, 1, 1, 0]
    display = ErrorGalleryDisplay.from_predictions(films, Y, proba, image_size=32)
    assert display.n_shown == (2, 0)
    assert display.axes_[1, 0].texts[0].get_text().startswith("false alarms: none of 4 negative")
    assert display.axes_[0, 0].get_ylabel().startswith("missed: 2 of 4 positive")


def test_an_estimator_says_what_is_wrong_and_how_images_are_shown(clf, paths, y):
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
def test_a_classifier_within_others_says_how_images_are_shown(clf, paths, y, around):
    wrapped = around(clf.set_params(aspect="pad")).fit(np.array(paths, object).reshape(-1, 1), 1 - y)
    display = ErrorGalleryDisplay.from_estimator(wrapped, np.array(paths, object).reshape(-1, 1), y, n_errors=2)
    chosen = [paths[i] for i in display.positions]
    np.testing.assert_array_equal(display.images, image_views(chosen, n_views=1, image_size=32, aspect="pad")[:, 0])


def test_a_pipeline_says_how_images_are_shown(paths, y):
    pipe = make_pipeline(VGG19Features(**TINY), GaussianNB()).fit(paths[::2], 1 - y[::2])
    search = GridSearchCV(pipe, {"gaussiannb__var_smoothing": [1e-9]}, cv=2).fit(paths, 1 - y)
    for model in (pipe, search):
        assert ErrorGalleryDisplay.from_estimator(model, paths, y).images.shape[1:] == (32, 32)


@pytest.mark.filterwarnings("always::skpneumo.exceptions.LeakageWarning")
def test_images_of_the_training_are_warned_of(clf, paths, y):
    clf.fit(paths, y)
    with pytest.warns(LeakageWarning):
        ErrorGalleryDisplay.from_estimator(clf, paths, y)


@pytest.mark.parametrize("container", [tuple, np.array, pd.Series, lambda X: pd.DataFrame({"path": X})])
def test_containers_are_alike(paths, y, container):
    expected = ErrorGalleryDisplay.from_predictions(paths, y, 1.0 - y, image_size=32)
    display = ErrorGalleryDisplay.from_predictions(container(paths), y, 1.0 - y, image_size=32)
    np.testing.assert_array_equal(display.images, expected.images)
    assert display.names == expected.names


def test_heat_maps_lie_over_the_images_on_one_scale(display):
    maps = np.arange(4 * 9, dtype=float).reshape(4, 3, 3)
    display.plot(heat_maps=maps)
    for drawn, heat, square, image in zip(display.heat_maps_, maps, display.images, display.images_, strict=True):
        expected = overlay(square, spread(heat, square.shape, "stretch"), limit=35)
        np.testing.assert_array_equal(drawn.get_array(), expected)
        assert drawn.axes is image.axes
    assert display.color_bar_.mappable.get_clim() == (0, 35)


def test_what_moved_the_classifier_lies_over_its_errors(clf, paths, y):
    clf.fit(paths[::2], 1 - y[::2])
    display = ErrorGalleryDisplay.from_estimator(clf, paths[1::2], y[1::2], n_errors=2, plot_heat_maps=True)
    maps = grad_cam(clf, [paths[1::2][i] for i in display.positions], coordinates="grid")
    for drawn, heat, square in zip(display.heat_maps_, maps, display.images, strict=True):
        expected = overlay(square, spread(heat, square.shape, "stretch"), limit=maps.max())
        np.testing.assert_array_equal(drawn.get_array(), expected)
    assert display.color_bar_.ax.get_ylabel() == "adds to the log odds of class 1"


@pytest.mark.parametrize("heat", [-1.0, np.nan])
def test_heat_maps_that_hold_nothing_leave_the_images_as_they_are(display, heat):
    display.plot(heat_maps=np.full((4, 2, 2), heat))
    for drawn, square in zip(display.heat_maps_, display.images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), np.repeat(square[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("shape", [(3, 2, 2), (4, 4), (4, 2, 2, 3)])
def test_heat_maps_of_another_shape_are_refused(display, shape):
    with pytest.raises(ValueError, match="heat_maps must hold a map for each of 4 errors"):
        display.plot(heat_maps=np.ones(shape))


def test_heat_maps_of_several_sizes_are_refused_and_coordinates_named(display):
    maps = [np.ones((side, side)) for side in (2, 3, 4, 5)]
    with pytest.raises(ValueError, match="coordinates='grid' or coordinates='preprocessed'"):
        display.plot(heat_maps=maps)


def test_a_later_picture_without_heat_maps_forgets_their_colours(display):
    assert display.plot(heat_maps=np.ones((4, 2, 2))).color_bar_ is not None
    assert display.plot().color_bar_ is None


@pytest.mark.parametrize("answers", ["right", "wrong"])
def test_heat_maps_of_what_has_none_are_refused_before_images_are_judged(pyplot, paths, y, answers, monkeypatch):
    pipe = make_pipeline(VGG19Features(**TINY), GaussianNB()).fit(paths, y if answers == "right" else 1 - y)
    monkeypatch.setattr(GaussianNB, "predict_proba", lambda self, X: pytest.fail("images were judged"))
    with pytest.raises(TypeError, match="a fitted PneumoniaClassifier was expected"):
        ErrorGalleryDisplay.from_estimator(pipe, paths, y, plot_heat_maps=True)
    assert pyplot.get_fignums() == []


def test_images_that_cannot_be_shown_are_named_by_their_place(films):
    films[4] = films[1] = b"no image"
    with pytest.raises(ImageReadError) as caught:
        ErrorGalleryDisplay.from_predictions(films, Y, PROBA)
    assert [position for position, _, _ in caught.value.failures] == [1, 4]


def test_features_are_refused(clf, matrix, y):
    clf.fit(matrix, y)
    with pytest.raises(ValueError, match="shows images"):
        ErrorGalleryDisplay.from_estimator(clf, matrix, y)


@pytest.mark.parametrize(("name", "value"), [("n_errors", 0), ("threshold", 2), ("image_size", 3), ("pos_label", 5)])
def test_parameters_are_checked(films, name, value):
    with pytest.raises(ValueError, match=name):
        ErrorGalleryDisplay.from_predictions(films, Y, PROBA, **{name: value})


def test_images_and_labels_must_be_as_many(films):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ErrorGalleryDisplay.from_predictions(films[1:], Y, PROBA)


def test_given_axes_are_divided(pyplot, films):
    figure, ax = pyplot.subplots()
    display = ErrorGalleryDisplay.from_predictions(films, Y, PROBA, image_size=32, ax=ax)
    assert display.bounding_ax_ is ax
    assert display.axes_.shape == (2, 3)
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1


def test_without_matplotlib_one_error_says_what_to_install(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ErrorGalleryDisplay\.plot requires matplotlib"):
        display.plot()


def test_the_picture(display):
    assert_looks_like(display.figure_, "error_gallery_display")


def test_the_picture_with_heat_maps():
    rise = np.arange(256)
    films = [(np.add.outer(rise, rise * (i % 3)) // 4 + 15 * i).astype(np.uint8) for i in range(8)]
    display = ErrorGalleryDisplay.from_predictions(films, Y, PROBA, n_errors=2, image_size=256)
    bumps = np.array([np.outer(*np.eye(8)[[2 + i, 5]]) for i in range(4)])
    assert_looks_like(display.plot(heat_maps=bumps).figure_, "error_gallery_heat_maps")


@pytest.mark.parametrize("number", range(4))
def test_a_picture_with_an_image_missing_fails(display, number, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    display.images_[number].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "error_gallery_display")
