"""What a fitted classifier tells of itself, in the words of a model card."""

from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._encoder.batches import Way
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.decoding import VERSION, Square
from skpneumo._images.sources import base_name
from skpneumo._training.checks import check_parameters
from skpneumo._utils.meta_estimators import chain
from skpneumo._version import __version__
from skpneumo._vgg19.backbone import Backbone
from skpneumo._vgg19.layers import LAYERS, grid_side, map_side, n_channels, shapes
from skpneumo._vgg19.weights import weights_digest
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._markdown import bullets, plain, table
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
        inner._line()
    elif inner.n_trainable_layers:
        raise ValueError(f"n_trainable_layers={inner.n_trainable_layers}, but the model was fitted on features.")


def _gives_features_of_fit(inner: PneumoniaClassifier) -> bool:
    n_frozen = inner.n_layers - inner.n_trainable_layers
    if set(inner.tuned_layers_) != set(shapes(n_frozen, inner.n_layers)):
        return False
    if inner.versions_.get("preprocessing") != str(VERSION):  # what this version would give says nothing of that fit
        return True
    n_layers, pool_grid = (n_frozen, None) if inner.tuned_layers_ else (inner.n_layers, inner.pool_grid)
    if n_layers and not inner.bundled_weights_ and (inner.weights is None) != (inner.weights_digest_ is None):
        return False
    known = inner.weights_digest_
    digest = weights_digest(None, n_layers) if known is None else bytes.fromhex(known)
    # Neither device nor precision is in the name of what a model was fitted on.
    backbone = Backbone(None, digest, n_layers, inner.image_size, pool_grid, device="", precision="")
    square = Square(inner.image_size, inner.aspect, inner.contrast)
    return Way(square, backbone).fingerprint() == inner.backbone_fingerprint_


def description(clf: Any, inner: PneumoniaClassifier) -> str:
    """Say what goes in and what comes out."""
    classes = ", ".join(map(plain, inner.classes_.tolist()))
    if sees_images(inner):
        goes_in = (
            f"frontal chest X-rays, which become gray squares of {inner.image_size} x {inner.image_size} pixels. "
            "Nothing else is known of the patient"
        )
    else:
        goes_in = (
            f"{len(inner.feature_mean_)} numbers an image (features). The model was fitted on features, so nothing is "
            "known here of the images that they were made of"
        )
    around = [type(each).__name__ for each in chain(clf)[:-1]]
    n_views = inner.n_views_predict if sees_images(inner) else 1
    return bullets(
        [
            f"Goes in: {goes_in}.",
            f"Comes out: a probability of each class. Classes: {classes}.",
            f"Kind of model: {_kind(inner)}.",
            *([f"Around it, from the outside in: {', '.join(around)}."] if around else []),
            "No ensemble: one model speaks"
            + (f", and the logits of {inner.n_views_predict} views of an image are averaged." if n_views > 1 else "."),
            *(["Adapted to another site by that site's images without labels."] if is_adapted(inner) else []),
            f"Made by skpneumo {plain(inner.versions_.get('skpneumo', 'of a version that is not known'))}; this card "
            f"by skpneumo {__version__}.",
        ]
    )


def _kind(inner: PneumoniaClassifier) -> str:
    head = "a logistic regression" if len(inner.coefs_) == 1 else f"{len(inner.coefs_)} dense layers"
    if not sees_images(inner):
        return f"{head} on features"
    return f"{head} on the first {inner.n_layers} of the 16 convolution layers of VGG19 (transfer learning)"


def architecture(inner: PneumoniaClassifier) -> list[str]:
    """Describe layers, head and what is minimised."""
    blocks = []
    if sees_images(inner):
        n_trained = len(inner.tuned_layers_) // 2
        rows = []
        for i, (name, filters, completes) in enumerate(LAYERS[: inner.n_layers]):
            is_trained = i >= inner.n_layers - n_trained
            side = map_side(i + 1, inner.image_size)
            pooled = f"{side} x {side}{', after pooling' if completes else ''}"
            rows.append((name, "3 x 3", "trained" if is_trained else "frozen", filters, pooled))
        blocks.append(table(("Layer", "Kernel", "In the fit", "Channels out", "Maps out, pixels"), rows, numbers={3}))
        n_weights = sum(int(np.prod(shape)) for shape in shapes(0, inner.n_layers).values())
        grid = grid_side(inner.n_layers, inner.image_size, inner.pool_grid)
        blocks.append(
            f"Each convolution is followed by ReLU. The maps are averaged over a grid of {grid} x {grid} cells, which "
            f"gives {len(inner.feature_mean_)} features. The layers hold {n_weights:,} weights."
        )
    sizes = [str(len(inner.feature_mean_)), *(str(len(biases)) for biases in inner.intercepts_)]
    n_weights = sum(each.size for each in (*inner.coefs_, *inner.intercepts_))
    activations = " with ReLU between them" if len(inner.coefs_) > 1 else ""
    blocks.append(
        f"The head takes features standardised by the means and deviations of the training images. It has dense layers "
        f"{' to '.join(sizes)}{activations}, {n_weights:,} weights. "
        + ("The output is the log odds of the second class." if len(inner.classes_) == 2 else "Softmax follows.")
    )
    blocks.append(
        f"What is minimised: logistic loss and an L2 penalty. For each layer of the head, its strength is alpha = "
        f"{inner.alpha:g} times the number of inputs."
    )
    return blocks


def initialization(inner: PneumoniaClassifier) -> str:
    """Say what the weights were before the fit."""
    head = (
        "The head has one solution, which does not depend on where its solver starts."
        if is_solved(inner)
        else "The head began with random weights and zero biases."
    )
    return f"{_weights(inner)} {head}" if sees_images(inner) else head


