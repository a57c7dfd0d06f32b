"""Best sensitivity at a minimum specificity, and best specificity at a minimum sensitivity."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.metrics import make_scorer, roc_curve

from skpneumo._utils.validation import Finite, validated

_ROUNDING = 1e-10


@validated(specificity=[Finite(Real, 0, 1, closed="both")])
def sensitivity_at_specificity(
    y_true: Any, y_score: Any, *, specificity: float = 0.95, pos_label: Any = None, sample_weight: Any = None
) -> float:
    """Compute the best sensitivity among thresholds with a minimum specificity.

    The threshold is chosen on the same images, so the score is optimistically biased.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels.
    y_score : array-like of shape (n_samples,)
        Target scores, either probability estimates of the positive class or logits.
    specificity : float, default=0.95
        Minimum specificity, between 0 and 1.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. If None and labels are in {0, 1} or {-1, 1}, it is 1; otherwise an error is
        raised.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    sensitivity : float
        Best sensitivity; nan, with an ``UndefinedMetricWarning``, if a class is absent.

    See Also
    --------
    specificity_at_sensitivity : Best specificity at a minimum sensitivity.

    Examples
    --------
    >>> from skpneumo.metrics import sensitivity_at_specificity
    >>> sensitivity_at_specificity([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.7, 0.9], specificity=0.75)
    1.0
    >>> sensitivity_at_specificity([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.7, 0.9], specificity=0.8)
    0.5

    ``sensitivity_at_specificity_scorer`` is a scorer of it with default parameters. For another specificity or for
    string labels, make a scorer:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(
    ...     sensitivity_at_specificity,
    ...     response_method=("decision_function", "predict_proba"),
    ...     specificity=0.9,
    ...     pos_label="pneumonia",
    ... )
    """
    fpr, tpr, _ = roc_curve(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight, drop_intermediate=False)
    return _best(tpr, 1 - fpr, specificity)


@validated(sensitivity=[Finite(Real, 0, 1, closed="both")])
def specificity_at_sensitivity(
    y_true: Any, y_score: Any, *, sensitivity: float = 0.95, pos_label: Any = None, sample_weight: Any = None
) -> float:
    """Compute the best specificity among thresholds with a minimum sensitivity.

    The threshold is chosen on the same images, so the score is optimistically biased.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True binary labels.
    y_score : array-like of shape (n_samples,)
        Target scores, either probability estimates of the positive class or logits.
    sensitivity : float, default=0.95
        Minimum sensitivity, between 0 and 1.
    pos_label : int, float, bool or str, default=None
        The label of the positive class. If None and labels are in {0, 1} or {-1, 1}, it is 1; otherwise an error is
        raised.
    sample_weight : array-like of shape (n_samples,), default=None
        Sample weights.

    Returns
    -------
    specificity : float
        Best specificity; nan, with an ``UndefinedMetricWarning``, if a class is absent.

    See Also
    --------
    sensitivity_at_specificity : Best sensitivity at a minimum specificity; shows how to make a scorer.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skpneumo.metrics import specificity_at_sensitivity_scorer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> cross_val_score(GaussianNB(), X, y, cv=3, scoring=specificity_at_sensitivity_scorer).round(2)
    array([0.85, 0.93, 0.94])
    """
    fpr, tpr, _ = roc_curve(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight, drop_intermediate=False)
    return _best(1 - fpr, tpr, sensitivity)


def _best(scores: np.ndarray, constraint: np.ndarray, minimum: float) -> float:
    """Return the largest score whose constraint is met, up to rounding errors."""
    if np.isnan(scores).any() or np.isnan(constraint).any():
        return np.nan
    return float(scores[constraint >= minimum - _ROUNDING].max())


_RESPONSES = ("decision_function", "predict_proba")
sensitivity_at_specificity_scorer = make_scorer(sensitivity_at_specificity, response_method=_RESPONSES)
specificity_at_sensitivity_scorer = make_scorer(specificity_at_sensitivity, response_method=_RESPONSES)
