"""Imbalance: rows drawn anew for a head to be trained on, by imbalanced-learn's samplers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

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
    n_views : int
        Rows that stand for an image, one after the other, the plain one first.
    random : RandomState
        Where each draw takes its seed from, unless the sampler has one of its own.
    """

    def __init__(self, sampler: Any, n_views: int, random: np.random.RandomState) -> None:
        self.name, self.n_views, self.random = sampler, n_views, random
        self.sampler = _samplers()[sampler]() if isinstance(sampler, str) else sampler
        own = getattr(self.sampler, "random_state", None)
        if own is not None:
            self.random = check_random_state(own)

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
        images, made = self._resample(rows.features[:: self.n_views], rows.codes[:: self.n_views], seed)
        if images is None:
            return Drawn.all_of(*self._new_rows(made, rows, seed))
        return replace(rows, rows=(images[:, np.newaxis] * self.n_views + np.arange(self.n_views)).ravel())

    def _resample(
        self, features: np.ndarray, codes: np.ndarray, seed: int
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, np.ndarray]]:
        """Return the positions that the sampler picks, or None, and what it returns."""
        sampler = clone(self.sampler)
        if "random_state" in sampler.get_params():
            sampler.set_params(random_state=seed)
        if _draws_blindly(sampler):
            features = np.zeros((len(codes), 1), np.float32)
        try:
            made = sampler.fit_resample(features, codes)
        except ValueError as error:
            counts = dict(enumerate(np.bincount(codes).tolist()))
            raise ValueError(
                f"sampler={self.name!r} cannot work with {counts} images a class (by position in classes_): {error}"
            ) from error
        is_smoothed = getattr(sampler, "shrinkage", None) is not None
        return None if is_smoothed else getattr(sampler, "sample_indices_", None), made

    def _new_rows(
        self,
        made: tuple[np.ndarray, np.ndarray],
        rows: Drawn,
        seed: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Put together the rows that were made of plain views, and such of each other view."""
        parts = []
        for view in range(self.n_views):
            of_view = slice(view, None, self.n_views)
            X, y = made if view == 0 else self._resample(rows.features[of_view], rows.codes[of_view], seed)[1]
            parts.append((X, y, self._weights_of(y, rows.codes[of_view], rows.weights[of_view])))
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


def check_sampler(sampler: Any) -> None:
    """Refuse what is no sampler."""
    if isinstance(sampler, str) and sampler in SAMPLERS:
        return
    if sampler is not None and (isinstance(sampler, (str, type)) or not hasattr(sampler, "fit_resample")):
        raise ValueError(
            f"sampler={sampler!r}, but it must be None, one of {', '.join(map(repr, SAMPLERS))} or a sampler of "
            "imbalanced-learn, such as imblearn.over_sampling.ADASYN()."
        )


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
