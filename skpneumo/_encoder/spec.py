"""Specification of features: preprocessing, frozen network and views of an image."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skpneumo._images.augmentation import XRAY, Augmentation
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.sources import DIGEST_SIZE, digest
from skpneumo._vgg19.backbone import Backbone


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that determines the features, or feature maps, of an image: one row per view.

    An item identifies a row: the digest of an image, followed by the name of the view unless it is the plain one.
    """

    preprocessing: Preprocessing
    backbone: Backbone
    views: tuple[int, ...] = (0,)
    augmentation: Augmentation = XRAY
    norm: str | None = None  # applied after look-up, so that the stored features do not depend on it

    def key(self) -> bytes:
        """Return a digest of everything that determines the stored features of an item."""
        return digest(self.preprocessing.key() + self.backbone.key())

    def fingerprint(self) -> str:
        """Return a digest of everything that determines the features except rounding; a model needs the same one."""
        norm = b"" if self.norm is None else f" {self.norm}".encode()
        return digest(self.preprocessing.key() + self.backbone.identity() + norm).hex()

    def items(self, content: bytes) -> list[bytes]:
        """Return the items of all views of an image."""
        return [self.augmentation.item(content, number) for number in self.views]

    def preprocess(self, data: bytes, items: Iterable[bytes]) -> list[np.ndarray]:
        """Decode an image once, and return the preprocessed image of each of `items`.

        Raises
        ------
        ValueError
            If the image cannot be decoded.
        """
        gray = self.preprocessing.gray(data)
        return [self.preprocessing.resize(gray, self.augmentation.view(item, content_of(item))) for item in items]


def content_of(item: bytes) -> bytes:
    """Return the digest of the image of an item."""
    return item[:DIGEST_SIZE]
