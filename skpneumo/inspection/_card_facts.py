"""What a fitted classifier and its evaluation tell of themselves, in the words of a model card."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV

from skpneumo._backbone import Backbone
from skpneumo._classifier import PneumoniaClassifier
from skpneumo._images import VERSION, Square
from skpneumo._network import CHANNEL_MEANS, LAYERS, map_side, n_channels, shapes
from skpneumo._pipeline import Way
from skpneumo._sources import shortened
from skpneumo._version import __version__
from skpneumo._weights import weights_digest
from skpneumo.inspection._evaluation import Evaluation, Subgroup
from skpneumo.inspection._facts import (
    NOT_REMEMBERED,
    NOVEL,
    base_name,
    can_be_novel,
    chain,
    digest_of_learnt,
    forgets,
    knows_patients,
    origin_of_threshold,
    parameters_of,
    seen_of,
    sees_images,
    without_folders,
)
from skpneumo.inspection._markdown import bullets, plain, table
from skpneumo.metrics._estimators import threshold_of
from skpneumo.metrics._interval import Interval
from skpneumo.metrics._report import WORDS, _written

_PROBABILITIES = {"brier_score", "calibration_slope", "calibration_intercept", "expected_calibration_error"}
_SHAPING = ("aspect", "contrast", "image_size", "n_layers", "n_trainable_layers", "pool_grid", "weights")
_WAYS = {
    "crop": "its short side is scaled and its centre cropped",
    "pad": "its long side is scaled and the rest is black",
    "stretch": "both sides are scaled",
}


def check_parameters_of_fit(inner: PneumoniaClassifier) -> None:
    """Refuse parameters of images and layers that no longer tell what the model is; no weights are read for it.

    Raises
    ------
    ValueError
        They would give other features than those of the fit.
    """
    if inner.backbone_fingerprint_ is None:
        return
    side = map_side(inner.n_layers, inner.image_size)
    expected, known = n_channels(inner.n_layers) * min(inner.pool_grid, side) ** 2, len(inner.feature_mean_)
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


def _gives_features_of_fit(inner: PneumoniaClassifier) -> bool:
    if inner.versions_.get("preprocessing") != str(VERSION):  # what this version would give says nothing of that fit
        return True
    n_frozen = inner.n_layers - inner.n_trainable_layers
    if inner.tuned_layers_ and set(inner.tuned_layers_) != set(shapes(max(0, n_frozen), inner.n_layers)):
        return False
    n_layers, pool_grid = (n_frozen, None) if inner.tuned_layers_ else (inner.n_layers, inner.pool_grid)
    if n_layers and not inner.bundled_weights_ and (inner.weights is None) != (inner.weights_digest_ is None):
        return False
    known = inner.weights_digest_
    digest = weights_digest(None, n_layers) if known is None else bytes.fromhex(known)
    # Neither device nor precision is in the name of what a model was fitted on.
    backbone = Backbone(None, digest, n_layers, inner.image_size, pool_grid, device="", precision="")
    square = Square(inner.image_size, inner.aspect, inner.contrast)
    return Way(square, backbone).fingerprint() == inner.backbone_fingerprint_


def _name(label: Any) -> str:
    """Name a class; a number alone would read like a count."""
    return label if isinstance(label, str) else f"class {label}"


def _named(label: Any) -> str:
    return plain(_name(label))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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
            *(["Adapted to another site by that site's images without labels."] if _is_adapted(inner) else []),
            f"Made by skpneumo {plain(inner.versions_.get('skpneumo', 'of a version that is not known'))}; this card "
            f"by skpneumo {__version__}.",
        ]
    )


def _kind(inner: PneumoniaClassifier) -> str:
    head = "a logistic regression" if len(inner.coefs_) == 1 else f"{len(inner.coefs_)} dense layers"
    if not sees_images(inner):
        return f"{head} on features"
    return f"{head} on the first {inner.n_layers} of the 16 convolution layers of VGG19 (transfer learning)"


def _is_adapted(inner: PneumoniaClassifier) -> bool:
    return "stated_share" in inner.reference_


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
        grid = min(inner.pool_grid, map_side(inner.n_layers, inner.image_size))
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
        if _is_solved(inner)
        else "The head began with random weights and zero biases."
    )
    return f"{_weights(inner)} {head}" if sees_images(inner) else head


def _is_solved(inner: PneumoniaClassifier) -> bool:
    """Tell a linear probe from one that epochs were counted of, as by `partial_fit`."""
    return len(inner.coefs_) == 1 and (not inner.loss_curve_ or bool(inner.tuned_layers_))


def _weights(inner: PneumoniaClassifier) -> str:
    if inner.weights is None:
        return "The layers of VGG19 are untrained: their weights were drawn from a fixed seed."
    if isinstance(inner.weights, str) and inner.weights == "imagenet":
        return "The layers of VGG19 began with the ImageNet weights that Keras distributes."
    lacking = ", and trained layers that it lacks with random ones" if inner.tuned_layers_ else ""
    return f"The layers of VGG19 began with the weights in the file {plain(base_name(inner.weights))}{lacking}."


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
    seen = seen_of(clf, evaluation.seen, evaluation.patients)
    if seen is None:
        return "Whether test images were in the training is not known."
    images = f"Of {len(evaluation.y)} test images, {seen.n_images} were in the training, by their content"
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
    solver = "a logistic regression, solved to convergence" if _is_solved(inner) else "the head by Adam, in epochs"
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


def testing_data(inner: PneumoniaClassifier, evaluation: Evaluation) -> list[str]:
    """Count the test images, and say what they have to do with the training."""
    performance = evaluation.performance
    n_positive = performance.tp + performance.fn
    patients = f" of {performance.n_patients} patients" if performance.has_groups else ""
    items = [
        f"{performance.n} images{patients}, {n_positive} of them ({_percent(performance.prevalence)}) "
        f"{_named(evaluation.labels[1])}.",
    ]
    if evaluation.novelty is not None and can_be_novel(inner):
        n_novel = int((evaluation.novelty <= NOVEL).sum())
        items.append(
            f"{n_novel} of them ({_percent(n_novel / performance.n)}) {'has' if n_novel == 1 else 'have'} a novelty of "
            f"at most {NOVEL:g}; of images like those of the training about {100 * NOVEL:g} % would."
        )
    return [bullets(items)]


def operating_point(clf: Any, inner: PneumoniaClassifier, evaluation: Evaluation | None) -> list[str]:
    """Say where the line is drawn, and who drew it."""
    if len(inner.classes_) != 2:
        return ["An image is called what the highest logit names."]
    positive = inner.classes_[1] if evaluation is None else evaluation.labels[1]
    own, origin = None, "what decision_function gives, and is no probability"
    try:
        own = threshold_of(clf, positive)
        origin = plain(origin_of_threshold(clf))
    except ValueError:  # it is no threshold of this probability; its origin can be told all the same
        pass
    told = f"{own:.4g}" if own is not None else "not one of the probability"
    items = [f"An image is called {_named(positive)} where its probability is at least {told}: {origin}."]
    if own is None:
        items = [f"The line of this model is drawn on {origin}."]
    if evaluation is not None:
        threshold = evaluation.performance.threshold
        is_own = own is not None and np.isclose(threshold, own)
        whose = "the same" if is_own else "another one, stated for the evaluation"
        items.append(f"The figures below are at a probability of {threshold:.4g}, {whose}.")
    return [bullets(items)]


def metrics(evaluation: Evaluation) -> list[str]:
    """Say which figures there are and how their intervals were made."""
    performance = evaluation.performance
    counted = (
        "Intervals allow for several images of a patient."
        if performance.has_groups
        else "Patients are not known: each image counts as one, and intervals are too narrow where that is wrong."
    )
    names = "; ".join(WORDS[name] for name in performance)
    return [f"Figures: {names}. Each has an interval of {100 * performance.confidence:g} %. {counted}"]


def results(evaluation: Evaluation) -> list[str]:
    """Tabulate calls, and figures with intervals but for those of calibration."""
    performance = evaluation.performance
    negative, positive = map(_name, evaluation.labels)
    calls = table(
        ("", f"Called {positive}", f"Called {negative}"),
        [(f"Is {positive}", performance.tp, performance.fn), (f"Is {negative}", performance.fp, performance.tn)],
        numbers={1, 2},
    )
    blocks = [calls, _figures(evaluation, [name for name in performance if name not in _PROBABILITIES])]
    if performance.stated_prevalence is not None:
        blocks.append(f"That prevalence: {performance.stated_prevalence:g}, as stated by the user.")
    return [*blocks, "These figures are of these images alone; another site has to be measured itself."]


def calibration(evaluation: Evaluation) -> list[str]:
    """Tabulate how well probabilities agree with frequencies."""
    return [
        _figures(evaluation, [name for name in evaluation.performance if name in _PROBABILITIES]),
        "A slope below 1 says that probabilities are too extreme, an intercept below 0 that they are too high.",
    ]


def _figures(evaluation: Evaluation, names: Sequence[str]) -> str:
    performance = evaluation.performance
    head = ("Figure", "Estimate", f"{100 * performance.confidence:g} % interval", "Method")
    rows = [
        (WORDS[name], _written(performance[name].estimate), _limits(performance[name]), performance[name].method)
        for name in names
    ]
    return table(head, rows, numbers={1, 2})


def _limits(figure: Interval) -> str:
    return "-" if np.isnan(figure.lower) else f"{_written(figure.lower)} to {_written(figure.upper)}"


def subgroups(evaluation: Evaluation) -> list[str]:
    """Tabulate figures for parts of the images."""
    if not evaluation.subgroups:
        return []
    names = ("sensitivity", "specificity", "roc_auc")
    head = ("By", "Value", "Images", "Positive", "Patients", *(WORDS[name] for name in names))
    return [
        table(head, [_subgroup(each, evaluation, names) for each in evaluation.subgroups], numbers=range(2, 8)),
        'Differences between groups may be chance: compare their intervals. "-" stands where a group lacks the '
        "images that a figure needs.",
    ]


def _subgroup(group: Subgroup, evaluation: Evaluation, names: Sequence[str]) -> list[Any]:
    figures = [
        f"{_written(group.figures[name].estimate)} ({_limits(group.figures[name])})" if name in group.figures else "-"
        for name in names
    ]
    n_patients = group.n_patients if evaluation.performance.has_groups else "not known"
    return [group.column, group.value, group.n, group.n_positive, n_patients, *figures]


def failures(evaluation: Evaluation) -> list[str]:
    """Count wrong calls, and how sure the model was of them."""
    items = []
    of_class = ((evaluation.labels[1], evaluation.y), (evaluation.labels[0], ~evaluation.y))
    for label, rows in of_class:
        is_wrong = rows & (evaluation.called != evaluation.y)
        if is_wrong.any():
            p = evaluation.proba[is_wrong]
            items.append(
                f"{int(is_wrong.sum())} of {int(rows.sum())} images of {_named(label)} are called wrongly, at "
                f"probabilities of {_named(evaluation.labels[1])} from {p.min():.3f} to {p.max():.3f}."
            )
        else:
            items.append(f"None of {int(rows.sum())} images of {_named(label)} is called wrongly.")
    return [bullets([*items, "Names of files are left out of this card, since they can name patients."])]


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
    if _is_adapted(inner):
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
    is_shifted = inner.class_weight is not None or inner.sampler is not None or _is_adapted(inner)
    if not inner.reference_ or (is_shifted and not inner.prior_correction):
        return "For what mix of patients its probabilities hold is not known."
    counts = inner.reference_["class_count"]
    shares = inner.reference_.get("stated_share", counts / counts.sum())
    told = ", ".join(
        f"{_percent(share)} {_named(label)}" for label, share in zip(inner.classes_.tolist(), shares, strict=True)
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


def reproduction(inner: PneumoniaClassifier) -> str:
    """Say what a second fit needs."""
    random = inner.random_state
    is_drawn = not _is_solved(inner) or inner.tuned_layers_ or inner.sampler is not None or inner.early_stopping
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
