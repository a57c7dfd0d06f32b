"""PneumoniaClassifier: parameters, validation, and the straight line from images to probabilities."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array, check_consistent_length, check_random_state, check_scalar
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from skpneumo._callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skpneumo._device import resolve_device
from skpneumo._examples import Examples
from skpneumo._features import VGG19Features
from skpneumo._finetune import Tuning, finetune
from skpneumo._head import Head, fit_dense, fit_probe, standardize
from skpneumo._inputs import as_paths, check_column
from skpneumo._line import Line
from skpneumo._maps import FeatureRows, room_for_maps
from skpneumo._patients import patient_key
from skpneumo._progress import progress_bar
from skpneumo._stopping import EarlyStopping
from skpneumo._store import open_store
from skpneumo._views import SHIFTED, Augmentation
from skpneumo.exceptions import ImageReadError

_FLOATS = (np.float64, np.float32)
_N_SHIFTED = 2  # shifted copies of each held-out image
_OTHER_FEATURES = "The weights, or parameters that shape features, are others than in fit: restore them, or fit anew."


class _Before(NamedTuple):
    """What a fit that goes on needs of the last one beside its weights; it lasts as long as the estimator's memory."""

    random: np.random.RandomState
    moments: list[np.ndarray] | None
    held_out: np.ndarray | None


class PneumoniaClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Classifier of chest X-rays by transfer learning from VGG19.

    Images pass the first `n_layers` convolution layers of VGG19, which are frozen; the maps that come out are averaged
    over a grid, and a head is trained on these features. Features are kept on disk by the content of the image, so
    that every further fit, fold and candidate of a search costs the head alone.

    A research tool, not a medical device: what it says of images from another hospital, another machine or adults has
    to be measured there first.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        "imagenet": the weights that Keras downloads into ``~/.keras``. A path: a ``.npz`` file with arrays named
        "block1_conv1/kernel", "block1_conv1/bias" and so on, or a ``.h5``, ``.weights.h5`` or ``.keras`` file of
        VGG19. None: untrained, from a fixed seed, the same on every machine.
    n_layers : int, default=16
        How many of the 16 convolution layers are used, from the first. A pooling layer follows where a block is
        complete.
    image_size : int, default=224
        Side in pixels of the square that the network sees, at least 32.
    aspect : {"crop", "pad", "stretch"}, default="crop"
        How an image becomes square. "crop": its short side is scaled, its centre cropped. "pad": its long side is
        scaled, the rest is black. "stretch": both sides are scaled. In Kermany's data, films of pneumonia are wider
        than others, which "pad" and "stretch" give away.
    contrast : {None, "equalize"}, default=None
        "equalize": the histogram of gray values is equalised.
    pool_grid : int, default=4
        The maps are averaged over a ``pool_grid`` x ``pool_grid`` grid, adaptively where it does not divide their
        side, and at most over their own places. 1 is global average pooling.
    n_views : int, default=1
        Views of each image that enter the fit: the image itself, and others as another site might have shown it. They
        are drawn from the content of the image alone, computed once and stored. Half of its weight is the image's own,
        the others share the rest. 4 with ``class_weight="balanced"`` is what held up best under change of site.
    augmentation : "xray" or mapping, default="xray"
        How far views differ from the image. A mapping changes single strengths of "xray": "rotation" (7, degrees to
        either side), "area" (0.4, the smallest share of what the plain view shows, from anywhere in the image),
        "margin" (0.8, the largest share beyond it, black where the image ends), "aspect" (0.3, log ratio of width to
        height), "gamma" (0.8, log of the exponent), "contrast" (1.0, log of the factor), "brightness" (0.3, of gray
        values between 0 and 1), "blur" (1.5, pixels of 224), "noise" (0.08, of gray values between 0 and 1), "flip"
        (0, share of the views that are mirrored, which moves the heart to the right).
    n_views_predict : int, default=1
        Views of a new image whose logits are averaged.
    hidden_layer_sizes : sequence of int, or int, default=()
        (): a linear probe, solved to convergence on standardised features. Otherwise the sizes of dense ReLU layers,
        trained by back-propagation (Adam) from random weights and zero biases.
    alpha : float, default=0.05
        Strength of the L2 penalty relative to the number of inputs. What is minimised is

        ``sum_i w_i loss_i + alpha / 2 * sum_l m_l ||W_l||^2``

        with the logistic loss and the weight ``w_i`` of each image, and the weights ``W_l`` and number of inputs
        ``m_l`` of each layer; intercepts are free. With standardised inputs its best value hardly depends on
        `n_layers` and `pool_grid`. For the linear probe it is ``LogisticRegression(C=1 / (alpha * n_features))``.
    dropout : float, default=0.0
        Share of the units of each dense layer that a training step leaves out. Not used by the linear probe.
    learning_rate_init : float, default=0.001
        Step size of Adam. Not used by the linear probe.
    batch_size : int or "auto", default="auto"
        Rows a training step; "auto" is at most 200 for dense layers and at most 32 where layers of VGG19 are trained.
        Not used by the linear probe.
    max_iter : int, default=200
        Epochs. Not used by the linear probe.
    n_trainable_layers : int, default=0
        How many of the last of the `n_layers` layers are trained too, once the head has been. What lies below is
        computed once a view and stored. With all of them, views are drawn anew in each epoch. Trainable layers that
        a file of weights lacks start from random weights.
    tune_learning_rate : float, default=5e-5
        Step size of Adam at its highest, for the trainable layers and the head together: it rises over a tenth of
        the steps and falls to zero.
    tune_max_iter : int, default=3
        Epochs of it.
    tune_average : float, default=0.5
        Share of the trained weights in what is kept; the rest are the weights from before. 1: the trained ones alone.
    early_stopping : bool, default=False
        Whether epochs end when the score of held-out patients has ceased to rise, and the best weights are kept. The
        score is minus the log loss over their images and two copies of each that are changed more than views are.
        Not used by the linear probe.
    validation_fraction : float, default=0.1
        Share of the patients that are held out.
    n_iter_no_change : int, default=10
        Epochs without a rise of the score by `tol`.
    tol : float, default=1e-4
        What counts as a rise.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one, and from its standardisation. The linear probe, which
        has one solution, is solved anew.
    class_weight : None, "balanced" or dict, default=None
        Weights of the classes in the loss, as in scikit-learn.
    memory : "auto", None, path or joblib.Memory, default="auto"
        Where features are stored. "auto": the user's cache folder, or the folder that the environment variable
        ``SKPNEUMO_CACHE`` names. None: nowhere. Of a ``Memory``, its location is used.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where the network runs. "auto": on a GPU where the framework under Keras finds one.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        How the layers compute. "auto": bfloat16 where the device has it natively, float16 on a GPU that has tensor
        cores for it alone, float32 otherwise. What comes out is float32. Trainable layers compute in float32 where the
        others do in float16.
    n_jobs : int, default=None
        Threads that decode images; None (unless in a ``joblib.parallel_config``): as many as keep the device busy.
        In a ``parallel_config`` of Dask or Ray: workers that images are spread over.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the order of images, dropout and what early stopping holds out. The linear probe
        draws nothing.
    verbose : int, default=0
        Above 0: a progress bar where images or epochs take more than a second. The solver of the linear probe, which
        knows no epochs, shows none.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_features_in_ : int
        1 where `fit` saw images; the number of features where it saw these.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where `fit` saw a DataFrame with string names.
    feature_mean_, feature_scale_ : ndarray of shape (n_features,)
        What features are standardised by.
    backbone_fingerprint_ : str or None
        Of the backbone that images passed in `fit`; predicting on images asks for the same. None where `fit` saw
        features.
    coefs_ : list of ndarray
        Weights of each layer of the head, (n_inputs, n_outputs).
    intercepts_ : list of ndarray
        Biases of each layer, (n_outputs,). The last layer has one output for two classes, otherwise one a class.
    tuned_layers_ : dict of str to ndarray
        Trained weights of VGG19, float16, keyed "block3_conv4/kernel" and so on. Empty without trainable layers.
    n_iter_ : int
        Passes of the solver over the features, or epochs; of the tuning, where there was one.
    loss_curve_, accuracy_curve_ : list of float
        Loss (with its penalty) and accuracy over the training images as they passed, one an epoch. Empty for the
        linear probe.
    validation_scores_ : list of float or None
        With early stopping, the score after each epoch; of a tuning, at first that of the head it began with.
    best_iter_ : int or None
        With early stopping, the epoch whose weights were kept, from 1; 0: tuning has gained nothing.

    See Also
    --------
    VGG19Features : The features alone, for any other classifier.
    skpneumo.model_selection.PatientGroupKFold : Folds that keep a patient on one side.

    Notes
    -----
    From scikit-learn 1.9 on, `fit` tells its callbacks of images and epochs: ``set_callbacks(ProgressBar())``.

    `X` may also be a numeric matrix: features already extracted, by `VGG19Features` or otherwise. A model fitted on
    features of `VGG19Features` with the same parameters predicts on images, and the other way round.

    References
    ----------
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
    arXiv:1409.1556.

    D. Kermany, K. Zhang, M. Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for
    Classification", Mendeley Data, 2018, doi:10.17632/rscbjbr9sj.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     clf.predict_proba(X).shape
    (8, 2)
    """

    def __init__(
        self,
        weights: Any = "imagenet",
        *,
        n_layers: int = 16,
        image_size: int = 224,
        aspect: str = "crop",
        contrast: str | None = None,
        pool_grid: int = 4,
        n_views: int = 1,
        augmentation: Mapping[str, float] | str = "xray",
        n_views_predict: int = 1,
        hidden_layer_sizes: Sequence[int] | int = (),
        alpha: float = 0.05,
        dropout: float = 0.0,
        learning_rate_init: float = 0.001,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        n_trainable_layers: int = 0,
        tune_learning_rate: float = 5e-5,
        tune_max_iter: int = 3,
        tune_average: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        memory: Any = "auto",
        device: str = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.weights = weights
        self.n_layers = n_layers
        self.image_size = image_size
        self.aspect = aspect
        self.contrast = contrast
        self.pool_grid = pool_grid
        self.n_views = n_views
        self.augmentation = augmentation
        self.n_views_predict = n_views_predict
        self.hidden_layer_sizes = hidden_layer_sizes
        self.alpha = alpha
        self.dropout = dropout
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_trainable_layers = n_trainable_layers
        self.tune_learning_rate = tune_learning_rate
        self.tune_max_iter = tune_max_iter
        self.tune_average = tune_average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.class_weight = class_weight
        self.memory = memory
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> "PneumoniaClassifier":
        """Extract features, or look them up, and train the head on them; then the trainable layers, if there are any.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame; or matrix
            Paths of images, str or pathlib.Path; or features already extracted, numbers of shape
            (n_samples, n_features).
        y : array-like of shape (n_samples,)
            Labels of any type, of two or more classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the images in the standardisation and in the loss.
        groups : array-like of shape (n_samples,), default=None
            Patients, whom `early_stopping` keeps on one side. None: read from the names of the files, each file
            whose name tells none being a patient of its own; of features, each row.

        Returns
        -------
        PneumoniaClassifier
            Itself.

        Raises
        ------
        ImageReadError
            Some images cannot be read; it names all of them. What was computed until then is stored.
        WeightsError
            The weights cannot be reached, or do not fit.
        """
        self._check_parameters()
        examples = self._check_examples(X, y, sample_weight, groups)
        start = self._trained() if self.warm_start and hasattr(self, "coefs_") else None
        if start is not None and not np.array_equal(self.classes_, examples.classes):
            raise ValueError(
                f"warm_start=True goes on with the classes of the last fit, {self.classes_}, but y has "
                f"{examples.classes}."
            )
        return self._train(examples, FitTasks(self, self._bar()), start)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "PneumoniaClassifier":
        """Train for one more epoch, on these images.

        The first call settles the standardisation of the features. Without trainable layers, each call is an epoch of
        the head; a linear probe is trained by Adam then, not solved. With trainable layers, the first call fits the
        head as `fit` does, and each call is an epoch of tuning at a constant learning rate.

        Parameters
        ----------
        X, y : as in `fit`
            Images, or features, and labels of this call.
        classes : array-like of shape (n_classes,), default=None
            All labels that there will be; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        PneumoniaClassifier
            Itself.

        Raises
        ------
        ImageReadError, WeightsError
            As in `fit`.
        """
        self._check_parameters()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True.")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"partial_fit does not support class_weight={self.class_weight!r}, which needs all labels: pass a "
                "dict, such as sklearn.utils.class_weight.compute_class_weight makes, or sample_weight."
            )
        start = self._trained() if hasattr(self, "coefs_") else None
        if start is None and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if start is not None and classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_}.")
        examples = self._check_examples(X, y, sample_weight, classes=self.classes_ if start else np.unique(classes))
        return self._train(examples, FitTasks(None, self._bar()), start, is_partial=True)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute logits.

        Parameters
        ----------
        X : as in `fit`
            Paths of images, or features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes), float64
            For two classes, the log odds of ``classes_[1]``; otherwise one unnormalised log probability a class.
        """
        check_is_fitted(self)
        logits = self._trained().logits(self._features(X))
        n_views = 1 if as_paths(X) is None else self.n_views_predict
        logits = logits.reshape(-1, n_views, logits.shape[1]).mean(axis=1)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> np.ndarray:
        """Name the most probable class of each image.

        Parameters
        ----------
        X : as in `fit`
            Paths of images, or features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        logits = self.decision_function(X)
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Paths of images, or features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        logits = self.decision_function(X)
        return expit(_two_columns(logits)) if logits.ndim == 1 else softmax(logits, axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Compute the logarithm of the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Paths of images, or features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        logits = self.decision_function(X)
        return log_expit(_two_columns(logits)) if logits.ndim == 1 else log_softmax(logits, axis=1)

    def _check_examples(
        self, X: Any, y: Any, sample_weight: Any, groups: Any = None, classes: np.ndarray | None = None
    ) -> Examples:
        """Check what `fit` is given; `classes` are those to come, None: those of `y`."""
        given, paths = X, as_paths(X)
        is_first = classes is None or not hasattr(self, "coefs_")
        if paths is None:
            X, y = validate_data(self, X, y, dtype=_FLOATS, reset=is_first)
        else:
            y = validate_data(self, X="no_validation", y=y)
            check_column(self, X, paths, reset=is_first)
            check_consistent_length(paths, y)
        if paths is not None:
            self._line()  # checks its parameters
        elif self.n_trainable_layers:
            raise ValueError(
                f"n_trainable_layers={self.n_trainable_layers} needs images, but X holds features already extracted: "
                "pass paths, or n_trainable_layers=0."
            )
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y if classes is None else classes)
        if len(encoder.classes_) < 2:
            raise ValueError(
                f"Needs samples of at least 2 classes, but y contains only one class: {encoder.classes_[0]}."
            )
        metadata = {"sample_weight": sample_weight, "groups": groups}
        if groups is not None:
            groups = column_or_1d(groups)
            check_consistent_length(groups, y)
            unknown = np.flatnonzero([group is None or group != group for group in groups.tolist()])  # noqa: PLR0124
            if len(unknown):
                raise ValueError(f"groups must name a patient for each image, but has none for X{unknown.tolist()}.")
        elif paths is not None:
            groups = np.array([patient_key(path) or os.path.abspath(path) for path in paths], dtype=object)
        else:
            groups = np.arange(len(y))
        sample_weight = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        if not sample_weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        loss_weight = sample_weight * compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(loss_weight).all() and (loss_weight >= 0).all() and loss_weight.any()):
            raise ValueError(
                f"class_weight must be finite, not negative, and not 0 for all; got {self.class_weight!r}."
            )
        metadata = {name: value for name, value in metadata.items() if value is not None}
        return Examples(
            X if paths is None else np.array(paths, dtype=object),
            is_images=paths is not None,
            classes=encoder.classes_,
            codes=encoder.transform(y),
            sample_weight=sample_weight,
            loss_weight=loss_weight,
            groups=groups,
            positions=np.arange(len(y)),
            for_callbacks={"X": given, "y": y, "metadata": metadata or None},
        )

    def _train(
        self, examples: Examples, tasks: FitTasks, start: Head | None, *, is_partial: bool = False
    ) -> "PneumoniaClassifier":
        """From checked examples to fitted attributes, going on from `start` if there is one."""
        line = self._line() if examples.is_images else None
        if start and start.layers and not (line and line.holds(start.layers)):
            raise ValueError(
                f"The last fit tuned other layers than n_layers={self.n_layers} and "
                f"n_trainable_layers={self.n_trainable_layers} name: restore these, or fit anew with warm_start=False."
            )
        goes_on = is_partial or self.warm_start
        before = getattr(self, "_before", None) if start and goes_on else None
        random = before.random if before else check_random_state(self.random_state)
        data = dict(examples.for_callbacks)
        tasks.begin(**data)
        is_iterative = is_partial or self.n_trainable_layers > 0 or len(self._hidden_layer_sizes()) > 0
        train, held_out = examples, None
        if self.early_stopping and is_iterative:
            train, held_out = examples.hold_out(self.validation_fraction, random, before.held_out if before else None)
        with ExitStack() as stack:
            layers: dict[str, np.ndarray] = {}
            store = None
            if line and self.n_trainable_layers:
                layers = start.layers if start and start.layers else line.load_trainable(random)
                if self.n_trainable_layers < self.n_layers:
                    store = stack.enter_context(room_for_maps(open_store(self.memory, "maps")))

            parts: list[tuple[Examples, int, Augmentation]] = [
                (train, self.n_views, Augmentation.of(self.augmentation))
            ]
            if held_out:
                parts.append((held_out, 1 + _N_SHIFTED, SHIFTED))
            rows, *more = _rows(line, parts, layers, store=store, progress=tasks)
            held = more[0] if more else None
            if start and is_iterative:
                self._check_start(start, rows)
            if line and not layers and held is None:  # what predicts at once, without the images
                data["X"] = rows.features[:: self.n_views].copy() if tasks.wants("X") else None
            attributes = partial(_attributes, classes=examples.classes, fingerprint=rows.fingerprint, layers=layers)
            progress = partial(tasks, attributes=attributes, **data)
            if line is None or not layers:
                head = self._fit_head(rows, held, start, random, progress, is_partial=is_partial)
            else:
                head = start or self._fit_head(rows, held, None, random, progress)
                if not head.layers:  # Adam has gathered nothing of them
                    head = replace(head, layers=layers, moments=None)
                head = self._tune(head, line, rows, held, random, progress, is_partial=is_partial)
        for name, value in attributes(head).items():
            setattr(self, name, value)
        self._before: _Before | None = None
        if goes_on:
            self._before = _Before(random, head.moments, held_out.groups if held_out else None)
        tasks.end(**data)
        return self

    def _trained(self) -> Head:
        """Put together from the attributes what was learnt."""
        return Head(
            self.feature_mean_,
            self.feature_scale_,
            self.coefs_,
            self.intercepts_,
            layers=self.tuned_layers_,
            moments=before.moments if (before := getattr(self, "_before", None)) else None,
        )

    def _check_start(self, start: Head, rows: FeatureRows) -> None:
        """Refuse to go on from weights that belong to other inputs."""
        if (
            None not in (rows.fingerprint, self.backbone_fingerprint_)
            and bool(rows.maps) == bool(start.layers)
            and rows.fingerprint != self.backbone_fingerprint_
        ):
            raise ValueError(_OTHER_FEATURES)
        n_features = rows.features.shape[1]
        sizes = (len(start.mean), *map(len, start.intercepts[:-1]))
        if sizes != (n_features, *self._hidden_layer_sizes()):
            raise ValueError(
                f"The last fit left {sizes[0]} features and hidden_layer_sizes={sizes[1:]}, but now there are "
                f"{n_features} features and hidden_layer_sizes={self._hidden_layer_sizes()}: restore what has changed, "
                "or fit anew with warm_start=False."
            )

    def _bar(self) -> Callable[..., Any]:
        return partial(progress_bar, verbose=self.verbose)

    def _line(self) -> Line:
        parameters = {name: getattr(self, name) for name in VGG19Features().get_params()}
        extractor = VGG19Features(**parameters).set_output(transform="default")
        extractor._check_parameters()
        check_scalar(self.n_trainable_layers, "n_trainable_layers", Integral, min_val=0, max_val=self.n_layers)
        return Line(extractor, self.n_trainable_layers)

    def _features(self, X: Any) -> np.ndarray:
        """Features of new images and their views, or the matrix `X` itself, checked against what was fitted."""
        paths = as_paths(X)
        fitted_on_images = self.backbone_fingerprint_ is not None
        if paths is None and not fitted_on_images:
            return validate_data(self, X, dtype=_FLOATS, reset=False)
        if paths is None:
            features = check_array(X, dtype=_FLOATS, estimator=self)
        else:
            features = self._features_of_images(X, paths, fitted_on_images)
        if features.shape[1] != len(self.feature_mean_):
            raise ValueError(
                f"X {'gives' if paths else 'has'} {features.shape[1]} features, but {type(self).__name__} is expecting "
                f"{len(self.feature_mean_)} features as input."
            )
        return features

    def _features_of_images(self, X: Any, paths: list[str], fitted_on_images: bool) -> np.ndarray:
        line, layers = self._line(), self.tuned_layers_
        way = line.way(self.n_views_predict, Augmentation.of(self.augmentation), layers)
        if fitted_on_images:
            check_column(self, X, paths, reset=False)
            if way.fingerprint() != self.backbone_fingerprint_ or (layers and not line.holds(layers)):
                raise ValueError(_OTHER_FEATURES)
        return line.features(paths, way, layers, self._bar())

    def _fit_head(
        self,
        rows: FeatureRows,
        held: FeatureRows | None,
        start: Head | None,
        random: np.random.RandomState,
        progress: Callable[..., Any],
        *,
        is_partial: bool = False,
    ) -> Head:
        hidden_layer_sizes, examples = self._hidden_layer_sizes(), rows.examples
        is_probe = not hidden_layer_sizes and not is_partial
        if is_probe:
            start = None  # its one solution does not depend on where it starts
        features, mean, scale = standardize(
            rows.features, examples.sample_weight, overwrite=examples.is_images, start=start
        )
        data = (features, examples.codes, examples.loss_weight, mean, scale)
        if is_probe:
            missing = [name for i, name in enumerate(examples.classes.tolist()) if i not in examples.codes]
            if missing:
                raise ValueError(
                    "With trainable layers and no hidden layers, the first call of partial_fit needs images of every "
                    f"class, but there are none of {missing}."
                )
            return fit_probe(*data, alpha=self.alpha)
        return fit_dense(
            *data,
            n_classes=len(examples.classes),
            hidden_layer_sizes=hidden_layer_sizes,
            alpha=self.alpha,
            dropout=self.dropout,
            learning_rate_init=self.learning_rate_init,
            batch_size=min(200, len(examples)) if self.batch_size == "auto" else int(self.batch_size),
            max_iter=1 if is_partial else self.max_iter,
            device=resolve_device(self.device),
            random=random,
            start=start,
            stopping=self._stopping() if held else None,
            held=held,
            progress=progress,
        )

    def _tune(
        self,
        head: Head,
        line: Line,
        rows: FeatureRows,
        held: FeatureRows | None,
        random: np.random.RandomState,
        progress: Callable[..., Any],
        *,
        is_partial: bool,
    ) -> Head:
        tuning = Tuning(
            max_iter=1 if is_partial else self.tune_max_iter,
            batch_size=min(32, len(rows.examples)) if self.batch_size == "auto" else int(self.batch_size),
            learning_rate=float(self.tune_learning_rate),
            is_scheduled=not is_partial,
            average=float(self.tune_average),
            alpha=self.alpha,
            dropout=self.dropout,
        )
        stopping = self._stopping() if held else None
        return finetune(
            line.tail_shape(), head, rows, tuning, random=random, stopping=stopping, held=held, progress=progress
        )

    def _stopping(self) -> EarlyStopping[Head]:
        return EarlyStopping(self.n_iter_no_change, self.tol)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what only a fit that goes on has need of; a model that is loaded goes on without it."""
        return {name: value for name, value in super().__getstate__().items() if name != "_before"}

    def _check_parameters(self) -> None:
        """Check what shapes the head; the rest is checked where it is used."""
        check_scalar(self.alpha, "alpha", Real, min_val=0)
        check_scalar(self.dropout, "dropout", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(
            self.learning_rate_init,
            "learning_rate_init",
            Real,
            min_val=0,
            include_boundaries="neither",
        )
        check_scalar(self.n_trainable_layers, "n_trainable_layers", Integral, min_val=0)
        for name in ("max_iter", "tune_max_iter", "n_views", "n_views_predict", "n_iter_no_change"):
            check_scalar(getattr(self, name), name, Integral, min_val=1)
        check_scalar(self.tune_average, "tune_average", Real, min_val=0, max_val=1, include_boundaries="right")
        check_scalar(self.tol, "tol", Real, min_val=0)
        check_scalar(
            self.validation_fraction, "validation_fraction", Real, min_val=0, max_val=1, include_boundaries="neither"
        )
        check_scalar(self.tune_learning_rate, "tune_learning_rate", Real, min_val=0, include_boundaries="neither")
        if self.batch_size != "auto":
            check_scalar(self.batch_size, "batch_size", Integral, min_val=1)
        for name in ("alpha", "learning_rate_init", "tune_learning_rate", "tol"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}, but it must be a finite number.")
        for size in self._hidden_layer_sizes():
            check_scalar(size, "hidden_layer_sizes", Integral, min_val=1)

    def _hidden_layer_sizes(self) -> tuple[int, ...]:
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, Integral):
            return (int(sizes),)
        if isinstance(sizes, (tuple, list, np.ndarray)):
            return tuple(int(size) if isinstance(size, Integral) else size for size in sizes)
        raise TypeError(f"hidden_layer_sizes must be a sequence of ints such as (128,); got {sizes!r}.")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def _rows(
    line: Line | None,
    parts: Sequence[tuple[Examples, int, Augmentation]],
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


def _attributes(
    head: Head, classes: np.ndarray, fingerprint: str | None, layers: dict[str, np.ndarray]
) -> dict[str, Any]:
    """All that `fit` leaves on an estimator, but for what input validation does; `layers` are those before a tuning."""
    return {
        "backbone_fingerprint_": fingerprint,
        "classes_": classes,
        "feature_mean_": head.mean,
        "feature_scale_": head.scale,
        "coefs_": head.coefs,
        "intercepts_": head.intercepts,
        "n_iter_": head.n_iter,
        "loss_curve_": head.loss_curve,
        "accuracy_curve_": head.accuracy_curve,
        "validation_scores_": head.validation_scores if head.best_iter is not None else None,
        "best_iter_": head.best_iter,
        "tuned_layers_": head.layers or layers,
    }


def _two_columns(logits: np.ndarray) -> np.ndarray:
    return np.column_stack([-logits, logits])
