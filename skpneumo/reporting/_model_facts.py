"""Facts about a classifier that the report and the model card share."""

import os
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features
from skpneumo._heads.novelty import smallest_p_value
from skpneumo._images.sources import base_name
from skpneumo._leakage import models_within
from skpneumo._model_state import checksum
from skpneumo._utils.messages import shortened
from skpneumo._utils.meta_estimators import chain
from skpneumo.inspection._fitted_classifier import inner_classifier
from skpneumo.metrics._report import WORDS

NOVEL = 0.01  # novelty p-values up to this level count as novel
IMAGES_NOT_RECORDED = (
    "Images used to fit a wrapper around the fitted model, such as a calibration, are not recorded: whether test "
    "images are among them is not known."
)
METRIC_NAMES = WORDS | {
    "sensitivity": "Sensitivity (true positive rate)",
    "specificity": "Specificity (true negative rate)",
    "roc_auc": "Area under the ROC curve (AUC)",
}
_COMPUTING_PARAMETERS = {"device", "memory", "n_jobs", "verbose"}
_BUNDLING_ATTRIBUTES = {"bundled_weights_", "weights_digest_"}  # backbone_fingerprint_ covers the weights


class Seen(NamedTuple):
    """Numbers of test images, and of test images of patients, in the training data; None if not known."""

    n_images: int | None
    n_of_patients: int | None


def is_fitted_on_images(inner: PneumoniaClassifier) -> bool:
    """Return whether the model was fitted on images."""
    return inner.backbone_fingerprint_ is not None


def without_folders(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with weight files named without folders."""
    return {
        name: base_name(value) if name.endswith("weights") and isinstance(value, (str, os.PathLike)) else value
        for name, value in parameters.items()
    }


def parameters_of(inner: PneumoniaClassifier) -> dict[str, Any]:
    """Return the parameters that define the model, without folders."""
    of_images = set() if is_fitted_on_images(inner) else set(VGG19Features().get_params())
    values = without_folders(inner.get_params(deep=False))
    return {name: value for name, value in values.items() if name not in _COMPUTING_PARAMETERS | of_images}


def threshold_origin(clf: Any) -> str:
    """Describe where the decision threshold comes from."""
    for each in chain(clf):
        if isinstance(each, CalibratedClassifierCV) or _has_default_threshold(each):
            break
        if isinstance(each, TunedThresholdClassifierCV):
            scoring, cv = (shortened(repr(value), 200) for value in (each.scoring, each.cv))
            return f"tuned by TunedThresholdClassifierCV (scoring={scoring}, cv={cv})"
        if isinstance(each, FixedThresholdClassifier):
            return "set by the developers of the model with FixedThresholdClassifier"
        if getattr(each, "threshold_", None) not in (None, 0.5):
            return "the threshold that the head was trained for, in probabilities corrected to another prevalence"
    return "the default: the class with the higher probability is predicted"


def _has_default_threshold(clf: Any) -> bool:
    """Return whether it predicts at a threshold of 0.5 whatever the threshold of the inner model."""
    return isinstance(clf, FixedThresholdClassifier) and clf.threshold == "auto"


def can_be_novel(clf: Any) -> bool:
    """Return whether the model was trained on enough images for a p-value as small as `NOVEL`."""
    inner = inner_classifier(clf)
    return inner is not None and bool(inner.reference_) and smallest_p_value(inner.reference_) <= NOVEL


def count_seen(
    clf: Any, known: np.ndarray | None, patients: np.ndarray | None, *, are_images_compared: bool
) -> Seen | None:
    """Count test images and patients in the training data; None if the model holds no digests.

    Patients are counted only if both training and test images have patient names.
    """
    if known is None:
        return None
    n_images, n_of_patients = (int(column.sum()) for column in known.T)
    are_named = patients is not None and holds_patients(clf)
    return Seen(n_images if are_images_compared else None, n_of_patients if are_named else None)


def holds_patients(clf: Any) -> bool:
    """Return whether a model in `clf` holds digests of patients."""
    return any(len(model.seen_["patients"]) for model in models_within(clf))


def has_frozen_model(clf: Any) -> bool:
    """Return whether a wrapper was fitted around a model that was already fitted."""
    return any(isinstance(each, FrozenEstimator) for each in chain(clf))


def fitted_digest(inner: PneumoniaClassifier, excluded: Collection[str] = ()) -> str:
    """Return a digest of the fitted attributes."""
    fitted = {name: value for name, value in vars(inner).items() if name.endswith("_") and not name.startswith("_")}
    return checksum({name: value for name, value in fitted.items() if name not in excluded})


def evaluated_model_digest(clf: Any) -> str | None:
    """Return a digest of the only model in `clf`; None if there is none or more than one.

    A copy that bundles its weights unchanged has the same digest.
    """
    inner = inner_classifier(clf)
    return None if inner is None else fitted_digest(inner, _BUNDLING_ATTRIBUTES)


def percent(proportion: float) -> str:
    """Format a proportion as a percentage with one decimal."""
    return f"{100 * proportion:.1f} %"


def is_adapted(inner: PneumoniaClassifier) -> bool:
    """Return whether the model was made by `adapt`."""
    return "stated_share" in inner.reference_


def is_solved(inner: PneumoniaClassifier) -> bool:
    """Return whether the head was solved to convergence rather than trained in epochs, as by `partial_fit`."""
    return len(inner.coefs_) == 1 and (not inner.loss_curve_ or bool(inner.tuned_layers_))
