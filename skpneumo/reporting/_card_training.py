"""What a fitted classifier tells of its training, in the words of a model card."""

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images.sources import shortened
from skpneumo._utils.meta_estimators import chain
from skpneumo._vgg19.layers import CHANNEL_MEANS
from skpneumo.reporting._evaluation import Evaluation
from skpneumo.reporting._markdown import bullets, plain, table
from skpneumo.reporting._model_facts import (
    NOT_REMEMBERED,
    forgets,
    is_solved,
    knows_patients,
    parameters_of,
    seen_of,
    sees_images,
    without_folders,
)

_WAYS = {
    "crop": "its short side is scaled and its centre cropped",
    "pad": "its long side is scaled and the rest is black",
    "stretch": "both sides are scaled",
}

_NOT_COMPARED = (
    "Whether test images were in the training is not known: of images and features, the model was fitted on the one "
    "and judged on the other"
)


def preprocessing(inner: PneumoniaClassifier) -> list[str]:
    """Say how an image becomes what the network sees."""
    if not sees_images(inner):
        return ["The model takes features; how images became features is not known here."]
    blue, green, red = CHANNEL_MEANS
    contrast = "The histogram of gray values is equalised." if inner.contrast == "equalize" else None
    return [
        bullets(
            filter(
                None,
                [
                    "An image is turned upright by its EXIF orientation and made gray; no other metadata is read.",
                    f'It becomes a square of {inner.image_size} pixels a side by "{inner.aspect}": '
                    f"{_WAYS[inner.aspect]}.",
                    contrast,
                    f"Gray values from 0 to 255 go to all three channels; {blue}, {green} and {red} are taken from "
                    "blue, green and red.",
                    f"Version of this preprocessing: {plain(inner.versions_.get('preprocessing', 'not known'))}.",
                    "An image that cannot be read is an error that names it; no value is filled in for it.",
                ],
            )
        )
    ]


def training_data(inner: PneumoniaClassifier) -> list[str]:
    """Count images and patients."""
    summary = inner.training_summary_
    if not summary:
        return ["How many images the model was trained on is not known: files of early versions do not tell."]
    patients = summary["n_patients_by_class"] or ["not known"] * len(inner.classes_)
    rows = list(zip(inner.classes_.tolist(), summary["n_images_by_class"], patients, strict=True))
    total = "not known" if summary["n_patients"] is None else summary["n_patients"]
    notes = []
    if summary["n_patients"] is None:
        notes.append("Nobody named the patients: several images may be of one.")
    elif sum(summary["n_patients_by_class"]) > summary["n_patients"]:
        notes.append("Some patients have images of several classes.")
    if summary["n_calls"] > 1:
        notes.append(f"These are the numbers of the last of {summary['n_calls']} calls that went on from each other.")
    if summary["total_weight"] is not None:
        notes.append(f"Images were weighted; their weights add up to {summary['total_weight']:g}.")
    counted = "Images" if summary["kind"] == "images" else "Rows of features"
    return [table(("Class", counted, "Patients"), [*rows, ("All", summary["n_images"], total)], numbers={1, 2}), *notes]


