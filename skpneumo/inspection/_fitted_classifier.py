"""The fitted PneumoniaClassifier in an estimator, and its preprocessing."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
from skpneumo._leakage import models_within
from skpneumo._utils.meta_estimators import chain, unwrap

_ADVICE = {
    "CalibratedClassifierCV": "Calibrate a single model with CalibratedClassifierCV(ensemble=False), or wrap it in "
    "FrozenEstimator.",
    "Pipeline": "Steps before the classifier change its input: pass the classifier and its input.",
}
_OTHERWISE = "If it contains several classifiers, pass one of them."


def inner_classifier(estimator: Any) -> PneumoniaClassifier | None:
    """Return the single fitted classifier with the same input as `estimator`, or None."""
    clf = unwrap(estimator, PneumoniaClassifier)
    return clf if hasattr(clf, "coefs_") else None


def check_inner(estimator: Any) -> PneumoniaClassifier:
    """Return the single fitted classifier in an estimator.

    Raises
    ------
    TypeError
        If there is no such classifier, or there are several.
    NotFittedError
        If it is not fitted.
    """
    if isinstance(estimator, PneumoniaClassifier):
        check_is_fitted(estimator, "coefs_")  # a failed fit leaves other attributes
    inner = inner_classifier(estimator)
    if inner is None:
        raise TypeError(
            f"Expected a fitted PneumoniaClassifier, or a search, tuned threshold or calibration around one; got "
            f"{type(estimator).__name__}. {_ADVICE.get(type(estimator).__name__, _OTHERWISE)}"
        )
    return inner


def image_model(estimator: Any) -> PneumoniaClassifier | VGG19Features | None:
    """Return the estimator that preprocesses the images, fitted or not, or None."""
    # A feature extractor at the start of a pipeline preprocesses the images, whichever classifier follows.
    first_steps = [each.steps[0][1] for each in chain(estimator) if getattr(each, "steps", None)]
    extractors = [step for step in first_steps if isinstance(step, VGG19Features)]
    models = [each for each in chain(estimator) if isinstance(each, (PneumoniaClassifier, VGG19Features))]
    found = [*extractors, inner_classifier(estimator), *models_within(estimator), *models]
    return next(filter(None, found), None)


def preprocessing_of(estimator: Any) -> dict[str, Any]:
    """Return the preprocessing parameters of an estimator, or the defaults if it has none."""
    model = image_model(estimator) or VGG19Features()
    return {name: getattr(model, name) for name in ("image_size", "aspect", "contrast")}
