import numpy as np
import pytest
from sklearn.model_selection import FixedThresholdClassifier

from pictures import assert_looks_like
from skpneumo.inspection import GradCAMDisplay, grad_cam
from skpneumo.inspection._overlay import overlay

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def display():
    rise = (np.add.outer(np.arange(240), np.arange(360)) // 6).astype(np.uint8)
    bump = np.outer(np.hanning(240) ** 3, np.hanning(360))
    bump = np.roll(bump, (-50, 60), axis=(0, 1))  # of no symmetry
    heat_maps = [bump - bump.max() / 5, bump[::-1] / 2]
    return GradCAMDisplay([2 * rise, 200 - 2 * rise], heat_maps, titles=["one", "two"], name="class 1").plot()


def test_films_heat_maps_and_both_stand_side_by_side(display):
    assert display.axes_.shape == (2, 3)
    for row in range(2):
        film, heat, both = (image.get_array() for image in display.images_[3 * row : 3 * row + 3])
        np.testing.assert_array_equal(film, display.images[row])
        np.testing.assert_array_equal(heat, display.heat_maps[row])
        assert {image.origin for image in display.images_[3 * row : 3 * row + 3]} == {"upper"}
        np.testing.assert_array_equal(
            both, overlay(display.images[row], display.heat_maps[row], limit=display.heat_maps[0].max())
        )


def test_one_scale_holds_for_all_and_its_bar_says_what_it_is(display):
    limits = {display.images_[number].get_clim() for number in (1, 4)}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((0, 0.8), abs=0.01)
    assert display.color_bar_.ax.get_ylabel() == "adds to the log odds of class 1"
    assert display.color_bar_.mappable.norm.vmax == display.images_[1].norm.vmax


def test_titles_tell_probability_and_label(clf, paths, y):
    words = np.array(["well", "ill"])[y]
    clf.fit(paths, words)
    display = GradCAMDisplay.from_estimator(clf, paths[:2], y=words[:2], class_of_interest="ill")
    proba = clf.predict_proba(paths[:2])[:, 0]
    assert [ax.get_title(loc="left") for ax in display.axes_[:, 0]] == [
        f"probability of class ill: {p:.3f}\nlabelled {label}" for p, label in zip(proba, words[:2], strict=True)
    ]
    assert display.color_bar_.ax.get_ylabel() == "adds to the log odds of class ill"


def test_probabilities_are_those_of_what_is_given(clf, paths, y):
    display = GradCAMDisplay.from_estimator(FixedThresholdClassifier(clf).fit(paths, y), paths[:1])
    p = clf.fit(paths, y).predict_proba(paths[:1])[0, 1]
    assert display.axes_[0, 0].get_title(loc="left") == f"probability of class 1: {p:.3f}"


def test_heat_maps_are_those_of_grad_cam(clf, paths, y):
    clf.fit(paths, y)
    display = GradCAMDisplay.from_estimator(clf, paths[:2])
    for drawn, expected in zip(display.heat_maps, grad_cam(clf, paths[:2]), strict=True):
        np.testing.assert_array_equal(drawn, expected)


def test_three_classes_are_each_looked_at_for_the_one_that_is_called(clf, paths):
    clf.set_params(class_weight={0: 5, 1: 1, 2: 1}).fit(paths, np.arange(40) % 3)
    display = GradCAMDisplay.from_estimator(clf, paths)
    called = clf.predict(paths)
    assert (called != clf.classes_[clf.predict_proba(paths).argmax(axis=1)]).any()
    assert [int(title.split(":")[0][-1]) for title in display.titles] == called.tolist()
    assert display.color_bar_.ax.get_ylabel() == "adds to the log odds of the predicted class"


def test_labels_must_be_as_many_as_images(clf, paths, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GradCAMDisplay.from_estimator(clf.fit(paths, y), paths[:2], y=y[:3])


def test_a_map_that_speaks_against_the_class_leaves_the_film_as_it_is():
    film = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(overlay(film, -np.ones((3, 4))), np.repeat(film[..., None], 3, axis=-1))
    display = GradCAMDisplay([film], [-np.ones((3, 4))], titles=[""]).plot()
    assert display.images_[1].get_clim() == (0, 1)


def test_a_line_goes_round_what_is_above_half_of_the_limit():
    heat = np.zeros((9, 9))
    heat[2:7, 2:7] = 1
    colours = overlay(np.zeros((9, 9), np.uint8), heat).sum(axis=-1)
    ring = np.zeros((9, 9), bool)
    ring[2:7, 2:7] = True
    ring[3:6, 3:6] = False
    assert colours[ring].min() > colours[3:6, 3:6].max() > colours[0].max() == 0


def test_titles_stay_within_the_picture_and_hold_what_they_are_given():
    titles = ["probability of class PNEUMONIA: < 0.001\nlabelled $a_{$"]
    display = GradCAMDisplay([np.zeros((40, 60), np.uint8)], [np.ones((40, 60))], titles=titles, name="$b_{$").plot()
    display.figure_.canvas.draw()
    extent = [text.get_window_extent() for text in display.axes_[0, 0].get_children() if hasattr(text, "get_text")]
    assert min(box.x0 for box in extent) >= 0
    assert display.axes_[0, 0].get_title(loc="left").count(r"\$") == 2


def test_given_axes_are_divided(pyplot, display):
    figure, ax = pyplot.subplots()
    display.plot(ax=ax)
    assert display.bounding_ax_ is ax
    assert display.figure_ is figure


def test_the_picture(display):
    assert_looks_like(display.figure_, "grad_cam_display")


@pytest.mark.parametrize("number", range(6))
def test_a_picture_with_an_image_missing_fails(display, number, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    display.images_[number].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "grad_cam_display")
