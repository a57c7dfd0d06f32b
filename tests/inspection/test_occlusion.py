import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skpneumo._images.decoding import Preprocessing
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import occlusion_map
from skpneumo.inspection._occlusion import _cover_patches, _patch_weights

TUNED = {"n_trainable_layers": 1, "tune_max_iter": 1, "random_state": 0}


@pytest.mark.parametrize("grid", [1, 2, 5, 32])
def test_patch_weights_add_up_to_one(grid):
    weights = _patch_weights(32, grid)
    assert weights.shape == (grid, 32)
    assert weights.min() >= 0
    assert (weights.argmax(axis=1) == np.sort(weights.argmax(axis=1))).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("parameters", [{}, TUNED])
def test_single_patch_covers_the_whole_image(clf, paths, y, parameters):
    clf.set_params(precision="float32", **parameters).fit(paths, y)
    logits = clf.decision_function(paths)
    decreases = occlusion_map(clf, paths[:3], background=paths[3:5], grid=1, coordinates="grid")
    np.testing.assert_allclose(decreases[:, 0, 0], logits[:3] - logits[3:5].mean(), atol=1e-4)


def test_image_covered_by_itself_has_no_decrease(clf, paths, y):
    clf.fit(paths, y)
    decreases = occlusion_map(clf, paths[:1], background=paths[:1], coordinates="grid")
    np.testing.assert_allclose(decreases, 0, atol=1e-5)


def test_default_background_is_the_mean_gray(clf, paths, y):
    clf.set_params(precision="float32").fit(paths, y)
    with open(paths[0], "rb") as file:
        image = Preprocessing(32).decode(file.read())
    gray = np.full_like(image, round(image.mean()))
    expected = np.subtract(*clf.decision_function([image, gray]))
    np.testing.assert_allclose(occlusion_map(clf, paths[:1], grid=1, coordinates="grid")[0, 0, 0], expected, atol=1e-4)


def test_each_patch_is_covered_by_each_background():
    background = np.stack([np.full((4, 4), 100, np.uint8), np.full((4, 4), 200, np.uint8)])
    images = np.concatenate(list(_cover_patches(np.zeros((4, 4), np.uint8), background, _patch_weights(4, 2))))
    assert images.shape == (8, 4, 4)
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    expected = np.repeat(np.eye(4, dtype=int), 2, axis=0) * np.tile([100, 200], 4)[:, np.newaxis]
    np.testing.assert_array_equal(corners, expected)


def test_default_grid_is_the_pooling_grid(clf, paths, y):
    clf.fit(paths, y)
    assert occlusion_map(clf, paths[:2], coordinates="grid").shape == (2, 2, 2)
    assert occlusion_map(clf, paths[:2], grid=3, coordinates="grid").shape == (2, 3, 3)


@pytest.mark.parametrize("grid", [0, 33, 1.5])
def test_invalid_grid_raises(clf, paths, y, grid):
    with pytest.raises((TypeError, ValueError), match="grid"):
        occlusion_map(clf.fit(paths, y), paths, grid=grid)


def test_background_without_images_raises(clf, paths, y):
    with pytest.raises(ValueError, match="background must contain images"):
        occlusion_map(clf.fit(paths, y), paths[:1], background=np.zeros((2, 2)))
    for invalid in ([], "image.png"):
        with pytest.raises(ValueError, match="background must contain images, like X"):
            occlusion_map(clf, paths[:1], background=invalid)
    with pytest.raises(ImageReadError, match=r"background\[1\] 'missing.png': no such file"):
        occlusion_map(clf, paths[:1], background=[paths[1], "missing.png"])


def test_unfitted_classifier_raises(clf, paths):
    with pytest.raises(NotFittedError):
        occlusion_map(clf, paths)
