from pathlib import Path

import numpy as np
import pytest

from skpneumo._images.decoding import Preprocessing
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import image_views


def test_first_view_is_the_preprocessed_image(paths):
    views = image_views(paths[:2], n_views=3, image_size=32)
    assert views.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(views[1, 0], Preprocessing(32).decode(Path(paths[1]).read_bytes()))


def test_views_depend_only_on_image_content(paths, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(paths[1]).read_bytes())
    np.testing.assert_array_equal(image_views(paths[:2], image_size=32)[1], image_views([copy], image_size=32)[0])


def test_unreadable_images_are_all_listed(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        image_views([paths[0], broken, tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [1, 2]


def test_numeric_features_raise():
    with pytest.raises(ValueError, match="X must contain images"):
        image_views(np.zeros((2, 3)))


@pytest.mark.parametrize("parameter", [{"aspect": "round"}, {"image_size": 0}, {"n_views": 0}])
def test_invalid_parameters_raise(paths, parameter):
    with pytest.raises(ValueError, match=next(iter(parameter))):
        image_views(paths[:1], **parameter)
