"""PneumoniaClassifier: the public estimator, from images to probabilities."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS, Encoder
from skpneumo._encoder.extract import contents
from skpneumo._feature_store.store import open_store
from skpneumo._heads.conformal import conformal_p_values, conformal_scores
from skpneumo._heads.domain_adaptation import (
    adapt_standardization,
    check_n_images,
    class_shares,
    estimate_site,
    fit_slope_and_shift,
    log_ratio,
    prior_shift,
    record_site,
    shift_to_mean,
    undetermined,
)
from skpneumo._heads.head import Head
from skpneumo._heads.head import prior_shift as unweighted_shift
from skpneumo._heads.novelty import is_shifted, novelty, smallest_p_value
from skpneumo._heads.resampling import SAMPLERS
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.inputs import as_images, check_column, images_if_any
from skpneumo._images.sources import Images
from skpneumo._leakage import SplitCheckMixin, row_digests, warn_of_scorer, warn_of_seen
from skpneumo._model_state import check_preprocessing, from_saved_state, to_saved_state, versions
from skpneumo._training.checks import FLOATS, check_examples, check_features, check_parameters, codes_of_every_class
from skpneumo._training.dataset import Examples
from skpneumo._training.training import OTHER_FEATURES, FitConfig, FitResult, PreviousFit, Training
from skpneumo._utils.callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skpneumo._utils.callers import call_by_sklearn
from skpneumo._utils.doc_link import DocumentationLinkMixin
from skpneumo._utils.messages import list_values, stacklevel_of_user
from skpneumo._utils.progress import progress_bar
from skpneumo._utils.rollback import unchanged_on_error
from skpneumo._utils.validation import BOOLEAN, COUNT, RANDOM_STATE, Finite, choices, validated
from skpneumo.exceptions import DomainShiftWarning


class PneumoniaClassifier(
    SplitCheckMixin, DocumentationLinkMixin, CallbackSupportMixin, ClassifierMixin, BaseEstimator
):
    """Chest X-ray classifier using transfer learning from VGG19.

    Images pass through the first `n_layers` convolution layers of VGG19, which are frozen. The feature maps are
    averaged over a grid, and a head is trained on these features. Features are cached on disk by image content, so
    repeated fits, folds and search candidates only train the head.

    This is a research tool, not a medical device. Evaluate it on local data before using it at another hospital, with
    other equipment or for another age group.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        "imagenet" uses the weights that Keras downloads to ``~/.keras``. A path refers to a ``.npz`` file with arrays
        named "block1_conv1/kernel", "block1_conv1/bias" and so on, or to a ``.h5``, ``.weights.h5`` or ``.keras`` file
        of VGG19. If None, use random weights from a fixed seed, the same on every machine. A fitted model also searches
        ``~/.keras`` and the path in the environment variable ``SKPNEUMO_WEIGHTS`` for the weights used in `fit`.
    n_layers : int, default=8
        Number of convolution layers used, out of 16. A pooling layer follows each complete block. The first 8 layers
        respond to edges and texture; deeper layers are specific to the photographs of ImageNet.
    image_size : int, default=112
        Side of the network input in pixels, at least 32.
    aspect : {"crop", "pad", "stretch"}, default="crop"
        How images are made square. "crop" scales the short side and crops the center, "pad" scales the long side and
        fills the rest with black, "stretch" scales both sides. In the Kermany data, images with pneumonia are wider
        than others; "pad" and "stretch" reveal this to the model.
    contrast : {None, "equalize"}, default=None
        If "equalize", equalize the histogram of gray values.
    pool_grid : int, default=4
        Side of the grid over which the feature maps are averaged, at most their own side. The pooling is adaptive if
        the grid does not divide the maps. 1 is global average pooling.
    norm : {"l2", None}, default="l2"
        Norm to which the features of each image are scaled, which removes most of the effect of exposure and contrast.
        If None, they are not scaled. Not used if `X` contains features.
    n_views : int, default=5
        Number of views per training image: the plain view and ``n_views - 1`` augmented views, which depend on the
        content of the image and are cached. With 1, the first fit takes about a fifth of the time, but the model makes
        more errors at other sites. Not used if `X` contains features, of which each row is one view.
    plain_weight : float, default=0.03
        Proportion of the weight of an image that its plain view gets in the loss and in the standardization. The
        augmented views share the rest. Lower values transfer better to other sites, higher values fit images like
        those of the training site better. Not used if ``n_views=1``.
    augmentation : "xray" or mapping, default="xray"
        Strength of the augmentation. A mapping overrides individual values of "xray": "rotation" (7, degrees in either
        direction), "area" (0.4, smallest area of a view relative to the plain view; the position is random), "margin"
        (0.8: a view covers at most 1.8 times the area of the plain view; pixels outside the image are black), "aspect"
        (0.3, log ratio of width to height), "gamma" (0.8, log of the exponent), "contrast" (1.0, log of the factor),
        "brightness" (0.3, of gray values in [0, 1]), "blur" (1.5, pixels at side 224), "noise" (0.08, of gray values in
        [0, 1]), "flip" (0, proportion of mirrored views, which show the heart on the right).
    n_views_predict : int, default=1
        Number of views per image in prediction. Their logits are averaged.
    hidden_layer_sizes : int or sequence of int, default=()
        Number of neurons in each hidden layer (dense, ReLU) of the head, trained by backpropagation with Adam from
        random weights and zero biases. If empty, the head is a linear probe, solved to convergence on standardized
        features.
    alpha : float, default=0.02
        Strength of the L2 regularization term, relative to the number of inputs. The objective is

        ``sum_i w_i loss_i + alpha / 2 * sum_l m_l ||W_l||^2``

        with the log loss and weight ``w_i`` of each image, and the weights ``W_l`` and number of inputs ``m_l`` of
        each layer. Intercepts are not regularized. The best value hardly depends on `n_layers` and `pool_grid`, as
        inputs are standardized. The linear probe equals ``LogisticRegression(C=1 / (alpha * n_features))``.
    dropout : float, default=0.0
        Dropout rate of the hidden layers. Not used by the linear probe.
    learning_rate_init : float, default=0.001
        Learning rate of Adam. Not used by the linear probe.
    batch_size : int or "auto", default="auto"
        Size of minibatches. "auto" is at most 200 for hidden layers and 32 for fine-tuning. Not used by the linear
        probe.
    max_iter : int, default=200
        Maximum number of epochs. Not used by the linear probe.
    n_trainable_layers : int, default=0
        Number of layers, counted from the last of the `n_layers` layers, to fine-tune after the head is trained. The
        output of the frozen layers is cached for each view, and every epoch uses the same views; if all layers are
        trainable, there is no such cache, and each epoch draws new views. Trainable layers missing from a weight file
        start from random weights.
    tune_learning_rate : float, default=0.00005
        Peak learning rate of Adam in fine-tuning, for the trainable layers and the head. It increases during the first
        tenth of the steps and decays to zero.
    tune_max_iter : int, default=3
        Maximum number of epochs of fine-tuning.
    tune_average : float, default=0.5
        The weights before and after fine-tuning are averaged: ``(1 - tune_average) * before + tune_average * after``.
    early_stopping : bool, default=False
        Whether to use early stopping to terminate training when the validation score is not improving, and keep the
        best weights. The score is the negative log loss over the images of held-out patients and two augmented copies
        of each; these copies are augmented more strongly than the training views. Not used by the linear probe.
    validation_fraction : float, default=0.1
        The proportion of patients to set aside as validation set for early stopping.
    n_iter_no_change : int, default=10
        Maximum number of epochs to not meet `tol` improvement.
    tol : float, default=0.0001
        Tolerance for early stopping: the smallest increase of the validation score that counts as improvement.
    warm_start : bool, default=False
        When set to True, reuse the weights and the standardization of the previous call to fit as initialization. The
        linear probe, which has a unique solution, is solved again.
    class_weight : dict, "balanced" or None, default="balanced"
        Weights associated with classes in the loss, as in scikit-learn. "balanced" makes `predict` independent of the
        prevalence in the training data, which differs between sites; `predict_proba` is corrected to it, see
        `prior_correction`. "balanced" takes `sample_weight` into account and, in `partial_fit`, the class counts of all
        calls so far. With a sampler, it is not used.
    sampler : {"over", "under", "smote"}, sampler or None, default=None
        Resample the training images by their features, once for the linear probe and in each epoch otherwise: "over"
        draws rare classes more often, "under" draws frequent classes less often, "smote" interpolates between
        neighbors. Samplers of imbalanced-learn are supported; with trainable layers, only those that select images.
        Held-out images are never resampled, and images of zero weight are not drawn.
    prior_correction : bool, default=True
        Whether `predict_proba` is corrected to the prevalence in the training data if there are class weights or a
        sampler: the intercepts are solved again on all views of the original training images. `predict` and
        `decision_function` are not affected.
    memory : "auto", None, path or joblib.Memory, default="auto"
        Where features are cached. "auto" is the folder in the environment variable ``SKPNEUMO_CACHE``, or else the user
        cache folder. For a ``joblib.Memory``, use its location. If None, features are not cached.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Device for the network. "auto" uses a GPU if the backend of Keras finds one.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the computation; features are float32. "auto" is bfloat16 if the device supports it natively,
        float16 on a GPU whose tensor cores support float16 but not bfloat16, and float32 otherwise. Trainable layers
        compute in float32 if the others use float16.
    n_jobs : int, default=None
        Number of threads that decode images. If None, use as many threads as keep the device busy, unless in a
        ``joblib.parallel_config`` context. In a context of Dask or Ray, images are distributed to the workers.
    random_state : int, RandomState instance or None, default=None
        Determines random number generation for weight initialization, batch sampling, dropout, the validation split
        and the sampler, whose own seed is ignored. The linear probe without a sampler is deterministic.
    verbose : int, default=0
        If positive, show progress bars for images and epochs that take more than a second. The solver of the linear
        probe shows none.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    n_features_in_ : int
        Number of features seen during `fit`; 1 if fitted on images.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during `fit`. Defined only when `X` has feature names that are all strings.
    feature_mean_ : ndarray of shape (n_features,)
        Mean of each feature, subtracted in standardization.
    feature_scale_ : ndarray of shape (n_features,)
        Scale of each feature, the divisor in standardization.
    backbone_fingerprint_ : str or None
        Fingerprint of preprocessing and network. Prediction on images raises an error if it has changed since `fit`.
        None if fitted on features.
    weights_digest_ : str or None
        Hexadecimal digest of the frozen weights, the same for every file that contains these weights. None if no
        weights are read, such as with ``weights=None``.
    bundled_weights_ : dict of str to ndarray
        Frozen weights, keyed "block1_conv1/kernel" and so on, in a copy from `bundle_weights`. Empty otherwise.
    coefs_ : list of ndarray of shape (n_inputs, n_outputs)
        Weights of each layer of the head.
    intercepts_ : list of ndarray of shape (n_outputs,)
        Biases of each layer of the head. The last layer has one output for two classes, else one per class.
    tuned_layers_ : dict of str to ndarray
        Fine-tuned weights of VGG19, float16, keyed "block3_conv4/kernel" and so on. Empty without trainable layers.
    n_iter_ : int
        Number of epochs or, for the linear probe, passes of the solver over the features. With fine-tuning, the number
        of epochs of fine-tuning only.
    loss_curve_ : list of float
        Training loss with regularization, by epoch. Empty for the linear probe.
    accuracy_curve_ : list of float
        Training accuracy, by epoch. Empty for the linear probe.
    validation_scores_ : list of float or None
        Validation score by epoch, preceded by that of the initial head in fine-tuning. None without early stopping.
    validation_accuracy_curve_ : list of float or None
        Accuracy over the same held-out images and copies, unweighted. None without early stopping.
    best_iter_ : int or None
        Epoch of the kept weights, from 1; 0 if fine-tuning brought no improvement. None without early stopping.
    prior_shift_ : ndarray of shape (n_outputs,)
        Shift that `predict_proba` adds to the logits for `prior_correction`.
    reference_ : dict of str to ndarray
        Statistics of the features and logits of the training images, used by `adapt` and `novelty`. In an adapted copy,
        also the class proportions of the site, see `adapt`.
    conformal_scores_ : list of ndarray
        Nonconformity scores of held-out images by class, in ascending order, in a copy from `conformalize`. Empty
        otherwise.
    seen_ : dict of str to ndarray
        Short digests of the training images and salted digests of their patients, used by `score` and by scorers of
        scikit-learn to detect leakage.
    threshold_ : float or None
        Probability of ``classes_[1]`` above which `predict` returns it: with the default parameters, near the
        prevalence in the training data; 0.5 without class weights, sampler and `adapt`. None for more than two classes.
    training_summary_ : dict
        Data of the last call to `fit` or `partial_fit`: "kind" ("images" or "features"), "n_images",
        "n_images_by_class", "n_patients" and "n_patients_by_class" (None if unknown), "n_held_out" (validation images),
        "n_views", "total_weight" (sum of `sample_weight`, or None), "n_calls" (number of calls since training
        started).
    versions_ : dict of str to str
        Versions of skpneumo, scikit-learn, Keras and its backend, numpy, Pillow, Python and "preprocessing" in `fit`.

    See Also
    --------
    VGG19Features : Transformer that extracts the features for any other classifier.
    skpneumo.model_selection.PatientGroupKFold : Cross-validation that keeps patients apart.

    Notes
    -----
    `X` can also be a matrix of features, from `VGG19Features` or elsewhere. A model fitted on features of
    `VGG19Features` with the same parameters predicts on images, and vice versa.

    Cross-validation, searches, calibration, threshold tuning and stacking of scikit-learn cause a
    :class:`~skpneumo.exceptions.LeakageWarning` if a split has the same patients on both sides.

    With scikit-learn 1.9 or later, `fit` supports callbacks: ``set_callbacks(ProgressBar())``.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PARAMETER_CONSTRAINTS,
        "n_views": COUNT,
        "plain_weight": [Finite(Real, 0, 1, closed="right")],
        "augmentation": [choices("xray"), Mapping],
        "n_views_predict": COUNT,
        "hidden_layer_sizes": ["array-like", Finite(Integral, 1, None, closed="left")],
        "alpha": [Finite(Real, 0, None, closed="left")],
        "dropout": [Finite(Real, 0, 1, closed="left")],
        "learning_rate_init": [Finite(Real, 0, None, closed="neither")],
        "batch_size": [choices("auto"), Finite(Integral, 1, None, closed="left")],
        "max_iter": COUNT,
        "n_trainable_layers": [Finite(Integral, 0, None, closed="left")],
        "tune_learning_rate": [Finite(Real, 0, None, closed="neither")],
        "tune_max_iter": COUNT,
        "tune_average": [Finite(Real, 0, 1, closed="right")],
        "early_stopping": BOOLEAN,
        "validation_fraction": [Finite(Real, 0, 1, closed="neither")],
        "n_iter_no_change": COUNT,
        "tol": [Finite(Real, 0, None, closed="left")],
        "warm_start": BOOLEAN,
        "class_weight": [choices("balanced"), dict, None],
        "sampler": [choices(*SAMPLERS), HasMethods(["fit_resample", "get_params", "set_params"]), None],
        "prior_correction": BOOLEAN,
        "random_state": RANDOM_STATE,
    }

    def __init__(
        self,
        weights: Any = "imagenet",
        *,
        n_layers: int = 8,
        image_size: int = 112,
        aspect: str = "crop",
        contrast: str | None = None,
        pool_grid: int = 4,
        norm: str | None = "l2",
        n_views: int = 5,
        plain_weight: float = 0.03,
        augmentation: Mapping[str, float] | str = "xray",
        n_views_predict: int = 1,
        hidden_layer_sizes: Sequence[int] | int = (),
        alpha: float = 0.02,
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
        class_weight: Mapping[Any, float] | str | None = "balanced",
        sampler: Any = None,
        prior_correction: bool = True,
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
        self.norm = norm
        self.n_views = n_views
        self.plain_weight = plain_weight
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
        self.sampler = sampler
        self.prior_correction = prior_correction
        self.memory = memory
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @unchanged_on_error
    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> "PneumoniaClassifier":
        """Fit the model to images and labels.

        Parameters
        ----------
        X : array-like of shape (n_samples,), (n_samples, 1) or (n_samples, n_features)
            Images as a list, tuple, Series, ndarray or one-column DataFrame of paths (str or pathlib.Path), bytes,
            open binary files, PIL images, pixel arrays (uint8 or uint16) or URLs; or a matrix of extracted features.
        y : array-like of shape (n_samples,)
            Class labels of any type, of at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Per-sample weights, used in the standardization and in the loss.
        groups : array-like of shape (n_samples,) or str, default=None
            Patient of each image, or a pattern that finds it in the path, as in
            :func:`~skpneumo.model_selection.patient_ids`. Early stopping keeps the images of a patient together. If
            None, patients are read from file names or DICOM headers; an image without a patient there, or a row of
            features, is its own patient.

        Returns
        -------
        self : PneumoniaClassifier
            Fitted estimator.

        Raises
        ------
        ImageReadError
            If images cannot be read. The error lists all of them; features computed so far stay cached.
        WeightsError
            If the weights are not found or do not match the network.
        """
        check_parameters(self)
        examples = check_examples(self, X, y, sample_weight, groups)
        is_continued = self.warm_start and hasattr(self, "coefs_")
        if is_continued and not np.array_equal(self.classes_, examples.classes):
            raise ValueError(
                "warm_start can only be used where y has the same classes as in the previous call to fit. Previously "
                f"got {list_values(self.classes_)}, y has {list_values(examples.classes)}. Set warm_start=False to "
                "start again."
            )
        self._train(examples, FitTasks(self, self._bar()), is_continued=is_continued, is_partial=False)
        return self

    @unchanged_on_error
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "PneumoniaClassifier":
        """Update the model with a single epoch over the given data.

        The first call determines the standardization. Without trainable layers, each call trains the head for one
        epoch; the linear probe is then trained with Adam. With trainable layers, the first call also fits the head as
        `fit` does, and each call is one epoch of fine-tuning at a constant learning rate. With class weights or a
        sampler, the prior correction uses the class counts of all calls. `novelty` compares images with those of a
        single call: the one with the most images or, with trainable layers, the last one.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to `partial_fit`. Required for the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Per-sample weights.

        Returns
        -------
        self : PneumoniaClassifier
            Fitted estimator.

        Raises
        ------
        ImageReadError, WeightsError
            As in `fit`.
        """
        check_parameters(self)
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: set early_stopping=False.")
        is_continued = hasattr(self, "coefs_")
        if not is_continued and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if is_continued and classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(
                f"`classes={list_values(np.unique(classes))}` is not the same as on last call to partial_fit, was: "
                f"{list_values(self.classes_)}."
            )
        classes = self.classes_ if is_continued else np.unique(classes)
        examples = check_examples(self, X, y, sample_weight, classes=classes)
        self._train(examples, FitTasks(None, self._bar()), is_continued=is_continued, is_partial=True)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits of the images.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes), float64
            The log odds of ``classes_[1]`` for two classes; otherwise an unnormalized log-probability per class.
            Neither includes the shift `prior_shift_`.

        Warns
        -----
        DomainShiftWarning
            If at least 20 images differ as a whole from the training images, of which at least 30 patients of each
            class are required. An adapted copy does not warn, even at a third site. No warning does not mean that there
            is no domain shift.
        LeakageWarning
            If a scorer of scikit-learn calls this method and images or patients were used in `fit`.
        """
        check_is_fitted(self)
        features, n_views = self._rows(X, self.n_views_predict)
        self._warn_of_domain_shift(features[::n_views])
        warn_of_scorer(self, X)
        return self._logits(features, n_views)

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Labels follow `decision_function`. Class weights and a sampler therefore affect them even if
        ``prior_correction=True``, and the `prevalence` passed to `adapt` affects them only because it changes the
        standardization.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predicted class labels.
        """
        return self._labels(self.decision_function(X))

    @validated(level=[Finite(Real, 0, 1, closed="both")])
    def predict_or_abstain(self, X: Any, *, level: float = 0.01) -> np.ndarray:
        """Predict class labels, and None for images that differ too much from the training images.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.
        level : float, default=0.01
            Abstain if the p-value from `novelty` is at most `level`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,), object
            Predicted class labels or None.

        Raises
        ------
        ValueError
            If `level` is below the smallest p-value possible with this number of training images.
        """
        check_is_fitted(self)
        lowest = smallest_p_value(self._fitted_reference())
        if level < lowest:
            raise ValueError(
                f"level={level}, but p-values are never below {lowest:.2g} with this number of training images and "
                "patients: increase level, or use predict."
            )
        features, n_views = self._rows(X, self.n_views_predict)
        self._warn_of_domain_shift(features[::n_views])
        labels = self._labels(self._logits(features, n_views)).astype(object)
        labels[self._novelty(features[::n_views]) <= level] = None
        return labels

    @validated(alpha=[Finite(Real, 0, 1, closed="neither")])
    def predict_set(self, X: Any, *, alpha: float = 0.1) -> np.ndarray:
        """Predict sets of classes that contain the true class of most images of each class.

        For new images from the source of the images in `conformalize`, at least ``1 - alpha`` of the images of each
        class have this class in their set; see Notes of `conformalize` for the conditions. For two classes, there are
        four possible sets:

        - only ``classes_[0]``, or only ``classes_[1]``: the image is similar to images of this class only.
        - both: the probabilities do not separate the classes at this `alpha`.
        - neither: each class has a probability lower than for almost all of its images in `conformalize`. The image is
          unusual, or one of the at most `alpha` of its class that are left out.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `conformalize`.
        alpha : float, default=0.1
            Proportion of the images of each class whose set may lack this class, between 0 and 1. Sets grow as `alpha`
            decreases. A class with n images in `conformalize` is in every set if ``alpha < 1 / (n + 1)``.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), bool
            Whether each class is in the set of each image, in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If the model is not from `conformalize`, or has been trained or adapted since.
        ValueError
            If `alpha` is not between 0 and 1.
        """
        check_is_fitted(self)
        if not self.conformal_scores_:
            raise NotFittedError(
                f"predict_set requires a {type(self).__name__} from conformalize, but this one has no "
                "conformal_scores_ (fit, partial_fit and adapt remove them): call conformalize with labeled images "
                "that were not used in fit, and use the copy that it returns."
            )
        return conformal_p_values(self.conformal_scores_, self.predict_proba(X)) > alpha

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute probability estimates.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Probability of each class, in the order of `classes_`.
        """
        logits = self._prior_corrected(self.decision_function(X))
        return expit(_both_classes(logits)) if logits.ndim == 1 else softmax(logits, axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Compute logarithms of probability estimates.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Log-probability of each class, in the order of `classes_`.
        """
        logits = self._prior_corrected(self.decision_function(X))
        return log_expit(_both_classes(logits)) if logits.ndim == 1 else log_softmax(logits, axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy, and warn if images or patients were used in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.
        y : array-like of shape (n_samples,)
            True class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        score : float
            Accuracy of `predict`.

        Warns
        -----
        LeakageWarning
            If images, or other images of the same patients according to the file names, were used in `fit`.
        """
        images = as_images(X)
        X = X if images is None else images
        accuracy = super().score(X, y, sample_weight)
        if not call_by_sklearn():  # otherwise checked before, by `clone` or `predict`
            warn_of_seen(self, X)
        return float(accuracy)

    def adapt(self, X: Any, y: Any = None, *, prevalence: Any = None) -> "PneumoniaClassifier":
        """Return a copy adapted to images of another site, with or without labels.

        With labels, fit a slope and a shift of the logits, shrunk towards those of the model. This does not depend on
        assumptions about the logits; preferably 50 to 100 labels.

        Without labels, but with a stated prevalence, adapt the standardization of the features, for two classes only if
        the logits show that the threshold has to change. If the features differ from the training images by no more
        than chance, it does not change.

        With neither, estimate the prevalence from the logits of two classes, and shift them if that increases the
        balanced accuracy with a probability of 95 %. If the images do not determine the prevalence, warn and return a
        copy with the same predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features of the site: at least 20 different ones, preferably 50 to 100, of many patients. They
            should be a representative sample.
        y : array-like of shape (n_samples,), default=None
            Class labels of these images, of every class.
        prevalence : float or array-like of shape (n_classes,), default=None
            Proportion of ``classes_[1]`` or of each class at the site. Without `y`, it must be the proportion among
            these images; a wrong value makes the probabilities wrong and can cost accuracy. If None, use the
            proportions in `y` or an estimate.

        Returns
        -------
        PneumoniaClassifier
            Copy with new `coefs_`, `intercepts_`, `feature_mean_`, `feature_scale_` and `prior_shift_`, as far as they
            are adapted, and without `conformal_scores_`. `predict` aims at balanced accuracy, or with `y` at
            what `class_weight` implies. Probabilities refer to the prevalence of the site unless
            ``prior_correction=False``. The class proportions are stored as ``reference_["stated_share"]``, the 95 %
            interval of an estimated prevalence as ``reference_["prevalence_interval"]``, and the number of labels of
            each class as ``reference_["label_count"]``. The training of an adapted copy cannot be continued, but it can
            be adapted again.

        Raises
        ------
        ValueError
            If there are fewer than 20 different images, `prevalence` is invalid, `y` contains unknown labels or lacks
            a class, or a class had no training images.

        Warns
        -----
        UserWarning
            If the prevalence is neither stated nor determined by the images.

        Notes
        -----
        The estimate assumes that the logits of each class are normal, with the means and deviations of the training
        images up to a common shift and factor (label shift, Saerens et al. 2002, and a change of appearance). The
        threshold moves only if the balanced accuracy increases with a posterior probability of 95 %. The assumption can
        fail: if labels are available, evaluate the copy.

        References
        ----------
        M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
        Simple Procedure", Neural Computation 14, 2002, doi:10.1162/089976602753284446.

        J. Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood Methods",
        Advances in Large Margin Classifiers, 1999.

        S. Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", 2020,
        arXiv:2006.16971.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo import PneumoniaClassifier
        >>> random, y = np.random.RandomState(0), np.arange(300) % 3 // 2
        >>> X = random.standard_normal((300, 8)) + 2 * y[:, np.newaxis]
        >>> clf = PneumoniaClassifier().fit(X, y)
        >>> brighter = X + 1
        >>> clf.score(brighter, y) < clf.adapt(brighter[:50], y[:50]).score(brighter, y)
        True
        """
        check_is_fitted(self)
        share = class_shares(prevalence, self._fitted_reference(), self.classes_)
        features, n_views = self._rows(X, self.n_views_predict)
        check_n_images(features[::n_views])
        if y is not None:
            adapted = self._adapted_to_labels(features, n_views, y, None if prevalence is None else share)
        elif prevalence is None:
            adapted = self._adapted_to_estimate(features, n_views)
        else:
            adapted = self._adapted_to_prevalence(features, n_views, share)
        adapted.conformal_scores_ = []  # they refer to the probabilities before the adaptation
        return adapted

    def conformalize(self, X: Any, y: Any) -> "PneumoniaClassifier":
        """Return a copy with the scores of held-out labeled images, for prediction sets.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features of patients who were not used in `fit` or `adapt`: preferably 100 or more images of each
            class.
        y : array-like of shape (n_samples,)
            True class labels. Each of `classes_` must occur.

        Returns
        -------
        PneumoniaClassifier
            Copy with `conformal_scores_`, for `predict_set`. All other predictions are the same. Further training and
            `adapt` remove the scores: call `conformalize` last.

        Raises
        ------
        ValueError
            If `y` lacks a class or contains other labels, or the lengths of `X` and `y` differ.

        Warns
        -----
        LeakageWarning
            If images, or other images of the same patients according to the file names, were used in `fit`.

        Notes
        -----
        This is split conformal prediction with separate scores for each class (Mondrian). For new patients of the same
        site, at least ``1 - alpha`` of the images of each class have this class in their set, on average over
        samples of images for `conformalize`, whatever the prevalence. For a single sample, the proportion varies: with
        100 images of a class and ``alpha=0.1``, it is between 0.85 and 0.94 in nine of ten samples.

        The images of a class must be a random sample of those to be predicted later, one per patient. Images of the
        same patient are not independent: with several per patient, the proportion varies more, and the average is not
        guaranteed. At another site, nothing is guaranteed unless `conformalize` used images of that site.

        Pass the same kind of `X`, images or features, to `predict_set`, and leave `n_views_predict` unchanged.

        References
        ----------
        V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", Springer, 2005,
        doi:10.1007/b106715.

        M. Sadinle, J. Lei, L. Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", Journal of
        the American Statistical Association 114, 2019, doi:10.1080/01621459.2017.1395341.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo import PneumoniaClassifier
        >>> random = np.random.RandomState(0)
        >>> y = np.arange(150) % 2
        >>> X = random.standard_normal((150, 5)) + y[:, np.newaxis]
        >>> clf = PneumoniaClassifier().fit(X[:50], y[:50]).conformalize(X[50:100], y[50:100])
        >>> clf.predict_set(X[100:]).shape
        (50, 2)
        """
        check_is_fitted(self)
        images = as_images(X)
        X = X if images is None else images
        check_consistent_length(X, y)
        codes = codes_of_every_class(y, self.classes_)
        conformalized = self._copy()
        conformalized.conformal_scores_ = conformal_scores(self.predict_proba(X), codes)
        warn_of_seen(self, X)
        return conformalized

    @validated(dtype=[choices("float32", "float16")])
    def bundle_weights(self, dtype: str = "float32") -> "PneumoniaClassifier":
        """Return a copy that includes the frozen weights and needs no weight file.

        Parameters
        ----------
        dtype : {"float32", "float16"}, default="float32"
            With "float32", predictions are identical. With "float16", the copy is half as large and its weights are
            rounded: predictions differ slightly, and the copy has its own digest, `backbone_fingerprint_` and cached
            features. It keeps `conformal_scores_`, which then apply up to this difference.

        Returns
        -------
        PneumoniaClassifier
            Copy with `bundled_weights_`. The predictions of the copy do not use the parameter `weights`, but its clones
            and further calls to `fit` do. Training of a float16 copy cannot be continued, and bundling it again keeps
            float16.

        Raises
        ------
        ValueError
            If the model was fitted on features, or its parameters have changed since `fit`.
        WeightsError
            If the weights are not found.

        Examples
        --------
        >>> import tempfile
        >>> from skpneumo import PneumoniaClassifier
        >>> from skpneumo.datasets import make_chest_xrays
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
        ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
        ...     sorted(clf.bundle_weights("float16").bundled_weights_)
        ['block1_conv1/bias', 'block1_conv1/kernel', 'block1_conv2/bias', 'block1_conv2/kernel']
        """
        check_is_fitted(self)
        if self.backbone_fingerprint_ is None:
            raise ValueError(
                "The model was fitted on features, so the weights of the backbone are unknown: fit it on images."
            )
        encoder = self._fitted_encoder().bundled(dtype)
        spec, bundled = encoder.spec(), self._copy()
        bundled.bundled_weights_ = dict(encoder.weights.arrays)
        bundled.weights_digest_ = spec.backbone.needs
        bundled.backbone_fingerprint_ = spec.fingerprint()
        return bundled

    def novelty(self, X: Any) -> np.ndarray:
        """Compute empirical p-values for novelty detection.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images or features, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), float64
            Empirical p-values, at least ``1 / (n + 1)`` with n training images, at most 2,000. For new patients from
            the source of the training images, about 1 % of the p-values are at most 0.01. A small p-value indicates
            another kind of image, such as a photograph or a lateral view. It rarely detects another site. A large
            p-value does not imply a correct prediction. A copy from `adapt` uses its adapted standardization.
        """
        return self._novelty(self.features(X))

    def features(self, X: Any) -> np.ndarray:
        """Compute the features of the plain view of each image.

        `predict`, `predict_proba` and `novelty` accept these features instead of images. To call several of them,
        compute the features once: the images then pass through the network only once.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            Images. Features are validated and returned.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Features, not standardized.

        Examples
        --------
        >>> import tempfile
        >>> from skpneumo import PneumoniaClassifier
        >>> from skpneumo.datasets import make_chest_xrays
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
        ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
        ...     features = clf.features(X)
        >>> clf.predict_proba(features).shape, clf.novelty(features).shape
        ((8, 2), (8,))
        """
        check_is_fitted(self)
        return self._rows(X, n_views=1)[0]

    def warm_up(self) -> "PneumoniaClassifier":
        """Start the Keras backend, load the weights and compile the network before the first prediction.

        All threads share the compiled network.

        Returns
        -------
        self : PneumoniaClassifier
            Fitted estimator.

        Raises
        ------
        WeightsError
            If the weights are not found.
        """
        check_is_fitted(self)
        if self.backbone_fingerprint_ is not None:
            self._fitted_encoder().warm_up(self._bar())
        return self

    def _adapted_to_labels(
        self, features: np.ndarray, n_views: int, y: Any, share: np.ndarray | None
    ) -> "PneumoniaClassifier":
        logits = self._mean_logits(features, n_views)
        check_consistent_length(logits, y)
        codes = codes_of_every_class(y, self.classes_)
        count = np.bincount(codes)
        class_weight = self.class_weight if self.sampler is None else "balanced"
        weight = compute_sample_weight(class_weight, self.classes_[codes])
        slope, shift = fit_slope_and_shift(logits, codes, weight)
        adapted = self._copy()
        adapted._scale_logits(slope, shift)
        record_site(adapted.reference_, count / count.sum() if share is None else share, label_count=count)
        if self.prior_correction:
            adapted.prior_shift_ = unweighted_shift(slope * logits + shift, codes, np.ones(len(codes)))
            if share is not None:
                adapted.prior_shift_ = adapted.prior_shift_ + log_ratio(share, count)
        return adapted

    def _adapted_to_prevalence(self, features: np.ndarray, n_views: int, share: np.ndarray) -> "PneumoniaClassifier":
        reference, adapted = self._fitted_reference(), self._copy()
        site = None
        if len(share) == 2:
            site = estimate_site(self._mean_logits(features, n_views)[:, 0], reference, share[1])
        if site is None or site.threshold != 0:
            adapted.feature_mean_, adapted.feature_scale_ = adapt_standardization(
                features[::n_views], self.feature_mean_, self.feature_scale_, reference, share
            )
        record_site(adapted.reference_, share)
        if self.prior_correction and len(share) == 2:
            logits = adapted._mean_logits(features, n_views)[:, 0]
            adapted.prior_shift_ = np.array([shift_to_mean(logits, share[1])])
        elif self.prior_correction:
            adapted.prior_shift_ = self.prior_shift_ + prior_shift(share, reference)
        return adapted

    def _adapted_to_estimate(self, features: np.ndarray, n_views: int) -> "PneumoniaClassifier":
        logits, adapted = self._mean_logits(features, n_views)[:, 0], self._copy()
        site = estimate_site(logits, self._fitted_reference()) if len(self.classes_) == 2 else None
        if site is None or not site.is_identifiable:
            warnings.warn(f"{undetermined(site, len(logits))} The model is not adapted.", stacklevel=3)
            return adapted
        adapted._scale_logits(1.0, np.array([-site.threshold]))
        record_site(adapted.reference_, np.array([1 - site.prevalence, site.prevalence]), interval=site.interval)
        if self.prior_correction:
            adapted.prior_shift_ = np.array([shift_to_mean(logits - site.threshold, site.prevalence)])
        return adapted

    def _scale_logits(self, slope: float, shift: np.ndarray) -> None:
        """Change the last layer of the head so that it returns ``slope * logits + shift``."""
        coef, intercept = self.coefs_[-1], self.intercepts_[-1]
        self.coefs_[-1] = (slope * coef).astype(coef.dtype)
        self.intercepts_[-1] = (slope * intercept + shift).astype(intercept.dtype)

    def _mean_logits(self, features: np.ndarray, n_views: int) -> np.ndarray:
        """Return the logits of each image, averaged over its views, (n_samples, n_outputs) float64."""
        logits = self._head().logits(features).astype(np.float64)
        return logits.reshape(-1, n_views, logits.shape[1]).mean(axis=1)

    def _logits(self, features: np.ndarray, n_views: int) -> np.ndarray:
        logits = self._mean_logits(features, n_views)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def _warn_of_domain_shift(self, features: np.ndarray) -> None:
        is_told = not self.reference_ or "stated_share" in self.reference_
        if not is_told and is_shifted(self.reference_, features, self.feature_mean_, self.feature_scale_):
            # The text is constant, so that Python shows it once for each line of the user.
            warnings.warn(
                "These images differ from the training images as a whole, such as images of another site: predictions "
                "may be less accurate, and probabilities less calibrated. Adapt the model to the site with 'adapt', "
                "preferably with 50 to 100 labels, and evaluate it there.",
                DomainShiftWarning,
                stacklevel=stacklevel_of_user(),
            )

    def _labels(self, logits: np.ndarray) -> np.ndarray:
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)]

    def _novelty(self, features: np.ndarray) -> np.ndarray:
        return novelty(self._fitted_reference(), features, self.feature_mean_, self.feature_scale_)

    def _prior_corrected(self, logits: np.ndarray) -> np.ndarray:
        return logits + (self.prior_shift_[0] if logits.ndim == 1 else self.prior_shift_)

    def _contents(self, X: Any) -> dict[int, bytes]:
        """Compute digests of images, or of rows of features, by position."""
        images = images_if_any(X)
        if images is not None:
            return contents(images, open_store(self.memory))
        features = np.asarray(X)
        is_matrix = features.ndim == 2 and features.dtype.kind in "biuf"
        return dict(enumerate(row_digests(features))) if is_matrix else {}

    def _fitted_reference(self) -> dict[str, np.ndarray]:
        if not self.reference_:
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet: novelty and adapt need a call to fit that has finished."
            )
        return self.reference_

    def _train(self, examples: Examples, tasks: FitTasks, *, is_continued: bool, is_partial: bool) -> None:
        previous = None
        if is_continued:
            check_preprocessing(self.versions_)
            previous = PreviousFit(
                self._head(),
                self.backbone_fingerprint_,
                self.reference_,
                self.seen_,
                self.training_summary_,
                getattr(self, "_before", None),
            )
        encoder = self._encoder() if examples.is_images else None
        training = Training(FitConfig.of(self), encoder, examples, tasks, _attributes, previous, is_partial=is_partial)
        result, self._before = training.run()
        _assign(self, result)
        training.end()

    def _head(self) -> Head:
        """Build the head from the fitted attributes."""
        return Head(self.feature_mean_, self.feature_scale_, self.coefs_, self.intercepts_, self.tuned_layers_)

    def _encoder(self) -> Encoder:
        return Encoder.from_params(vars(self), type(self).__name__)

    def _fitted_encoder(self) -> Encoder:
        """Build the encoder with the weights used in `fit`."""
        check_preprocessing(self.versions_)
        encoder, layers, fitted = self._encoder(), self.tuned_layers_, self.backbone_fingerprint_
        if fitted is not None and layers and not encoder.has_trainable(layers):
            raise ValueError(OTHER_FEATURES)
        encoder = encoder.with_layers(layers).located(self.weights_digest_, self.bundled_weights_)
        if fitted is not None and encoder.spec().fingerprint() != fitted:
            raise ValueError(OTHER_FEATURES)
        return encoder

    def _copy(self) -> "PneumoniaClassifier":
        """Copy the model, but share the bundled weights, which are large and never modified."""
        shared = self.bundled_weights_
        copied = copy.deepcopy(self, {id(shared): shared})
        copied._before = None
        return copied

    def _bar(self) -> Callable[..., Any]:
        return partial(progress_bar, verbose=self.verbose)

    def _rows(self, X: Any, n_views: int) -> tuple[np.ndarray, int]:
        """Return the features of each view of each image, or the validated matrix `X`, and the number of views."""
        images = as_images(X)
        fitted_on_images = self.backbone_fingerprint_ is not None
        if images is None:
            n_views = 1
            if not fitted_on_images:
                return check_features(validate_data(self, X, dtype=FLOATS, reset=False)), n_views
            features = check_features(check_array(X, dtype=FLOATS, estimator=self))
        else:
            if fitted_on_images:
                check_column(self, images, reset=False)
            features = self._extract(images, n_views)
        if features.shape[1] != len(self.feature_mean_):
            raise ValueError(
                f"X {'gives' if images else 'has'} {features.shape[1]} features, but {type(self).__name__} is "
                f"expecting {len(self.feature_mean_)} features as input."
            )
        return features, n_views

    def _extract(self, images: Images, n_views: int) -> np.ndarray:
        views = Augmentation.of(self.augmentation)
        return self._fitted_encoder().extract(images, n_views, views, progress=self._bar()).features

    @property
    def threshold_(self) -> float | None:
        """Probability of ``classes_[1]`` above which `predict` returns it; None for more than two classes."""
        return float(expit(self.prior_shift_[0])) if len(self.classes_) == 2 else None

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out state that only continued training in the same process uses."""
        return to_saved_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Check the saved state for damage and other versions."""
        attributes = from_saved_state(state, type(self).__name__)
        if "coefs_" in attributes:
            attributes.setdefault("conformal_scores_", [])  # models saved by earlier versions have none
        super().__setstate__(attributes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def _both_classes(logits: np.ndarray) -> np.ndarray:
    return np.column_stack([-logits, logits])


def encoder_and_head(clf: PneumoniaClassifier) -> tuple[Encoder, Head]:
    """Return the encoder, with the weights used in `fit`, and the head of a fitted classifier.

    Raises
    ------
    ValueError
        If parameters that affect the features differ from those in `fit`.
    WeightsError
        If the weights are not found.
    """
    return clf._fitted_encoder(), clf._head()


def _assign(clf: Any, fit: FitResult) -> None:
    """Set the fitted attributes of a classifier."""
    head, history = fit.fitted.head, fit.fitted.history
    clf.classes_ = fit.classes
    clf.feature_mean_ = head.mean
    clf.feature_scale_ = head.scale
    clf.backbone_fingerprint_ = fit.fingerprint
    clf.weights_digest_ = fit.weights_digest
    clf.bundled_weights_ = {}
    clf.coefs_ = head.coefs
    clf.intercepts_ = head.intercepts
    clf.tuned_layers_ = fit.layers
    clf.n_iter_ = history.n_iter
    clf.loss_curve_ = history.loss_curve
    clf.accuracy_curve_ = history.accuracy_curve
    clf.validation_scores_ = history.validation_scores
    clf.validation_accuracy_curve_ = history.validation_accuracies
    clf.best_iter_ = history.best_iter
    clf.prior_shift_ = fit.prior_shift
    clf.reference_ = fit.reference
    clf.conformal_scores_ = []
    clf.seen_ = fit.seen
    clf.training_summary_ = fit.summary
    clf.versions_ = versions()


def _attributes(fit: FitResult) -> dict[str, Any]:
    """Return the fitted attributes as a dict, for callbacks of scikit-learn."""
    clf = SimpleNamespace()
    _assign(clf, fit)
    return vars(clf)
