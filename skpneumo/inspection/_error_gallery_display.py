"""Images that a classifier is most sure of and wrong about, to look at."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length, check_scalar
from sklearn.utils.validation import _check_pos_label_consistency, column_or_1d

from skpneumo._images.inputs import as_images
from skpneumo._images.sources import base_name, name_of
from skpneumo._leakage import warn_of_seen
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection._fitted_classifier import check_inner, preprocessing_of
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._heat_map_utils import check_images, spread
from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._overlay import COLORS, overlay
from skpneumo.inspection._plot_utils import grid_of_axes, literal, written
from skpneumo.metrics._confusion import surest_errors
from skpneumo.metrics._estimators import patients_of, probabilities_of, threshold_of
from skpneumo.metrics._study import check_share, check_study

_LONGEST_NAME = 32  # letters that fit above an image
_SIDE, _HEAD, _LINES = 2.1, 0.4, 0.5  # inches: of an image, of what stands above it, of two lines in place of images


class ErrorGalleryDisplay:
    """The errors that a classifier is most sure of: images, probabilities, labels and names of files.

    It is made by `from_estimator` or `from_predictions`. The first row shows positive images that are called negative,
    those of the lowest probability first; the second row negative images that are called positive, those of the highest
    probability first.

    Parameters
    ----------
    images : ndarray of shape (n_errors, height, width), uint8
        Squares as the network sees them: those missed, then the false alarms.
    positions : ndarray of int, shape (n_errors,)
        Where they stand in ``X``.
    y_proba : ndarray of shape (n_errors,)
        Probability of the positive label.
    y_true : sequence of shape (n_errors,)
        Labels.
    names : list of str
        Names of the files, without folders; "X[3]" where there is no file.
    n_shown : tuple of (int, int)
        How many of `images` were missed and how many are false alarms.
    n_wrong, n_in_all : tuple of (int, int)
        Of the positive and of the negative images: how many are called wrongly, and how many there are.
    threshold : float
        Lowest probability that is called positive.

    Attributes
    ----------
    axes_ : ndarray of shape (2, n_columns)
        What it was drawn on; those that are not needed are off.
    bounding_ax_ : Axes or None
        Axes whose place these took.
    figure_ : Figure
        The figure of all.
    images_, heat_maps_ : list of AxesImage
        What the images, and those with heat maps on them, are drawn by.
    color_bar_ : Colorbar or None
        What heat maps say in numbers; None where there are none.

    See Also
    --------
    skpneumo.inspection.image_views : What the network sees of any image.

    Notes
    -----
    An error that a classifier is sure of is a film that it does not know the like of, or a wrong label. Whoever looks
    for wrong labels looks at the training images too; the `LeakageWarning` says that errors are fewer there than among
    new ones.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.inspection import ErrorGalleryDisplay
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(4, folder, random_state=0, return_X_y=True)
    ...     y_proba = [0.9 if i == 0 else label for i, label in enumerate(y)]
    ...     display = ErrorGalleryDisplay.from_predictions(X, y, y_proba, image_size=64)
    >>> y, display.positions, display.n_wrong
    (array([0, 0, 1, 1]), array([0]), (0, 1))
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        positions: np.ndarray,
        y_proba: np.ndarray,
        y_true: Sequence[Any],
        names: list[str],
        n_shown: tuple[int, int],
        n_wrong: tuple[int, int],
        n_in_all: tuple[int, int],
        threshold: float,
    ) -> None:
        self.images = images
        self.positions = positions
        self.y_proba = y_proba
        self.y_true = y_true
        self.names = names
        self.n_shown = n_shown
        self.n_wrong = n_wrong
        self.n_in_all = n_in_all
        self.threshold = threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_errors: int = 4,
        threshold: float | None = None,
        pos_label: Any = None,
        plot_heat_maps: bool = False,
        ax: Any = None,
    ) -> "ErrorGalleryDisplay":
        """Find the errors of a fitted classifier, and draw them.

        Parameters
        ----------
        estimator : estimator instance
            Fitted classifier of two classes with ``predict_proba`` that takes images.
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images, as in `PneumoniaClassifier`.
        y : array-like of shape (n_samples,)
            Labels.
        n_errors : int, default=4
            Errors of each kind that are shown, at most.
        threshold : float, default=None
            Lowest probability that is called positive. None: that by which the classifier predicts, as in
            `DiagnosticReport.from_estimator`.
        pos_label : int, float, bool or str, default=None
            The positive label. None: 1, if labels are 0 and 1, or -1 and 1.
        plot_heat_maps : bool, default=False
            Whether to lay over the images what `grad_cam` says of the positive label.
        ax : Axes or array-like of Axes, default=None
            What to draw on: axes that are divided, or as many as are needed. None: a new figure.

        Returns
        -------
        ErrorGalleryDisplay
            The display, drawn. Where nothing is called wrongly, it says so.

        Warns
        -----
        LeakageWarning
            A ``PneumoniaClassifier`` in the estimator saw some of these images, or of their patients, in its training.

        Raises
        ------
        ImageReadError
            Some images cannot be read; it names all of them.
        TypeError, ValueError
            `X` holds no images; labels, probabilities or numbers that cannot be judged; heat maps are asked for of what
            `grad_cam` does not take.

        Examples
        --------
        >>> import tempfile
        >>> from skpneumo import PneumoniaClassifier
        >>> from skpneumo.datasets import make_chest_xrays
        >>> from skpneumo.inspection import ErrorGalleryDisplay
        >>> from skpneumo.model_selection import patient_train_test_split
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     X, y = make_chest_xrays(16, folder, random_state=0, return_X_y=True)
        ...     X, X_test, y, y_test = patient_train_test_split(X, y, test_size=0.5, random_state=0)
        ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
        ...     display = ErrorGalleryDisplay.from_estimator(clf, X_test, y_test, n_errors=2)
        >>> sum(display.n_in_all) == len(X_test), display.images.shape[1:]
        (True, (32, 32))
        """
        _check_images(X)
        if plot_heat_maps:
            check_images(X, check_inner(estimator), "grid")
        label = _check_pos_label_consistency(pos_label, column_or_1d(y))
        display = cls._of_predictions(
            X,
            y,
            probabilities_of(estimator, X, label),
            n_errors=n_errors,
            threshold=threshold_of(estimator, label) if threshold is None else threshold,
            pos_label=label,
            **preprocessing_of(estimator),
        )
        warn_of_seen(estimator, X, patients_of(X))
        if not plot_heat_maps or not len(display.positions):
            return display.plot(ax=ax)
        shown = _safe_indexing(X, display.positions)
        display.plot(ax=ax, heat_maps=grad_cam(estimator, shown, class_of_interest=label, coordinates="grid"))
        display.color_bar_.set_label(literal(f"adds to the log odds of class {label}"))
        return display

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y: Any,
        y_proba: Any,
        *,
        n_errors: int = 4,
        threshold: float = 0.5,
        pos_label: Any = None,
        image_size: int = 224,
        aspect: str = "crop",
        contrast: str | None = None,
        ax: Any = None,
    ) -> "ErrorGalleryDisplay":
        """Find the errors among probabilities, and draw them.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images, as in `PneumoniaClassifier`. Those that are shown are read.
        y : array-like of shape (n_samples,)
            Labels.
        y_proba : array-like of shape (n_samples,) or (n_samples, 2)
            Probability of the positive label, or of both in sorted order as ``predict_proba`` gives them.
        n_errors, pos_label, ax
            As in `from_estimator`.
        threshold : float, default=0.5
            Lowest probability that is called positive.
        image_size, aspect, contrast
            How images are shown, as in `PneumoniaClassifier`.

        Returns
        -------
        ErrorGalleryDisplay
            The display, drawn. Where nothing is called wrongly, it says so.

        Raises
        ------
        ImageReadError
            Some of the images that are to be shown cannot be read; it names all of them.
        ValueError
            As in `from_estimator`.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo.inspection import ErrorGalleryDisplay
        >>> X = [np.full((40, 40), gray, np.uint8) for gray in (50, 100, 150)]
        >>> display = ErrorGalleryDisplay.from_predictions(X, [0, 1, 1], [0.7, 0.2, 0.1], image_size=32)
        >>> display.positions, display.names
        (array([2, 1, 0]), ['X[2]', 'X[1]', 'X[0]'])
        """
        display = cls._of_predictions(
            X,
            y,
            y_proba,
            n_errors=n_errors,
            threshold=threshold,
            pos_label=pos_label,
            image_size=image_size,
            aspect=aspect,
            contrast=contrast,
        )
        return display.plot(ax=ax)

    @classmethod
    def _of_predictions(
        cls, X: Any, y: Any, y_proba: Any, *, n_errors: Any, threshold: Any, pos_label: Any, **square: Any
    ) -> "ErrorGalleryDisplay":
        names = _check_images(X)
        check_scalar(n_errors, "n_errors", Integral, min_val=1)
        check_share("threshold", threshold, closed=True)
        study = check_study(y, y_proba, None, pos_label)
        check_consistent_length(names, study.y)
        called = study.p >= float(threshold)
        shown = surest_errors(study.y, study.p, called, n_errors)
        positions = np.concatenate(shown)
        return cls(
            _squares(X, positions, square),
            positions=positions,
            y_proba=study.p[positions],
            y_true=column_or_1d(y)[positions].tolist(),
            names=[names[i] for i in positions],
            n_shown=(len(shown[0]), len(shown[1])),
            n_wrong=(int((study.y & ~called).sum()), int((~study.y & called).sum())),
            n_in_all=(int(study.y.sum()), int((~study.y).sum())),
            threshold=float(threshold),
        )

    def plot(self, *, ax: Any = None, heat_maps: Any = None) -> "ErrorGalleryDisplay":
        """Draw them.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            What to draw on: axes that are divided, or as many as are needed. None: a new figure.
        heat_maps : array-like of shape (n_errors, height, width), default=None
            Numbers to lay over the images, in the order of `positions`, of any resolution, such as from `grad_cam` in
            coordinates of the "grid" or "preprocessed"; one scale for all. What is not above 0 leaves an image as it
            is.

        Returns
        -------
        ErrorGalleryDisplay
            This display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            `heat_maps` does not hold one for each image, or they are not of one shape.

        Examples
        --------
        >>> import numpy as np
        >>> from skpneumo.inspection import ErrorGalleryDisplay
        >>> X = [np.full((40, 40), gray, np.uint8) for gray in (50, 100)]
        >>> display = ErrorGalleryDisplay.from_predictions(X, [0, 1], [0.7, 0.2], image_size=32)
        >>> len(display.plot(heat_maps=np.ones((2, 4, 4))).heat_maps_)
        2
        """
        maps = self._check_maps(heat_maps)
        self.color_bar_: Any = None
        n_columns = max(1, *self.n_shown)
        heights = [_SIDE + _HEAD if n else _LINES for n in self.n_shown]
        width = max(2, n_columns) * _SIDE + 0.5 + (maps is not None)
        caller = f"{type(self).__name__}.plot"
        self.bounding_ax_, self.axes_ = grid_of_axes(ax, heights, n_columns, width=width, caller=caller)
        self.figure_ = self.axes_[0, 0].figure
        first, second = (list(row[:n]) for row, n in zip(self.axes_, self.n_shown, strict=True))
        for each in set(self.axes_.ravel()) - {*first, *second}:
            each.set_axis_off()
        self.images_ = [self._draw(each, i) for i, each in enumerate(first + second)]
        self.heat_maps_ = [] if maps is None else self._lay_over(first + second, maps)
        self._say(0, "missed", "positive", f"probability below {self.threshold:.3g}")
        self._say(1, "false alarms", "negative", f"probability {self.threshold:.3g} or above")
        return self

    def _check_maps(self, heat_maps: Any) -> np.ndarray | None:
        if heat_maps is None:
            return None
        try:
            maps = np.nan_to_num(np.asarray(heat_maps, dtype=float))
        except ValueError as error:
            raise ValueError(
                "heat_maps must be maps of numbers of one shape, as grad_cam makes them with coordinates='grid' or "
                f"coordinates='preprocessed': {error}"
            ) from None
        if maps.ndim != 3 or len(maps) != len(self.images):
            raise ValueError(
                f"heat_maps must hold a map for each of {len(self.images)} errors, in the order of positions; got the "
                f"shape {maps.shape}."
            )
        return maps if len(maps) else None

    def _draw(self, ax: Any, number: int) -> Any:
        """Draw one image, and say what it is."""
        ax.set(xticks=[], yticks=[])
        probability = f"labelled {self.y_true[number]}, probability {written(self.y_proba[number])}"
        ax.set_title(literal(f"{_short(self.names[number])}\n{probability}"), fontsize=7)
        return ax.imshow(self.images[number], cmap="gray", vmin=0, vmax=255)

    def _lay_over(self, axes: list[Any], maps: np.ndarray) -> list[Any]:
        """Draw images with heat maps on them, on one scale."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit = max(float(maps.max()), 0.0) or 1.0
        both = [
            overlay(image, spread(heat, image.shape, "stretch"), limit)
            for image, heat in zip(self.images, maps, strict=True)
        ]
        scale = ScalarMappable(Normalize(0, limit), COLORS)
        self.color_bar_ = self.figure_.colorbar(scale, ax=self.axes_.ravel().tolist(), label="heat map", shrink=0.6)
        return [ax.imshow(each) for ax, each in zip(axes, both, strict=True)]

    def _say(self, row: int, kind: str, of_label: str, condition: str) -> None:
        """Say beside a row how many errors of its kind there are, or in its place that there are none."""
        ax, n = self.axes_[row, 0], self.n_wrong[row]
        words = f"{kind}: {n or 'none'} of {self.n_in_all[row]} {of_label}\n({condition})"
        if n:
            ax.set_ylabel(words, fontsize=8)
        else:
            ax.text(0.5, 0.5, words, fontsize=8, ha="center", va="center", transform=ax.transAxes)


def _check_images(X: Any) -> list[str]:
    """Return the name of each image, without folders."""
    images = as_images(X)
    if images is None:
        raise ValueError(f"ErrorGalleryDisplay shows images; got {type(X).__name__} without any.")
    names = [base_name(name_of(image) or "") for image in images]
    return [name or f"X[{i}]" for i, name in enumerate(names)]


def _squares(X: Any, positions: np.ndarray, square: dict[str, Any]) -> np.ndarray:
    """Read some images; an error calls them by their place in `X`."""
    if not len(positions):
        return np.empty((0, square["image_size"], square["image_size"]), np.uint8)
    try:
        return image_views(_safe_indexing(X, positions), n_views=1, **square)[:, 0]
    except ImageReadError as error:
        raise ImageReadError([(int(positions[i]), path, reason) for i, path, reason in error.failures]) from None


def _short(name: str) -> str:
    """Leave out the middle of a name that is too long to stand above an image."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[1 - _LONGEST_NAME // 2 :]}"
