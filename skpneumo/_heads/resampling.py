"""Imbalance: rows drawn anew for a head to be trained on, by imbalanced-learn's samplers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone

SAMPLERS = ("over", "under", "smote")


@dataclass(frozen=True)
class Drawn:
    """What a head is trained on for a while: `rows` of `features`, some of them more than once."""

    features: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    rows: np.ndarray

    @classmethod
    def all_of(cls, features: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> "Drawn":
        """Take each row once."""
        return cls(features, codes, weights, np.arange(len(codes)))

    def class_count(self, n_classes: int) -> np.ndarray:
        """Sum the weights of each class."""
        return np.bincount(self.codes[self.rows], weights=self.weights[self.rows], minlength=n_classes)


class Resampler:
    """Draws rows by a sampler, or takes all of them as they are.

    Parameters
    ----------
    sampler : None, "over", "under", "smote" or sampler of imbalanced-learn
        What is drawn; it sees plain rows, and all views of an image that it picks are picked.
    classes : ndarray of shape (n_classes,)
        The labels that codes stand for.
    n_views : int
        Rows that stand for an image, one after the other, the plain one first.
    random : RandomState
        Where each draw takes its seed from.
    """

    def __init__(self, sampler: Any, classes: np.ndarray, n_views: int, random: np.random.RandomState) -> None:
        self.name, self.classes, self.n_views, self.random = sampler, classes, n_views, random
        self.sampler = _samplers()[sampler]() if isinstance(sampler, str) else sampler

    def draws(self, rows: Drawn) -> Iterator[Drawn]:
        """Draw, again and again, some of `rows`; or, by samplers that make new ones, others in their place.

        Raises
        ------
        ValueError
            The sampler cannot work with so few rows; or makes new ones, which have no weights.
        """
        while True:
            yield rows if self.sampler is None else self._draw(rows)

    def _draw(self, rows: Drawn) -> Drawn:
        seed = int(self.random.randint(2**31 - 1))
        weights = rows.weights[:: self.n_views]
        known = np.flatnonzero(weights > 0)  # others are as good as absent
        if len(np.unique(rows.codes[:: self.n_views][known])) < 2:
            return rows
        images, made = self._resample(rows, 0, known, seed)
        if images is None:
            return Drawn.all_of(*self._new_rows(made, rows, known, seed))
        picked = known[images]
        return replace(rows, rows=(picked[:, np.newaxis] * self.n_views + np.arange(self.n_views)).ravel())

    def _resample(
        self, rows: Drawn, view: int, known: np.ndarray, seed: int
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray]]:
        """Resample one view of images; return which it picks, or None, and features and codes that come out."""
        sampler = clone(self.sampler)
        names = sorted(name for name in sampler.get_params() if name.split("__")[-1] == "random_state")
        sampler.set_params(**{name: (seed + i) % 2**31 for i, name in enumerate(names)})
        numbers = known * self.n_views + view
        features = np.zeros((len(known), 1), np.float32) if _draws_blindly(sampler) else rows.features[numbers]
        labels = self.classes[rows.codes[numbers]]
        try:
            made, made_labels = sampler.fit_resample(features, labels)
        except ValueError as error:
            counts = dict(zip(*(array.tolist() for array in np.unique(labels, return_counts=True)), strict=True))
            raise ValueError(f"sampler={self.name!r} cannot work with {counts} images a class: {error}") from error
        is_smoothed = getattr(sampler, "shrinkage", None) is not None
        images = None if is_smoothed else getattr(sampler, "sample_indices_", None)
        return images, (made, np.searchsorted(self.classes, made_labels))

    def _new_rows(
        self, made: tuple[np.ndarray, np.ndarray], rows: Drawn, known: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Put together the rows that were made of plain views, and such of each other view."""
        parts = []
        for view in range(self.n_views):
            X, y = made if view == 0 else self._resample(rows, view, known, seed)[1]
            numbers = known * self.n_views + view
            parts.append((X, y, self._weights_of(y, rows.codes[numbers], rows.weights[numbers])))
        X, y, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return X.astype(rows.features.dtype, copy=False), y, weights

    def _weights_of(self, made: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        of_class = np.zeros(codes.max() + 1)
        of_class[codes] = weights
        if not np.allclose(of_class[codes], weights):
            raise ValueError(
                f"sampler={self.name!r} makes new rows, which have no sample_weight: choose one that picks among "
                'images, such as "over" or "under", or leave sample_weight out.'
            )
        return of_class[made]


def refuse_makers(sampler: Any) -> None:
    """Refuse, before any work, what is known to make new features, which trainable layers cannot do with."""
    from imblearn.combine import SMOTEENN, SMOTETomek
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.over_sampling.base import BaseOverSampler

    known = _samplers()[sampler]() if isinstance(sampler, str) else sampler
    is_picking = isinstance(known, RandomOverSampler) and getattr(known, "shrinkage", None) is None
    if isinstance(known, (BaseOverSampler, SMOTEENN, SMOTETomek)) and not is_picking:
        raise ValueError(makes_features(sampler))


def makes_features(sampler: Any) -> str:
    """Say why trainable layers cannot do with what a sampler makes."""
    return (
        f"sampler={sampler!r} makes new features, but trainable layers need images: choose one that "
        'picks among images, such as "over" or "under", or n_trainable_layers=0.'
    )


def _samplers() -> dict[str, Any]:
    from imblearn.over_sampling import SMOTE, RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    return {"over": RandomOverSampler, "under": RandomUnderSampler, "smote": SMOTE}


def _draws_blindly(sampler: Any) -> bool:
    """Tell whether it never looks at a feature, so that none needs to be copied for it."""
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.under_sampling import RandomUnderSampler

    return type(sampler) is RandomUnderSampler or (
        type(sampler) is RandomOverSampler and getattr(sampler, "shrinkage", None) is None
    )
