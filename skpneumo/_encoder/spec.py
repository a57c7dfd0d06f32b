"""What shapes features: preprocessing, the frozen network, and the views of an image."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skpneumo._images.augmentation import XRAY, Augmentation
from skpneumo._images.decoding import Preprocessing
from skpneumo._images.sources import DIGEST_SIZE, digest
from skpneumo._vgg19.backbone import Backbone


@dataclass(frozen=True)
class FeatureSpec:
    """What shapes the rows of features, or maps, that are made of an image: one for each of its views.

    An item is what makes one row: the digest of an image, followed by the name of a view if it is not the plain one.
    """

    preprocessing: Preprocessing
    backbone: Backbone
    views: tuple[int, ...] = (0,)
    augmentation: Augmentation = XRAY

    def key(self) -> bytes:
        """Name everything that shapes the features of an item."""
        return digest(self.preprocessing.key() + self.backbone.key())

    def fingerprint(self) -> str:
        """Name everything that shapes the features but rounding: models are fitted on those of one name."""
        return digest(self.preprocessing.key() + self.backbone.identity()).hex()

    def items(self, content: bytes) -> list[bytes]:
        """Name the views of an image."""
        return [self.augmentation.item(content, number) for number in self.views]

    def preprocess(self, data: bytes, items: Iterable[bytes]) -> list[np.ndarray]:
        """Decode an image once, and cut all of `items` out of it.

        Raises
        ------
        ValueError
            The reason why it cannot be done.
        """
        gray = self.preprocessing.gray(data)
        return [self.preprocessing.resize(gray, self.augmentation.view(item, content_of(item))) for item in items]


def content_of(item: bytes) -> bytes:
    """Return the digest of the image that an item is a view of."""
    return item[:DIGEST_SIZE]
