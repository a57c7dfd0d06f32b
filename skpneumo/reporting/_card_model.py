"""Facts about a fitted classifier for its model card."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._encoder.spec import FeatureSpec
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.decoding import VERSION, Preprocessing
from skpneumo._images.sources import base_name
from skpneumo._training.checks import check_parameters
from skpneumo._utils.meta_estimators import chain
from skpneumo._version import __version__
from skpneumo._vgg19.backbone import Backbone
from skpneumo._vgg19.layers import CHANNEL_MEANS, LAYERS, grid_side, map_side, n_channels, shapes
from skpneumo._vgg19.weights import weights_digest
from skpneumo.reporting._model_facts import (
    fitted_digest,
    is_adapted,
    is_fitted_on_images,
    is_solved,
    percent,
)

_FEATURE_PARAMETERS = (
    "aspect",
    "contrast",
    "image_size",
    "n_layers",
    "n_trainable_layers",
    "norm",
    "pool_grid",
    "weights",
)


def check_parameters_of_fit(inner: PneumoniaClassifier) -> None:
    """Raise ValueError if parameters are invalid or give other features than at fit; weights are not read."""
    try:
        _check_parameters(inner)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error} Parameters have changed since the fit. Restore them or refit the model.") from error
    if not is_fitted_on_images(inner):
        return
    grid = grid_side(inner.n_layers, inner.image_size, inner.pool_grid)
    expected, known = n_channels(inner.n_layers) * grid**2, len(inner.feature_mean_)
    if expected != known:
        raise ValueError(
            f"The model has {known} features, but its parameters n_layers={inner.n_layers}, image_size="
            f"{inner.image_size} and pool_grid={inner.pool_grid} give {expected}: they have changed since the fit. "
            "Restore them or refit the model."
        )
    if not _gives_features_of_fit(inner):
        values = ", ".join(f"{name}={getattr(inner, name)!r}" for name in _FEATURE_PARAMETERS)
        raise ValueError(
            f"The parameters {values} give other features than those the model was fitted on: they have changed since "
            "the fit. Restore them or refit the model."
        )


def _check_parameters(inner: PneumoniaClassifier) -> None:
    with suppress(ImportError):  # the card of a model with a sampler must not require imbalanced-learn
        check_parameters(inner)
    Augmentation.of(inner.augmentation)
    if is_fitted_on_images(inner):
        inner._encoder()
    elif inner.n_trainable_layers:
        raise ValueError(f"n_trainable_layers must be 0 for a model of features; got {inner.n_trainable_layers}.")


def _gives_features_of_fit(inner: PneumoniaClassifier) -> bool:
    n_frozen = inner.n_layers - inner.n_trainable_layers
    if set(inner.tuned_layers_) != set(shapes(n_frozen, inner.n_layers)):
        return False
    if inner.versions_["preprocessing"] != str(VERSION):  # features of another version cannot be compared
        return True
    n_layers, pool_grid = (n_frozen, None) if inner.tuned_layers_ else (inner.n_layers, inner.pool_grid)
    if n_layers and not inner.bundled_weights_ and (inner.weights is None) != (inner.weights_digest_ is None):
        return False
    known = inner.weights_digest_
    digest = weights_digest(None, n_layers) if known is None else bytes.fromhex(known)
    # The fingerprint depends neither on the device nor on the precision.
    backbone = Backbone(None, digest, n_layers, inner.image_size, pool_grid, device="", precision="")
    preprocessing = Preprocessing(inner.image_size, inner.aspect, inner.contrast)
    spec = FeatureSpec(preprocessing, backbone, norm=inner.norm)
    return spec.fingerprint() == inner.backbone_fingerprint_


def model_facts(clf: Any, inner: PneumoniaClassifier, names: Mapping[Any, str]) -> dict[str, Any]:
    """Collect classes, layers, head, wrappers, versions and digests of the model."""
    named = [(label, name, name != str(label)) for label, name in names.items()]
    label, name, is_named = named[-1]
    return {
        "model": inner,
        "names": [*names.values()],
        "names_with_labels": [f"{name} (label {label})" if is_named else name for label, name, is_named in named],
        "last_class_in_code": _one_line(f"{label!r} ({name!r})" if is_named else repr(label)),
        "wrappers": [type(each).__name__ for each in chain(clf)[:-1]],
        "is_fitted_on_images": is_fitted_on_images(inner),
        "is_adapted": is_adapted(inner),
        "is_labeled": "label_count" in inner.reference_,
        "is_solved": is_solved(inner),
        "is_calibrated": any(isinstance(each, CalibratedClassifierCV) for each in chain(clf)),
        "class_proportions": _class_proportions(inner, names),
        "n_dense": len(inner.coefs_),
        "n_features": len(inner.feature_mean_),
        "head_sizes": [len(inner.feature_mean_), *map(len, inner.intercepts_)],
        "n_head_weights": sum(each.size for each in (*inner.coefs_, *inner.intercepts_)),
        "versions": inner.versions_,
        "this_version": __version__,
        "digest": fitted_digest(inner),
        **(_layer_facts(inner) if is_fitted_on_images(inner) else {}),
    }


def _one_line(code: str) -> str:
    """Remove newlines and backticks, which could end a comment or a code block."""
    return " ".join(code.replace("`", "'").split("\n"))


def _class_proportions(inner: PneumoniaClassifier, names: Mapping[Any, str]) -> list[str]:
    """Return the class proportions for which probabilities are valid; empty if not known."""
    is_shifted = inner.class_weight is not None or inner.sampler is not None or is_adapted(inner)
    if not inner.reference_ or (is_shifted and not inner.prior_correction):
        return []
    counts = inner.reference_["class_count"]
    proportions = inner.reference_.get("stated_share", counts / counts.sum())
    return [f"{name}: {percent(proportion)}" for name, proportion in zip(names.values(), proportions, strict=True)]


def _layer_facts(inner: PneumoniaClassifier) -> dict[str, Any]:
    first_trained = inner.n_layers - len(inner.tuned_layers_) // 2
    layers = [
        {
            "name": name,
            "is_trained": i >= first_trained,
            "n_channels": filters,
            "side": map_side(i + 1, inner.image_size),
            "is_pooled": completes,
        }
        for i, (name, filters, completes) in enumerate(LAYERS[: inner.n_layers])
    ]
    is_file = inner.weights is not None and inner.weights != "imagenet"
    return {
        "layers": layers,
        "n_layer_weights": sum(int(np.prod(shape)) for shape in shapes(0, inner.n_layers).values()),
        "grid": grid_side(inner.n_layers, inner.image_size, inner.pool_grid),
        "channel_means": CHANNEL_MEANS,
        "weights_file": base_name(inner.weights) if is_file else None,
    }
