"""Return the fitted PneumoniaClassifier in an estimator, and the preprocessing of its images."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
from skpneumo._leakage import models_within
from skpneumo._utils.meta_estimators import chain, unwrap

_ADVICE = {
    "CalibratedClassifierCV": "Make the calibration of one model: CalibratedClassifierCV(ensemble=False), or one "
    "around FrozenEstimator.",
    "Pipeline": "Steps before the classifier change what it sees: pass the classifier itself, with what it is given.",
}
_OTHERWISE = "Of several, pass the one that is meant."


def inner_classifier(estimator: Any) -> PneumoniaClassifier | None:
    """Return the fitted classifier that sees what `estimator` is given; None where there is none, or several."""
    clf = unwrap(estimator, PneumoniaClassifier)
    return clf if hasattr(clf, "coefs_") else None


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


def preprocessing_of(estimator: Any) -> dict[str, Any]:
    """Return the parameters by which an estimator preprocesses images; the defaults where it has none of them."""
    # Features in front are made of the images, whatever classifier stands behind them.
    first_steps = [each.steps[0][1] for each in chain(estimator) if getattr(each, "steps", None)]
    extractors = [step for step in first_steps if isinstance(step, VGG19Features)]
    model = next(iter([*extractors, *filter(None, [inner_classifier(estimator)]), *models_within(estimator)]), None)
    return {name: getattr(model or VGG19Features(), name) for name in ("image_size", "aspect", "contrast")}
