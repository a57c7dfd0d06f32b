from pathlib import Path

import numpy as np
import pytest

from skpneumo._images.decoding import Preprocessing
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection import image_views


def test_the_first_view_is_the_image_as_the_network_sees_it(paths):
    views = image_views(paths[:2], n_views=3, image_size=32)
    assert views.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(views[1, 0], Preprocessing(32).decode(Path(paths[1]).read_bytes()))


def test_views_do_not_depend_on_names_or_company(paths, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(paths[1]).read_bytes())
    np.testing.assert_array_equal(image_views(paths[:2], image_size=32)[1], image_views([copy], image_size=32)[0])


def test_all_images_that_cannot_be_read_are_named(paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageReadError) as caught:
        image_views([paths[0], broken, tmp_path / "missing.png"])
    assert [position for position, _, _ in caught.value.failures] == [1, 2]


def test_numbers_are_refused():
    with pytest.raises(ValueError, match="takes images"):
        image_views(np.zeros((2, 3)))


@pytest.mark.parametrize("parameter", [{"aspect": "round"}, {"image_size": 0}, {"n_views": 0}])
def test_parameters_are_checked(paths, parameter):
    with pytest.raises(ValueError, match=next(iter(parameter))):
        image_views(paths[:1], **parameter)