def partitions(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> list[str]:
    """Say what was held out of the fit, and what of the test images was in it."""
    items = []
    if n_held_out := inner.training_summary_.get("n_held_out"):
        items.append(f"Early stopping held out {n_held_out} of the training images, no known patient on both sides.")
    if evaluation is not None:
        items.append(_overlap(clf, evaluation))
    if forgets(clf):
        items.append(NOT_REMEMBERED)
    return [bullets(items)] if items else []


def _overlap(clf: Any, evaluation: Evaluation) -> str:
    compared = evaluation.are_images_compared
    seen = seen_of(clf, evaluation.seen, evaluation.patients, are_images_compared=compared)
    if seen is None:
        return "Whether test images were in the training is not known."
    images = f"Of {len(evaluation.y)} test images, {seen.n_images} were in the training, by their content"
    if seen.n_images is None:
        images = _NOT_COMPARED
    if seen.n_of_patients is None:
        sides = {"training": knows_patients(clf), "test": evaluation.patients is not None}
        unnamed = " and of the ".join(side for side, is_named in sides.items() if not is_named)
        return f"{images}; of how many a patient was is not known: patients of the {unnamed} images have no names."
    return f"{images}; {seen.n_of_patients} are of patients who were in it, as far as names of files or groups tell."


def training_procedure(inner: PneumoniaClassifier) -> list[str]:
    """Say how the fit went, in its order."""
    summary, items = inner.training_summary_, []
    if summary.get("n_views", 1) > 1:
        strengths = inner.augmentation if isinstance(inner.augmentation, str) else dict(inner.augmentation)
        items.append(
            f"{summary['n_views']} views of each image, the plain one and others drawn as augmentation "
            f"({plain(strengths)}); the plain one has half of the weight."
        )
    if inner.class_weight is not None:
        items.append(f"Classes were weighted in the loss: {plain(inner.class_weight)}.")
    if inner.sampler is not None:
        items.append(f"Training images were drawn by a sampler: {plain(shortened(repr(inner.sampler)))}.")
    if inner.class_weight is not None or inner.sampler is not None:
        items.append(
            "Probabilities were corrected to the prevalence of the training images: the intercepts were solved anew on "
            "the images as they are."
            if inner.prior_correction
            else "Probabilities were not corrected: they are those of the prevalence that weights or sampler make."
        )
    solver = "a logistic regression, solved to convergence" if is_solved(inner) else "the head by Adam, in epochs"
    if inner.tuned_layers_:
        items.append(
            f"First the head was trained ({solver}), then the trainable layers and the head together by Adam, at a "
            f"learning rate of at most {inner.tune_learning_rate:g}; of the trained weights {inner.tune_average:g} are "
            "in what was kept, the rest from before."
        )
    else:
        items.append(f"What was trained: {solver}.")
    items.append(f"Passes or epochs of the last stage: {inner.n_iter_}.")
    if inner.best_iter_ is not None:
        items.append(f"Early stopping kept the weights of epoch {inner.best_iter_}, the best on held-out patients.")
    return [bullets(items)]


def hyperparameters(inner: PneumoniaClassifier) -> str:
    """List the parameters that shape the model."""
    rows = [(name, shortened(repr(value), 200)) for name, value in parameters_of(inner).items()]
    return table(("Parameter", "Value"), rows)


def selection(clf: Any) -> list[str]:
    """Say how a search or a calibration around the model chose."""
    items = []
    for each in chain(clf)[:-1]:
        name = type(each).__name__
        if hasattr(each, "best_params_"):
            items.append(
                f"{name} chose among {len(each.cv_results_['params'])} candidates by cross-validation "
                f"(cv={plain(shortened(repr(each.cv), 200))}, scoring={plain(shortened(repr(each.scoring), 200))}): "
                f"{plain(shortened(repr(without_folders(each.best_params_))))}."
            )
        elif isinstance(each, CalibratedClassifierCV):
            items.append(f"{name} calibrated the probabilities (method={plain(each.method)}).")
    return [bullets(items)] if items else []


def reproduction(inner: PneumoniaClassifier) -> str:
    """Say what a second fit needs."""
    random = inner.random_state
    is_drawn = not is_solved(inner) or inner.tuned_layers_ or inner.sampler is not None or inner.early_stopping
    if not is_drawn:
        seed = "The fit drew nothing at random."
    elif isinstance(random, (int, np.integer)):
        seed = f"The fit drew at random from random_state={int(random)}."
    else:
        seed = "The fit drew at random without a number for a seed, so it cannot be repeated exactly."
    return (
        f"Fit a classifier with the parameters under Training Hyperparameters on the same images, with the versions "
        f"under Software. {seed} CPUs and GPUs, and float32 and bfloat16, differ in the last digits. The card of a "
        "model that was repeated exactly shows the same digests."
    )
