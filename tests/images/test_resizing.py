import hashlib

import numpy as np
import pytest
from PIL import Image

from skpneumo._images.decoding import Preprocessing


@pytest.mark.parametrize(
    ("aspect", "high", "wide"),
    [
        ("crop", "33bafc8708ef", "5b66282262b2"),
        ("pad", "5260caea8cba", "f959e43218c3"),
        ("stretch", "05a544db4812", "95c57ed27678"),
    ],
)
def test_gray_values_are_equal_in_all_versions_of_pillow(aspect, high, wide):
    for shape, expected in [((301, 97), high), ((97, 301), wide)]:
        pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
        preprocessed = Preprocessing(48, aspect).resize(Image.fromarray(pixels))
        assert hashlib.blake2b(preprocessed.tobytes(), digest_size=6).hexdigest() == expected
