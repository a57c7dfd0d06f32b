"""Images read for pictures and heat maps: the squares that the network sees, and whole films, small enough to show."""

from collections.abc import Callable, Sequence

import numpy as np

from skpneumo._images.decoding import Preprocessing
from skpneumo._images.sources import Source, label_of, read_bytes, reason
from skpneumo.exceptions import ImageReadError


def read_preprocessed(images: Sequence[Source], square: Preprocessing, first: int = 0) -> np.ndarray:
    """Decode images, the first of which stands at position `first` of X; (n, size, size) uint8.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.
    """
    return np.array(read(images, square.decode, first))


def read_films(images: Sequence[Source], longest: int) -> list[np.ndarray]:
    """Decode whole images, upright, with at most so many pixels a side; gray, uint8.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.
    """

    def film(data: bytes) -> np.ndarray:
        gray = Preprocessing(longest).gray(data)
        gray.thumbnail((longest, longest))
        return np.asarray(gray)

    return read(images, film)


def read(images: Sequence[Source], decode: Callable[[bytes], np.ndarray], first: int = 0) -> list[np.ndarray]:
    """Decode images, the first of which stands at position `first` of X.

    Raises
    ------
    ImageReadError
        Some images cannot be read; it names all of them.
    """
    decoded, failures = [], []
    for position, image in enumerate(images, first):
        try:
            decoded.append(decode(read_bytes(image)))
        except (OSError, ValueError) as error:
            failures.append((position, label_of(image), reason(error)))
    if failures:
        raise ImageReadError(failures)
    return decoded
