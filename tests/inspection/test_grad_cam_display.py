import numpy as np
import pytest
from sklearn.model_selection import FixedThresholdClassifier

from pictures import assert_looks_like
from skpneumo.inspection import GradCAMDisplay, grad_cam
from skpneumo.inspection._overlay import overlay

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def display():
    ramp = (np.add.outer(np.arange(240), np.arange(360)) // 6).astype(np.uint8)
    bump = np.outer(np.hanning(240) ** 3, np.hanning(360))
    bump = np.roll(bump, (-50, 60), axis=(0, 1))  # not symmetric
    heat_maps = [bump - bump.max() / 5, bump[::-1] / 2]
    return GradCAMDisplay([2 * ramp, 200 - 2 * ramp], heat_maps, titles=["one", "two"], name="class 1").plot()


def test_images_heat_maps_and_overlays_are_side_by_side(display):
    assert display.axes_.shape == (2, 3)
    for row in range(2):
        shown, heat, both = (image.get_array() for image in display.images_[3 * row : 3 * row + 3])
        np.testing.assert_array_equal(shown, display.images[row])
        np.testing.assert_array_equal(heat, display.heat_maps[row])
        assert {image.origin for image in display.images_[3 * row : 3 * row + 3]} == {"upper"}
        np.testing.assert_array_equal(
            both, overlay(display.images[row], display.heat_maps[row], limit=display.heat_maps[0].max())
        )


def test_heat_maps_share_a_labeled_scale(display):
    limits = {display.images_[number].get_clim() for number in (1, 4)}
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((0, 0.8), abs=0.01)
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of class 1"
    assert display.color_bar_.mappable.norm.vmax == display.images_[1].norm.vmax


def test_titles_show_probability_and_label(clf, paths, y):
    labels = np.array(["normal", "bacterial"])[y]
    clf.fit(paths, labels)
    display = GradCAMDisplay.from_estimator(clf, paths[:2], y=labels[:2], class_of_interest="bacterial")
    proba = clf.predict_proba(paths[:2])[:, 0]
    assert [ax.get_title(loc="left") for ax in display.axes_[:, 0]] == [
        f"Probability of bacterial: {p:.3f}\nLabel: {label}" for p, label in zip(proba, labels[:2], strict=True)
    ]
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of bacterial"


def test_target_names_replace_labels(clf, paths, y):
    display = GradCAMDisplay.from_estimator(clf.fit(paths, y), paths[:2], y=y[:2], target_names=["normal", "pneumonia"])
    titles = [ax.get_title(loc="left").split("\n") for ax in display.axes_[:, 0]]
    assert all(first.startswith("Probability of pneumonia: ") for first, _ in titles)
    assert [second for _, second in titles] == [f"Label: {['normal', 'pneumonia'][label]}" for label in y[:2]]
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of pneumonia"


def test_invalid_target_names_raise(clf, paths, y):
    with pytest.raises(ValueError, match=r"target_names must be .* classes \[0, 1\]; got \['pneumonia'\]"):
        GradCAMDisplay.from_estimator(clf.fit(paths, y), paths[:2], target_names=["pneumonia"])


def test_probabilities_are_those_of_the_given_estimator(clf, paths, y):
    display = GradCAMDisplay.from_estimator(FixedThresholdClassifier(clf).fit(paths, y), paths[:1])
    p = clf.fit(paths, y).predict_proba(paths[:1])[0, 1]
    assert display.axes_[0, 0].get_title(loc="left") == f"Probability of class 1: {p:.3f}"


def test_heat_maps_match_grad_cam(clf, paths, y):
    clf.fit(paths, y)
    display = GradCAMDisplay.from_estimator(clf, paths[:2])
    for drawn, expected in zip(display.heat_maps, grad_cam(clf, paths[:2]), strict=True):
        np.testing.assert_array_equal(drawn, expected)


def test_predicted_class_is_explained_with_three_classes(clf, paths):
    clf.set_params(class_weight={0: 9, 1: 1, 2: 1}, alpha=0.2).fit(paths, np.arange(40) % 3)
    display = GradCAMDisplay.from_estimator(clf, paths)
    predicted = clf.predict(paths)
    assert (predicted != clf.classes_[clf.predict_proba(paths).argmax(axis=1)]).any()
    assert [int(title.split(":")[0][-1]) for title in display.titles] == predicted.tolist()
    assert display.color_bar_.ax.get_ylabel() == "Contribution to the log odds of the predicted class"


def test_wrong_number_of_labels_raises(clf, paths, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GradCAMDisplay.from_estimator(clf.fit(paths, y), paths[:2], y=y[:3])


def test_negative_heat_map_leaves_the_image_unchanged():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(overlay(image, -np.ones((3, 4))), np.repeat(image[..., None], 3, axis=-1))
    display = GradCAMDisplay([image], [-np.ones((3, 4))], titles=[""]).plot()
    assert display.images_[1].get_clim() == (0, 1)


def test_overlay_has_a_contour_at_half_the_limit():
    heat = np.zeros((9, 9))
    heat[2:7, 2:7] = 1
    colors = overlay(np.zeros((9, 9), np.uint8), heat).sum(axis=-1)
    ring = np.zeros((9, 9), bool)
    ring[2:7, 2:7] = True
    ring[3:6, 3:6] = False
    assert colors[ring].min() > colors[3:6, 3:6].max() > colors[0].max() == 0


def test_titles_fit_the_figure_and_escape_mathtext():
    titles = ["Probability of PNEUMONIA: < 0.001\nLabel: $a_{$"]
    display = GradCAMDisplay([np.zeros((40, 60), np.uint8)], [np.ones((40, 60))], titles=titles, name="$b_{$").plot()
    display.figure_.canvas.draw()
    extent = [text.get_window_extent() for text in display.axes_[0, 0].get_children() if hasattr(text, "get_text")]
    assert min(box.x0 for box in extent) >= 0
    assert display.axes_[0, 0].get_title(loc="left").count(r"\$") == 2


def test_single_axes_are_divided(pyplot, display):
    figure, ax = pyplot.subplots()
    display.plot(ax=ax)
    assert display.bounding_ax_ is ax
    assert display.figure_ is figure


def test_figure_matches_the_baseline(display):
    assert_looks_like(display.figure_, "grad_cam_display")


@pytest.mark.parametrize("number", range(6))
def test_figure_without_an_image_fails(display, number, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    display.images_[number].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "grad_cam_display")
