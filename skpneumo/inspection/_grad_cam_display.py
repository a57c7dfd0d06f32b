"""Films, heat maps, and both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import column_or_1d

from skpneumo.inspection._fitted_classifier import check_inner
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._heat_map_utils import check_images, classes_of_interest, spread
from skpneumo.inspection._overlay import COLORS, overlay
from skpneumo.inspection._plot_utils import grid_of_axes, literal, written
from skpneumo.inspection._read_images import read_films

_LONGEST = 512  # pixels of a film that is shown
_SIDE, _HEAD, _BAR = 2.4, 0.5, 1.11  # inches: of an image, of what stands above it, of the colour bar
_COLUMNS = ("X-ray", "heat map", "both")


class GradCAMDisplay:
    """Films beside their heat maps; `from_estimator` makes it.

    What is above 0 is shown, on one scale for all: places that speak for the class. A film without any stays as it is.

    Parameters
    ----------
    images : list of ndarray of shape (height, width), uint8
        Gray images.
    heat_maps : list of ndarray of shape (height, width)
        What `grad_cam` or `occlusion_map` makes of them, in their pixels.
    titles : list of str
        What stands over each film.
    name : str, default="the predicted class"
        The class that heat maps speak of.

    Attributes
    ----------
    axes_ : ndarray of shape (n_samples, 3)
        What film, heat map and both were drawn on.
    bounding_ax_ : Axes or None
        Axes whose place these took.
    figure_ : Figure
        The figure of all.
    images_ : list of AxesImage
        What they are drawn by, row by row.
    color_bar_ : Colorbar
        What heat maps say in numbers.

    See Also
    --------
    grad_cam : The numbers.

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
    def from_estimator(
        cls,
        clf: Any,
        X: Any,
        *,
        y: Any = None,
        class_of_interest: Any = None,
        detail: str = "auto",
        ax: Any = None,
    ) -> "GradCAMDisplay":
        """Draw what moves a fitted classifier.

        Parameters
        ----------
        clf : PneumoniaClassifier
            As in `grad_cam`. Probabilities are those of `clf` as it is given, with all its views.
        X : as in `PneumoniaClassifier.fit`
            A few images.
        y : array-like of shape (n_samples,), default=None
            Their labels, for the titles.
        class_of_interest : label, default=None
            The class whose log odds are looked at, as in `grad_cam`.
        detail : {"auto", "cells", "feature_maps"}, default="auto"
            As in `grad_cam`.
        ax : Axes or array-like of Axes, default=None
            What to draw on: axes that are divided, or as many as are needed. None: a new figure.

        Returns
        -------
        GradCAMDisplay
            The display.

        Raises
        ------
        ImageReadError, TypeError, ValueError, WeightsError
            As from `grad_cam`.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        inner = check_inner(clf)
        images = check_images(X, inner, "image")
        if y is not None:
            y = column_or_1d(y)
            check_consistent_length(images, y)
        grids = grad_cam(clf, X, class_of_interest=class_of_interest, detail=detail, coordinates="grid")
        films = read_films(images, _LONGEST)
        proba = np.asarray(clf.predict_proba(X))
        codes = classes_of_interest(inner, class_of_interest, inner._head().logits(inner.features(X)))
        labels = [None] * len(films) if y is None else y.tolist()
        titles = [
            f"probability of class {clf.classes_[code]}: {written(row[code])}"
            + ("" if label is None else f"\nlabelled {label}")
            for code, row, label in zip(codes, proba, labels, strict=True)
        ]
        names = {f"class {clf.classes_[code]}" for code in codes}
        heat_maps = [spread(grid, film.shape, inner.aspect) for grid, film in zip(grids, films, strict=True)]
        name = names.pop() if len(names) == 1 else "the predicted class"
        return cls(films, heat_maps, titles=titles, name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> "GradCAMDisplay":
        """Draw.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            What to draw on: axes that are divided, or as many as are needed. None: a new figure.

        Returns
        -------
        GradCAMDisplay
            Itself.
        """
        heights = [_HEAD + _SIDE * len(film) / film.shape[1] for film in self.images]
        width, caller = len(_COLUMNS) * _SIDE + _BAR, f"{type(self).__name__}.plot"
        self.bounding_ax_, self.axes_ = grid_of_axes(ax, heights, len(_COLUMNS), width=width, caller=caller)
        self.figure_ = self.axes_[0, 0].figure
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit = max(0.0, *(float(heat.max()) for heat in self.heat_maps)) or 1.0
        norm = Normalize(0, limit)
        self.images_: list[Any] = []
        for row, film, heat, title in zip(self.axes_, self.images, self.heat_maps, self.titles, strict=True):
            self.images_ += [
                row[0].imshow(film, cmap="gray", vmin=0, vmax=255),
                row[1].imshow(heat, cmap=COLORS, norm=norm),
                row[2].imshow(overlay(film, heat, limit)),
            ]
            row[0].set_title(literal(title), fontsize=8, loc="left")
            for each in row:
                each.set_xticks([])
                each.set_yticks([])
        for each, name in zip(self.axes_[-1], _COLUMNS, strict=True):
            each.set_xlabel(name)
        self.color_bar_ = self.figure_.colorbar(
            ScalarMappable(norm, COLORS), ax=self.axes_.ravel().tolist(), shrink=0.6
        )
        self.color_bar_.set_label(literal(f"adds to the log odds of {self.name}"))
        return self
