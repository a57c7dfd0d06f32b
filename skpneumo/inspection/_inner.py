"""The one PneumoniaClassifier inside whatever searches, tunes or wraps it."""

from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier

_WRAPPED = ("best_estimator_", "estimator_")  # of searches; of thresholds


def inner_classifier(estimator: Any) -> PneumoniaClassifier | None:
    """Return the fitted classifier that sees what `estimator` is given; None where there is none, or several."""
    while not isinstance(estimator, PneumoniaClassifier):
        inner = next((getattr(estimator, name) for name in _WRAPPED if hasattr(estimator, name)), None)
        if isinstance(estimator, CalibratedClassifierCV):
            calibrated = getattr(estimator, "calibrated_classifiers_", [])
            inner = calibrated[0].estimator if len(calibrated) == 1 else None
        elif type(estimator).__name__ == "FrozenEstimator":  # from scikit-learn 1.6 on
            inner = estimator.estimator
        elif len(getattr(estimator, "steps", ())) == 1:
            inner = estimator.steps[0][1]
        if inner is None:
            return None
        estimator = inner
    return estimator if hasattr(estimator, "coefs_") else None


def check_inner(estimator: Any) -> PneumoniaClassifier:
    """Return the fitted classifier inside.

    Raises
    ------
    TypeError, NotFittedError
        There is none, or several; it is not fitted.
    """
    if isinstance(estimator, PneumoniaClassifier):
        check_is_fitted(estimator)
    inner = inner_classifier(estimator)
    if inner is None:
        raise TypeError(
            f"a fitted PneumoniaClassifier was expected, or a search, a tuned threshold or a calibration around one; "
            f"got {type(estimator).__name__}. Of several, pass the one that is meant."
        )
    return inner
