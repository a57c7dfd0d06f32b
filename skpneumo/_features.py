"""VGG19Features: transformer from images to features."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skpneumo._encoder.encoder import PARAMETER_CONSTRAINTS, Encoder
from skpneumo._images.inputs import as_images, check_column
from skpneumo._images.sources import Images
from skpneumo._leakage import SplitCheckMixin
from skpneumo._utils.callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skpneumo._utils.doc_link import DocumentationLinkMixin
from skpneumo._utils.progress import progress_bar
from skpneumo._utils.rollback import unchanged_on_error
from skpneumo._vgg19.layers import grid_side, n_channels


class VGG19Features(SplitCheckMixin, DocumentationLinkMixin, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Extract features of chest X-rays with the first layers of VGG19.

    Images are converted to gray and made square, and pass through the first `n_layers` convolution layers, which are
    frozen. The feature maps are averaged over a grid. Nothing is trained, so that any scikit-learn classifier and any
    imbalanced-learn sampler can follow. Features are cached on disk by image content and computed once per image.

    Parameters
    ----------
    weights : "imagenet", path or None, default="imagenet"
        "imagenet" uses the weights that Keras downloads to ``~/.keras``. A path refers to a ``.npz`` file with arrays
        named "block1_conv1/kernel", "block1_conv1/bias" and so on, or to a ``.h5``, ``.weights.h5`` or ``.keras`` file
        of VGG19. If None, use random weights from a fixed seed, the same on every machine.
    n_layers : int, default=8
        Number of convolution layers used, out of 16. A pooling layer follows each complete block.
    image_size : int, default=112
        Side of the network input in pixels, at least 32.
    aspect : {"crop", "pad", "stretch"}, default="crop"
        How images are made square. "crop" scales the short side and crops the center, "pad" scales the long side and
        fills the rest with black, "stretch" scales both sides.
    contrast : {None, "equalize"}, default=None
        If "equalize", equalize the histogram of gray values.
    pool_grid : int, default=4
        Average the feature maps over a ``pool_grid`` x ``pool_grid`` grid, adaptively if it does not divide their
        side, and never finer than the maps. 1 is global average pooling.
    norm : {"l2", None}, default="l2"
        Norm to which the features of each image are scaled, which removes most of the effect of exposure and contrast.
        If None, they are not scaled.
    memory : "auto", None, path or joblib.Memory, default="auto"
        Where features are cached. "auto" is the folder in the environment variable ``SKPNEUMO_CACHE``, or else the
        cache folder of the user. A ``Memory`` gives its location. If None, features are not cached.
    device : {"auto", "cpu", "gpu"}, default="auto"
        Device for the network. "auto" uses a GPU if the backend of Keras finds one.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the computation; features are float32. "auto" is bfloat16 if the device supports it natively,
        float16 on a GPU whose tensor cores support float16 but not bfloat16, and float32 otherwise.
    n_jobs : int, default=None
        Number of threads that decode images. If None, use as many threads as keep the device busy, unless in a
        ``joblib.parallel_config`` context. In a context of Dask or Ray, images are distributed to the workers.
    verbose : int, default=0
        If positive, show a progress bar if extraction takes more than a second.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen during `fit`, always 1.
    feature_names_in_ : ndarray of shape (1,)
        Name of the column seen during `fit`. Defined only when `X` is a DataFrame with a string as column name.

    See Also
    --------
    PneumoniaClassifier : Classifier that combines these features with a trained head.

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
        n_layers: int = 8,
        image_size: int = 112,
        aspect: str = "crop",
        contrast: str | None = None,
        pool_grid: int = 4,
        norm: str | None = "l2",
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
        self.norm = norm
        self.memory = memory
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs
        self.verbose = verbose

    @unchanged_on_error
    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> "VGG19Features":
        """Validate the parameters and `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Images as a list, tuple, Series, ndarray or one-column DataFrame of paths, bytes, open binary files, PIL
            images, pixel arrays or URLs.
        y : None
            Ignored. Present for API consistency by convention.

        Returns
        -------
        self : VGG19Features
            Fitted transformer.
        """
        self._encoder()
        self._check_images(X, reset=True)
        tasks = FitTasks(self, self._bar())
        tasks.begin(X=X, y=y)
        tasks.end(X=X, y=y)
        return self

    @unchanged_on_error
    @with_callbacks
    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit to data, then transform it, with scikit-learn callbacks for each batch of images.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Images as a list, tuple, Series, ndarray or one-column DataFrame of paths, bytes, open binary files, PIL
            images, pixel arrays or URLs.
        y : None
            Ignored. Present for API consistency by convention.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_features), float32
            Features, as in `transform`.
        """
        encoder = self._encoder()
        images = self._check_images(X, reset=True)
        tasks = FitTasks(self, self._bar())
        tasks.begin(X=X, y=y)
        features = encoder.extract(images, progress=tasks).features
        tasks.end(X=X, y=y)
        return features

    def transform(self, X: Any) -> np.ndarray:
        """Extract features, or read them from the cache.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, 1)
            Images as a list, tuple, Series, ndarray or one-column DataFrame of paths, bytes, open binary files, PIL
            images, pixel arrays or URLs.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_features), float32
            Features, ordered by grid cell, row by row from the upper left, and by channel within each cell.

        Raises
        ------
        ImageReadError
            If images cannot be read. The error lists all of them; features computed so far stay cached.
        WeightsError
            If the weights are not found or do not fit.
        """
        check_is_fitted(self)
        encoder = self._encoder()
        return encoder.extract(self._check_images(X, reset=False), progress=self._bar()).features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Get output feature names for transformation.

        Parameters
        ----------
        input_features : None
            Ignored. Present for API consistency by convention.

        Returns
        -------
        feature_names_out : ndarray of shape (n_features,), object
            Names with row and column of the grid cell, from the upper left, and channel, such as "vgg19_0_3_17".
        """
        check_is_fitted(self)
        self._encoder()
        # Computed without the backbone, since the HTML display of a pipeline must not trigger a download of weights.
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
                f"{type(self).__name__} expects images, but got {type(X).__name__} without images. Pass extracted "
                "features directly to the next step."
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
