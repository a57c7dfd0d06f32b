"""A fit from checked examples to fitted attributes: what is held out, rows of features, the head, trainable layers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skpneumo._encoder.batches import content_of
from skpneumo._encoder.encoder import Line
from skpneumo._encoder.feature_maps import FeatureRows, room_for_maps
from skpneumo._feature_store.store import open_store
from skpneumo._heads.domain_adaptation import fit_reference, log_ratio, merged
from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.head import Head, fit_dense, fit_probe, prior_shift, standardize
from skpneumo._heads.resampling import Drawn, Resampler, makes_features
from skpneumo._images.augmentation import SHIFTED, Augmentation
from skpneumo._keras import resolve_device
from skpneumo._leakage import Seen, names_of, remember, row_digests
from skpneumo._model_state import versions
from skpneumo._training.checks import hidden_layer_sizes
from skpneumo._training.dataset import Examples
from skpneumo._training.finetune import Tuning, features_of_rows, finetune
from skpneumo._utils.callbacks import FitTasks
from skpneumo.exceptions import ImageReadError

OTHER_FEATURES = "The weights, or parameters that shape features, are others than in fit: restore them, or fit anew."
_N_SHIFTED = 2  # shifted copies of each held-out image


class Before(NamedTuple):
    """What a fit that goes on needs of the last one beside its attributes; it lasts as long as the memory."""

    random: np.random.RandomState
    moments: list[np.ndarray] | None
    held_out: np.ndarray | None


class Training:
    """One fit.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Its parameters; and, if it goes on from `start`, its attributes.
    line : Line or None
        From images to features. None: the examples are features.
    examples : Examples
        What it is trained on.
    tasks : FitTasks
        Told of what is done.
    start : Head or None
        What it goes on from.
    is_partial : bool
        Whether it is one epoch of many.
    """

    def __init__(
        self, clf: Any, line: Line | None, examples: Examples, tasks: FitTasks, start: Head | None, *, is_partial: bool
    ) -> None:
        self.clf, self.line, self.examples, self.tasks = clf, line, examples, tasks
        self.start, self.is_partial = start, is_partial
        self.data = dict(examples.for_callbacks)  # what callbacks are told
        if start and "stated_share" in clf.reference_:
            raise ValueError("A copy that was adapted to another site cannot go on training: train the model itself.")
        if start and start.layers and not (line and line.holds(start.layers)):
            raise ValueError(
                f"The last fit tuned other layers than n_layers={clf.n_layers} and "
                f"n_trainable_layers={clf.n_trainable_layers} name: restore these, or fit anew with warm_start=False."
            )
        self.before: Before | None = getattr(clf, "_before", None) if start else None
        self.random = self.before.random if self.before else check_random_state(clf.random_state)
        self.resampler = Resampler(clf.sampler, examples.classes, clf.n_views if line else 1, self.random)
        self.drawn_count = np.zeros(len(examples.classes))
        self.is_iterative = is_partial or clf.n_trainable_layers > 0 or len(hidden_layer_sizes(clf)) > 0

    def run(self) -> tuple[dict[str, Any], Before | None]:
        """Train; return the fitted attributes, and what a fit that goes on will need besides."""
        clf, line, examples = self.clf, self.line, self.examples
        data = self.data
        self.tasks.begin(**data)
        train, held_out = examples, None
        if clf.early_stopping and self.is_iterative:
            before = self.before.held_out if self.before else None
            train, held_out = examples.hold_out(clf.validation_fraction, self.random, before)
        self.n_held_out = len(held_out) if held_out else 0
        with ExitStack() as stack:
            layers: dict[str, np.ndarray] = {}
            store = None
            if line and clf.n_trainable_layers:
                layers = self.start.layers if self.start and self.start.layers else line.load_trainable(self.random)
                if clf.n_trainable_layers < clf.n_layers:
                    store = stack.enter_context(room_for_maps(open_store(clf.memory, "maps")))
            parts: list[tuple[Examples, int, Augmentation]] = [(train, clf.n_views, Augmentation.of(clf.augmentation))]
            if held_out:
                parts.append((held_out, 1 + _N_SHIFTED, SHIFTED))
            rows, *more = _rows(line, parts, layers, store=store, progress=self.tasks)
            held = more[0] if more else None
            if self.start and self.is_iterative:
                self._check_start(self.start, rows)
            if line and not layers and held is None:  # what predicts at once, without the images
                data["X"] = rows.features[:: clf.n_views].copy() if self.tasks.wants("X") else None
            seen = self._seen([rows, *more])
            attributes = partial(self._attributes, rows=rows, layers=layers, seen=seen)
            progress = partial(self.tasks, attributes=attributes, **data)
            if layers:
                head, plain = self._tune(rows, held, layers, progress)
            else:
                head, plain = self._fit_head(rows, held, self.start, progress)
        learnt = attributes(head) | self._of_plain_images(head, plain, train)
        return learnt, self._leave(head, held_out)

    def end(self) -> None:
        """Tell callbacks that the classifier is fitted."""
        self.tasks.end(**self.data)

    def _fit_head(
        self,
        rows: FeatureRows,
        held: FeatureRows | None,
        start: Head | None,
        progress: Callable[..., Any],
    ) -> tuple[Head, np.ndarray]:
        """Train a head on features; return it, and the standardised ones of plain images."""
        clf, examples, sizes = self.clf, rows.examples, hidden_layer_sizes(self.clf)
        is_partial = self.is_partial and not clf.n_trainable_layers
        is_probe = not sizes and not is_partial
        if is_probe:
            start = None  # its one solution does not depend on where it starts
        features, mean, scale = standardize(
            rows.features, examples.sample_weight, overwrite=examples.is_images, start=start
        )
        drawn, draws, held = self._draws(features, examples, held)
        if is_probe:
            missing = [name for i, name in enumerate(examples.classes.tolist()) if i not in examples.codes]
            if missing:
                raise ValueError(
                    "With trainable layers and no hidden layers, the first call of partial_fit needs images of every "
                    f"class, but there are none of {missing}."
                )
            head = fit_probe(drawn, mean, scale, alpha=clf.alpha)
        else:
            head = fit_dense(
                draws,
                mean,
                scale,
                n_classes=len(examples.classes),
                hidden_layer_sizes=sizes,
                alpha=clf.alpha,
                dropout=clf.dropout,
                learning_rate_init=clf.learning_rate_init,
                batch_size=min(200, len(drawn.rows)) if clf.batch_size == "auto" else int(clf.batch_size),
                max_iter=1 if is_partial else clf.max_iter,
                device=resolve_device(clf.device),
                random=self.random,
                start=start,
                stopping=self._stopping() if held else None,
                held=held,
                progress=progress,
            )
        return head, features[:: examples.n_views]

    def _tune(
        self,
        rows: FeatureRows,
        held: FeatureRows | None,
        layers: dict[str, np.ndarray],
        progress: Callable[..., Any],
    ) -> tuple[Head, np.ndarray]:
        """Train the trainable layers and the head together, from the head that was trained before; return likewise."""
        assert self.line is not None
        assert rows.maps is not None
        clf = self.clf
        head = self.start or self._fit_head(rows, held, None, progress)[0]
        if not head.layers:  # Adam has gathered nothing of them
            head = replace(head, layers=layers, moments=None)
        tuning = Tuning(
            max_iter=1 if self.is_partial else clf.tune_max_iter,
            batch_size=min(32, len(rows.examples)) if clf.batch_size == "auto" else int(clf.batch_size),
            learning_rate=float(clf.tune_learning_rate),
            is_scheduled=not self.is_partial,
            average=float(clf.tune_average),
            alpha=clf.alpha,
            dropout=clf.dropout,
        )
        features = rows.features
        if self.start and clf.sampler is not None:  # otherwise they are standardised already
            features, *_ = standardize(features, rows.examples.sample_weight, overwrite=True, start=head)
        _, draws, held = self._draws(features, rows.examples, held, only_picked=True)
        head = finetune(
            self.line.tail_shape(),
            head,
            rows,
            tuning,
            draws=draws,
            random=self.random,
            stopping=self._stopping() if held else None,
            held=held,
            progress=progress,
        )
        plain = np.arange(0, len(rows.maps), rows.examples.n_views)
        features = features_of_rows(self.line.tail_shape(), head.layers, rows.maps, plain)
        return head, ((features - head.mean) / head.scale).astype(np.float32)

    def _of_plain_images(self, head: Head, standardized: np.ndarray, train: Examples) -> dict[str, Any]:
        """Return the attributes that are made of plain training images, once the head is trained."""
        clf, shift = self.clf, np.zeros(len(head.intercepts[-1]))
        reference = fit_reference(standardized, train.codes, len(train.classes), train.sample_weight, train.groups)
        reference["drawn_count"] = self.drawn_count
        if self.is_partial and self.start and clf.reference_:
            reference = merged(clf.reference_, reference, is_alike=not head.layers)
        if clf.prior_correction and (clf.class_weight is not None or clf.sampler is not None):
            if self.is_partial:  # the images of earlier calls are gone
                shift = log_ratio(reference["class_count"], reference["drawn_count"])
            else:
                logits = replace(head, mean=np.zeros(1), scale=np.ones(1)).logits(standardized)
                shift = prior_shift(logits, train.codes, train.sample_weight)
        return {"prior_shift_": shift, "reference_": reference}

    def _draws(
        self, features: np.ndarray, examples: Examples, held: FeatureRows | None, *, only_picked: bool = False
    ) -> tuple[Drawn, Iterator[Drawn], FeatureRows | None]:
        """Draw for the first epoch; return that, draws for all epochs, and what is held out, weighted likewise."""
        draws = self.resampler.draws(Drawn.all_of(features, examples.codes, examples.loss_weight))
        drawn = next(draws)
        self.drawn_count = drawn.class_count(len(examples.classes))
        if only_picked and drawn.features is not features:
            raise ValueError(makes_features(self.clf.sampler))
        if held and self.clf.sampler is not None:
            count = examples.class_count(examples.loss_weight)
            held = replace(held, examples=held.examples.weighted_like(count, self.drawn_count))
        return drawn, chain([drawn], draws), held

    def _attributes(
        self,
        head: Head,
        *,
        rows: FeatureRows,
        layers: dict[str, np.ndarray],
        seen: Seen,
    ) -> dict[str, Any]:
        """Return what a fit leaves on an estimator at any time."""
        return {
            "backbone_fingerprint_": rows.fingerprint,
            "weights_digest_": rows.weights_digest,
            "bundled_weights_": {},
            "classes_": self.examples.classes,
            "feature_mean_": head.mean,
            "feature_scale_": head.scale,
            "coefs_": head.coefs,
            "intercepts_": head.intercepts,
            "n_iter_": head.n_iter,
            "loss_curve_": head.loss_curve,
            "accuracy_curve_": head.accuracy_curve,
            "validation_scores_": head.validation_scores if head.best_iter is not None else None,
            "validation_accuracy_curve_": head.validation_accuracies if head.best_iter is not None else None,
            "best_iter_": head.best_iter,
            "tuned_layers_": head.layers or layers,
            "prior_shift_": np.zeros(len(head.intercepts[-1])),
            "reference_": {},
            "seen_": seen,
            "training_summary_": self._summary(),
            "versions_": versions(),
        }

    def _seen(self, parts: list[FeatureRows]) -> Seen:
        """Note the images and patients of this fit, those held out too, beside those of fits that it goes on from."""
        examples = self.examples
        images = list(examples.X) if examples.is_images else None
        names = names_of(images, examples.groups if examples.are_groups_given else None, len(examples))
        if examples.is_images:
            contents = [content_of(item) for part in parts for item in part.items]
        else:
            contents = row_digests(examples.X)
        return remember(contents, set().union(*names), self.clf.seen_ if self.start else None)

    def _summary(self) -> dict[str, Any]:
        """Tell in plain numbers what this fit saw."""
        examples, n_classes = self.examples, len(self.examples.classes)
        is_named = examples.is_images or examples.are_groups_given
        _, groups = np.unique(examples.groups.astype(str), return_inverse=True)
        pairs = np.unique(np.column_stack([groups, examples.codes]), axis=0)
        metadata = examples.for_callbacks["metadata"] or {}
        before = self.clf.training_summary_ if self.start else {}
        return {
            "kind": "images" if examples.is_images else "features",
            "n_images": len(examples),
            "n_images_by_class": np.bincount(examples.codes, minlength=n_classes).tolist(),
            "n_patients": int(groups.max()) + 1 if is_named else None,
            "n_patients_by_class": np.bincount(pairs[:, 1], minlength=n_classes).tolist() if is_named else None,
            "n_held_out": self.n_held_out,
            "n_views": int(self.clf.n_views) if examples.is_images else 1,
            "total_weight": float(examples.sample_weight.sum()) if "sample_weight" in metadata else None,
            "n_calls": before.get("n_calls", 0) + 1,
        }

    def _leave(self, head: Head, held_out: Examples | None) -> Before | None:
        if not (self.is_partial or self.clf.warm_start):
            return None
        return Before(self.random, head.moments, held_out.groups if held_out else None)

    def _check_start(self, start: Head, rows: FeatureRows) -> None:
        """Refuse to go on from weights that belong to other inputs."""
        fingerprint = self.clf.backbone_fingerprint_
        if (
            None not in (rows.fingerprint, fingerprint)
            and bool(rows.maps) == bool(start.layers)
            and rows.fingerprint != fingerprint
        ):
            raise ValueError(OTHER_FEATURES)
        n_features, hidden = rows.features.shape[1], hidden_layer_sizes(self.clf)
        sizes = (len(start.mean), *map(len, start.intercepts[:-1]))
        if sizes != (n_features, *hidden):
            raise ValueError(
                f"The last fit left {sizes[0]} features and hidden_layer_sizes={sizes[1:]}, but now there are "
                f"{n_features} features and hidden_layer_sizes={hidden}: restore what has changed, or fit anew with "
                "warm_start=False."
            )

    def _stopping(self) -> EarlyStopping[Head]:
        return EarlyStopping(self.clf.n_iter_no_change, self.clf.tol)


def _rows(
    line: Line | None,
    parts: list[tuple[Examples, int, Augmentation]],
    layers: dict[str, np.ndarray],
    **settings: Any,
) -> list[FeatureRows]:
    """Compute, or look up, the rows of each part; one error names what cannot be read in any of them."""
    if line is None:
        return [FeatureRows(examples, examples.X) for examples, *_ in parts]
    rows, failures = [], []
    for part in parts:
        try:
            rows.append(line.rows(*part, layers, **settings))
        except ImageReadError as error:
            failures += error.failures
    if failures:
        raise ImageReadError(failures)
    return rows
