"""Novelty detection: p-values of new images, and the domain shift of a set of images, from their features."""

import functools

import numpy as np
from scipy.linalg.lapack import dtrtri
from scipy.stats import chi2
from sklearn.utils import gen_batches

from skpneumo._utils.blas import row_blocks, single_blas_thread

_MAX_ROWS = 2_000
_MAX_DIRECTIONS = 192
_RIDGE = 0.1
_SEED = 0
_ROWS_AT_ONCE = 1024
_MAX_ROWS_OF_SITE = 500
_SMALLEST_SHIFT = 1.6  # sets of 20 to 100 real X-rays of held-out patients have at most 1.5
_LEVEL = 1e-3  # probability of a larger shift by chance
MIN_IMAGES = 20  # different ones, of a set for `domain_shift`
_MIN_PATIENTS = 30  # of each class of the training images; otherwise, their mean is too inaccurate


def fit_novelty(standardized: np.ndarray, groups: np.ndarray, codes: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Fit novelty detection: the distribution of training images, and the distance of each of them to the others.

    The distance is the leverage in a ridge regression on a few random projections, which equals the Mahalanobis
    distance up to constants. Signed square roots of the features are used, since single features of ordinary images
    can be many standard deviations from the mean.

    Parameters
    ----------
    standardized : ndarray of shape (n_samples, n_features)
        Standardized features of the training images, without augmented views. If there are more than 2,000 images,
        2,000 of them are used, evenly spaced over the patients.
    groups : ndarray of shape (n_samples,)
        Patients.
    codes : ndarray of int, shape (n_samples,), default=None
        Classes. If None, there is a single one.

    Returns
    -------
    dict of ndarray, float32
        ``"whitening"`` of shape (n_directions + 1, n_directions + 1), and ``"distances"`` of the training images in
        ascending order, each computed without the images of the same patient. With a single patient, the distances
        are infinite, and no image is detected as novel. ``"white_means"`` of shape (n_present_classes, n_directions +
        1), the whitened mean of each class with images, and ``"n_patients"``, the patients of each of these classes,
        for `domain_shift`.

    Notes
    -----
    Leaving out a patient requires no new fit: if H are the leverages between the images of a patient, those without
    the patient are H (I - H)^-1 by the Sherman-Morrison-Woodbury formula.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._heads.novelty import fit_novelty, p_values
    >>> images = np.random.RandomState(0).standard_normal((99, 20))
    >>> reference = fit_novelty(images, groups=np.arange(99))
    >>> p_values(reference, np.array([[0.0] * 20, [5.0] * 20]))
    array([1.  , 0.01])
    """
    _, patients = np.unique(groups, return_inverse=True)
    rows = np.argsort(patients, kind="stable")
    if len(rows) > _MAX_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _MAX_ROWS).astype(int)]
    with single_blas_thread():
        inputs = _inputs(standardized, rows)
        factor = np.linalg.cholesky(inputs.T @ inputs + np.diag(_penalty(inputs)))
        whitening, _ = dtrtri(factor, lower=1)
        white = inputs @ whitening.T
        distances = _distances_without_patient(white, patients[rows])
    codes = np.zeros(len(rows), int) if codes is None else codes[rows]
    means = [white[codes == code].mean(axis=0) for code in np.unique(codes)]
    n_patients = [len(np.unique(patients[rows][codes == code])) for code in np.unique(codes)]
    return {
        "whitening": whitening.astype(np.float32),
        "distances": np.sort(distances).astype(np.float32),
        "white_means": np.array(means, np.float32),
        "n_patients": np.array(n_patients, np.float32),
    }


def novelty(reference: dict[str, np.ndarray], features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardize features and compute their p-values, in blocks of rows."""
    blocks = gen_batches(len(features), _ROWS_AT_ONCE)
    return np.concatenate([p_values(reference, (features[rows] - mean) / scale) for rows in blocks])


def p_values(reference: dict[str, np.ndarray], standardized: np.ndarray) -> np.ndarray:
    """Compute empirical p-values for novelty detection.

    The p-value of an image estimates the proportion of images from the training distribution that are at least as
    distant.

    Parameters
    ----------
    reference : dict of ndarray
        Result of `fit_novelty`.
    standardized : ndarray of shape (n_samples, n_features)
        Features, standardized by the means and standard deviations of the training images.

    Returns
    -------
    p_values : ndarray of float64, shape (n_samples,)
        Values from ``1 / (n + 1)`` to 1, where n is the number of distances: with 40 training images, none is below
        0.024. They are conformal p-values: for new patients of the same site, about 1 % of images get 0.01 or less.
    """
    ascending = reference["distances"]
    white = _white(reference, standardized)
    with np.errstate(over="ignore", invalid="ignore"):
        distances = np.einsum("ij,ij->i", white, white)
    # Overflow means that the distance is very large.
    distances[np.isnan(distances)] = np.inf
    n_more_distant = len(ascending) - np.searchsorted(ascending, distances.astype(np.float64), side="left")
    return (1 + n_more_distant) / (1 + len(ascending))


def is_shifted(reference: dict[str, np.ndarray], features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> bool:
    """Return whether images differ from the training images as a whole by more than chance and than patients differ.

    False if this cannot be told: with fewer than 20 different images, or fewer than 30 training patients of a class.
    """
    features = features[np.linspace(0, len(features) - 1, min(len(features), _MAX_ROWS_OF_SITE)).astype(int)]
    features = np.unique(features, axis=0)
    n_classes = np.count_nonzero(reference["class_count"])
    n_patients = reference.get("n_patients", np.zeros(1))  # models of other versions may lack it
    if len(features) < MIN_IMAGES or len(n_patients) < n_classes or n_patients.min() < _MIN_PATIENTS:
        return False
    shift, n_dimensions = domain_shift(reference, features, mean, scale)
    return not shift <= max(_SMALLEST_SHIFT, chi2.isf(_LEVEL, n_dimensions) / n_dimensions)  # NaN is shifted


def domain_shift(
    reference: dict[str, np.ndarray], features: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> tuple[float, float]:
    """Compute the shift of the mean of a set of images from the training images, relative to its variation by chance.

    Parameters
    ----------
    reference : dict of ndarray
        Result of `fit_novelty`.
    features : ndarray of shape (n_samples, n_features)
        Features of the images, at best one per patient.
    mean, scale : ndarray of shape (n_features,)
        Standardization of the features.

    Returns
    -------
    shift : float
        Squared length of the whitened shift, divided by its expectation without a domain shift: about 1 for images
        like the training images. The classes of the training images are mixed in the proportions that give the
        smallest shift, so that it does not depend on the prevalence.
    n_dimensions : float
        Effective number of dimensions, the degrees of freedom of `shift`.
    """
    white, means = _white(reference, (features - mean) / scale), reference["white_means"].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        center = white.mean(axis=0)
        proportions = _proportions(means, center)
        shift = center - proportions @ means
        covariance = np.cov(white.T, bias=True)
        variance = np.trace(covariance)
        by_chance = variance * (1 / len(features) + (proportions**2 / reference["n_patients"]).sum())
        return float(shift @ shift / by_chance), float(np.fmax(variance**2 / (covariance**2).sum(), 1))


def _proportions(means: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the proportions of the classes whose mean is close to `center`."""
    between = (means[1:] - means[0]).T
    with np.errstate(over="ignore", invalid="ignore"):
        others = np.nan_to_num(between.T @ (center - means[0])) @ np.linalg.pinv(between.T @ between)
    others = others.clip(0, 1)
    others = others / max(others.sum(), 1)
    return np.append(1 - others.sum(), others)


def smallest_p_value(reference: dict[str, np.ndarray]) -> float:
    """Return the smallest possible p-value."""
    ascending = reference["distances"]
    return float((1 + np.isinf(ascending).sum()) / (1 + len(ascending)))


def _white(reference: dict[str, np.ndarray], standardized: np.ndarray) -> np.ndarray:
    """Return the inputs of all rows in coordinates in which those of the training images have equal variances."""
    with single_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        return _inputs(standardized, np.arange(len(standardized))) @ reference["whitening"].astype(np.float64).T


def _inputs(standardized: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Project the signed roots of the features onto a few directions; the last column is 1."""
    directions = _directions(standardized.shape[1]).astype(standardized.dtype, copy=False)
    inputs = np.ones((len(rows), directions.shape[1] + 1))
    for block in row_blocks(standardized):
        if len(rows[block]):
            inputs[block, :-1] = _signed_root(standardized[rows[block]]) @ directions
    return inputs


def _signed_root(features: np.ndarray) -> np.ndarray:
    """Return sign(x) * (sqrt(1 + abs(x)) - 1), in a form without cancellation."""
    root = np.sqrt(1 + np.abs(features))
    root += 1
    return np.divide(features, root, out=root)


@functools.lru_cache(maxsize=1)
def _directions(n_features: int) -> np.ndarray:
    """Return random directions from a fixed seed, or the identity if there are few features."""
    if n_features <= _MAX_DIRECTIONS:
        return np.eye(n_features, dtype=np.float32)
    bits = np.frombuffer(np.random.RandomState(_SEED).bytes(n_features * _MAX_DIRECTIONS // 8), np.uint8)
    signs = np.unpackbits(bits).reshape(n_features, _MAX_DIRECTIONS).astype(np.float32)
    return (2 * signs - 1) / np.float32(np.sqrt(n_features))


def _penalty(inputs: np.ndarray) -> np.ndarray:
    """Return equal penalties for all directions, proportional to their mean variance, and 0 for the intercept."""
    variance = inputs[:, :-1].var(axis=0).mean()
    varies = variance > np.finfo(np.float32).eps
    penalty = np.full(inputs.shape[1], _RIDGE * len(inputs) * variance if varies else 1.0)
    penalty[-1] = 0
    return penalty


def _distances_without_patient(white: np.ndarray, patients: np.ndarray) -> np.ndarray:
    distances = np.full(len(white), np.inf)
    starts, counts = np.unique(patients, return_index=True, return_counts=True)[1:]
    if len(starts) == 1:
        return distances
    for count in np.unique(counts):
        rows = starts[counts == count, None] + np.arange(count)
        leverages = white[rows] @ white[rows].transpose(0, 2, 1)
        without = np.linalg.solve(np.eye(count) - leverages, leverages)
        distances[rows] = np.diagonal(without, axis1=1, axis2=2)
    return distances
