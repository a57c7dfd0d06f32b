"""Fit a classifier on checked examples: validation split, features, head and trainable layers."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skpneumo._encoder.encoder import Encoder
from skpneumo._encoder.feature_maps import maps_store
from skpneumo._encoder.spec import content_of
from skpneumo._encoder.trainable import features_of_maps
from skpneumo._feature_store.store import FeatureStore, open_store
from skpneumo._heads.domain_adaptation import fit_reference, log_ratio, logit_statistics, merged
from skpneumo._heads.early_stopping import EarlyStopping
from skpneumo._heads.fitted_head import FittedHead
from skpneumo._heads.head import Head, prior_shift, standardize
from skpneumo._heads.logistic_regression import fit_logistic_regression
from skpneumo._heads.mlp import fit_mlp
from skpneumo._heads.resampling import Resampler, TrainingRows, new_features_message
from skpneumo._images.augmentation import SHIFTED, Augmentation
from skpneumo._keras import resolve_device
from skpneumo._leakage import Seen, names_of, remember, row_digests
from skpneumo._training.checks import hidden_layer_sizes
from skpneumo._training.dataset import Examples, FeatureRows
from skpneumo._training.finetune import Tuning, finetune
from skpneumo._utils.callbacks import FitTasks
from skpneumo._utils.messages import list_items
from skpneumo.exceptions import ImageReadError

OTHER_FEATURES = (
    "The weights or the parameters that determine the features differ from those of fit: restore them, or fit again."
)
_N_SHIFTED = 2  # augmented copies of each validation image
_PLAIN_WEIGHT = 0.5  # of the plain view of each validation image; the copies share the rest


@dataclass(frozen=True)
class FitConfig:
    """The parameters of a classifier that determine a fit, in addition to those of its encoder."""

    n_layers: int
    n_views: int
    plain_weight: float
    augmentation: Any
    hidden_layer_sizes: tuple[int, ...]
    alpha: float
    dropout: float
    learning_rate_init: float
    batch_size: int | str
    max_iter: int
    n_trainable_layers: int
    tune_learning_rate: float
    tune_max_iter: int
    tune_average: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    warm_start: bool
    class_weight: Any
    sampler: Any
    prior_correction: bool
    device: str
    random_state: Any

    @classmethod
    def of(cls, clf: Any) -> "FitConfig":
        """Create the configuration from a classifier with checked parameters."""
        params = {each.name: getattr(clf, each.name) for each in fields(cls)}
        return cls(**params | {"hidden_layer_sizes": hidden_layer_sizes(clf)})


class FitState(NamedTuple):
    """State that a continued fit needs in addition to fitted attributes; it is kept in memory only."""

    random: np.random.RandomState
    optimizer_state: list[np.ndarray] | None
    held_out: np.ndarray | None


@dataclass(frozen=True)
class PreviousFit:
    """Result of the fit that a new fit continues."""

    head: Head
    fingerprint: str | None
    reference: dict[str, np.ndarray]
    seen: Seen
    summary: dict[str, Any]
    state: FitState | None

    @property
    def fitted(self) -> FittedHead:
        """The head with the state of the optimizer that trained it, if available."""
        return FittedHead(self.head, optimizer_state=self.state.optimizer_state if self.state else None)


@dataclass(frozen=True)
class FitResult:
    """Result of a fit, at its end or after an epoch."""

    fitted: FittedHead
    classes: np.ndarray
    fingerprint: str | None
    weights_digest: str | None
    layers: dict[str, np.ndarray]
    seen: Seen
    summary: dict[str, Any]
    prior_shift: np.ndarray
    reference: dict[str, np.ndarray]


class Training:
    """One fit.

    Parameters
    ----------
    config : FitConfig
        Parameters of the fit.
    encoder : Encoder or None
        Encoder of the images. None if the examples contain features.
    examples : Examples
        Training data.
    tasks : FitTasks
        Progress bars and callbacks.
    attributes : callable
        Turns a result into the attributes of a fitted classifier, for callbacks.
    previous : PreviousFit or None
        The fit that this one continues.
    is_partial : bool
        Whether this is a call of `partial_fit`.
    """

    def __init__(
        self,
        config: FitConfig,
        encoder: Encoder | None,
        examples: Examples,
        tasks: FitTasks,
        attributes: Callable[[FitResult], dict[str, Any]],
        previous: PreviousFit | None,
        *,
        is_partial: bool,
    ) -> None:
        self.config, self.encoder, self.examples, self.tasks = config, encoder, examples, tasks
        self.attributes, self.previous, self.is_partial = attributes, previous, is_partial
        self.start = start = previous.head if previous else None
        self.data = dict(examples.for_callbacks)
        if previous and "stated_share" in previous.reference:
            raise ValueError("A model adapted to another site cannot be trained further: train the original model.")
        if start and start.layers and not (encoder and encoder.has_trainable(start.layers)):
            raise ValueError(
                f"The previous fit trained other layers than n_layers={config.n_layers} and "
                f"n_trainable_layers={config.n_trainable_layers} specify: restore these parameters, or fit again with "
                "warm_start=False."
            )
        self.state = previous.state if previous else None
        # A copy, so that a failed fit does not advance the generator of the previous one.
        self.random = copy.deepcopy(self.state.random) if self.state else check_random_state(config.random_state)
        self.resampler = Resampler(config.sampler, examples.classes, config.n_views if encoder else 1, self.random)
        self.drawn_count = np.zeros(len(examples.classes))
        self.is_iterative = is_partial or config.n_trainable_layers > 0 or len(config.hidden_layer_sizes) > 0

    def run(self) -> tuple[FitResult, FitState | None]:
        """Train; return the result and the state for a continued fit."""
        config, encoder, examples = self.config, self.encoder, self.examples
        data = self.data
        self.tasks.begin(**data)
        train, held_out = examples, None
        if config.early_stopping and self.is_iterative:
            previous = self.state.held_out if self.state else None
            contents = encoder.digests(examples.X) if encoder else {}
            train, held_out = examples.hold_out(config.validation_fraction, self.random, previous, contents)
        self.n_held_out = len(held_out) if held_out else 0
        with ExitStack() as stack:
            layers: dict[str, np.ndarray] = {}
            store = None
            if encoder and config.n_trainable_layers:
                layers = self.start.layers if self.start and self.start.layers else encoder.load_trainable(self.random)
                if config.n_trainable_layers < config.n_layers:
                    store = stack.enter_context(maps_store(open_store(encoder.memory, "maps")))
            parts: list[tuple[Examples, int, float, Augmentation]] = [
                (train, config.n_views, config.plain_weight, Augmentation.of(config.augmentation))
            ]
            if held_out:
                parts.append((held_out, 1 + _N_SHIFTED, _PLAIN_WEIGHT, SHIFTED))
            encoder = encoder and encoder.with_layers(layers)
            rows, *more = _rows(encoder, parts, store=store, progress=self.tasks)
            validation = more[0] if more else None
            if self.start and self.is_iterative:
                self._check_start(self.start, rows)
            if encoder and not layers and validation is None:  # callbacks predict faster on features than on images
                data["X"] = rows.features[:: config.n_views].copy() if self.tasks.needs("X") else None
            seen = self._seen([rows, *more])
            result = partial(self._result, rows=rows, layers=layers, seen=seen)
            progress = partial(self.tasks, **data)
            if layers:
                fitted, standardized = self._tune(rows, validation, layers, progress, result)
            else:
                start = self.previous.fitted if self.previous else None
                fitted, standardized = self._fit_head(rows, validation, start, progress, result)
        reference = self._reference(fitted.head, standardized[:: rows.examples.n_views], train)
        if self.is_partial:  # images of earlier calls are not available
            shift = self._shift_of_counts(reference["class_count"], reference["drawn_count"])
        else:
            shift = self._prior_shift(fitted.head, standardized, rows.examples)
        return replace(result(fitted), prior_shift=shift, reference=reference), self._fit_state(fitted, held_out)

    def end(self) -> None:
        """Notify the callbacks that the classifier is fitted."""
        self.tasks.end(**self.data)

    def _fit_head(
        self,
        rows: FeatureRows,
        validation: FeatureRows | None,
        start: FittedHead | None,
        progress: Callable[..., Any],
        result: Callable[..., FitResult],
    ) -> tuple[FittedHead, np.ndarray]:
        """Fit a head on features; return it and the standardized features."""

        def attributes(fitted: FittedHead) -> dict[str, Any]:
            shift = self._prior_shift(fitted.head, features, examples)
            return self.attributes(replace(result(fitted), prior_shift=shift))

        config, examples, sizes = self.config, rows.examples, self.config.hidden_layer_sizes
        is_partial = self.is_partial and not config.n_trainable_layers
        is_probe = not sizes and not is_partial
        if is_probe:
            start = None  # the unique solution does not depend on the starting point
        features, mean, scale = standardize(
            rows.features, examples.sample_weight, overwrite=examples.is_images, start=start.head if start else None
        )
        resampled, epochs, validation = self._epochs(features, examples, validation)
        if is_probe:
            missing = [repr(name) for i, name in enumerate(examples.classes.tolist()) if i not in examples.codes]
            if missing:
                raise ValueError(
                    "With trainable layers and without hidden layers, the first call of partial_fit requires images of "
                    f"every class, but it has none of {list_items(missing)}."
                )
            fitted = fit_logistic_regression(resampled, mean, scale, alpha=config.alpha)
        else:
            fitted = fit_mlp(
                epochs,
                mean,
                scale,
                n_classes=len(examples.classes),
                hidden_layer_sizes=sizes,
                alpha=config.alpha,
                dropout=config.dropout,
                learning_rate_init=config.learning_rate_init,
                batch_size=min(200, len(resampled.rows)) if config.batch_size == "auto" else int(config.batch_size),
                max_iter=1 if is_partial else config.max_iter,
                device=resolve_device(config.device),
                random=self.random,
                start=start,
                stopping=self._stopping() if validation else None,
                validation=validation,
                progress=partial(progress, attributes=attributes),
            )
        return fitted, features

    def _tune(
        self,
        rows: FeatureRows,
        validation: FeatureRows | None,
        layers: dict[str, np.ndarray],
        progress: Callable[..., Any],
        result: Callable[..., FitResult],
    ) -> tuple[FittedHead, np.ndarray]:
        """Train the trainable layers and the head together, from a fitted head; return as in `_fit_head`."""

        def attributes(fitted: FittedHead) -> dict[str, Any]:
            count = rows.examples.class_count(rows.examples.sample_weight)
            return self.attributes(replace(result(fitted), prior_shift=self._shift_of_counts(count, self.drawn_count)))

        assert self.encoder is not None
        assert rows.maps is not None
        config = self.config
        start = self.previous.fitted if self.previous else self._fit_head(rows, validation, None, progress, result)[0]
        if not start.head.layers:  # the state of Adam does not include the layers
            start = FittedHead(replace(start.head, layers=layers))
        tuning = Tuning(
            max_iter=1 if self.is_partial else config.tune_max_iter,
            batch_size=min(32, len(rows.examples)) if config.batch_size == "auto" else int(config.batch_size),
            learning_rate=float(config.tune_learning_rate),
            is_scheduled=not self.is_partial,
            average=float(config.tune_average),
            alpha=config.alpha,
            dropout=config.dropout,
        )
        features = rows.features
        if self.start and config.sampler is not None:  # samplers need standardized features; after `_fit_head` they are
            features, *_ = standardize(features, rows.examples.sample_weight, overwrite=True, start=start.head)
        _, epochs, validation = self._epochs(features, rows.examples, validation, must_select=True)
        fitted = finetune(
            self.encoder.trainable_spec(),
            start,
            rows,
            tuning,
            epochs=epochs,
            random=self.random,
            stopping=self._stopping() if validation else None,
            validation=validation,
            progress=partial(progress, attributes=attributes),
        )
        head = fitted.head
        features = features_of_maps(self.encoder.trainable_spec(), head.layers, rows.maps, np.arange(len(rows.maps)))
        return fitted, ((features - head.mean) / head.scale).astype(np.float32)

    def _reference(self, head: Head, plain: np.ndarray, train: Examples) -> dict[str, np.ndarray]:
        """Return statistics of the standardized features and the logits of the plain training images."""
        reference = fit_reference(plain, train.codes, len(train.classes), train.sample_weight, train.groups)
        reference["drawn_count"] = self.drawn_count
        if self.is_partial and self.previous and self.previous.reference:
            reference = merged(self.previous.reference, reference, is_alike=not head.layers)
        logits = replace(head, mean=np.zeros(1), scale=np.ones(1)).logits(plain)
        return reference | logit_statistics(logits, train.codes, train.sample_weight)

    def _prior_shift(self, head: Head, standardized: np.ndarray, examples: Examples) -> np.ndarray:
        """Return the shift of the logits to the prevalence in the training data, from all views."""
        if not self._is_corrected:
            return np.zeros(len(head.intercepts[-1]))
        logits = replace(head, mean=np.zeros(1), scale=np.ones(1)).logits(standardized)
        return prior_shift(logits, examples.codes, examples.sample_weight)

    def _shift_of_counts(self, count: np.ndarray, drawn_count: np.ndarray) -> np.ndarray:
        """Return the approximate shift of the logits from the class counts without and with weights and sampler."""
        return log_ratio(count, count if not self._is_corrected else drawn_count)

    @property
    def _is_corrected(self) -> bool:
        config = self.config
        return config.prior_correction and (config.class_weight is not None or config.sampler is not None)

    def _epochs(
        self, features: np.ndarray, examples: Examples, validation: FeatureRows | None, *, must_select: bool = False
    ) -> tuple[TrainingRows, Iterator[TrainingRows], FeatureRows | None]:
        """Return the rows of the first epoch, those of all epochs, and the validation rows, reweighted alike."""
        epochs = self.resampler.epochs(TrainingRows.all_of(features, examples.codes, examples.loss_weight))
        first = next(epochs)
        self.drawn_count = first.class_count(len(examples.classes))
        if must_select and first.features is not features:
            raise ValueError(new_features_message(self.config.sampler))
        if validation and self.config.sampler is not None:
            count = examples.class_count(examples.loss_weight)
            validation = replace(validation, examples=validation.examples.reweighted(count, self.drawn_count))
        return first, chain([first], epochs), validation

    def _result(self, fitted: FittedHead, *, rows: FeatureRows, layers: dict[str, np.ndarray], seen: Seen) -> FitResult:
        """Return the result for a fitted head."""
        return FitResult(
            fitted=fitted,
            classes=self.examples.classes,
            fingerprint=rows.fingerprint,
            weights_digest=rows.weights_digest,
            layers=fitted.head.layers or layers,
            seen=seen,
            summary=self._summary(),
            prior_shift=np.zeros(len(fitted.head.intercepts[-1])),
            reference={},
        )

    def _seen(self, parts: list[FeatureRows]) -> Seen:
        """Return the images and patients of this fit, including held-out ones, and of the fits that it continues."""
        examples = self.examples
        images = list(examples.X) if examples.is_images else None
        names = names_of(images, examples.groups if examples.are_groups_given else None, len(examples))
        if examples.is_images:
            contents = [content_of(item) for part in parts for item in part.items]
        else:
            contents = row_digests(examples.X)
        return remember(contents, set().union(*names), self.previous.seen if self.previous else None)

    def _summary(self) -> dict[str, Any]:
        """Return the counts of `training_summary_`."""
        examples, n_classes = self.examples, len(self.examples.classes)
        is_named = examples.is_images or examples.are_groups_given
        _, groups = np.unique(examples.groups.astype(str), return_inverse=True)
        pairs = np.unique(np.column_stack([groups, examples.codes]), axis=0)
        metadata = examples.for_callbacks["metadata"] or {}
        previous = self.previous.summary if self.previous else {}
        return {
            "kind": "images" if examples.is_images else "features",
            "n_images": len(examples),
            "n_images_by_class": np.bincount(examples.codes, minlength=n_classes).tolist(),
            "n_patients": int(groups.max()) + 1 if is_named else None,
            "n_patients_by_class": np.bincount(pairs[:, 1], minlength=n_classes).tolist() if is_named else None,
            "n_held_out": self.n_held_out,
            "n_views": int(self.config.n_views) if examples.is_images else 1,
            "total_weight": float(examples.sample_weight.sum()) if "sample_weight" in metadata else None,
            "n_calls": previous.get("n_calls", 0) + 1,
        }

    def _fit_state(self, fitted: FittedHead, held_out: Examples | None) -> FitState | None:
        if not (self.is_partial or self.config.warm_start):
            return None
        return FitState(self.random, fitted.optimizer_state, held_out.groups if held_out else None)

    def _check_start(self, start: Head, rows: FeatureRows) -> None:
        """Raise if the weights of the previous fit do not match the features or the hidden layers."""
        fingerprint = self.previous.fingerprint if self.previous else None
        if (
            None not in (rows.fingerprint, fingerprint)
            and bool(rows.maps) == bool(start.layers)
            and rows.fingerprint != fingerprint
        ):
            raise ValueError(OTHER_FEATURES)
        n_features, hidden = rows.features.shape[1], self.config.hidden_layer_sizes
        sizes = (len(start.mean), *map(len, start.intercepts[:-1]))
        if sizes != (n_features, *hidden):
            raise ValueError(
                f"The previous fit had {sizes[0]} features and hidden_layer_sizes={sizes[1:]}, but this one has "
                f"{n_features} features and hidden_layer_sizes={hidden}: restore these, or fit again with "
                "warm_start=False."
            )

    def _stopping(self) -> EarlyStopping[Head]:
        return EarlyStopping(self.config.n_iter_no_change, self.config.tol)


def _rows(
    encoder: Encoder | None,
    parts: list[tuple[Examples, int, float, Augmentation]],
    *,
    store: FeatureStore | None,
    progress: Callable[..., Any],
) -> list[FeatureRows]:
    """Compute, or look up, the rows of each part; one error lists the unreadable images of all parts."""
    if encoder is None:
        return [FeatureRows(examples, examples.X) for examples, *_ in parts]
    rows, failures = [], []
    for examples, n_views, plain_weight, augmentation in parts:
        try:
            found = encoder.extract(examples.X, n_views, augmentation, maps_store=store, progress=progress)
        except ImageReadError as error:
            failures += error.failures
            continue
        spec = encoder.spec()
        rows.append(
            FeatureRows(
                examples.repeat(n_views, plain_weight),
                found.features,
                spec.fingerprint(),
                found.items,
                found.maps,
                spec.backbone.needs,
            )
        )
    if failures:
        raise ImageReadError(failures)
    return rows