def _weights(inner: PneumoniaClassifier) -> str:
    if inner.weights is None:
        return "The layers of VGG19 are untrained: their weights were drawn from a fixed seed."
    if isinstance(inner.weights, str) and inner.weights == "imagenet":
        return "The layers of VGG19 began with the ImageNet weights that Keras distributes."
    lacking = ", and trained layers that it lacks with random ones" if inner.tuned_layers_ else ""
    return f"The layers of VGG19 began with the weights in the file {plain(base_name(inner.weights))}{lacking}."


def limitations(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> str:
    """List what is known to limit this model."""
    summary = inner.training_summary_
    items = ["A research tool, not a medical device: no authority has cleared it."]
    if sees_images(inner):
        items.append("It gives a probability for any picture, also for one that is no frontal chest X-ray.")
        items.append("It labels the whole image and does not say where on it something is.")
    else:
        items.append("It was fitted on features: what images they were made of is not known here.")
    if sees_images(inner) and inner.weights is None:
        items.append("The layers of VGG19 began untrained, and frozen ones stayed so.")
    items.append(_mix(clf, inner))
    if summary.get("n_patients", 0) is None:
        items.append("The patients of the training images are not known.")
    if is_adapted(inner):
        items.append("It was adapted to a site without labels of that site; figures from before do not hold for it.")
    if evaluation is None:
        items.append("No evaluation was passed to the program that made this card.")
        return bullets(items)
    if not evaluation.performance.has_groups:
        items.append("The patients of the test images are not known, so intervals may be too narrow.")
    if evaluation.seen is not None and evaluation.seen.any():
        items.append("Some test images, or their patients, were in the training: the figures flatter the model.")
    return bullets(items)


def _mix(clf: Any, inner: PneumoniaClassifier) -> str:
    if any(isinstance(each, CalibratedClassifierCV) for each in chain(clf)):
        return "Its probabilities hold for patients like those it was calibrated on."
    is_shifted = inner.class_weight is not None or inner.sampler is not None or is_adapted(inner)
    if not inner.reference_ or (is_shifted and not inner.prior_correction):
        return "For what mix of patients its probabilities hold is not known."
    counts = inner.reference_["class_count"]
    shares = inner.reference_.get("stated_share", counts / counts.sum())
    told = ", ".join(
        f"{percent(share)} {plain(class_name(label))}"
        for label, share in zip(inner.classes_.tolist(), shares, strict=True)
    )
    return (
        f"Its probabilities hold where the classes are as frequent as they were for the fit, or for adapting: {told}."
    )


def poor_images(inner: PneumoniaClassifier) -> list[str]:
    """Say what to do with images unlike those of the training."""
    if not inner.reference_:
        return []
    return [
        "Look at the novelty of images first: the method `novelty` tells images that are unlike those of the "
        "training, and `predict` with `abstain_below` says nothing of them. How good an image is otherwise, a reader "
        "has to judge."
    ]


def privacy(inner: PneumoniaClassifier) -> str:
    """Say what of patients is in the file of the model."""
    text = (
        "The file of the model holds means, deviations and weights over all training images, and no image and no name "
        "of a file."
    )
    if inner.seen_:
        text += (
            " It holds digests of 8 bytes of images, and salted ones of patients: who has an image, or a name, can "
            "find out whether it was in the training."
        )
    return text


def getting_started(clf: Any, inner: PneumoniaClassifier) -> list[str]:
    """Show code that loads the model and lets it speak."""
    labels = inner.classes_.tolist()
    column = f"[:, 1]  # of {labels[1]!r}" if len(labels) == 2 else "  # a column for each of clf.classes_"
    if sees_images(inner):
        X, note = '["film.jpeg"]', "`pneumonia.joblib` and `film.jpeg` stand for the files that you have."
    else:
        X, note = f"np.zeros((1, {len(inner.feature_mean_)}))", "The zeros stand for features of an image."
    lines = ["from skpneumo import load_model", "", 'clf = load_model("pneumonia.joblib")', f"X = {X}"]
    if not sees_images(inner):
        lines.insert(0, "import numpy as np")
    lines += [f"probabilities = clf.predict_proba(X){_one_line(column)}", "calls = clf.predict(X)"]
    if clf is inner and inner.reference_:
        lines.append("novelty = clf.novelty(X)  # small: unlike the images of the training")
    fence = "```"
    blocks = [f"{fence}python\n" + "\n".join(lines) + f"\n{fence}", note]
    if not sees_images(inner):
        return blocks
    if inner.bundled_weights_:
        blocks.append("The model carries the weights of its frozen layers: no other file is needed.")
    elif inner.weights_digest_ is not None:
        blocks.append(
            "Weights of the frozen layers are no part of the file: they have to be at hand where it predicts, those of "
            "the digest under Digests."
        )
    return blocks


def _one_line(code: str) -> str:
    """Keep a comment, and a block of code, from ending early."""
    return " ".join(code.replace("`", "'").split("\n"))


def software(inner: PneumoniaClassifier) -> str:
    """Name the versions of the fit."""
    if not inner.versions_:
        return "The versions at the time of the fit are not known: files of early versions do not tell."
    return table(("At the time of the fit", "Version"), inner.versions_.items())


def digests(inner: PneumoniaClassifier) -> str:
    """Name the model, and the weights that it needs, by what they hold."""
    rows = [("All fitted attributes (BLAKE2b)", digest_of_learnt(inner))]
    if inner.weights_digest_ is not None:
        rows.append(("Weights of the frozen layers", inner.weights_digest_))
    if sees_images(inner):
        rows.append(("Preprocessing, layers and weights together", inner.backbone_fingerprint_))
    return table(("Of what", "Digest"), rows)
