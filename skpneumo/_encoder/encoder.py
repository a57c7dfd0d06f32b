"""The line from images to what a head sees: frozen layers from the store, and trainable layers above them."""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skpneumo._encoder.batches import Way
from skpneumo._encoder.feature_maps import FeatureRows, Maps
from skpneumo._encoder.trainable import TailShape
from skpneumo._feature_store.store import FeatureStore, open_store
from skpneumo._features import VGG19Features
from skpneumo._images.augmentation import XRAY, Augmentation
from skpneumo._images.sources import Source
from skpneumo._training.dataset import Examples
from skpneumo._training.finetune import tail_features
from skpneumo._vgg19.layers import grid_side, map_side, shapes
from skpneumo._vgg19.weights import Bundle, half, load_trainable, source_of
from skpneumo._vgg19.weights_search import find_weights
from skpneumo.exceptions import ImageReadError, UntrainedLayersWarning

Layers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Line:
    """The layers of a classifier.

    Where `layers` are asked for below, an empty mapping says that all layers are frozen.

    Parameters
    ----------
    extractor : VGG19Features
        All of them, frozen.
    n_trainable_layers : int
        How many of the last of them are not.
    """

    extractor: VGG19Features
    n_trainable_layers: int

    def found(self, digest: str | None, bundled: Layers, layers: Layers) -> "Line":
        """Return the same with the frozen weights of this digest: `bundled` ones, or wherever they are found.

        Raises
        ------
        WeightsError
            They are not found; it says where it looked.
        """
        if digest is None:
            return self
        extractor, wanted = copy.copy(self.extractor), bytes.fromhex(digest)
        if bundled:
            extractor.weights = Bundle(wanted, bundled)
        else:
            n_layers = self._n_frozen if layers else extractor.n_layers
            source = source_of(extractor.weights)
            extractor.weights = find_weights(source, wanted, n_layers, bool(extractor.verbose))
        return replace(self, extractor=extractor)

    def way(self, n_views: int, augmentation: Augmentation, layers: Layers) -> Way:
        """From an image to the features of its views, or to the maps from which `layers` make them."""
        return self.extractor._way(n_views, augmentation, n_frozen=self._n_frozen if layers else None)

    def rows(
        self,
        examples: Examples,
        n_views: int,
        augmentation: Augmentation,
        layers: Layers,
        *,
        store: FeatureStore | None,
        progress: Callable[..., Any],
    ) -> FeatureRows:
        """Compute, or look up, the features of all views of examples; `store` is for their maps.

        Raises
        ------
        ImageReadError
            Names every image that cannot be read, by its position in what `fit` was given.
        """
        images, way = list(examples.X), self.way(n_views, augmentation, layers)
        if layers:
            maps = self._maps(images, way, store, examples.positions)
            features = tail_features(self.tail_shape(), layers, maps.first_pass(progress))
            return FeatureRows(
                examples.repeat(n_views), features, way.fingerprint(), maps.items, maps, way.backbone.needs
            )
        try:
            features, items = self.extractor._extract(images, progress, way)
        except ImageReadError as error:
            failures = [(int(examples.positions[i]), path, why) for i, path, why in error.failures]
            raise ImageReadError(failures) from None
        return FeatureRows(
            examples.repeat(n_views), features, way.fingerprint(), items, weights_digest=way.backbone.needs
        )

    def features(self, images: list[Source], way: Way, layers: Layers, progress: Callable[..., Any]) -> np.ndarray:
        """Compute, or look up, the features of new images, whose maps are not kept."""
        if not layers:
            return self.extractor._extract(images, progress, way)[0]
        store = open_store(self.extractor.memory, "maps", is_read_only=True)
        return tail_features(self.tail_shape(), layers, self._maps(images, way, store).first_pass(progress))

    def features_of_squares(self, squares: np.ndarray, layers: Layers) -> np.ndarray:
        """Compute the features of squares, (n, image_size, image_size) uint8; nothing is looked up or stored."""
        backbone = self.way(1, XRAY, layers).backbone
        rows = (backbone.forward()(squares[some]) for some in gen_batches(len(squares), backbone.batch_size))
        return tail_features(self.tail_shape(), layers, rows) if layers else np.concatenate(list(rows))

    def ungridded(self) -> "Line":
        """Return the same with a grid as fine as the maps: features are the last maps themselves."""
        extractor = copy.copy(self.extractor)
        extractor.pool_grid = map_side(extractor.n_layers, extractor.image_size)
        return replace(self, extractor=extractor)

    def load_trainable(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        """Read the trainable layers, rounded as they will be kept, and say which of them the weights lack."""
        self.tail_shape()  # frozen layers that are missing are an error
        weights, n_layers = self.extractor.weights, self.extractor.n_layers
        layers, missing = load_trainable(weights, self._n_frozen, n_layers, random)
        if missing:
            warnings.warn(
                f"weights={weights!r} hold no {', '.join(missing)}: these layers are trained from random weights (He's "
                "initialisation).",
                UntrainedLayersWarning,
                stacklevel=5,
            )
        return {name: half(array) for name, array in layers.items()}

    def holds(self, layers: Layers) -> bool:
        """Tell whether these are the trainable layers, by name."""
        return set(layers) == set(shapes(self._n_frozen, self.extractor.n_layers))

    def tail_shape(self) -> TailShape:
        """Describe the trainable layers."""
        extractor = self.extractor
        backbone = extractor._way(n_frozen=self._n_frozen).backbone
        return TailShape(
            n_frozen=self._n_frozen,
            n_layers=extractor.n_layers,
            image_size=extractor.image_size,
            grid=grid_side(extractor.n_layers, extractor.image_size, extractor.pool_grid),
            device=backbone.device,
            # Slopes drown in float16.
            precision="float32" if backbone.precision == "float16" else backbone.precision,
        )

    @property
    def _n_frozen(self) -> int:
        return self.extractor.n_layers - self.n_trainable_layers

    def _maps(self, images: list[Source], way: Way, store: FeatureStore | None, positions: Any = None) -> Maps:
        return Maps(images, way, store, positions, device=self.extractor.device, n_jobs=self.extractor.n_jobs)
