"""What the plain training images look like: what another site's are carried over to, and new ones are compared with."""

from typing import Any

import numpy as np

from skpneumo._heads.novelty import fit_novelty
from skpneumo._utils.blas import row_blocks, single_blas_thread

Reference = dict[str, np.ndarray]

_LEAST_IMAGES = 20  # fewer say too little about a site
_BY_CHANCE = 3  # times 1 / n: how far n images of the training site may move the means, in squared deviations
_FEWEST_PSEUDO_IMAGES = 4  # of the training site that each new site is taken to have


def fit_reference(
    standardized: np.ndarray, codes: np.ndarray, n_classes: int, sample_weight: np.ndarray, groups: np.ndarray
) -> Reference:
    """Describe plain training images by their features as the head sees them.

    "class_count" (n_classes,), the sums of weights; "class_mean" and "class_variance" (n_classes, n_features); and what
    novelty asks for.
    """
    weight = np.eye(n_classes)[codes] * sample_weight[:, np.newaxis]
    class_weight = weight.sum(axis=0)
    weight = (weight / np.where(class_weight > 0, class_weight, 1)).astype(standardized.dtype)
    mean, square = np.zeros((2, n_classes, standardized.shape[1]))
    with single_blas_thread():
        for rows in row_blocks(standardized):
            mean += weight[rows].T @ standardized[rows]
            square += weight[rows].T @ standardized[rows] ** 2
    is_used = sample_weight > 0
    if not is_used.all():
        standardized, groups = standardized[is_used], groups[is_used]
    return {
        "class_count": class_weight,
        "class_mean": mean.astype(np.float32),
        "class_variance": np.maximum(square - mean**2, 0).astype(np.float32),
        **fit_novelty(standardized, groups),
    }


def class_shares(prevalence: Any, reference: Reference, classes: np.ndarray) -> np.ndarray:
    """Return the share of each class that `prevalence` states; None: that of the training images.

    Raises
    ------
    ValueError
        It states no shares of the classes, or the training had no image of one of them.
    """
    count = reference["class_count"]
    if not count.all():
        lacking = classes[count == 0].tolist()
        raise ValueError(f"adapt compares images class by class, but the training had none of {lacking}.")
    if prevalence is None:
        return count / count.sum()
    share = np.asarray(prevalence)
    share = share.astype(np.float64) if share.dtype.kind in "iuf" else np.zeros(0)
    if share.ndim == 0 and len(classes) == 2:
        share = np.array([1 - share, share])
    if share.shape != classes.shape or not (share > 0).all() or not np.isclose(share.sum(), 1):
        raise ValueError(
            f"prevalence={prevalence!r}, but it must be the share of each of the classes {classes.tolist()}, above 0 "
            "and 1 in all; or, of two classes, the share of the second."
        )
    return share


def adapt_standardization(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, reference: Reference, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return other means and scales, by which features of a new site look like those of the training site.

    Compared are images of which each class has the same `share` at both sites. The means and variances of the new one
    are taken over its own images and some pseudo-images of the training site (Schneider et al. 2020): the fewer, the
    further the means have moved beyond what so few images show by chance. Where they have not, nothing changes.

    Raises
    ------
    ValueError
        There are fewer than 20 different rows.
    """
    n_images = len({row.tobytes() for row in features})
    if n_images < _LEAST_IMAGES:
        raise ValueError(
            f"adapt needs at least {_LEAST_IMAGES} different images of the new site, but got {n_images}: fewer say too "
            "little about it."
        )
    at_home = share @ reference["class_mean"]
    variance_at_home = share @ (reference["class_variance"] + (reference["class_mean"] - at_home) ** 2)
    varies = variance_at_home > np.finfo(np.float32).eps
    n, (there, square) = len(features), np.zeros((2, features.shape[1]))
    for rows in row_blocks(features):
        standardized = (features[rows] - mean) / scale
        there += standardized.sum(axis=0) / n
        square += (standardized**2).sum(axis=0) / n
    variance = np.maximum(square - there**2, 0)
    moved = np.mean((there - at_home)[varies] ** 2 / variance_at_home[varies]) if varies.any() else 0.0
    proven = moved - _BY_CHANCE / n
    if proven <= 0:
        return mean, scale
    own = n / (n + max(_FEWEST_PSEUDO_IMAGES, 1 / proven))
    there = own * there + (1 - own) * at_home
    variance = own * variance + (1 - own) * variance_at_home
    stretch = np.sqrt(np.divide(variance, variance_at_home, out=np.ones_like(variance), where=varies))
    return mean + scale * (there - at_home * stretch), scale * stretch


def merged(before: Reference, now: Reference, *, is_alike: bool) -> Reference:
    """Put together what two calls saw; unless features are of one kind, those of the first are forgotten.

    Novelty is that beside the images of the larger call.
    """
    own = now["class_count"]
    other = before["class_count"] * (1 if is_alike else own == 0)
    total = np.where(own + other > 0, own + other, 1)[:, np.newaxis]
    parts = [(weight[:, np.newaxis] / total, part) for weight, part in ((own, now), (other, before))]
    mean = np.sum([share * part["class_mean"] for share, part in parts], axis=0)
    square = np.sum([share * (part["class_variance"] + part["class_mean"] ** 2.0) for share, part in parts], axis=0)
    is_larger = not is_alike or len(now["distances"]) > len(before["distances"])
    return {
        **(now if is_larger else before),
        "class_count": before["class_count"] + own,
        "drawn_count": before["drawn_count"] + now["drawn_count"],
        "class_mean": mean.astype(np.float32),
        "class_variance": np.maximum(square - mean**2, 0).astype(np.float32),
    }


def prior_shift(share: np.ndarray, reference: Reference) -> np.ndarray:
    """Return what brings logits from the shares of the last adaptation, or of the training, to others."""
    return log_ratio(share, reference.get("stated_share", reference["class_count"]))


def log_ratio(there: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Return what brings logits from one frequency of each class to another: (1,) for two classes, else one a class.

    A class that either lacks is not brought anywhere.
    """
    is_known = (there > 0) & (here > 0)
    there, here = (np.where(is_known, count / count.sum(), 1.0) for count in (there, here))
    shift = np.log(there) - np.log(here)
    return np.array([shift[1] - shift[0]]) if len(shift) == 2 else shift - shift.mean()
