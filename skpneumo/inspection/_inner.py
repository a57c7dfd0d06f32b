"""The one PneumoniaClassifier inside whatever searches, tunes or wraps it."""

from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
from skpneumo._leakage import models_within

_ADVICE = {
    "CalibratedClassifierCV": "Make the calibration of one model: CalibratedClassifierCV(ensemble=False), or one "
    "around FrozenEstimator.",
    "Pipeline": "Steps before the classifier change what it sees: pass the classifier itself, with what it is given.",
}
_OTHERWISE = "Of several, pass the one that is meant."
_WRAPPED = ("best_estimator_", "estimator_")  # of searches; of thresholds


def inner_classifier(estimator: Any) -> PneumoniaClassifier | None:
    """Return the fitted classifier that sees what `estimator` is given; None where there is none, or several."""
    while not isinstance(estimator, PneumoniaClassifier):
        if (inner := within(estimator)) is None:
            return None
        estimator = inner
    return estimator if hasattr(estimator, "coefs_") else None


def within(estimator: Any) -> Any:
    """Return the one estimator that a search, a threshold, a calibration or a pipeline holds; None where none is."""
    if isinstance(estimator, CalibratedClassifierCV):
        calibrated = getattr(estimator, "calibrated_classifiers_", [])
        return calibrated[0].estimator if len(calibrated) == 1 else None
    if type(estimator).__name__ == "FrozenEstimator":  # from scikit-learn 1.6 on
        return estimator.estimator
    if len(getattr(estimator, "steps", ())) == 1:
        return estimator.steps[0][1]
    return next((getattr(estimator, name) for name in _WRAPPED if hasattr(estimator, name)), None)


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
            f"got {type(estimator).__name__}. {_ADVICE.get(type(estimator).__name__, _OTHERWISE)}"
        )
    return inner


def square_of(estimator: Any) -> dict[str, Any]:
    """Tell how an estimator has images made square; as by default where it does not say so."""
    # An extractor in front is what reads the images, whatever stands behind it.
    model = _extractor(estimator) or inner_classifier(estimator) or next(models_within(estimator), VGG19Features())
    return {name: getattr(model, name) for name in ("image_size", "aspect", "contrast")}


def _extractor(estimator: Any) -> VGG19Features | None:
    """Return the first step of a pipeline, if it makes features of images."""
    while (inner := within(estimator)) is not None:
        estimator = inner
    first = getattr(estimator, "steps", [("", None)])[0][1]
    return first if isinstance(first, VGG19Features) else None
