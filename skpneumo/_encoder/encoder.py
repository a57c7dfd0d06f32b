"""Encoder of an estimator: turns images into features as its parameters specify."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import HasMethods

from skpneumo._encoder.extract import contents, extract
from skpneumo._encoder.feature_maps import FeatureMaps
from skpneumo._encoder.spec import FeatureSpec
from skpneumo._encoder.trainable import TrainableSpec, trainable_features
from skpneumo._feature_store.store import FeatureStore, folder_of, open_store
from skpneumo._images.augmentation import XRAY, Augmentation
from skpneumo._images.decoding import ASPECTS, Preprocessing
from skpneumo._images.inputs import as_images
from skpneumo._images.sources import Images
from skpneumo._keras import DEVICES, PRECISIONS
from skpneumo._utils.validation import COUNT, N_JOBS, Constraints, Finite, check_constraints, choices
from skpneumo._vgg19.backbone import Backbone, backbone
from skpneumo._vgg19.layers import LAYERS, grid_side, map_side, shapes
from skpneumo._vgg19.pooling import NORMS, normalized
from skpneumo._vgg19.weights import Bundle, half, load_trainable, source_of
from skpneumo._vgg19.weights_search import find_weights
from skpneumo.exceptions import UntrainedLayersWarning

Layers = Mapping[str, np.ndarray]

PARAMETER_CONSTRAINTS: Constraints = {
    "weights": [str, os.PathLike, None],
    "n_layers": [Finite(Integral, 1, len(LAYERS), closed="both")],
    "image_size": [Finite(Integral, 32, None, closed="left")],
    "aspect": [choices(*ASPECTS)],
    "contrast": [choices("equalize"), None],
    "pool_grid": COUNT,
    "norm": [choices(*filter(None, NORMS)), None],
    "memory": [str, os.PathLike, HasMethods("cache"), None],
    "device": [choices(*DEVICES)],
    "precision": [choices(*PRECISIONS)],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class Encoded:
    """Features of images, with the item of each row.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
        One row per view; the views of an image are consecutive.
    items : list of bytes
        The digest of the image and the name of the view, for each row.
    maps : FeatureMaps or None
        Feature maps that the trainable layers computed the features from. None without trainable layers.
    """

    features: np.ndarray
    items: list[bytes]
    maps: FeatureMaps | None = None


@dataclass(frozen=True)
class Encoder:
    """Frozen layers, whose output is stored, and trainable layers on top of them.

    Parameters
    ----------
    preprocessing : Preprocessing
        Preprocessing of an image.
    weights : str, Bundle or None
        "imagenet", an absolute path, or the weights bundled with a model.
    memory : str or None
        Folder of the feature store.
    n_layers, pool_grid, norm, device, precision, n_jobs, verbose
        As in the estimators.
    n_trainable_layers : int
        Number of last layers that are not frozen in training.
    layers : mapping of str to ndarray
        Weights of the trainable layers. If empty, all layers are frozen.
    """

    preprocessing: Preprocessing
    weights: Any
    n_layers: int
    pool_grid: int
    norm: str | None
    memory: Any
    device: str
    precision: str
    n_jobs: int | None
    verbose: int
    n_trainable_layers: int = 0
    layers: Layers = field(default_factory=dict, repr=False)

    @classmethod
    def from_params(cls, params: Mapping[str, Any], owner: str) -> "Encoder":
        """Create the encoder from the parameters of an estimator of class `owner`.

        Relative paths are resolved here. Other parameters are ignored: ``vars(estimator)`` is faster than its
        `get_params`.

        Raises
        ------
        ValueError
            If a parameter is invalid.
        """
        check_constraints(PARAMETER_CONSTRAINTS, {name: params[name] for name in PARAMETER_CONSTRAINTS}, owner)
        n_layers, n_trainable_layers = params["n_layers"], params.get("n_trainable_layers", 0)
        for name in ("weights", "memory"):
            if params[name] == "":
                raise ValueError(f"The '{name}' parameter of {owner} must not be an empty string: pass a path or None.")
        if n_trainable_layers > n_layers:
            raise ValueError(f"n_trainable_layers={n_trainable_layers} must not be greater than n_layers={n_layers}.")
        return cls(
            preprocessing=Preprocessing(params["image_size"], params["aspect"], params["contrast"]),
            weights=source_of(params["weights"]),
            n_layers=n_layers,
            pool_grid=params["pool_grid"],
            norm=params["norm"],
            memory=folder_of(params["memory"]),
            device=params["device"],
            precision=params["precision"],
            n_jobs=params["n_jobs"],
            verbose=params["verbose"],
            n_trainable_layers=n_trainable_layers,
        )

    def with_layers(self, layers: Layers) -> "Encoder":
        """Return a copy with these weights of the trainable layers; without any, all layers are frozen."""
        return replace(self, layers=layers)

    def located(self, digest: str | None, bundled: Layers) -> "Encoder":
        """Return a copy with the frozen weights of this digest, either `bundled` or from a file that has them.

        Raises
        ------
        WeightsError
            If the weights are not found. The message lists the places searched.
        """
        if digest is None:
            return self
        wanted = bytes.fromhex(digest)
        if bundled:
            return replace(self, weights=Bundle(wanted, bundled))
        return replace(self, weights=find_weights(source_of(self.weights), wanted, self._n_frozen, bool(self.verbose)))

    def bundled(self, dtype: str) -> "Encoder":
        """Return a copy that bundles its frozen weights, unchanged ("float32") or rounded ("float16")."""
        return replace(self, weights=Bundle.of(self.spec().backbone.layers(), dtype))

    def warm_up(self, progress: Callable[..., Any]) -> None:
        """Compile the network for one image and for a full batch, without storing anything."""
        encoder = replace(self, memory=None)
        n_images, size = encoder.spec().backbone.batch_size, self.preprocessing.size
        blank = np.zeros((n_images, size, size), np.uint8)
        blank[:, 0, :4] = np.arange(n_images, dtype=np.uint32).view(np.uint8).reshape(-1, 4)  # no duplicates
        for some in (blank[:1], blank):
            encoder.extract(as_images(some) or Images([]), progress=progress)

    def at_full_resolution(self) -> "Encoder":
        """Return a copy whose grid is as fine as the feature maps, so that the features are the last maps."""
        return replace(self, pool_grid=map_side(self.n_layers, self.preprocessing.size), norm=None)

    def spec(self, n_views: int = 1, augmentation: Augmentation = XRAY) -> FeatureSpec:
        """Return the specification of the features of views, or of the maps that enter the trainable layers."""
        pool_grid = None if self.layers else self.pool_grid
        return FeatureSpec(
            self.preprocessing,
            self._backbone(self._n_frozen, pool_grid),
            tuple(range(n_views)),
            augmentation,
            self.norm,
        )

    def extract(
        self,
        images: Images,
        n_views: int = 1,
        augmentation: Augmentation = XRAY,
        *,
        progress: Callable[..., Any],
        maps_store: FeatureStore | None = None,
    ) -> Encoded:
        """Compute, or look up, the features of all views of images.

        Parameters
        ----------
        images : Images
            The images.
        n_views, augmentation : int, Augmentation
            Number and kind of the views of each image.
        progress : callable
            Opens a task from a total, a description and a unit.
        maps_store : FeatureStore, default=None
            Store of the maps that enter the trainable layers. If None, stored maps are read and new ones are not
            stored.

        Raises
        ------
        ImageReadError
            If images cannot be read. It lists all of them.
        """
        spec = self.spec(n_views, augmentation)
        if not self.layers:
            store = self._store
            features, items = extract(images, spec, store, device=self.device, n_jobs=self.n_jobs, progress=progress)
            return Encoded(normalized(features, self.norm), items)
        store = maps_store or open_store(self.memory, "maps", is_read_only=True)
        maps = FeatureMaps(images, spec, store, device=self.device, n_jobs=self.n_jobs)
        features = trainable_features(self.trainable_spec(), self.layers, maps.first_pass(progress))
        return Encoded(features, maps.items, maps)

    def digests(self, images: Images) -> dict[int, bytes]:
        """Return the digests of images by position, without those that cannot be read."""
        return contents(images, self._store, keep=True)

    def features_of_preprocessed(self, images: np.ndarray) -> np.ndarray:
        """Compute the features of preprocessed images, (n, size, size) uint8, without the feature store."""
        frozen = self.spec().backbone
        rows = (frozen.forward()(images[some]) for some in gen_batches(len(images), frozen.batch_size))
        if self.layers:
            return trainable_features(self.trainable_spec(), self.layers, rows)
        return normalized(np.concatenate(list(rows)), self.norm)

    def load_trainable(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        """Read the trainable layers, rounded to float16; warn if the weights lack some of them."""
        self.trainable_spec()  # raises if frozen layers are missing
        layers, missing = load_trainable(self.weights, self._n_below_trainable, self.n_layers, random)
        if missing:
            warnings.warn(
                f"weights={self.weights!r} does not contain {', '.join(missing)}: these layers are trained from random "
                "weights (He initialization).",
                UntrainedLayersWarning,
                stacklevel=5,
            )
        return {name: half(array) for name, array in layers.items()}

    def has_trainable(self, layers: Layers) -> bool:
        """Whether the names of `layers` are those of the trainable layers."""
        return set(layers) == set(shapes(self._n_below_trainable, self.n_layers))

    def trainable_spec(self) -> TrainableSpec:
        """Return the specification of the trainable layers."""
        frozen, size = self._backbone(self._n_below_trainable, None), self.preprocessing.size
        return TrainableSpec(
            n_frozen=self._n_below_trainable,
            n_layers=self.n_layers,
            image_size=size,
            grid=grid_side(self.n_layers, size, self.pool_grid),
            norm=self.norm,
            device=frozen.device,
            # Gradients underflow in float16.
            precision="float32" if frozen.precision == "float16" else frozen.precision,
        )

    @cached_property
    def _store(self) -> FeatureStore | None:
        """The store of this call, which warns at most once."""
        return open_store(self.memory)

    @property
    def _n_below_trainable(self) -> int:
        return self.n_layers - self.n_trainable_layers

    @property
    def _n_frozen(self) -> int:
        return self._n_below_trainable if self.layers else self.n_layers

    def _backbone(self, n_layers: int, pool_grid: int | None) -> Backbone:
        return backbone(
            weights=self.weights,
            n_layers=n_layers,
            image_size=self.preprocessing.size,
            pool_grid=pool_grid,
            device=self.device,
            precision=self.precision,
            verbose=self.verbose,
        )
