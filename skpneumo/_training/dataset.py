"""Training data: images or features with labels, weights and patients, and the validation split."""

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
from skpneumo._utils.messages import list_items
from skpneumo.model_selection import patient_train_test_split


@dataclass(frozen=True)
class Examples:
    """Images or features with labels, weights and patients.

    Parameters
    ----------
    X : Images, or ndarray of shape (n_samples, n_features)
        Images, or features.
    is_images : bool
        Whether `X` contains images.
    classes : ndarray of shape (n_classes,)
        The sorted class labels.
    codes : ndarray of int, shape (n_samples,)
        Indices of the labels in `classes`.
    sample_weight, loss_weight : ndarray of float64, shape (n_samples,)
        Weights in the standardization; weights in the loss.
    groups : ndarray of shape (n_samples,)
        Patients.
    n_views : int
        Number of consecutive rows per image. `X` and `groups` always have one row per image.
    are_groups_given : bool
        Whether the user passed the patients; otherwise they come from the file names.
    for_callbacks : dict
        Keyword arguments of scikit-learn's callbacks, as the user passed them: X, y, metadata.
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
        """Return the examples of some rows."""
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
        previous: np.ndarray | None = None,
        contents: Mapping[int, bytes] = MappingProxyType({}),
    ) -> tuple["Examples", "Examples"]:
        """Split the examples by patient, stratified, into a training and a validation set.

        `previous` are the patients held out by the fit that this one continues: they alone are held out again.
        `contents` are digests of images by position: patients who share an image stay in the same set.

        Raises
        ------
        ValueError
            If a class has too few patients.
        """
        rows, groups = np.arange(len(self)), self._joined_groups(contents)
        is_held_out = np.zeros(len(self), bool)
        if previous is not None:
            is_held_out = np.isin(groups, groups[np.isin(self.groups, previous)])
        if not is_held_out.any():
            try:
                _, validation, *_ = patient_train_test_split(
                    rows, self.codes, groups=groups, test_size=fraction, random_state=random
                )
            except ValueError as error:
                raise ValueError(
                    f"early_stopping=True cannot hold out validation_fraction={fraction} of {len(np.unique(groups))} "
                    f"patients with every class in both the training and the validation set: {error}"
                ) from error
            is_held_out[validation] = True
        train, validation = rows[~is_held_out], rows[is_held_out]
        in_both_sets = set(self.codes[train]) & set(self.codes[validation])
        missing = [repr(name) for code, name in enumerate(self.classes.tolist()) if code not in in_both_sets]
        if missing or not self.loss_weight[train].any() or not self.loss_weight[validation].any():
            cause = f"one of the classes {list_items(missing)}" if missing else "any image of positive weight"
            raise ValueError(
                f"early_stopping=True with validation_fraction={fraction} leaves the training or the validation set "
                f"without {cause}: choose another validation_fraction or random_state, or set early_stopping=False."
            )
        return self.take(train), self.take(validation)

    def _joined_groups(self, contents: Mapping[int, bytes]) -> np.ndarray:
        """Return groups in which patients who share an identical image are one group."""
        _, groups = np.unique(self.groups, return_inverse=True)
        if not self.is_images:
            return groups
        numbers: dict[Any, int] = {}
        # Unreadable images, which have no digest, raise later.
        keys = [
            contents.get(i) or (image if isinstance(image, str) else label_of(image)) for i, image in enumerate(self.X)
        ]
        of_image = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
        n = max(groups.max(), of_image.max()) + 1
        shared = coo_array((np.ones(len(groups)), (groups, n + of_image)), shape=(2 * n, 2 * n))
        return connected_components(shared, directed=False)[1][groups]

    def repeat(self, n_views: int, plain_weight: float) -> "Examples":
        """Repeat each row per view: the plain view gets a fraction of its weight, the other views share the rest."""
        fractions = np.ones(1)
        if n_views > 1:
            fractions = np.r_[plain_weight, np.full(n_views - 1, (1 - plain_weight) / (n_views - 1))]
        return replace(
            self,
            n_views=n_views,
            codes=np.repeat(self.codes, n_views),
            sample_weight=np.outer(self.sample_weight, fractions).ravel(),
            loss_weight=np.outer(self.loss_weight, fractions).ravel(),
        )

    def class_count(self, weights: np.ndarray) -> np.ndarray:
        """Return the sum of the weights of each class."""
        return np.bincount(self.codes, weights=weights, minlength=len(self.classes))

    def reweighted(self, class_count: np.ndarray, resampled_count: np.ndarray) -> "Examples":
        """Reweight the classes in the loss by the ratio of their counts after and before resampling."""
        ratio = np.divide(resampled_count, class_count, out=np.zeros_like(class_count), where=class_count > 0)
        return replace(self, loss_weight=self.loss_weight * ratio[self.codes])

    def score(self, logits: np.ndarray) -> float:
        """Return the negative weighted mean log loss."""
        if logits.shape[1] == 1:
            losses = -log_expit(np.where(self.codes == 1, logits[:, 0], -logits[:, 0]))
        else:
            losses = -log_softmax(logits, axis=1)[np.arange(len(self)), self.codes]
        return -float(np.average(losses, weights=self.loss_weight))

    def accuracy(self, logits: np.ndarray) -> float:
        """Return the accuracy over the rows of positive weight."""
        predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
        return float((predicted == self.codes)[self.loss_weight > 0].mean())

    def evaluate(self, logits: np.ndarray) -> tuple[float, float]:
        """Return the score and the accuracy."""
        return self.score(logits), self.accuracy(logits)


@dataclass(frozen=True)
class FeatureRows:
    """Features of examples, with their origin.

    Parameters
    ----------
    examples : Examples
        Labels and weights of the rows.
    features : ndarray of shape (n_rows, n_features)
        Features that the head is trained on.
    fingerprint : str or None
        Fingerprint of the specification of the features, or maps. None if `examples` contains features.
    items : list of bytes
        Digest of the image and name of the view of each row. Empty if `examples` contains features.
    maps : FeatureMaps or None
        Feature maps that the trainable layers compute the features from. None without trainable layers.
    weights_digest : str or None
        Digest of the weights of the frozen layers. None if no weights were read.
    """

    examples: Examples
    features: np.ndarray
    fingerprint: str | None = None
    items: list[bytes] = field(default_factory=list)
    maps: FeatureMaps | None = None
    weights_digest: str | None = None
