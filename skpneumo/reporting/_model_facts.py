"""What a report and a model card both tell of a classifier: each fact is found here once, and worded there."""

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
from skpneumo._images.sources import base_name, shortened
from skpneumo._leakage import models_within
from skpneumo._model_state import checksum
from skpneumo._utils.meta_estimators import chain
from skpneumo.inspection._fitted_classifier import inner_classifier

NOVEL = 0.01  # p-values up to this count as novel; of images like those of the training, as many are
NOT_REMEMBERED = (
    "What was fitted around the model later, such as a calibration, does not remember its images: whether test images "
    "are among them is not known."
)
# What tells nothing of the model: where it computes, how fast, and how much it says meanwhile.
_OF_THE_MACHINE = {"device", "memory", "n_jobs", "verbose"}
_OF_CARRIAGE = {"bundled_weights_", "weights_digest_"}  # what the weights are, backbone_fingerprint_ tells too


class Seen(NamedTuple):
    """How many test images were in the training, and of how many a patient was; None where nobody can tell."""

    n_images: int | None
    n_of_patients: int | None


def sees_images(inner: PneumoniaClassifier) -> bool:
    """Tell whether the model was fitted on images."""
    return inner.backbone_fingerprint_ is not None


def without_folders(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with the bare names of files of weights."""
    return {
        name: base_name(value) if name.endswith("weights") and isinstance(value, (str, os.PathLike)) else value
        for name, value in parameters.items()
    }


def parameters_of(inner: PneumoniaClassifier) -> dict[str, Any]:
    """Return the parameters that shape the model, without folders."""
    left_out = _OF_THE_MACHINE if sees_images(inner) else _OF_THE_MACHINE | set(VGG19Features().get_params())
    values = without_folders(inner.get_params(deep=False))
    return {name: value for name, value in values.items() if name not in left_out}


def origin_of_threshold(clf: Any) -> str:
    """Say who drew the line between the classes, where nobody states another one."""
    for each in chain(clf):
        if isinstance(each, CalibratedClassifierCV) or _is_automatic(each):
            break
        if isinstance(each, TunedThresholdClassifierCV):
            scoring, cv = (shortened(repr(value), 200) for value in (each.scoring, each.cv))
            return f"tuned by TunedThresholdClassifierCV (scoring={scoring}, cv={cv})"
        if isinstance(each, FixedThresholdClassifier):
            return "set by whoever made the model, and fixed by FixedThresholdClassifier"
        if getattr(each, "threshold_", None) not in (None, 0.5):
            return "the line that the head was trained for, in probabilities that are corrected to another prevalence"
    return "the more probable class is called, which is the default"


def _is_automatic(clf: Any) -> bool:
    """Tell whether it calls at 0.5, whatever the line of what it holds is."""
    return isinstance(clf, FixedThresholdClassifier) and clf.threshold == "auto"


def can_be_novel(clf: Any) -> bool:
    """Tell whether a model was trained on enough images to call one as rare as `NOVEL`."""
    inner = inner_classifier(clf)
    return inner is not None and bool(inner.reference_) and smallest_p_value(inner.reference_) <= NOVEL


def seen_of(
    clf: Any, known: np.ndarray | None, patients: np.ndarray | None, *, are_images_compared: bool
) -> Seen | None:
    """Count what the training and the test images share; None where the model does not remember.

    Of patients it tells nothing where either side has no names: none would be found, whoever they are.
    """
    if known is None:
        return None
    n_images, n_of_patients = (int(column.sum()) for column in known.T)
    are_named = patients is not None and knows_patients(clf)
    return Seen(n_images if are_images_compared else None, n_of_patients if are_named else None)


def knows_patients(clf: Any) -> bool:
    """Tell whether a model in `clf` holds digests of patients."""
    return any(len(model.seen_["patients"]) for model in models_within(clf))


def forgets(clf: Any) -> bool:
    """Tell whether something was fitted around a model that had been fitted before."""
    return any(isinstance(each, FrozenEstimator) for each in chain(clf))


def digest_of_learnt(inner: PneumoniaClassifier, left_out: Collection[str] = ()) -> str:
    """Name a model by its fitted attributes."""
    learnt = {name: value for name, value in vars(inner).items() if name.endswith("_") and not name.startswith("_")}
    return checksum({name: value for name, value in learnt.items() if name not in left_out})


def digest_of_judged(clf: Any) -> str | None:
    """Name the one model in `clf` by what shapes its predictions; None where there is none, or several.

    A copy that carries its weights as they are has the same name.
    """
    inner = inner_classifier(clf)
    return None if inner is None else digest_of_learnt(inner, _OF_CARRIAGE)


def class_name(label: Any) -> str:
    """Name a class; a number alone would read like a count."""
    return label if isinstance(label, str) else f"class {label}"


def percent(share: float) -> str:
    """Write a share with one decimal."""
    return f"{100 * share:.1f} %"


def is_adapted(inner: PneumoniaClassifier) -> bool:
    """Tell whether `adapt` has made it."""
    return "stated_share" in inner.reference_


def is_solved(inner: PneumoniaClassifier) -> bool:
    """Tell a linear probe from one that epochs were counted of, as by `partial_fit`."""
    return len(inner.coefs_) == 1 and (not inner.loss_curve_ or bool(inner.tuned_layers_))
