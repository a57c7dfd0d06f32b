"""Grad-CAM visualization."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import column_or_1d

from skpneumo._utils.target_names import name_classes, name_labels
from skpneumo._utils.validation import validated
from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._grad_cam import DETAIL, grad_cam
from skpneumo.inspection._heat_map_utils import check_images, classes_of_interest, spread
from skpneumo.inspection._overlay import COLORS, overlay
from skpneumo.inspection._plot_utils import class_name, escape_mathtext, format_probability, grid_of_axes
from skpneumo.inspection._read_images import read_whole_images

_MAX_SIDE = 512  # pixels of the largest side of a displayed image
_SIDE, _HEAD, _BAR = 2.4, 0.5, 1.11  # inches: width of an image, height of its title, width of the color bar
_COLUMNS = ("X-ray", "Heat map", "Overlay")


class GradCAMDisplay:
    """Grad-CAM visualization: images, heat maps and overlays.

    It is recommended to use `from_estimator` to create a `GradCAMDisplay`. All images share one scale; only values
    above 0, which increase the log odds of the class, are shown.

    Parameters
    ----------
    images : list of ndarray of shape (height, width), uint8
        Gray images.
    heat_maps : list of ndarray of shape (height, width)
        Heat maps of `grad_cam` or `occlusion_map` in pixels of the images.
    titles : list of str
        Title of each image.
    name : str, default="the predicted class"
        Name of the class that the heat maps explain, for the color bar.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 3)
        Axes of image, heat map and overlay.
    bounding_ax_ : Axes or None
        Axes that were divided into `axes_`.
    figure_ : Figure
        Figure that contains the axes.
    images_ : list of AxesImage
        Plotted images, row by row.
    color_bar_ : Colorbar
        Color bar of the heat maps.

    See Also
    --------
    grad_cam : Compute the heat maps.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import GradCAMDisplay
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, image_size=64, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     display = GradCAMDisplay.from_estimator(clf, X[:2], y=y[:2])
    >>> display.axes_.shape
    (2, 3)
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        heat_maps: Sequence[np.ndarray],
        *,
        titles: Sequence[str],
        name: str = "the predicted class",
    ) -> None:
        self.images = images
        self.heat_maps = heat_maps
        self.titles = titles
        self.name = name

    @classmethod
    @validated(detail=DETAIL)
    def from_estimator(
        cls,
        clf: Any,
        X: Any,
        *,
        y: Any = None,
        class_of_interest: Any = None,
        detail: str = "auto",
        target_names: Any = None,
        ax: Any = None,
    ) -> "GradCAMDisplay":
        """Create a Grad-CAM visualization from a fitted classifier.

        Parameters
        ----------
        clf : PneumoniaClassifier
            Classifier as in `grad_cam`. Probabilities are those of its `predict_proba`, with all its views.
        X : as in `PneumoniaClassifier.fit`
            A few images.
        y : array-like of shape (n_samples,), default=None
            True labels, for the titles.
        class_of_interest : label, default=None
            Class whose log odds are explained, as in `grad_cam`.
        detail : {"auto", "cells", "feature_maps"}, default="auto"
            Resolution of the contributions, as in `grad_cam`.
        target_names : array-like of shape (n_classes,), default=None
            Names of the classes, in the order of ``clf.classes_``. If None, labels are shown.
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.

        Returns
        -------
        display : GradCAMDisplay
            The plotted display.

        Raises
        ------
        ImageReadError, NotFittedError, TypeError, ValueError, WeightsError
            As in `grad_cam`; ValueError also for invalid `y` or `target_names`.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        inner = check_inner(clf)
        images = check_images(X, inner)
        names = list(name_classes(clf.classes_, target_names).values())
        labels = [None] * len(images)
        if y is not None:
            check_consistent_length(images, y)
            labels = name_labels(column_or_1d(y), clf.classes_, target_names)
        grids = grad_cam(clf, X, class_of_interest=class_of_interest, detail=detail, coordinates="grid")
        shown = read_whole_images(images, _MAX_SIDE)
        proba = np.asarray(clf.predict_proba(X))
        codes = classes_of_interest(inner, class_of_interest, inner._head().logits(inner.features(X)))
        explained = [class_name(names[code]) for code in codes]
        titles = [
            f"Probability of {name}: {format_probability(row[code])}" + ("" if label is None else f"\nLabel: {label}")
            for name, code, row, label in zip(explained, codes, proba, labels, strict=True)
        ]
        heat_maps = [spread(grid, image.shape, inner.aspect) for grid, image in zip(grids, shown, strict=True)]
        name = explained[0] if len(set(explained)) == 1 else "the predicted class"
        return cls(shown, heat_maps, titles=titles, name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> "GradCAMDisplay":
        """Plot the images, heat maps and overlays.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.

        Returns
        -------
        display : GradCAMDisplay
            The plotted display.
        """
        heights = [_HEAD + _SIDE * len(image) / image.shape[1] for image in self.images]
        width, caller = len(_COLUMNS) * _SIDE + _BAR, f"{type(self).__name__}.plot"
        self.bounding_ax_, self.axes_ = grid_of_axes(ax, heights, len(_COLUMNS), width=width, caller=caller)
        self.figure_ = self.axes_[0, 0].figure
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit = max(0.0, *(float(heat.max()) for heat in self.heat_maps)) or 1.0
        norm = Normalize(0, limit)
        self.images_: list[Any] = []
        for row, image, heat, title in zip(self.axes_, self.images, self.heat_maps, self.titles, strict=True):
            self.images_ += [
                row[0].imshow(image, cmap="gray", vmin=0, vmax=255),
                row[1].imshow(heat, cmap=COLORS, norm=norm),
                row[2].imshow(overlay(image, heat, limit)),
            ]
            row[0].set_title(escape_mathtext(title), fontsize=8, loc="left")
            for each in row:
                each.set_xticks([])
                each.set_yticks([])
        for each, name in zip(self.axes_[-1], _COLUMNS, strict=True):
            each.set_xlabel(name)
        self.color_bar_ = self.figure_.colorbar(
            ScalarMappable(norm, COLORS), ax=self.axes_.ravel().tolist(), shrink=0.6
        )
        self.color_bar_.set_label(escape_mathtext(f"Contribution to the log odds of {self.name}"))
        return self
