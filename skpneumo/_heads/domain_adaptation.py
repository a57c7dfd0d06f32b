"""Domain adaptation: statistics of the training images, and adaptation to unlabeled or labeled images of a new site."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_softmax, logsumexp, ndtr

from skpneumo._heads.novelty import fit_novelty
from skpneumo._utils.blas import row_blocks, single_blas_thread
from skpneumo._utils.messages import list_values, plain, shortened

Reference = dict[str, np.ndarray]

_MIN_IMAGES = 20  # estimates from fewer images are too inaccurate
_BY_CHANCE = 3  # times 1 / n: squared shift of the means, in deviations, of n images without a domain shift
_MIN_PSEUDO_IMAGES = 4  # images of the training site that are added to those of a new site

# Adaptation without labels: prior of the shift of the logits between sites.
_SHIFT_DEVIATION = 0.25  # of the shift, in distances between the class means
_LOG_STRETCH_DEVIATION = 0.35  # of the log of the factor of means and deviations
_LIKELIHOOD_POWER = 0.5  # the classes are only roughly normal
_MAX_DEVIATIONS = 5.0  # a single unusual image must not decide
_MAX_LOGITS = 1_000  # limits memory
_HARM_LEVEL = 0.05  # posterior probability that the new threshold is worse than promised
_MIN_GAIN = 0.005  # of balanced accuracy, at this level
_STATED_DEVIATION = 0.05  # error of a stated prevalence
_EDGE = 0.05  # the interval of an identifiable prevalence is within [0.05, 0.95]

# Adaptation with labels: prior of the slope and the shifts of the logits.
_LOG_SLOPE_DEVIATION = 0.5
_LABELED_SHIFT_DEVIATION = 1.5


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


def logit_statistics(logits: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray) -> Reference:
    """Compute "logit_mean" and "logit_scale" of each of two classes; empty for more classes.

    The scale is 0 if it is not known, because a class has fewer than two different logits.
    """
    if logits.shape[1] > 1:
        return {}
    weight = np.eye(2)[codes] * sample_weight[:, np.newaxis]
    weight /= np.where(weight.any(axis=0), weight.sum(axis=0), 1)
    mean = logits[:, 0].astype(np.float64) @ weight
    variance = (weight * (logits - mean) ** 2).sum(axis=0)
    return {"logit_mean": mean, "logit_scale": np.sqrt(variance)}


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


def check_n_images(features: np.ndarray) -> None:
    """Raise if there are fewer than 20 different rows."""
    n_images = len({row.tobytes() for row in features})
    if n_images < _MIN_IMAGES:
        raise ValueError(
            f"adapt requires at least {_MIN_IMAGES} different images of the new site, but got {n_images}: pass more "
            "images."
        )


def adapt_standardization(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, reference: Reference, proportions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return means and scales that standardize features of a new site to those of the training site.

    Both sites are compared at the same `proportions` of the classes. The means and variances of the new site include
    pseudo-images of the training site (Schneider et al. 2020); their number decreases with the shift of the means
    beyond chance. Without such a shift, the means and scales do not change.
    """
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


@dataclass(frozen=True)
class SiteEstimate:
    """The prevalence at a new site, its 95 % credible interval, and the logit that should be the new threshold."""

    prevalence: float
    interval: tuple[float, float]
    threshold: float

    @property
    def is_identifiable(self) -> bool:
        """Whether both classes are certainly present; otherwise, their logits cannot be told apart."""
        return self.interval[0] >= _EDGE and self.interval[1] <= 1 - _EDGE


def estimate_site(logits: np.ndarray, reference: Reference, stated: float | None = None) -> SiteEstimate | None:
    """Estimate the prevalence and the best threshold from logits of two classes; None without training statistics.

    A `stated` prevalence restricts the estimate to similar values.

    At the new site, the logits of each class are normal, with the means and deviations of the training images up to a
    common shift and factor. The posterior of shift, factor and prevalence is computed on a grid. The threshold differs
    from 0 only if this increases the balanced accuracy with a posterior probability of 95 %.
    """
    if not reference.get("logit_scale", np.zeros(2)).all():
        return None
    mean, scale = reference["logit_mean"], reference["logit_scale"]
    center, distance = mean.mean(), mean[1] - mean[0]
    if distance <= 0:
        return None
    log_factor = np.linspace(-3, 2, 21) * _LOG_STRETCH_DEVIATION
    shift = np.linspace(-3, 3, 41) * _SHIFT_DEVIATION
    log_factor, shift = (grid.ravel() for grid in np.meshgrid(log_factor, shift, indexing="ij"))
    log_prior = -0.5 * ((log_factor / _LOG_STRETCH_DEVIATION) ** 2 + (shift / _SHIFT_DEVIATION) ** 2)
    factor = np.exp(log_factor)[:, np.newaxis]
    means = center + factor * (mean - center) + (shift * distance)[:, np.newaxis]
    scales = factor * scale

    if len(logits) > _MAX_LOGITS:
        logits = np.sort(logits)[np.linspace(0, len(logits) - 1, _MAX_LOGITS).astype(int)]
    deviations = (logits[:, np.newaxis, np.newaxis] - means) / scales  # (n_logits, n_grid, 2)
    density = np.exp(-0.5 * np.minimum(deviations**2, _MAX_DEVIATIONS**2)) / scales
    prevalences = np.linspace(0.01, 0.99, 50)
    log_likelihood = np.stack(
        [np.log((1 - p) * density[..., 0] + p * density[..., 1]).sum(axis=0) for p in prevalences], axis=1
    )
    log_posterior = _LIKELIHOOD_POWER * log_likelihood + log_prior[:, np.newaxis]
    if stated is not None:
        log_posterior -= 0.5 * ((prevalences - stated) / _STATED_DEVIATION) ** 2
    posterior = np.exp(log_posterior - logsumexp(log_posterior))

    of_prevalence = posterior.sum(axis=0)
    low, high = prevalences[np.searchsorted(of_prevalence.cumsum(), (0.025, 0.975))]
    threshold = _safe_threshold(posterior.sum(axis=1), means, scales, np.linspace(mean[0], mean[1], 121))
    return SiteEstimate(float(of_prevalence @ prevalences), (float(low), float(high)), threshold)


