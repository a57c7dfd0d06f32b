"""Images or features with what is known of each: what a fit begins with, and what it holds out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import log_expit, log_softmax

from skpneumo._encoder.feature_maps import FeatureMaps
from skpneumo._images.sources import label_of
from skpneumo.model_selection import patient_train_test_split


@dataclass(frozen=True)
class Examples:
    """Rows that belong together.

    Parameters
    ----------
    X : Images, or ndarray of shape (n_samples, n_features)
        Images, or features.
    is_images : bool
        Which of these.
    classes : ndarray of shape (n_classes,)
        The labels, sorted.
    codes : ndarray of int, shape (n_samples,)
        Positions of the labels in `classes`.
    sample_weight, loss_weight : ndarray of float64, shape (n_samples,)
        In the standardisation; in the loss.
    groups : ndarray of shape (n_samples,)
        Patients.
    n_views : int
        Rows an image, one after the other; but `X` and `groups` have one an image in any case.
    are_groups_given : bool
        Whether somebody named the patients, beside what file names tell.
    for_callbacks : dict
        Keywords of scikit-learn's callbacks: X, y, metadata, as they were given.
    """

    X: Any
    is_images: bool
    classes: np.ndarray
    codes: np.ndarray
    sample_weight: np.ndarray
    loss_weight: np.ndarray
    groups: np.ndarray
    n_views: int = 1
    are_groups_given: bool = False
    for_callbacks: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> "Examples":
        """Return some of them."""
        return replace(
            self,
            X=self.X.take(rows) if self.is_images else self.X[rows],
            codes=self.codes[rows],
            sample_weight=self.sample_weight[rows],
            loss_weight=self.loss_weight[rows],
            groups=self.groups[rows],
        )

    def hold_out(
        self,
        fraction: float,
        random: np.random.RandomState,
        before: np.ndarray | None = None,
        contents: Mapping[int, bytes] = MappingProxyType({}),
    ) -> tuple["Examples", "Examples"]:
        """Split off a share of the patients, stratified; return the others and these.

        `before` are patients held out of a fit that this one goes on from: they are held out again, and no others.
        `contents` are digests of images by position: patients who share an image stay on one side.

        Raises
        ------
        ValueError
            There are too few of a class for that.
        """
        rows, groups = np.arange(len(self)), self._joined_groups(contents)
        is_held = (
            np.isin(groups, groups[np.isin(self.groups, before)]) if before is not None else np.zeros(len(self), bool)
        )
        if not is_held.any():
            try:
                _, held, *_ = patient_train_test_split(
                    rows, self.codes, groups=groups, test_size=fraction, random_state=random
                )
            except ValueError as error:
                raise ValueError(
                    f"early_stopping=True cannot hold out validation_fraction={fraction} of {len(np.unique(groups))} "
                    f"patients so that every class is on both sides: {error}"
                ) from error
            is_held[held] = True
        kept, held = rows[~is_held], rows[is_held]
        on_both_sides = set(self.codes[kept]) & set(self.codes[held])
        missing = [name for code, name in enumerate(self.classes.tolist()) if code not in on_both_sides]
        if missing or not self.loss_weight[kept].any() or not self.loss_weight[held].any():
            raise ValueError(
                f"early_stopping=True with validation_fraction={fraction} leaves one side without images that weigh "
                f"anything{f', or without the classes {missing}' if missing else ''}: choose another fraction or "
                "random_state, or pass early_stopping=False."
            )
        return self.take(kept), self.take(held)

    def _joined_groups(self, contents: Mapping[int, bytes]) -> np.ndarray:
        """Take patients for one who share an image, byte by byte."""
        _, groups = np.unique(self.groups, return_inverse=True)
        if not self.is_images:
            return groups
        numbers: dict[Any, int] = {}
        # An image that cannot be read is named where it is needed.
        keys = [contents.get(i) or os.path.abspath(label_of(image)) for i, image in enumerate(self.X)]
        of_image = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
        n = max(groups.max(), of_image.max()) + 1
        shared = coo_array((np.ones(len(groups)), (groups, n + of_image)), shape=(2 * n, 2 * n))
        return connected_components(shared, directed=False)[1][groups]

    def repeat(self, n_views: int) -> "Examples":
        """Repeat each as often as it has views: half of its weights is the plain one's, the others share the rest."""
        shares = np.r_[0.5, np.full(n_views - 1, 0.5 / (n_views - 1))] if n_views > 1 else np.ones(1)
        return replace(
            self,
            n_views=n_views,
            codes=np.repeat(self.codes, n_views),
            sample_weight=np.outer(self.sample_weight, shares).ravel(),
            loss_weight=np.outer(self.loss_weight, shares).ravel(),
        )

    def class_count(self, weights: np.ndarray) -> np.ndarray:
        """Sum weights of each class."""
        return np.bincount(self.codes, weights=weights, minlength=len(self.classes))

    def weighted_like(self, class_count: np.ndarray, drawn_count: np.ndarray) -> "Examples":
        """Weigh classes in the loss as a sampler has them drawn, out of those that it drew from."""
        ratio = np.divide(drawn_count, class_count, out=np.zeros_like(class_count), where=class_count > 0)
        return replace(self, loss_weight=self.loss_weight * ratio[self.codes])

    def score(self, logits: np.ndarray) -> float:
        """Return minus the weighted mean log loss: the higher, the better."""
        if logits.shape[1] == 1:
            losses = -log_expit(np.where(self.codes == 1, logits[:, 0], -logits[:, 0]))
        else:
            losses = -log_softmax(logits, axis=1)[np.arange(len(self)), self.codes]
        return -float(np.average(losses, weights=self.loss_weight))

    def accuracy(self, logits: np.ndarray) -> float:
        """Return the share that is called rightly, of those that weigh anything."""
        called = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        return float((called == self.codes)[self.loss_weight > 0].mean())

    def judge(self, logits: np.ndarray) -> tuple[float, float]:
        """Return the score and the accuracy."""
        return self.score(logits), self.accuracy(logits)


@dataclass(frozen=True)
class FeatureRows:
    """Features of examples, row by row, and what they come from.

    Parameters
    ----------
    examples : Examples
        What is known of each row.
    features : ndarray of shape (n_rows, n_features)
        What a head is trained on.
    fingerprint : str or None
        Of what shapes the features, or the maps. None: there were no images.
    items : list of bytes
        What each row is of: the digest of an image, and the name of a view. Empty: there were no images.
    maps : FeatureMaps or None
        What trainable layers make the features of. None: there are no such layers.
    weights_digest : str or None
        Of the weights of frozen layers that were read for them. None: there were none.
    """

    examples: Examples
    features: np.ndarray
    fingerprint: str | None = None
    items: list[bytes] = field(default_factory=list)
    maps: FeatureMaps | None = None
    weights_digest: str | None = None
