"""Domain adaptation: statistics of the training features, and adaptation to the features of a new site."""

from typing import Any

import numpy as np

from skpneumo._heads.novelty import fit_novelty
from skpneumo._utils.blas import row_blocks, single_blas_thread
from skpneumo._utils.messages import list_values, plain, shortened

Reference = dict[str, np.ndarray]

_MIN_IMAGES = 20  # estimates from fewer images are too inaccurate
_BY_CHANCE = 3  # times 1 / n: squared shift of the means, in deviations, of n images without a domain shift
_MIN_PSEUDO_IMAGES = 4  # images of the training site that are added to those of a new site


def fit_reference(
    standardized: np.ndarray, codes: np.ndarray, n_classes: int, sample_weight: np.ndarray, groups: np.ndarray
) -> Reference:
    """Compute statistics of the standardized features of plain training images.

    The keys are "class_count" (n_classes,), the sums of weights; "class_mean" and "class_variance" (n_classes,
    n_features); and those of `fit_novelty`.
    """
    weight = np.eye(n_classes)[codes] * sample_weight[:, np.newaxis]
    class_weight = weight.sum(axis=0)
    weight = (weight / np.where(class_weight > 0, class_weight, 1)).astype(standardized.dtype)
    mean, second_moment = np.zeros((2, n_classes, standardized.shape[1]))
    with single_blas_thread():
        for rows in row_blocks(standardized):
            mean += weight[rows].T @ standardized[rows]
            second_moment += weight[rows].T @ standardized[rows] ** 2
    is_used = sample_weight > 0
    if not is_used.all():
        standardized, codes, groups = standardized[is_used], codes[is_used], groups[is_used]
    return {
        "class_count": class_weight,
        "class_mean": mean.astype(np.float32),
        "class_variance": np.maximum(second_moment - mean**2, 0).astype(np.float32),
        **fit_novelty(standardized, groups, codes),
    }


def class_shares(prevalence: Any, reference: Reference, classes: np.ndarray) -> np.ndarray:
    """Return the proportion of each class by `prevalence`; if None, those of the training images.

    Raises
    ------
    ValueError
        If `prevalence` is invalid, or the training data lack a class.
    """
    count = reference["class_count"]
    if not count.all():
        raise ValueError(
            "adapt requires training images of every class, but there were none of "
            f"{list_values(classes[count == 0])}: fit on all classes."
        )
    if prevalence is None:
        return count / count.sum()
    proportions = np.asarray(prevalence)
    proportions = proportions.astype(np.float64) if proportions.dtype.kind in "iuf" else np.zeros(0)
    if proportions.ndim == 0 and len(classes) == 2:
        proportions = np.array([1 - proportions, proportions])
    if proportions.shape != classes.shape or not (proportions > 0).all() or not np.isclose(proportions.sum(), 1):
        raise ValueError(
            f"prevalence must be the proportion of each of the classes {list_values(classes)}, positive and summing to "
            f"1, or, for two classes, that of the second; got {shortened(repr(plain(prevalence)))}."
        )
    return proportions


def adapt_standardization(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, reference: Reference, proportions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and scales that standardize features of a new site to those of the training site.

    Both sites are compared at the same `proportions` of the classes. The means and variances of the new site include
    pseudo-images of the training site (Schneider et al. 2020); their number decreases with the shift of the means
    beyond chance. Without such a shift, the means and scales do not change.

    Raises
    ------
    ValueError
        If there are fewer than 20 different rows.
    """
    n_images = len({row.tobytes() for row in features})
    if n_images < _MIN_IMAGES:
        raise ValueError(
            f"adapt requires at least {_MIN_IMAGES} different images of the new site, but got {n_images}: pass more "
            "images."
        )
    source_mean = proportions @ reference["class_mean"]
    source_variance = proportions @ (reference["class_variance"] + (reference["class_mean"] - source_mean) ** 2)
    varies = source_variance > np.finfo(np.float32).eps
    n, (target_mean, second_moment) = len(features), np.zeros((2, features.shape[1]))
    for rows in row_blocks(features):
        standardized = (features[rows] - mean) / scale
        target_mean += standardized.sum(axis=0) / n
        second_moment += (standardized**2).sum(axis=0) / n
    target_variance = np.maximum(second_moment - target_mean**2, 0)
    shift = np.mean((target_mean - source_mean)[varies] ** 2 / source_variance[varies]) if varies.any() else 0.0
    excess = shift - _BY_CHANCE / n
    if excess <= 0:
        return mean, scale
    weight = n / (n + max(_MIN_PSEUDO_IMAGES, 1 / excess))
    target_mean = weight * target_mean + (1 - weight) * source_mean
    target_variance = weight * target_variance + (1 - weight) * source_variance
    ratio = np.sqrt(np.divide(target_variance, source_variance, out=np.ones_like(target_variance), where=varies))
    return mean + scale * (target_mean - source_mean * ratio), scale * ratio


def merged(before: Reference, now: Reference, *, is_alike: bool) -> Reference:
    """Merge the statistics of two calls; unless `is_alike`, the class statistics are those of the second call.

    The statistics for novelty are those of the call with more images.
    """
    own = now["class_count"]
    other = before["class_count"] * (1 if is_alike else own == 0)
    total = np.where(own + other > 0, own + other, 1)[:, np.newaxis]
    parts = [(count[:, np.newaxis] / total, part) for count, part in ((own, now), (other, before))]
    mean = np.sum([weight * part["class_mean"] for weight, part in parts], axis=0)
    second_moment = np.sum(
        [weight * (part["class_variance"] + part["class_mean"] ** 2.0) for weight, part in parts], axis=0
    )
    is_larger = not is_alike or len(now["distances"]) > len(before["distances"])
    return {
        **(now if is_larger else before),
        "class_count": before["class_count"] + own,
        "drawn_count": before["drawn_count"] + now["drawn_count"],
        "class_mean": mean.astype(np.float32),
        "class_variance": np.maximum(second_moment - mean**2, 0).astype(np.float32),
    }


def prior_shift(proportions: np.ndarray, reference: Reference) -> np.ndarray:
    """Return the shift of logits from the proportions of the last adaptation, or of training, to `proportions`."""
    return log_ratio(proportions, reference.get("stated_share", reference["class_count"]))


def log_ratio(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the shift of logits from the class counts `source` to `target`: (1,) for two classes, else (n_classes,).

    Classes with a count of 0 in either are not shifted.
    """
    is_known = (target > 0) & (source > 0)
    target, source = (np.where(is_known, count / count.sum(), 1.0) for count in (target, source))
    shift = np.log(target) - np.log(source)
    return np.array([shift[1] - shift[0]]) if len(shift) == 2 else shift - shift.mean()
