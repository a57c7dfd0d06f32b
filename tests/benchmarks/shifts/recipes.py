"""Recipes: named sets of classifier parameters."""

import inspect
from collections.abc import Mapping
from typing import Any

from skpneumo import PneumoniaClassifier

_DENSE = {"hidden_layer_sizes": (64,), "max_iter": 30}
_FROM_SCRATCH = {"tune_learning_rate": 1e-3, "tune_average": 1.0, "tune_max_iter": 5}
_DEEPER = {"n_layers": 12, "n_trainable_layers": 4, **_FROM_SCRATCH}

# Defaults of a recipe. A classifier without one of these parameters behaves as if it had this value.
_DEFAULTS: dict[str, Any] = {"n_views": 1, "n_trainable_layers": 0, "contrast": None, "hidden_layer_sizes": ()}

RECIPES: dict[str, dict[str, Any]] = {
    "probe": {},
    "probe, 2 views": {"n_views": 2},
    "probe, 4 views": {"n_views": 4},
    "probe, 8 views": {"n_views": 8},
    "probe, balanced": {"class_weight": "balanced"},
    "probe, 4 views, balanced": {"n_views": 4, "class_weight": "balanced"},
    "dense": _DENSE,
    "dense, 4 views": {**_DENSE, "n_views": 4},
    "equalize": {"contrast": "equalize"},
    "equalize, 4 views": {"contrast": "equalize", "n_views": 4},
    "tuned 2": {"n_trainable_layers": 2},
    "tuned 4": {"n_trainable_layers": 4},
    "tuned 2, 4 views": {"n_trainable_layers": 2, "n_views": 4},
    "tuned 4, 4 views": {"n_trainable_layers": 4, "n_views": 4},
    "tuned 4, 4 views, balanced": {"n_trainable_layers": 4, "n_views": 4, "class_weight": "balanced"},
    "deeper": _DEEPER,
    "deeper, 4 views": {**_DEEPER, "n_views": 4},
}
CHEAP = ("probe", "probe, 2 views", "probe, 4 views", "probe, 4 views, balanced", "dense", "equalize")


def classifier(parameters: Mapping[str, Any]) -> PneumoniaClassifier:
    """Build the classifier of a recipe.

    Raises
    ------
    TypeError
        If the classifier lacks a parameter that is not at its default.
    """
    known = inspect.signature(PneumoniaClassifier).parameters
    parameters = {"random_state": 0, **_DEFAULTS, **parameters}
    left_out = {name for name, value in _DEFAULTS.items() if name not in known and parameters[name] == value}
    return PneumoniaClassifier(**{name: value for name, value in parameters.items() if name not in left_out})
