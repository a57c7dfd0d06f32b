"""How unlike the training images a new image is: an empirical p-value, from features alone."""

import functools

import numpy as np
from scipy.linalg.lapack import dtrtri
from sklearn.utils import gen_batches

from skpneumo._utils.blas import row_blocks, single_blas_thread

_MOST_ROWS = 2_000
_MOST_DIRECTIONS = 192
_RIDGE = 0.1
_SEED = 0
_ROWS_AT_ONCE = 1024


def fit_novelty(standardized: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Learn where the training images lie, and how far out each of them is when its patient is left out.

    How far out an image is, is its leverage in a ridge regression on few directions: Mahalanobis' distance, but for
    constants. Roots are taken of the features first, since some of them lie many deviations out in ordinary images.

    Parameters
    ----------
    standardized : ndarray of shape (n_samples, n_features)
        Standardised features of the training images, without augmented views. Of more than 2,000 images, 2,000 are
        used, evenly over the patients.
    groups : ndarray of shape (n_samples,)
        Patients.

    Returns
    -------
    dict of ndarray, float32
        ``"whitening"`` of shape (n_directions + 1, n_directions + 1), and ``"distances"`` of the training images in
        ascending order, each measured without the images of its patient. With one patient alone nothing is known of
        others: the distances are infinite, and no image counts as unlike.

    Notes
    -----
    Leaving out a patient needs no new fit: with H the leverages between the patient's own images, those without the
    patient are H (I - H)^-1, by the Sherman-Morrison-Woodbury formula.

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
    if len(rows) > _MOST_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int)]
    with single_blas_thread():
        inputs = _inputs(standardized, rows)
        factor = np.linalg.cholesky(inputs.T @ inputs + np.diag(_penalty(inputs)))
        whitening, _ = dtrtri(factor, lower=1)
        distances = _distances_without_patient(inputs @ whitening.T, patients[rows])
    return {"whitening": whitening.astype(np.float32), "distances": np.sort(distances).astype(np.float32)}


def novelty(reference: dict[str, np.ndarray], features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Compute the p-values of features that are not standardised yet, some rows at a time."""
    blocks = gen_batches(len(features), _ROWS_AT_ONCE)
    return np.concatenate([p_values(reference, (features[rows] - mean) / scale) for rows in blocks])


def p_values(reference: dict[str, np.ndarray], standardized: np.ndarray) -> np.ndarray:
    """Tell for each image which share of images like the training images would be at least as far out.

    Parameters
    ----------
    reference : dict of ndarray
        What `fit_novelty` returned.
    standardized : ndarray of shape (n_samples, n_features)
        Features, standardised by the moments of the training images.

    Returns
    -------
    ndarray of float64, shape (n_samples,)
        From ``1 / (n + 1)`` to 1, where n is the number of distances: with 40 training images none is below 0.024.
        They are conformal p-values: of new patients of the same place, about 1 % of images get 0.01 or less.
    """
    whitening, ascending = reference["whitening"].astype(np.float64), reference["distances"]
    with single_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        white = _inputs(standardized, np.arange(len(standardized))) @ whitening.T
        distances = np.einsum("ij,ij->i", white, white)
    # What has overflowed is far out.
    distances[np.isnan(distances)] = np.inf
    n_further = len(ascending) - np.searchsorted(ascending, distances.astype(np.float64), side="left")
    return (1 + n_further) / (1 + len(ascending))


def smallest_p_value(reference: dict[str, np.ndarray]) -> float:
    """Return the p-value of what is further out than anything."""
    ascending = reference["distances"]
    return float((1 + np.isinf(ascending).sum()) / (1 + len(ascending)))


def _inputs(standardized: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Project the roots of the features onto few directions; the last column is 1."""
    directions = _directions(standardized.shape[1]).astype(standardized.dtype, copy=False)
    inputs = np.ones((len(rows), directions.shape[1] + 1))
    for block in row_blocks(standardized):
        if len(rows[block]):
            inputs[block, :-1] = _signed_root(standardized[rows[block]]) @ directions
    return inputs


def _signed_root(features: np.ndarray) -> np.ndarray:
    """Return sqrt(1 + |x|) - 1 with the sign of x, in the form that does not cancel and needs no sign."""
    root = np.sqrt(1 + np.abs(features))
    root += 1
    return np.divide(features, root, out=root)


@functools.lru_cache(maxsize=1)
def _directions(n_features: int) -> np.ndarray:
    """Draw the same signs each time, which are not worth storing; features that are few stand for themselves."""
    if n_features <= _MOST_DIRECTIONS:
        return np.eye(n_features, dtype=np.float32)
    bits = np.frombuffer(np.random.RandomState(_SEED).bytes(n_features * _MOST_DIRECTIONS // 8), np.uint8)
    signs = np.unpackbits(bits).reshape(n_features, _MOST_DIRECTIONS).astype(np.float32)
    return (2 * signs - 1) / np.float32(np.sqrt(n_features))


def _penalty(inputs: np.ndarray) -> np.ndarray:
    """Give each direction the same, in proportion to their mean variance; the mean of the images is free."""
    variance = inputs[:, :-1].var(axis=0).mean()
    penalty = np.full(inputs.shape[1], _RIDGE * len(inputs) * variance if variance > 0 else 1.0)
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
