"""Facts about the training of a classifier for its model card."""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._utils.messages import plain, shortened
from skpneumo._utils.meta_estimators import chain
from skpneumo.reporting._model_facts import (
    IMAGES_NOT_RECORDED,
    has_frozen_model,
    is_solved,
    parameters_of,
    without_folders,
)


def training_facts(clf: Any, inner: PneumoniaClassifier) -> dict[str, Any]:
    """Collect training images, hyperparameters, random seed and model selection."""
    random = inner.random_state
    return {
        "summary": inner.training_summary_,
        "has_unrecorded_images": has_frozen_model(clf),
        "images_not_recorded": IMAGES_NOT_RECORDED,
        "augmentation": inner.augmentation if isinstance(inner.augmentation, str) else plain(dict(inner.augmentation)),
        "class_weight": plain(inner.class_weight),
        "sampler": shortened(repr(inner.sampler)),
        "parameters": {name: shortened(repr(plain(value)), 200) for name, value in parameters_of(inner).items()},
        "choices": _choices(clf),
        "is_random": not is_solved(inner) or inner.tuned_layers_ or inner.sampler is not None or inner.early_stopping,
        "seed": int(random) if isinstance(random, (int, np.integer)) else None,
    }


def _choices(clf: Any) -> list[dict[str, Any]]:
    """Return the result of each search and calibration around the model."""
    choices = []
    for each in chain(clf)[:-1]:
        name = type(each).__name__
        if hasattr(each, "best_params_"):
            choices.append(
                {
                    "name": name,
                    "n_candidates": len(each.cv_results_["params"]),
                    "cv": shortened(repr(each.cv), 200),
                    "scoring": shortened(repr(each.scoring), 200),
                    "best": shortened(repr(plain(without_folders(each.best_params_)))),
                }
            )
        elif isinstance(each, CalibratedClassifierCV):
            choices.append({"name": name, "method": each.method})
    return choices
