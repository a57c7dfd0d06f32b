from pathlib import Path

import numpy as np
import pytest

from conftest import TINY
from export.conftest import EXACT
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._images.decoding import Preprocessing
from skpneumo.exceptions import ImageReadError
from skpneumo.export import preprocess_images


def test_preprocess_images_matches_the_preprocessing_of_the_classifier(fitted, paths):
    expected = [Preprocessing(32).decode(Path(path).read_bytes()) for path in paths[:3]]
    np.testing.assert_array_equal(preprocess_images(fitted, paths[:3]), expected)


def test_preprocess_images_lists_all_unreadable_images(fitted, paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        preprocess_images(fitted, [paths[0], broken, tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [1, 2]


def test_preprocess_images_raises_on_features_and_other_estimators(fitted, matrix, paths):
    with pytest.raises(ValueError, match="X must contain images"):
        preprocess_images(fitted, matrix)
    with pytest.raises(TypeError, match="VGG19Features"):
        preprocess_images(VGG19Features(**TINY), paths)


def test_preprocess_images_raises_on_changed_parameters_or_model_of_features(fitted, paths, matrix, y):
    with pytest.raises(ValueError, match="differ from those of fit"):
        preprocess_images(fitted.set_params(aspect="pad"), paths)
    with pytest.raises(ValueError, match="fitted on features"):
        preprocess_images(PneumoniaClassifier(**EXACT).fit(matrix, y), paths)
