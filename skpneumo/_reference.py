"""What the plain training images look like: what another site's are carried over to, and new ones are compared with."""

import numpy as np

from skpneumo._head import mean_and_scale
from skpneumo._novelty import fit_novelty

Reference = dict[str, np.ndarray]

LEAST_IMAGES = 50  # fewer say too little about a site
_PSEUDO_IMAGES = 32  # of the training site that each new site is taken to have


def fit_reference(standardized: np.ndarray, sample_weight: np.ndarray, groups: np.ndarray) -> Reference:
    """Describe plain training images, standardised as the head sees them: mean, scale and what novelty asks for."""
    mean, scale = mean_and_scale(standardized, sample_weight)
    return {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        **fit_novelty(standardized[sample_weight > 0], groups[sample_weight > 0]),
    }


def carried_over(
    features: np.ndarray, mean: np.ndarray, scale: np.ndarray, reference: Reference
) -> tuple[np.ndarray, np.ndarray]:
    """Return other means and scales, by which features of a new site look like those of the training site.

    Means and variances of the site are taken over its own images and some pseudo-images of the training site
    (Schneider et al. 2020), so that few images move them less than many.
    """
    site_mean, site_scale = mean_and_scale(features, np.ones(len(features)))
    # As the head sees them now: the training site's plain images have the mean and scale of the reference.
    site_mean, site_scale = (site_mean - mean) / scale, site_scale / scale
    share = len(features) / (len(features) + _PSEUDO_IMAGES)
    site_mean = share * site_mean + (1 - share) * reference["mean"]
    stretch = np.sqrt(share * (site_scale / reference["scale"]) ** 2 + 1 - share)
    return mean + scale * (site_mean - reference["mean"] * stretch), scale * stretch
