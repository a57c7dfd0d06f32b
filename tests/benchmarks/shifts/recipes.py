"""Recipes: named sets of classifier parameters, as differences from the default."""

from collections.abc import Mapping
from typing import Any

from skpneumo import PneumoniaClassifier

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "no views": {"n_views": 1},
    # The former default used 16 layers; the weight file for benchmarks contains 8.
    "former default": {"image_size": 224, "norm": None, "n_views": 1, "alpha": 0.05, "class_weight": None},
    "former recipe": {"image_size": 224, "norm": None, "n_views": 4, "plain_weight": 0.5, "alpha": 0.05},
    "plain weight 0.1": {"plain_weight": 0.1},
    "plain weight 0.25": {"plain_weight": 0.25},
    "plain weight 0.5": {"plain_weight": 0.5},
    "norm None": {"norm": None},
    "alpha 0.05": {"alpha": 0.05},
    "class_weight None": {"class_weight": None},
    "3 views": {"n_views": 3},
    "9 views": {"n_views": 9},
    "64 px": {"image_size": 64},
    "160 px": {"image_size": 160},
    "224 px": {"image_size": 224},
    "pool_grid 7": {"pool_grid": 7},
    "dense": {"hidden_layer_sizes": (64,), "max_iter": 30},
    "tuned 2": {"n_trainable_layers": 2},
    "tuned 4": {"n_trainable_layers": 4},
}
CHEAP = ("default", "no views", "former default", "former recipe")


def classifier(parameters: Mapping[str, Any]) -> PneumoniaClassifier:
    """Build the classifier of a recipe."""
    return PneumoniaClassifier(**{"random_state": 0, **parameters})
