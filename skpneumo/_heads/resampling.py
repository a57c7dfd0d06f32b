"""Class imbalance: resample the training rows with samplers of imbalanced-learn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

from skpneumo._utils.messages import shortened

SAMPLERS = ("over", "under", "smote")


@dataclass(frozen=True)
class TrainingRows:
    """Rows to train a head on: `rows` are indices into `features`, possibly repeated."""

    features: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def all_of(cls, features: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> "TrainingRows":
        """Return each row once."""
        return cls(features, codes, weights, np.arange(len(codes)))

    def class_count(self, n_classes: int) -> np.ndarray:
        """Return the sum of the weights of each class."""
        return np.bincount(self.codes[self.rows], weights=self.weights[self.rows], minlength=n_classes)


class Resampler:
    """Resample training rows with a sampler, or return all of them without one.

    Parameters
    ----------
    sampler : None, "over", "under", "smote" or sampler of imbalanced-learn
        The sampler, which is applied to the plain views. If it selects an image, all views of the image are selected.
    classes : ndarray of shape (n_classes,)
        The class labels, indexed by codes.
    n_views : int
        Number of consecutive rows per image, the plain view first.
    random : RandomState
        Source of the seed of each resampling.
    """

    def __init__(self, sampler: Any, classes: np.ndarray, n_views: int, random: np.random.RandomState) -> None:
        self.name, self.classes, self.n_views, self.random = sampler, classes, n_views, random
        self.sampler = _samplers()[sampler]() if isinstance(sampler, str) else sampler

    def epochs(self, rows: TrainingRows) -> Iterator[TrainingRows]:
        """Yield the resampled rows of each epoch: a selection of `rows`, or new rows created from them.

        Raises
        ------
        ValueError
            If there are too few rows for the sampler, or it creates new rows although there are sample weights.
        """
        while True:
            yield rows if self.sampler is None else self._resample_all(rows)

    def _resample_all(self, rows: TrainingRows) -> TrainingRows:
        seed = int(self.random.randint(2**31 - 1))
        weights = rows.weights[:: self.n_views]
        weighted = np.flatnonzero(weights > 0)  # images of weight 0 have no effect
        if len(np.unique(rows.codes[:: self.n_views][weighted])) < 2:
            return rows
        selected, created = self._resample(rows, 0, weighted, seed)
        if selected is None:
            return TrainingRows.all_of(*self._new_rows(created, rows, weighted, seed))
        images = weighted[selected]
        return replace(rows, rows=(images[:, np.newaxis] * self.n_views + np.arange(self.n_views)).ravel())

    def _resample(
        self, rows: TrainingRows, view: int, images: np.ndarray, seed: int
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray]]:
        """Resample one view of images; return the selected indices, or None, and the resulting features and codes."""
        sampler = clone(self.sampler)
        names = sorted(name for name in sampler.get_params() if name.split("__")[-1] == "random_state")
        sampler.set_params(**{name: (seed + i) % 2**31 for i, name in enumerate(names)})
        numbers = images * self.n_views + view
        features = np.zeros((len(images), 1), np.float32) if _ignores_features(sampler) else rows.features[numbers]
        labels = self.classes[rows.codes[numbers]]
        try:
            created, created_labels = sampler.fit_resample(features, labels)
        except ValueError as error:
            counts = dict(zip(*(array.tolist() for array in np.unique(labels, return_counts=True)), strict=True))
            raise ValueError(
                f"sampler={self.name!r} cannot resample {shortened(str(counts))} images per class: {error}"
            ) from error
        is_smoothed = getattr(sampler, "shrinkage", None) is not None
        selected = None if is_smoothed else getattr(sampler, "sample_indices_", None)
        return selected, (created, np.searchsorted(self.classes, created_labels))

    def _new_rows(
        self, created: tuple[np.ndarray, np.ndarray], rows: TrainingRows, images: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the new rows created from the plain view together with those of each other view."""
        parts = []
        for view in range(self.n_views):
            X, y = created if view == 0 else self._resample(rows, view, images, seed)[1]
            numbers = images * self.n_views + view
            parts.append((X, y, self._weights_of(y, rows.codes[numbers], rows.weights[numbers])))
        X, y, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return X.astype(rows.features.dtype, copy=False), y, weights

    def _weights_of(self, created: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        of_class = np.zeros(codes.max() + 1)
        of_class[codes] = weights
        if not np.allclose(of_class[codes], weights):
            raise ValueError(
                f"sampler={self.name!r} creates new rows, which have no sample_weight: use a sampler that selects "
                "images, such as 'over' or 'under', or do not pass sample_weight."
            )
        return of_class[created]


def check_sampler_selects_images(sampler: Any) -> None:
    """Raise if a sampler is known to create new features, which trainable layers cannot use."""
    from imblearn.combine import SMOTEENN, SMOTETomek
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.over_sampling.base import BaseOverSampler

    instance = _samplers()[sampler]() if isinstance(sampler, str) else sampler
    selects_images = isinstance(instance, RandomOverSampler) and getattr(instance, "shrinkage", None) is None
    if isinstance(instance, (BaseOverSampler, SMOTEENN, SMOTETomek)) and not selects_images:
        raise ValueError(new_features_message(sampler))


def new_features_message(sampler: Any) -> str:
    """Return the error message for a sampler that creates new features."""
    return (
        f"sampler={sampler!r} creates new features, but trainable layers require images: use a sampler that selects "
        "images, such as 'over' or 'under', or set n_trainable_layers=0."
    )


def _samplers() -> dict[str, Any]:
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    return {"over": RandomOverSampler, "under": RandomUnderSampler, "smote": SMOTE}


def _ignores_features(sampler: Any) -> bool:
    """Whether a sampler does not use the features, so that they need not be copied."""
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    return type(sampler) is RandomUnderSampler or (
        type(sampler) is RandomOverSampler and getattr(sampler, "shrinkage", None) is None
    )
