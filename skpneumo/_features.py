"""VGG19Features: images in, one row of features an image out; each image is computed once, ever."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS, Encoder
from skpneumo._images.inputs import as_images, check_column
from skpneumo._images.sources import Images
from skpneumo._utils.callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skpneumo._utils.doc_link import DocumentationLinkMixin
from skpneumo._utils.progress import progress_bar
from skpneumo._vgg19.layers import grid_side, n_channels


class VGG19Features(DocumentationLinkMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Features of chest X-rays from the frozen first layers of VGG19.

    Each image becomes a gray square, passes the first `n_layers` convolution layers, and the maps that come out are
    averaged over a grid. Nothing is learnt; any scikit-learn classifier and any imbalanced-learn sampler can stand
    behind it. The features of an image are kept on disk by its content, so they are computed once, ever.

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
        scaled, the rest is black. "stretch": both sides are scaled.
    contrast : {None, "equalize"}, default=None
        "equalize": the histogram of gray values is equalised.
    pool_grid : int, default=4
        The maps are averaged over a ``pool_grid`` x ``pool_grid`` grid, adaptively where it does not divide their
        side, and at most over their own places. 1 is global average pooling.
    memory : "auto", None, path or joblib.Memory, default="auto"
        Where features are stored. "auto": the user's cache folder, or the folder that the environment variable
        ``SKPNEUMO_CACHE`` names. None: nowhere. Of a ``Memory``, its location is used.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Where the layers run. "auto": on a GPU where the framework under Keras finds one.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        How the layers compute. "auto": bfloat16 where the device has it natively, float16 on a GPU that has tensor
        cores for it alone, float32 otherwise. What comes out is float32.
    n_jobs : int, default=None
        Threads that decode images; None (unless in a ``joblib.parallel_config``): as many as keep the device busy.
        In a ``parallel_config`` of Dask or Ray: workers that images are spread over.
    verbose : int, default=0
        Above 0: a progress bar where it takes more than a second.

    Attributes
    ----------
    n_features_in_ : int
        1: a column of images.
    feature_names_in_ : ndarray of shape (1,)
        The name of that column, where `fit` saw a DataFrame.

    See Also
    --------
    PneumoniaClassifier : These features and a trained head in one estimator.

    References
    ----------
    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
    arXiv:1409.1556.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skpneumo import VGG19Features
    >>> from skpneumo.datasets import make_chest_xrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(6, folder, random_state=0, return_X_y=True)
    ...     features = VGG19Features(weights=None, n_layers=2, image_size=32, memory=None)
    ...     features.fit_transform(X).shape
    (6, 1024)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = PARAMETER_CONSTRAINTS

    def __init__(
        self,
        weights: Any = "imagenet",
        *,
        n_layers: int = 16,
        image_size: int = 224,
        aspect: str = "crop",
        contrast: str | None = None,
        pool_grid: int = 4,
        memory: Any = "auto",
        device: str = "auto",
        precision: str = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.weights = weights
        self.n_layers = n_layers
        self.image_size = image_size
        self.aspect = aspect
        self.contrast = contrast
        self.pool_grid = pool_grid
        self.memory = memory
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> "VGG19Features":
        """Check the parameters and `X`; there is nothing to learn.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images: paths, bytes, open binary files, PIL images, arrays of pixels, URLs.
        y : None
            Ignored.

        Returns
        -------
        VGG19Features
            Itself.
        """
        self._encoder()
        self._check_images(X, reset=True)
        tasks = FitTasks(self, self._bar())
        tasks.begin(X=X, y=y)
        tasks.end(X=X, y=y)
        return self

    @with_callbacks
    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Do what `fit` and `transform` do; callbacks of scikit-learn see the images pass.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images: paths, bytes, open binary files, PIL images, arrays of pixels, URLs.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            As of `transform`.
        """
        encoder = self._encoder()
        images = self._check_images(X, reset=True)
        tasks = FitTasks(self, self._bar())
        tasks.begin(X=X, y=y)
        features = encoder.extract(images, progress=tasks).features
        tasks.end(X=X, y=y)
        return features

    def transform(self, X: Any) -> np.ndarray:
        """Compute, or look up, the features of images.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images: paths, bytes, open binary files, PIL images, arrays of pixels, URLs.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Cell by cell of the grid in reading order, channel by channel in each.

        Raises
        ------
        ImageReadError
            Some images cannot be read; it names all of them. What was computed until then is stored.
        WeightsError
            The weights cannot be reached, or do not fit.
        """
        check_is_fitted(self)
        encoder = self._encoder()
        return encoder.extract(self._check_images(X, reset=False), progress=self._bar()).features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features by row and column of their cell, from the upper left, and by channel.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_features,), object
            Such as "vgg19_0_3_17".
        """
        check_is_fitted(self)
        self._encoder()
        # Not asked of the backbone, whose weights may be a long download away: scikit-learn's picture shows the names.
        cells = range(grid_side(self.n_layers, self.image_size, self.pool_grid))
        channels = range(n_channels(self.n_layers))
        names = [f"vgg19_{i}_{j}_{channel}" for i in cells for j in cells for channel in channels]
        return np.asarray(names, dtype=object)

    def _encoder(self) -> Encoder:
        return Encoder.from_params(vars(self), type(self).__name__)

    def _bar(self) -> Callable[..., Any]:
        return partial(progress_bar, verbose=self.verbose)

    def _check_images(self, X: Any, reset: bool) -> Images:
        images = as_images(X)
        if images is None:
            raise ValueError(
                f"{type(self).__name__} takes images; got {type(X).__name__} without any. Features already "
                "extracted go straight to the next step."
            )
        check_column(self, images, reset=reset)
        return images

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags
