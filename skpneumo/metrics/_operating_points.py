"""The best that one of sensitivity and specificity can be where the other is good enough."""

from typing import Any

import numpy as np
from sklearn.metrics import make_scorer, roc_curve
from sklearn.utils import check_scalar

_ROUNDING = 1e-10


def sensitivity_at_specificity(
    y_true: Any, y_score: Any, *, specificity: float = 0.95, pos_label: Any = None, sample_weight: Any = None
) -> float:
    """Compute the best sensitivity among thresholds whose specificity is good enough.

    The threshold is one of the images judged, so the figure is a little better than one that was settled before.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels, two of them.
    y_score : array-like of shape (n_samples,)
        Scores that are higher for positives: probabilities or logits.
    specificity : float, default=0.95
        Lowest specificity, between 0 and 1.
    pos_label : int, float, bool or str, default=None
        The positive label. None: 1, if labels are 0 and 1, or -1 and 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of images.

    Returns
    -------
    float
        Sensitivity; nan, with scikit-learn's ``UndefinedMetricWarning``, where a class is absent.

    See Also
    --------
    specificity_at_sensitivity : The other way round.

    Examples
    --------
    >>> from skpneumo.metrics import sensitivity_at_specificity
    >>> sensitivity_at_specificity([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.7, 0.9], specificity=0.75)
    1.0
    >>> sensitivity_at_specificity([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.7, 0.9], specificity=0.8)
    0.5

    ``sensitivity_at_specificity_scorer`` is it as a scorer. Another specificity, or labels that are words, take one of
    your own:

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(
    ...     sensitivity_at_specificity,
    ...     response_method=("decision_function", "predict_proba"),
    ...     specificity=0.9,
    ...     pos_label="ill",
    ... )
    """
    check_scalar(specificity, "specificity", (int, float), min_val=0, max_val=1)
    fpr, tpr, _ = roc_curve(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight, drop_intermediate=False)
    return _best(tpr, 1 - fpr, specificity)


def specificity_at_sensitivity(
    y_true: Any, y_score: Any, *, sensitivity: float = 0.95, pos_label: Any = None, sample_weight: Any = None
) -> float:
    """Compute the best specificity among thresholds whose sensitivity is good enough.

    The threshold is one of the images judged, so the figure is a little better than one that was settled before.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels, two of them.
    y_score : array-like of shape (n_samples,)
        Scores that are higher for positives: probabilities or logits.
    sensitivity : float, default=0.95
        Lowest sensitivity, between 0 and 1.
    pos_label : int, float, bool or str, default=None
        The positive label. None: 1, if labels are 0 and 1, or -1 and 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of images.

    Returns
    -------
    float
        Specificity; nan, with scikit-learn's ``UndefinedMetricWarning``, where a class is absent.

    See Also
    --------
    sensitivity_at_specificity : The other way round; how to make a scorer with other settings.

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
    check_scalar(sensitivity, "sensitivity", (int, float), min_val=0, max_val=1)
    fpr, tpr, _ = roc_curve(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight, drop_intermediate=False)
    return _best(1 - fpr, tpr, sensitivity)


def _best(wanted: np.ndarray, bound: np.ndarray, least: float) -> float:
    """Return the largest `wanted` whose `bound` suffices; a share such as 19/20 is not exactly 0.95."""
    if np.isnan(wanted).any() or np.isnan(bound).any():
        return np.nan
    return float(wanted[bound >= least - _ROUNDING].max())


_RESPONSES = ("decision_function", "predict_proba")
sensitivity_at_specificity_scorer = make_scorer(sensitivity_at_specificity, response_method=_RESPONSES)
specificity_at_sensitivity_scorer = make_scorer(specificity_at_sensitivity, response_method=_RESPONSES)
