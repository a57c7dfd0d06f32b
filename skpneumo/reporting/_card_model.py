"""Facts of a fitted classifier, for its model card."""

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
    class_name,
    digest_of_learnt,
    is_adapted,
    is_solved,
    percent,
    sees_images,
)

_SHAPING = ("aspect", "contrast", "image_size", "n_layers", "n_trainable_layers", "pool_grid", "weights")


def check_parameters_of_fit(inner: PneumoniaClassifier) -> None:
    """Refuse parameters that no longer tell what the model is; no weights are read for it.

    Raises
    ------
    ValueError
        A fit would have refused them, or they would give other features than those of the fit.
    """
    try:
        _check_as_fit_does(inner)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{error} Parameters have changed since the fit. Restore them, or fit anew.") from error
    if not sees_images(inner):
        return
    grid = grid_side(inner.n_layers, inner.image_size, inner.pool_grid)
    expected, known = n_channels(inner.n_layers) * grid**2, len(inner.feature_mean_)
    if expected != known:
        raise ValueError(
            f"The model has {known} features, but its parameters n_layers={inner.n_layers}, image_size="
            f"{inner.image_size} and pool_grid={inner.pool_grid} give {expected}: they have changed since the fit. "
            "Restore them, or fit anew."
        )
    if not _gives_features_of_fit(inner):
        values = ", ".join(f"{name}={getattr(inner, name)!r}" for name in _SHAPING)
        raise ValueError(
            f"The parameters {values} of the model give other features than those it was fitted on: they have changed "
            "since the fit. Restore them, or fit anew."
        )


def _check_as_fit_does(inner: PneumoniaClassifier) -> None:
    with suppress(ImportError):  # a card of a model that was fitted with a sampler does without imbalanced-learn
        check_parameters(inner)
    Augmentation.of(inner.augmentation)
    if sees_images(inner):
        inner._encoder()
    elif inner.n_trainable_layers:
        raise ValueError(f"n_trainable_layers={inner.n_trainable_layers}, but the model was fitted on features.")


def _gives_features_of_fit(inner: PneumoniaClassifier) -> bool:
    n_frozen = inner.n_layers - inner.n_trainable_layers
    if set(inner.tuned_layers_) != set(shapes(n_frozen, inner.n_layers)):
        return False
    if inner.versions_["preprocessing"] != str(VERSION):  # what this version would give says nothing of that fit
        return True
    n_layers, pool_grid = (n_frozen, None) if inner.tuned_layers_ else (inner.n_layers, inner.pool_grid)
    if n_layers and not inner.bundled_weights_ and (inner.weights is None) != (inner.weights_digest_ is None):
        return False
    known = inner.weights_digest_
    digest = weights_digest(None, n_layers) if known is None else bytes.fromhex(known)
    # Neither device nor precision is in the name of what a model was fitted on.
    backbone = Backbone(None, digest, n_layers, inner.image_size, pool_grid, device="", precision="")
    square = Preprocessing(inner.image_size, inner.aspect, inner.contrast)
    return FeatureSpec(square, backbone).fingerprint() == inner.backbone_fingerprint_


def facts_of_model(clf: Any, inner: PneumoniaClassifier) -> dict[str, Any]:
    """Gather what the model is: layers, head, versions and digests, and what is around it."""
    labels = inner.classes_.tolist()
    return {
        "model": inner,
        "labels": labels,
        "last_label_in_code": _one_line(repr(labels[-1])),
        "around": [type(each).__name__ for each in chain(clf)[:-1]],
        "is_of_images": sees_images(inner),
        "is_adapted": is_adapted(inner),
        "is_solved": is_solved(inner),
        "is_calibrated": any(isinstance(each, CalibratedClassifierCV) for each in chain(clf)),
        "shares": _shares(inner),
        "n_dense": len(inner.coefs_),
        "n_features": len(inner.feature_mean_),
        "sizes_of_head": [len(inner.feature_mean_), *map(len, inner.intercepts_)],
        "n_weights_of_head": sum(each.size for each in (*inner.coefs_, *inner.intercepts_)),
        "versions": inner.versions_,
        "this_version": __version__,
        "digest": digest_of_learnt(inner),
        **(_facts_of_layers(inner) if sees_images(inner) else {}),
    }


def _one_line(code: str) -> str:
    """Keep a comment, and a block of code, from ending early."""
    return " ".join(code.replace("`", "'").split("\n"))


def _shares(inner: PneumoniaClassifier) -> list[str]:
    """Return the shares of the classes for which probabilities hold; none where they are not known."""
    is_shifted = inner.class_weight is not None or inner.sampler is not None or is_adapted(inner)
    if not inner.reference_ or (is_shifted and not inner.prior_correction):
        return []
    counts = inner.reference_["class_count"]
    shares = inner.reference_.get("stated_share", counts / counts.sum())
    return [
        f"{percent(share)} {class_name(label)}" for label, share in zip(inner.classes_.tolist(), shares, strict=True)
    ]


def _facts_of_layers(inner: PneumoniaClassifier) -> dict[str, Any]:
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
        "n_weights_of_layers": sum(int(np.prod(shape)) for shape in shapes(0, inner.n_layers).values()),
        "grid": grid_side(inner.n_layers, inner.image_size, inner.pool_grid),
        "channel_means": CHANNEL_MEANS,
        "file_of_weights": base_name(inner.weights) if is_file else None,
    }