def undetermined(site: SiteEstimate | None, n_images: int) -> str:
    """Return the reason why the prevalence of the images of a site is not estimated, and what to do."""
    remedy = "pass y, labels of 50 to 100 images, or the prevalence"
    if site is None:
        return (
            "The prevalence is not estimated: it requires two classes that the model separates, both of them in the "
            f"last call to fit or partial_fit, with this version of skpneumo. To adapt, {remedy}."
        )
    low, high = site.interval
    return (
        f"The prevalence cannot be determined from these {n_images} images: its 95 % interval, {low:.2f} to "
        f"{high:.2f}, is not within {_EDGE:.2f} to {1 - _EDGE:.2f}. To adapt, {remedy}, or more images."
    )


def _safe_threshold(weight: np.ndarray, means: np.ndarray, scales: np.ndarray, thresholds: np.ndarray) -> float:
    """Return the threshold whose gain of balanced accuracy over 0 is the largest at a low quantile; 0 if too small."""
    is_likely = weight > 1e-5 * weight.max()
    weight, means, scales = weight[is_likely], means[is_likely], scales[is_likely]
    rates = ndtr((np.append(thresholds, 0.0)[:, np.newaxis, np.newaxis] - means) / scales)
    accuracy = (rates[..., 0] + 1 - rates[..., 1]) / 2
    gain = accuracy[:-1] - accuracy[-1]  # (n_thresholds, n_grid)
    order = np.argsort(gain, axis=1)
    position = (weight[order].cumsum(axis=1) < _HARM_LEVEL * weight.sum()).sum(axis=1)
    sure_gain = gain[np.arange(len(gain)), order[np.arange(len(gain)), position]]
    best = int(sure_gain.argmax())
    return float(thresholds[best]) if sure_gain[best] > _MIN_GAIN else 0.0


def shift_to_mean(logits: np.ndarray, prevalence: float) -> float:
    """Return the shift of logits of two classes after which the mean probability is `prevalence`."""
    bound = np.abs(logits).max() + 50 + abs(np.log(prevalence / (1 - prevalence)))
    return float(brentq(lambda shift: expit(logits + shift).mean() - prevalence, -bound, bound))


def fit_slope_and_shift(logits: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit a common positive slope and a shift of each output to labeled logits, shrunk towards 1 and 0.

    The penalties are those of normal priors on the log of the slope and on the shifts.
    """
    targets = np.eye(max(logits.shape[1], 2))[codes]

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_slope, shift = parameters[0], parameters[1:]
        scaled = np.exp(log_slope) * logits
        outputs = scaled + shift
        log_proba = log_softmax(np.hstack([np.zeros_like(outputs), outputs]) if len(shift) == 1 else outputs, axis=1)
        residuals = sample_weight[:, np.newaxis] * (np.exp(log_proba) - targets)
        residuals = residuals[:, -len(shift) :]
        loss = -(sample_weight[:, np.newaxis] * targets * log_proba).sum()
        penalty = (log_slope / _LOG_SLOPE_DEVIATION) ** 2 + ((shift / _LABELED_SHIFT_DEVIATION) ** 2).sum()
        gradient = np.append((residuals * scaled).sum(), residuals.sum(axis=0))
        gradient += parameters / np.append(_LOG_SLOPE_DEVIATION, np.full(len(shift), _LABELED_SHIFT_DEVIATION)) ** 2
        return loss + penalty / 2, gradient

    found = minimize(loss_and_gradient, np.zeros(1 + logits.shape[1]), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), found[1:]


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


def record_site(
    reference: Reference,
    proportions: np.ndarray,
    *,
    interval: tuple[float, float] | None = None,
    label_count: np.ndarray | None = None,
) -> None:
    """Store the class proportions of a site, with the interval of an estimate and the counts of labels."""
    for name in ("prevalence_interval", "label_count"):
        reference.pop(name, None)
    reference["stated_share"] = proportions
    if interval is not None:
        reference["prevalence_interval"] = np.array(interval)
    if label_count is not None:
        reference["label_count"] = label_count


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
