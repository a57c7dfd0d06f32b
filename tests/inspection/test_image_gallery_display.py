import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from conftest import TINY
from pictures import assert_looks_like
from skpneumo import VGG19Features
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import ImageGalleryDisplay, image_views

NAMES = ["normal", "pneumonia"]

pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def images():
    """Return different smooth images, which all versions of matplotlib enlarge alike."""
    ramp = np.arange(32)
    return [(np.add.outer(ramp, ramp * (i % 3)) + 15 * i).astype(np.uint8) for i in range(7)]


@pytest.fixture
def display(images):
    return ImageGalleryDisplay.from_images(images, image_size=32)


def titles(display):
    return [image.axes.get_title() for image in display.images_]


def test_images_are_preprocessed_in_order(paths):
    settings = {"image_size": 40, "aspect": "pad", "contrast": "equalize"}
    display = ImageGalleryDisplay.from_images(paths[:6], **settings)
    expected = image_views(paths[:6], n_views=1, **settings)
    np.testing.assert_array_equal(display.views, expected)
    for drawn, image in zip(display.images_, expected[:, 0], strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)


def test_each_row_shows_the_views_of_one_image(paths):
    settings = {"augmentation": {"rotation": 20}, "image_size": 32}
    display = ImageGalleryDisplay.from_images(paths[:2], n_views=3, **settings)
    assert display.axes_.shape == (2, 3)
    expected = image_views(paths[:2], n_views=3, **settings)
    for drawn, view in zip(display.images_, expected.reshape(6, 32, 32), strict=True):
        np.testing.assert_array_equal(drawn.get_array(), view)
    assert titles(display) == [each for path in paths[:2] for each in (Path(path).name, "View 2", "View 3")]


@pytest.mark.parametrize("is_fitted", [True, False])
def test_estimator_gives_preprocessing_augmentation_and_classes(clf, paths, y, is_fitted):
    clf.set_params(aspect="pad", augmentation={"rotation": 20})
    if is_fitted:
        clf.fit(paths, y)
    display = ImageGalleryDisplay.from_estimator(clf, paths[:2], y[:2], n_views=2, target_names=NAMES)
    expected = image_views(paths[:2], n_views=2, image_size=32, aspect="pad", augmentation={"rotation": 20})
    np.testing.assert_array_equal(display.views, expected)
    assert titles(display)[::2] == [
        f"{Path(path).name}\nLabel: {NAMES[label]}" for path, label in zip(paths[:2], y[:2], strict=True)
    ]
    if not is_fitted:
        with pytest.raises(NotFittedError):
            check_is_fitted(clf)


def test_names_are_those_of_the_classes_of_a_fitted_estimator(clf, paths, y):
    only = [path for path, label in zip(paths, y, strict=True) if label == 1][:2]
    display = ImageGalleryDisplay.from_estimator(clf.fit(paths, y), only, [1, 1], target_names=NAMES)
    assert [title.split("\n")[1] for title in titles(display)] == ["Label: pneumonia"] * 2


@pytest.mark.parametrize(
    "around",
    [
        lambda clf: GridSearchCV(clf, {"alpha": [0.1]}, cv=2),
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        make_pipeline,
        lambda clf: VGG19Features(**TINY),
        lambda clf: GridSearchCV(make_pipeline(VGG19Features(**TINY), LogisticRegression()), {}, cv=2),
    ],
)
def test_preprocessing_inside_an_estimator_that_is_not_fitted_is_used(clf, paths, around):
    assert ImageGalleryDisplay.from_estimator(around(clf), paths[:2]).views.shape == (2, 1, 32, 32)


def test_estimator_without_preprocessing_raises(paths):
    with pytest.raises(TypeError, match=r"PneumoniaClassifier or VGG19Features.* got LogisticRegression\. Use "):
        ImageGalleryDisplay.from_estimator(LogisticRegression(), paths[:2])


