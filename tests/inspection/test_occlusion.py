import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skpneumo._images.decoding import Preprocessing
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import occlusion_map
from skpneumo.inspection._occlusion import _covered, _edges

TUNED = {"n_trainable_layers": 1, "tune_max_iter": 1, "random_state": 0}


@pytest.mark.parametrize("grid", [1, 2, 5, 32])
def test_patches_add_up_to_the_whole_square(grid):
    edges = _edges(32, grid)
    assert edges.shape == (grid, 32)
    assert edges.min() >= 0
    assert (edges.argmax(axis=1) == np.sort(edges.argmax(axis=1))).all()
    np.testing.assert_allclose(edges.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("parameters", [{}, TUNED])
def test_one_patch_covers_all_there_is(clf, paths, y, parameters):
    clf.set_params(precision="float32", **parameters).fit(paths, y)
    logits = clf.decision_function(paths)
    falls = occlusion_map(clf, paths[:3], background=paths[3:5], grid=1, coordinates="grid")
    np.testing.assert_allclose(falls[:, 0, 0], logits[:3] - logits[3:5].mean(), atol=1e-4)


def test_a_film_does_not_change_when_it_covers_itself(clf, paths, y):
    clf.fit(paths, y)
    falls = occlusion_map(clf, paths[:1], background=paths[:1], coordinates="grid")
    np.testing.assert_allclose(falls, 0, atol=1e-5)


def test_without_a_background_a_patch_becomes_the_mean_gray(clf, paths, y):
    clf.set_params(precision="float32").fit(paths, y)
    with open(paths[0], "rb") as file:
        square = Preprocessing(32).decode(file.read())
    gray = np.full_like(square, round(square.mean()))
    expected = np.subtract(*clf.decision_function([square, gray]))
    np.testing.assert_allclose(occlusion_map(clf, paths[:1], grid=1, coordinates="grid")[0, 0, 0], expected, atol=1e-4)


def test_patches_are_covered_row_by_row_with_each_cover_in_turn():
    covers = np.stack([np.full((4, 4), 100, np.uint8), np.full((4, 4), 200, np.uint8)])
    squares = np.concatenate(list(_covered(np.zeros((4, 4), np.uint8), covers, _edges(4, 2))))
    assert squares.shape == (8, 4, 4)
    corners = squares[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    expected = np.repeat(np.eye(4, dtype=int), 2, axis=0) * np.tile([100, 200], 4)[:, np.newaxis]
    np.testing.assert_array_equal(corners, expected)


def test_a_grid_is_the_head_s_unless_told(clf, paths, y):
    clf.fit(paths, y)
    assert occlusion_map(clf, paths[:2], coordinates="grid").shape == (2, 2, 2)
    assert occlusion_map(clf, paths[:2], grid=3, coordinates="grid").shape == (2, 3, 3)


@pytest.mark.parametrize("grid", [0, 33, 1.5])
def test_the_grid_is_checked(clf, paths, y, grid):
    with pytest.raises((TypeError, ValueError), match="grid"):
        occlusion_map(clf.fit(paths, y), paths, grid=grid)


def test_a_background_that_is_no_images_is_refused(clf, paths, y):
    with pytest.raises(ValueError, match="background must hold images"):
        occlusion_map(clf.fit(paths, y), paths[:1], background=np.zeros((2, 2)))
    for nothing in ([], "film.png"):
        with pytest.raises(ValueError, match="background must hold images, as X does"):
            occlusion_map(clf, paths[:1], background=nothing)
    with pytest.raises(ImageReadError, match=r"background\[1\] 'missing.png': no such file"):
        occlusion_map(clf, paths[:1], background=[paths[1], "missing.png"])


def test_it_needs_a_fitted_classifier(clf, paths):
    with pytest.raises(NotFittedError):
        occlusion_map(clf, paths)
