"""PneumoniaClassifier: parameters, validation, and the straight line from images to probabilities."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_scalar
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS, Encoder
from skpneumo._encoder.extract import contents
from skpneumo._feature_store.store import open_store
from skpneumo._heads.domain_adaptation import adapt_standardization, class_shares, prior_shift
from skpneumo._heads.head import Head
from skpneumo._heads.novelty import novelty, smallest_p_value
from skpneumo._heads.resampling import SAMPLERS
from skpneumo._images.augmentation import Augmentation
from skpneumo._images.inputs import as_images, check_column, images_if_any
from skpneumo._images.sources import Images
from skpneumo._leakage import row_digests, warn_of_seen
from skpneumo._model_state import check_preprocessing, opened, sealed, versions
from skpneumo._training.checks import FLOATS, check_examples, check_parameters
from skpneumo._training.dataset import Examples
from skpneumo._training.training import OTHER_FEATURES, FitConfig, FitResult, PreviousFit, Training
from skpneumo._utils.callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skpneumo._utils.doc_link import DocumentationLinkMixin
from skpneumo._utils.progress import progress_bar


class PneumoniaClassifier(DocumentationLinkMixin, CallbackSupportMixin, ClassifierMixin, BaseEstimator):
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
        VGG19. None: untrained, from a fixed seed, the same on every machine. A fitted model also looks elsewhere for
        the same weights: where the environment variable ``SKPNEUMO_WEIGHTS`` says, and in ``~/.keras``.
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
    tune_learning_rate : float, default=0.00005
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
    tol : float, default=0.0001
        What counts as a rise.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one, and from its standardisation. The linear probe, which
        has one solution, is solved anew.
    class_weight : None, "balanced" or dict, default=None
        Weights of the classes in the loss, as in scikit-learn.
    sampler : None, "over", "under", "smote" or sampler, default=None
        Draws the images that the head is trained on, anew for each epoch, by their features: the rarer classes more
        often ("over"), the others less often ("under"), or new features between those of neighbours ("smote"); or as
        a sampler of imbalanced-learn does. What is held out is never resampled, and images that weigh nothing are not
        drawn. With trainable layers, samplers that pick among images alone.
    prior_correction : bool, default=True
        Whether probabilities are those of the prevalence in the data, where class weights or a sampler show another
        one to the head: the intercepts are solved anew on the training images as they are. `predict` and
        `decision_function` follow the weights and the sampler in any case.
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
        Draws the initial weights, the order of images, dropout, what early stopping holds out and what a sampler draws,
        whatever seed that has of its own. Without a sampler the linear probe draws nothing.
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
    feature_mean_ : ndarray of shape (n_features,)
        What is subtracted from features to standardise them.
    feature_scale_ : ndarray of shape (n_features,)
        What they are divided by then.
    backbone_fingerprint_ : str or None
        Of the backbone that images passed in `fit`; predicting on images asks for the same. None where `fit` saw
        features.
    weights_digest_ : str or None
        Of the weights of the frozen layers, in hexadecimal: by it they are found where images are predicted, whatever
        the file is called there. None where there is nothing to read.
    bundled_weights_ : dict of str to ndarray
        Weights of the frozen layers, keyed "block1_conv1/kernel" and so on, in a copy from `bundle_weights`. Empty
        otherwise.
    coefs_ : list of ndarray
        Weights of each layer of the head, (n_inputs, n_outputs).
    intercepts_ : list of ndarray
        Biases of each layer, (n_outputs,). The last layer has one output for two classes, otherwise one a class.
    tuned_layers_ : dict of str to ndarray
        Trained weights of VGG19, float16, keyed "block3_conv4/kernel" and so on. Empty without trainable layers.
    n_iter_ : int
        Passes of the solver over the features, or epochs; of the tuning, where there was one.
    loss_curve_ : list of float
        Loss, with its penalty, over the training images as they passed, one an epoch. Empty for the linear probe.
    accuracy_curve_ : list of float
        Accuracy over the same images, likewise.
    validation_scores_ : list of float or None
        With early stopping, the score after each epoch; of a tuning, at first that of the head it began with.
    validation_accuracy_curve_ : list of float or None
        Likewise the accuracy over the same held-out images and copies, each of which counts alike.
    best_iter_ : int or None
        With early stopping, the epoch whose weights were kept, from 1; 0: tuning has gained nothing.
    prior_shift_ : ndarray of shape (n_outputs,)
        What `predict_proba` adds to the logits for `prior_correction`.
    reference_ : dict of str to ndarray
        What `adapt` and `novelty` know of the features of plain training images.
    seen_ : dict of str to ndarray
        Short digests of the images that `fit` saw, and salted ones of their patients, for `score` to recognise them.
    threshold_ : float or None
        Probability of ``classes_[1]`` above which `predict` names it: 0.5, unless `prior_correction` or `adapt` has
        moved the probabilities. None where there are more than two classes.
    training_summary_ : dict
        What the last `fit`, or call of `partial_fit`, saw: "kind" ("images" or "features"), "n_images", "n_patients"
        (None where nobody named them), both also by class in the order of `classes_`, "n_held_out" images of early
        stopping among them, "n_views", "total_weight" (of `sample_weight`; None without), "n_calls" (how many fits or
        calls went on from each other).
    versions_ : dict of str to str
        Versions of skpneumo, scikit-learn, Keras, the framework that it is set to, numpy, Pillow and Python at the
        time of `fit`, and "preprocessing", that of how images become squares.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **PARAMETER_CONSTRAINTS,
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "augmentation": [StrOptions({"xray"}), Mapping],
        "n_views_predict": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, np.inf, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "learning_rate_init": [Interval(Real, 0, np.inf, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_trainable_layers": [Interval(Integral, 0, None, closed="left")],
        "tune_learning_rate": [Interval(Real, 0, np.inf, closed="neither")],
        "tune_max_iter": [Interval(Integral, 1, None, closed="left")],
        "tune_average": [Interval(Real, 0, 1, closed="right")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, np.inf, closed="left")],
        "warm_start": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "sampler": [StrOptions(set(SAMPLERS)), HasMethods(["fit_resample", "get_params", "set_params"]), None],
        "prior_correction": ["boolean"],
        "random_state": ["random_state"],
    }

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
        self.sampler = sampler
        self.prior_correction = prior_correction
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
            Images: paths (str or pathlib.Path), bytes, open binary files, PIL images, arrays of pixels (uint8 or
            uint16), URLs; or features already extracted, numbers of shape (n_samples, n_features).
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
        check_parameters(self)
        examples = check_examples(self, X, y, sample_weight, groups)
        goes_on = self.warm_start and hasattr(self, "coefs_")
        if goes_on and not np.array_equal(self.classes_, examples.classes):
            raise ValueError(
                f"warm_start=True goes on with the classes of the last fit, {self.classes_}, but y has "
                f"{examples.classes}."
            )
        self._train(examples, FitTasks(self, self._bar()), goes_on=goes_on, is_partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "PneumoniaClassifier":
        """Train for one more epoch, on these images.

        The first call settles the standardisation of the features. With class weights or a sampler, probabilities are
        corrected by the counts of all calls. `novelty` compares with the images of the largest call. Without trainable
        layers, each call is an epoch of the head; a linear probe is trained by Adam then, not solved. With trainable
        layers, the first call fits the head as `fit` does, and each call is an epoch of tuning at a constant learning
        rate.

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
        check_parameters(self)
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True.")
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"partial_fit does not support class_weight={self.class_weight!r}, which needs all labels: pass a "
                "dict, such as sklearn.utils.class_weight.compute_class_weight makes, or sample_weight."
            )
        goes_on = hasattr(self, "coefs_")
        if not goes_on and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if goes_on and classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_}.")
        examples = check_examples(self, X, y, sample_weight, classes=self.classes_ if goes_on else np.unique(classes))
        self._train(examples, FitTasks(None, self._bar()), goes_on=goes_on, is_partial=True)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute logits.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes), float64
            For two classes, the log odds of ``classes_[1]``; otherwise one unnormalised log probability a class.
        """
        check_is_fitted(self)
        return self._logits(*self._rows(X, self.n_views_predict))

    def predict(self, X: Any) -> np.ndarray:
        """Name the class of each image that `decision_function` speaks for.

        Without class weights and sampler that is the most probable class. With them it is the class that would be the
        most probable at the prevalence that these make. A copy from `adapt` goes on calling as the model does, whatever
        prevalence was stated.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels out of `classes_`.
        """
        return self._labels(self.decision_function(X))

    def predict_or_abstain(self, X: Any, *, level: float = 0.01) -> np.ndarray:
        """Predict class labels, and None for images that are too unlike those of the training.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.
        level : float, default=0.01
            No label is predicted for images whose `novelty` is at most this.

        Returns
        -------
        ndarray of shape (n_samples,), object
            Labels out of `classes_`, or None.

        Raises
        ------
        ValueError
            With so few training images no `novelty` is as low as `level`.
        """
        check_is_fitted(self)
        check_scalar(level, "level", Real, min_val=0, max_val=1)
        lowest = smallest_p_value(self._known_reference())
        if level < lowest:
            raise ValueError(
                f"level={level}, but with so few training images and patients no novelty is below {lowest:.2g}: choose "
                "a larger one, or call predict."
            )
        features, n_views = self._rows(X, self.n_views_predict)
        labels = self._labels(self._logits(features, n_views)).astype(object)
        labels[self._novelty(features[::n_views]) <= level] = None
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        logits = self._corrected(self.decision_function(X))
        return expit(_two_columns(logits)) if logits.ndim == 1 else softmax(logits, axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Compute the logarithm of the probability of each class.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            In the order of `classes_`.
        """
        logits = self._corrected(self.decision_function(X))
        return log_expit(_two_columns(logits)) if logits.ndim == 1 else log_softmax(logits, axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy; warn of images, or patients, that `fit` has seen.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the images.

        Returns
        -------
        float
            Share of the images that `predict` names rightly.

        Warns
        -----
        LeakageWarning
            Images were in the training, or others of the same patients by the names of the files.
        """
        images = as_images(X)
        X = X if images is None else images
        accuracy = super().score(X, y, sample_weight)
        warn_of_seen(self, X)
        return float(accuracy)

    def adapt(self, X: Any, *, prevalence: Any = None) -> "PneumoniaClassifier":
        """Return a copy for another site, which standardises features by the site's own images; none needs a label.

        The images should be a fair sample of what the site sends. From the images alone a site where pneumonia is rare
        cannot be told from one whose films look healthier: unless the share of pneumonia among them is as in the
        training, state it. Left unstated, another share does more harm than adapting does good. Where the images differ
        from those of the training by no more than chance, standardisation stays as it is.

        Parameters
        ----------
        X : as in `fit`
            Images of the site, or features: at least 20 different ones, better 50 to 100, of many patients.
        prevalence : float or array-like of shape (n_classes,), default=None
            Share of ``classes_[1]`` among these images, or of each class. None: as in the training. Probabilities of
            the copy are those of this prevalence, unless ``prior_correction=False``; its calls stay those of
            `decision_function`.

        Returns
        -------
        PneumoniaClassifier
            A copy with other `feature_mean_`, `feature_scale_` and `prior_shift_`. It cannot go on training; it can be
            adapted again.

        Raises
        ------
        ValueError
            There are fewer images than that, or these are no shares of the classes, or the training lacked a class.

        References
        ----------
        S. Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", 2020,
        arXiv:2006.16971.
        """
        check_is_fitted(self)
        reference, adapted = self._known_reference(), self._copy()
        share = class_shares(prevalence, reference, self.classes_)
        adapted.feature_mean_, adapted.feature_scale_ = adapt_standardization(
            self.features(X), self.feature_mean_, self.feature_scale_, reference, share
        )
        adapted.reference_["stated_share"] = share
        if self.prior_correction:
            adapted.prior_shift_ = self.prior_shift_ + prior_shift(share, reference)
        return adapted

    def bundle_weights(self, dtype: str = "float32") -> "PneumoniaClassifier":
        """Return a copy that carries the weights of the frozen layers and needs no file of them.

        Parameters
        ----------
        dtype : {"float32", "float16"}, default="float32"
            "float32": the copy predicts what the model does, bit by bit. "float16": it is half as large, and its
            weights are rounded. Their digest, `backbone_fingerprint_` and rows of the store are its own, and
            predictions differ a little.

        Returns
        -------
        PneumoniaClassifier
            A copy with `bundled_weights_`. Prediction does not look at its parameter `weights`; a clone and another
            `fit` read what that names, as ever. A rounded copy cannot go on training, and stays rounded in copies.

        Raises
        ------
        ValueError
            The model was fitted on features, or its parameters have changed since.
        WeightsError
            The weights are not found on this machine.

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
        if dtype not in ("float32", "float16"):
            raise ValueError(f"dtype={dtype!r}, but it must be one of 'float32', 'float16'.")
        if self.backbone_fingerprint_ is None:
            raise ValueError(
                "The model was fitted on features, so it does not know the weights that these were made with: fit it "
                "on images."
            )
        encoder = self._fitted_encoder().bundled(dtype)
        spec, bundled = encoder.spec(), self._copy()
        bundled.bundled_weights_ = dict(encoder.weights.arrays)
        bundled.weights_digest_ = spec.backbone.needs
        bundled.backbone_fingerprint_ = spec.fingerprint()
        return bundled

    def novelty(self, X: Any) -> np.ndarray:
        """Compute how rare each image would be among the training images.

        Parameters
        ----------
        X : as in `fit`
            Images, or features.

        Returns
        -------
        ndarray of shape (n_samples,), float64
            Empirical p-values: about 1 % of images like those of the training, of other patients, are at or below
            0.01. With n training images none is below ``1 / (n + 1)``. A small one says that the image is of another
            kind, such as a photograph or a lateral film, or of a site that makes its films in another way; a large one
            does not say that the prediction is right. Of a copy from `adapt`, images are compared as it sees them.
        """
        return self._novelty(self.features(X))

    def features(self, X: Any) -> np.ndarray:
        """Compute what the head sees of images: where several things are asked of them, they pass the network once.

        `predict`, `predict_proba` and `novelty` take it in place of the images, of which it holds the plain view alone.

        Parameters
        ----------
        X : as in `fit`
            Images; features are checked and returned.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Not standardised.

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
        """Do beforehand what makes the first prediction slow: start the framework, read weights, compile the network.

        Predictions of later threads share what is built here.

        Returns
        -------
        PneumoniaClassifier
            Itself.

        Raises
        ------
        WeightsError
            The weights cannot be reached.
        """
        check_is_fitted(self)
        if self.backbone_fingerprint_ is not None:
            self._fitted_encoder().warm_up(self._bar())
        return self

    def _logits(self, features: np.ndarray, n_views: int) -> np.ndarray:
        logits = self._head().logits(features)
        logits = logits.reshape(-1, n_views, logits.shape[1]).mean(axis=1)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def _labels(self, logits: np.ndarray) -> np.ndarray:
        return self.classes_[(logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)]

    def _novelty(self, features: np.ndarray) -> np.ndarray:
        return novelty(self._known_reference(), features, self.feature_mean_, self.feature_scale_)

    def _corrected(self, logits: np.ndarray) -> np.ndarray:
        return logits + (self.prior_shift_[0] if logits.ndim == 1 else self.prior_shift_)

    def _contents(self, X: Any) -> dict[int, bytes]:
        """Return digests of images, or of rows of features, by position."""
        images = images_if_any(X)
        if images is not None:
            return contents(images, open_store(self.memory))
        features = np.asarray(X)
        is_matrix = features.ndim == 2 and features.dtype.kind in "biuf"
        return dict(enumerate(row_digests(features))) if is_matrix else {}

    def _known_reference(self) -> dict[str, np.ndarray]:
        if not self.reference_:
            raise NotFittedError("What the training images look like is known once the fit has ended.")
        return self.reference_

    def _train(self, examples: Examples, tasks: FitTasks, *, goes_on: bool, is_partial: bool) -> None:
        previous = None
        if goes_on:
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
        """Put together from the attributes what was learnt."""
        return Head(self.feature_mean_, self.feature_scale_, self.coefs_, self.intercepts_, self.tuned_layers_)

    def _encoder(self) -> Encoder:
        return Encoder.from_params(vars(self), type(self).__name__)

    def _fitted_encoder(self) -> Encoder:
        """Return the encoder with the weights that `fit` saw, wherever they are now."""
        check_preprocessing(self.versions_)
        encoder, layers, fitted = self._encoder(), self.tuned_layers_, self.backbone_fingerprint_
        if fitted is not None and layers and not encoder.has_trainable(layers):
            raise ValueError(OTHER_FEATURES)
        encoder = encoder.with_layers(layers).located(self.weights_digest_, self.bundled_weights_)
        if fitted is not None and encoder.spec().fingerprint() != fitted:
            raise ValueError(OTHER_FEATURES)
        return encoder

    def _copy(self) -> "PneumoniaClassifier":
        """Copy all but the weights that it carries, which are large and nobody changes."""
        carried = self.bundled_weights_
        copied = copy.deepcopy(self, {id(carried): carried})
        copied._before = None
        return copied

    def _bar(self) -> Callable[..., Any]:
        return partial(progress_bar, verbose=self.verbose)

    def _rows(self, X: Any, n_views: int) -> tuple[np.ndarray, int]:
        """Features of new images and their views, or the matrix `X` itself, checked; and how many rows an image has."""
        images = as_images(X)
        fitted_on_images = self.backbone_fingerprint_ is not None
        if images is None:
            n_views = 1
            if not fitted_on_images:
                return validate_data(self, X, dtype=FLOATS, reset=False), n_views
            if getattr(getattr(X, "dtype", None), "name", "") in {"uint8", "uint16"}:
                raise ValueError(
                    f"X has shape {X.shape} and type {X.dtype}, but features are floats. For one image pass [X]."
                )
            features = check_array(X, dtype=FLOATS, estimator=self)
        else:
            if fitted_on_images:
                check_column(self, images, reset=False)
            features = self._features_of_images(images, n_views)
        if features.shape[1] != len(self.feature_mean_):
            raise ValueError(
                f"X {'gives' if images else 'has'} {features.shape[1]} features, but {type(self).__name__} is "
                f"expecting {len(self.feature_mean_)} features as input."
            )
        return features, n_views

    def _features_of_images(self, images: Images, n_views: int) -> np.ndarray:
        views = Augmentation.of(self.augmentation)
        return self._fitted_encoder().extract(images, n_views, views, progress=self._bar()).features

    @property
    def threshold_(self) -> float | None:
        """Probability of ``classes_[1]`` above which `predict` names it; None where there are more than two classes."""
        return float(expit(self.prior_shift_[0])) if len(self.classes_) == 2 else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what only a fit that goes on has need of; a model that is loaded goes on without it."""
        return sealed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Check what was saved; an error or a warning says where it is damaged, or of another version."""
        super().__setstate__(opened(state, type(self).__name__))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def _two_columns(logits: np.ndarray) -> np.ndarray:
    return np.column_stack([-logits, logits])


def encoder_and_head(clf: PneumoniaClassifier) -> tuple[Encoder, Head]:
    """Return what a fitted classifier predicts by, with the weights that `fit` saw, wherever they are now.

    Raises
    ------
    ValueError
        The parameters that shape features are others than in `fit`.
    WeightsError
        The weights are not found.
    """
    return clf._fitted_encoder(), clf._head()


def _assign(clf: Any, fit: FitResult) -> None:
    """Give a classifier the attributes of a fit."""
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
    clf.seen_ = fit.seen
    clf.training_summary_ = fit.summary
    clf.versions_ = versions()


def _attributes(fit: FitResult) -> dict[str, Any]:
    """Return them as callbacks of scikit-learn take them."""
    clf = SimpleNamespace()
    _assign(clf, fit)
    return vars(clf)
