"""Facts of the training of a fitted classifier, for its model card."""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.sources import shortened
from skpneumo._utils.meta_estimators import chain
from skpneumo.reporting._model_facts import NOT_REMEMBERED, forgets, is_solved, parameters_of, without_folders


def facts_of_training(clf: Any, inner: PneumoniaClassifier) -> dict[str, Any]:
    """Gather images, parameters and seed of the fit, and how the model was chosen."""
    random = inner.random_state
    return {
        "summary": inner.training_summary_,
        "is_forgetful": forgets(clf),
        "not_remembered": NOT_REMEMBERED,
        "augmentation": inner.augmentation if isinstance(inner.augmentation, str) else dict(inner.augmentation),
        "sampler": shortened(repr(inner.sampler)),
        "parameters": {name: shortened(repr(value), 200) for name, value in parameters_of(inner).items()},
        "choices": _choices(clf),
        "is_drawn": not is_solved(inner) or inner.tuned_layers_ or inner.sampler is not None or inner.early_stopping,
        "seed": int(random) if isinstance(random, (int, np.integer)) else None,
    }


def _choices(clf: Any) -> list[dict[str, Any]]:
    """Return what each search and each calibration around the model chose."""
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
                    "best": shortened(repr(without_folders(each.best_params_))),
                }
            )
        elif isinstance(each, CalibratedClassifierCV):
            choices.append({"name": name, "method": each.method})
    return choices
