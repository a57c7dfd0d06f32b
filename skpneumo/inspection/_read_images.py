"""Reading of preprocessed images and of whole images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skpneumo._images.decoding import Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import Source, base_name, label_of, name_of, read_bytes, reason
from skpneumo.exceptions import ImageReadError


def images_of(X: Any) -> list[Source]:
    """Return the images of `X`; raise ValueError if it does not contain images."""
    images = as_images(X)
    if images is None:
        raise ValueError(f"X must contain images, such as paths; got {type(X).__name__} without images.")
    return images


def file_names(images: Sequence[Source]) -> list[str]:
    """Return the name of each image without folders, such as "X[3]" for an image without a file."""
    names = [base_name(name_of(image) or "") for image in images]
    return [name or f"X[{i}]" for i, name in enumerate(names)]


def read_preprocessed(images: Sequence[Source], preprocessing: Preprocessing, first: int = 0) -> np.ndarray:
    """Read preprocessed images, uint8 of shape (n, size, size); `first` is the position of the first in X.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
    """
    return np.array(read(images, preprocessing.decode, first))


def read_whole_images(images: Sequence[Source], max_side: int) -> list[np.ndarray]:
    """Read whole images, upright and gray (uint8), with sides of at most `max_side` pixels.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
    """

    def decode(data: bytes) -> np.ndarray:
        gray = Preprocessing(max_side).gray(data)
        gray.thumbnail((max_side, max_side))
        return np.asarray(gray)

    return read(images, decode)


def read(images: Sequence[Source], decode: Callable[[bytes], np.ndarray], first: int = 0) -> list[np.ndarray]:
    """Read images with `decode`; `first` is the position of the first in X.

    Raises
    ------
    ImageReadError
        If images cannot be read. It lists all of them.
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