@pytest.mark.parametrize("y", [[1, 1], [False, True]])
def test_names_are_at_the_positions_of_the_labels(images, y):
    display = ImageGalleryDisplay.from_images(images[:2], y, target_names=NAMES)
    assert [title.split("\n")[1] for title in titles(display)] == [f"Label: {NAMES[label]}" for label in y]


@pytest.mark.parametrize("y", [[1, 2], [-1, 1], NAMES])
def test_labels_that_are_no_positions_of_names_raise(images, y):
    with pytest.raises(ValueError, match=r"labels of the classes \[0, 1\], but it also contains"):
        ImageGalleryDisplay.from_images(images[:2], y, target_names=NAMES)


@pytest.mark.parametrize("words", [np.array(NAMES), np.array(NAMES, object), [np.str_(name) for name in NAMES]])
def test_words_are_shown_as_words(images, words):
    assert titles(ImageGalleryDisplay.from_images(images[:2], words)) == [
        "X[0]\nLabel: normal",
        "X[1]\nLabel: pneumonia",
    ]


def test_names_in_titles_are_short_and_escaped(tmp_path, paths):
    long = tmp_path / f"{'a' * 30}{'z' * 30}.png"
    long.write_bytes(Path(paths[0]).read_bytes())
    display = ImageGalleryDisplay.from_images([str(long)], ["$b_{$"])
    name, label = titles(display)[0].split("\n")
    assert len(name) <= 32
    assert label == r"Label: \$b_{\$"
    display.figure_.canvas.draw()


def test_unused_axes_are_turned_off(display):
    assert display.axes_.shape == (2, 5)
    assert [ax.axison for ax in display.axes_.ravel()] == [True] * 7 + [False] * 3


@pytest.mark.parametrize(("n_images", "n_views", "advice"), [(101, 1, r"X\[:100\]"), (34, 3, r"X\[:33\]")])
def test_too_many_images_raise_before_they_are_read(n_images, n_views, advice):
    with pytest.raises(ValueError, match=rf"at most 100 images.* got {n_images} images.*{advice}"):
        ImageGalleryDisplay.from_images([f"missing{i}.png" for i in range(n_images)], n_views=n_views)


def test_hundred_images_are_shown(images):
    assert len(ImageGalleryDisplay.from_images(images[:1] * 100, image_size=32).images_) == 100


def test_unreadable_images_are_all_listed(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        ImageGalleryDisplay.from_images([paths[0], broken, tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [1, 2]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("n_views", {"n_views": 0}),
        ("image_size", {"image_size": 0}),
        ("aspect", {"aspect": "round"}),
        ("target_names", {"y": [0, 1], "target_names": ["pneumonia"]}),
        ("inconsistent numbers of samples", {"y": [0, 1, 1]}),
    ],
)
def test_invalid_parameters_raise(images, name, given):
    with pytest.raises(ValueError, match=name):
        ImageGalleryDisplay.from_images(images[:2], **given)


def test_features_raise(matrix):
    with pytest.raises(ValueError, match="X must contain images"):
        ImageGalleryDisplay.from_images(matrix)


def test_single_axes_are_divided(pyplot, images):
    figure, ax = pyplot.subplots()
    display = ImageGalleryDisplay.from_images(images, image_size=32, ax=ax)
    assert display.bounding_ax_ is ax
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1


def test_missing_matplotlib_raises_before_images_are_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"ImageGalleryDisplay\.plot requires matplotlib"):
        ImageGalleryDisplay.from_images(["missing.png"])


def test_figure_matches_the_baseline(display):
    assert_looks_like(display.figure_, "image_gallery_display")


@pytest.mark.parametrize("number", [0, 6])
def test_figure_without_an_image_fails(display, number, monkeypatch):
    monkeypatch.delenv("SKPNEUMO_WRITE_PICTURES", raising=False)
    display.images_[number].remove()
    with pytest.raises(AssertionError, match="pixels differ"):
        assert_looks_like(display.figure_, "image_gallery_display")
