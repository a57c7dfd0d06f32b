"""Display of preprocessed images and their augmented views."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import column_or_1d

from skpneumo._utils.target_names import name_labels
from skpneumo._utils.validation import COUNT, validated
from skpneumo.inspection._fitted_classifier import image_model, preprocessing_of
from skpneumo.inspection._image_views import PREPROCESSING, image_views
from skpneumo.inspection._plot_utils import draw_image, grid_of_axes, shorten_name
from skpneumo.inspection._read_images import file_names, images_of

_MAX_THUMBNAILS = 100
_N_COLUMNS = 5  # of images without augmented views
_SIDE, _LINE = 1.9, 0.17  # height in inches of an image, and of a line of its title


class ImageGalleryDisplay:
    """Gallery of images as the network sees them: file names, labels and augmented views.

    It is recommended to use `from_images` or `from_estimator` to create an `ImageGalleryDisplay`. If there are
    augmented views, each row shows the views of one image.

    Parameters
    ----------
    views : ndarray of shape (n_samples, n_views, height, width), uint8
        Preprocessed images and their views, as returned by `image_views`; at most 100 altogether.
    titles : sequence of str
        Title of each image.

    Attributes
    ----------
    axes_ : ndarray of shape (n_rows, n_columns)
        Axes of the images; unused axes are turned off.
    bounding_ax_ : Axes or None
        Axes that were divided into `axes_`.
    figure_ : Figure
        Figure that contains the axes.
    images_ : list of AxesImage
        Plotted images; with augmented views, the views of the first image come first.

    See Also
    --------
    image_views : Return the preprocessed images and their views.
    ErrorGalleryDisplay : Gallery of the most confident errors of a classifier.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import ImageGalleryDisplay
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xrays = make_chest_xrays(6, folder, image_size=64, random_state=0)
    ...     display = ImageGalleryDisplay.from_images(xrays.data, xrays.target, target_names=xrays.target_names)
    >>> display.views.shape, display.axes_.shape
    ((6, 1, 112, 112), (2, 5))
    """

    def __init__(self, views: np.ndarray, *, titles: Sequence[str]) -> None:
        self.views = views
        self.titles = titles

    @classmethod
    @validated(n_views=COUNT)
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any = None, *, n_views: int = 1, target_names: Any = None, ax: Any = None
    ) -> "ImageGalleryDisplay":
        """Create an image gallery with the preprocessing and the augmentation of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            `PneumoniaClassifier` or `VGG19Features`, fitted or not, or a pipeline, a search or another estimator around
            one.
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images, as in `PneumoniaClassifier`: at most 100, including their views.
        y : array-like of shape (n_samples,), default=None
            Labels, for the titles. If None, titles contain file names only.
        n_views : int, default=1
            Number of views per image. The first is the image without augmentation.
        target_names : array-like of shape (n_classes,), default=None
            Names of the classes, in the order of ``estimator.classes_``. If the estimator is not fitted, labels must be
            positions of names, as those of the loaders. If None, labels are shown.
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.

        Returns
        -------
        display : ImageGalleryDisplay
            The plotted display.

        Raises
        ------
        ImageReadError
            If images cannot be read. It lists all of them.
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator does not preprocess images.
        ValueError
            If `X` does not contain images, there are too many, or another parameter is invalid.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo import PneumoniaClassifier
        >>> from skpneumo.inspection import ImageGalleryDisplay
        >>> X = [np.full((40, 40), gray, np.uint8) for gray in (50, 100)]
        >>> clf = PneumoniaClassifier(image_size=64)
        >>> display = ImageGalleryDisplay.from_estimator(clf, X, ["normal", "pneumonia"], n_views=3)
        >>> display.views.shape, display.titles[1].splitlines()
        ((2, 3, 64, 64), ['X[1]', 'Label: pneumonia'])
        """
        model = image_model(estimator)
        if model is None:
            raise TypeError(
                "Expected an estimator that preprocesses images: a PneumoniaClassifier or VGG19Features, or an "
                f"estimator around one; got {type(estimator).__name__}. Use ImageGalleryDisplay.from_images."
            )
        return cls._of_images(
            X,
            y,
            classes=getattr(estimator, "classes_", None),
            target_names=target_names,
            n_views=n_views,
            augmentation=getattr(model, "augmentation", "xray"),
            **preprocessing_of(estimator),
        ).plot(ax=ax)

    @classmethod
    @validated(n_views=COUNT, **PREPROCESSING)
    def from_images(
        cls,
        X: Any,
        y: Any = None,
        *,
        n_views: int = 1,
        augmentation: Mapping[str, float] | str = "xray",
        image_size: int = 112,
        aspect: str = "crop",
        contrast: str | None = None,
        target_names: Any = None,
        ax: Any = None,
    ) -> "ImageGalleryDisplay":
        """Create an image gallery with given preprocessing and augmentation.

        Parameters
        ----------
        X, y, n_views, ax
            As in `from_estimator`.
        augmentation, image_size, aspect, contrast
            As in `PneumoniaClassifier`.
        target_names : array-like of shape (n_classes,), default=None
            Names of the classes. The labels must be positions of names, as those of the loaders. If None, labels are
            shown.

        Returns
        -------
        display : ImageGalleryDisplay
            The plotted display.

        Raises
        ------
        ImageReadError, ImportError, ValueError
            As in `from_estimator`.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo.inspection import ImageGalleryDisplay
        >>> X = [np.full((40, 40), gray, np.uint8) for gray in (50, 100)]
        >>> ImageGalleryDisplay.from_images(X, image_size=32).titles
        ['X[0]', 'X[1]']
        """
        return cls._of_images(
            X,
            y,
            classes=None,
            target_names=target_names,
            n_views=n_views,
            augmentation=augmentation,
            image_size=image_size,
            aspect=aspect,
            contrast=contrast,
        ).plot(ax=ax)

    @classmethod
    def _of_images(
        cls, X: Any, y: Any, *, classes: Any, target_names: Any, n_views: int, **settings: Any
    ) -> "ImageGalleryDisplay":
        check_matplotlib_support(f"{cls.__name__}.plot")
        images = images_of(X)
        if len(images) * n_views > _MAX_THUMBNAILS:
            views = "" if n_views == 1 else f" with {n_views} views each"
            raise ValueError(
                f"X must contain at most {_MAX_THUMBNAILS} images, including their views; got {len(images)} images"
                f"{views}. Pass a part of them, such as X[:{max(1, _MAX_THUMBNAILS // n_views)}]."
            )
        titles = [shorten_name(name) for name in file_names(images)]
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(images, y)
            classes = np.arange(np.size(target_names)) if classes is None else classes
            labels = name_labels(y, classes, target_names)
            titles = [f"{title}\nLabel: {label}" for title, label in zip(titles, labels, strict=True)]
        return cls(image_views(X, n_views=n_views, **settings), titles=titles)

    def plot(self, *, ax: Any = None) -> "ImageGalleryDisplay":
        """Plot the gallery.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.

        Returns
        -------
        display : ImageGalleryDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo.inspection import ImageGalleryDisplay
        >>> display = ImageGalleryDisplay(np.zeros((2, 3, 32, 32), np.uint8), titles=["first", "second"])
        >>> display.plot().axes_.shape
        (2, 3)
        """
        n_samples, n_views = self.views.shape[:2]
        n_columns = n_views if n_views > 1 else min(n_samples, _N_COLUMNS)
        n_lines = 1 + max(title.count("\n") for title in self.titles) + 0.5
        heights = [_SIDE + _LINE * n_lines] * -(-n_samples * n_views // n_columns)
        caller = f"{type(self).__name__}.plot"
        self.bounding_ax_, self.axes_ = grid_of_axes(ax, heights, n_columns, width=_SIDE * n_columns, caller=caller)
        self.figure_ = self.axes_[0, 0].figure
        others = [f"View {number}" for number in range(2, n_views + 1)]
        titles = [each for title in self.titles for each in (title, *others)]
        images = self.views.reshape(-1, *self.views.shape[2:])
        axes = self.axes_.ravel()
        self.images_ = [draw_image(*each) for each in zip(axes, images, titles, strict=False)]
        for unused in axes[len(images) :]:
            unused.set_axis_off()
        return self
