"""Conformal prediction: sets of classes from the scores of held-out images, separately for each class."""

import numpy as np


def conformal_scores(proba: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Compute the nonconformity scores of held-out images, separately for each class.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Predicted probabilities.
    codes : ndarray of shape (n_samples,)
        Position of the true class of each image.

    Returns
    -------
    list of ndarray, float64
        1 - probability of the true class, for the images of each class in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._heads.conformal import conformal_scores
    >>> conformal_scores(np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]), np.array([0, 0, 1]))
    [array([0. , 0.5]), array([0.25])]
    """
    return [np.sort(1 - proba[codes == code, code]) for code in range(proba.shape[1])]


def conformal_p_values(scores: list[np.ndarray], proba: np.ndarray) -> np.ndarray:
    """Compute the conformal p-value of each class for new images.

    Parameters
    ----------
    scores : list of ndarray
        Result of `conformal_scores`.
    proba : ndarray of shape (n_samples, n_classes)
        Predicted probabilities of the new images.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float64
        ``(1 + m) / (1 + n)``, where m of the n scores of the class are at least 1 - probability of the class.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._heads.conformal import conformal_p_values
    >>> conformal_p_values([np.array([0.1, 0.2, 0.4]), np.array([0.3])], np.array([[0.75, 0.25], [0.0, 1.0]]))
    array([[0.5 , 0.5 ],
           [0.25, 1.  ]])
    """
    columns = []
    for code, ascending in enumerate(scores):
        n_at_least = len(ascending) - np.searchsorted(ascending, 1 - proba[:, code], side="left")
        columns.append((1 + n_at_least) / (1 + len(ascending)))
    return np.column_stack(columns)
