"""Display of the most confident errors of a classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skpneumo._leakage import warn_of_seen
from skpneumo._utils.target_names import name_classes, name_labels
from skpneumo._utils.validation import BOOLEAN, COUNT, validated
from skpneumo.exceptions import ImageReadError
from skpneumo.inspection._fitted_classifier import check_inner, preprocessing_of
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._heat_map_utils import check_images, spread
from skpneumo.inspection._image_views import PREPROCESSING, image_views
from skpneumo.inspection._overlay import COLORS, overlay
from skpneumo.inspection._plot_utils import (
    class_name,
    draw_image,
    escape_mathtext,
    format_probability,
    grid_of_axes,
    shorten_name,
)
from skpneumo.inspection._read_images import file_names, images_of
from skpneumo.metrics._confusion import surest_errors
from skpneumo.metrics._estimators import check_asked, patients_of, positive_label, probabilities_of, threshold_of
from skpneumo.metrics._study import THRESHOLD, check_study

_SIDE, _HEAD, _LINES = 2.1, 0.4, 0.5  # height in inches of an image, of its title, of the text of an empty row


class ErrorGalleryDisplay:
    """Gallery of the most confident errors: images, probabilities, labels and file names.

    It is recommended to use `from_estimator` or `from_predictions` to create an `ErrorGalleryDisplay`. The first row
    shows false negatives, lowest probability first; the second row shows false positives, highest probability first.

    Parameters
    ----------
    images : ndarray of shape (n_errors, height, width), uint8
        Preprocessed images: false negatives, then false positives.
    positions : ndarray of int, shape (n_errors,)
        Positions of the images in ``X``.
    y_proba : ndarray of shape (n_errors,)
        Probability of the positive class.
    y_true : sequence of shape (n_errors,)
        True labels, or names of the true classes.
    names : list of str
        File names without folders; "X[3]" for an image without a file.
    n_shown : tuple of (int, int)
        Number of false negatives and of false positives in `images`.
    n_wrong : tuple of (int, int)
        Number of false negatives and of false positives.
    n_in_all : tuple of (int, int)
        Number of positive and of negative images.
    threshold : float
        Lowest probability that is predicted positive.

    Attributes
    ----------
    axes_ : ndarray of shape (2, n_columns)
        Axes of the images; unused axes are turned off.
    bounding_ax_ : Axes or None
        Axes that were divided into `axes_`.
    figure_ : Figure
        Figure that contains the axes.
    images_, heat_maps_ : list of AxesImage
        Images, and images with heat maps on them.
    color_bar_ : Colorbar or None
        Color bar of the heat maps; None without heat maps.

    See Also
    --------
    skpneumo.inspection.image_views : Return preprocessed images and their augmented views.

    Notes
    -----
    A confident error may be an image unlike the training images, or a wrong label. To find wrong labels, inspect the
    training images too; a `LeakageWarning` then reminds you that training errors are fewer than errors on new images.

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

    @validated(threshold=THRESHOLD)
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
    @validated(n_errors=COUNT, threshold=[*THRESHOLD, None], plot_heat_maps=BOOLEAN)
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
        target_names: Any = None,
        ax: Any = None,
    ) -> "ErrorGalleryDisplay":
        """Create an error gallery from a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            Fitted binary classifier of images with ``predict_proba``.
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images, as in `PneumoniaClassifier`.
        y : array-like of shape (n_samples,)
            True binary labels.
        n_errors : int, default=4
            Maximum number of false negatives and of false positives to show.
        threshold : float, default=None
            Lowest probability that is predicted positive. If None, use the threshold of the classifier as in
            `DiagnosticReport.from_estimator`.
        pos_label : int, float, bool or str, default=None
            The label of the positive class. If None and labels are in {0, 1} or {-1, 1}, it is 1; otherwise an error is
            raised.
        plot_heat_maps : bool, default=False
            Whether to overlay heat maps of `grad_cam` for the positive class.
        target_names : array-like of shape (2,), default=None
            Names of the classes, in the order of ``estimator.classes_``. If None, labels are shown.
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.

        Returns
        -------
        display : ErrorGalleryDisplay
            The plotted display.

        Warns
        -----
        LeakageWarning
            If a ``PneumoniaClassifier`` in the estimator was trained on some of these images or patients.

        Raises
        ------
        ImageReadError
            If images cannot be read. It lists all of them.
        TypeError
            If the estimator has no ``predict_proba``, or heat maps are requested for an estimator that `grad_cam` does
            not support.
        ValueError
            If `X` does not contain images, or labels, probabilities or other parameters are invalid.

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
        images_of(X)
        if plot_heat_maps:
            check_images(X, check_inner(estimator))
        label = positive_label(estimator, y, pos_label)
        check_is_fitted(estimator)
        check_asked(estimator, label)
        labels = name_labels(column_or_1d(y), estimator.classes_, target_names)
        display = cls._of_predictions(
            X,
            y,
            probabilities_of(estimator, X, label),
            n_errors=n_errors,
            threshold=threshold_of(estimator, label) if threshold is None else threshold,
            pos_label=label,
            **preprocessing_of(estimator),
        )
        display.y_true = [labels[i] for i in display.positions]
        warn_of_seen(estimator, X, patients_of(X))
        if not plot_heat_maps or not len(display.positions):
            return display.plot(ax=ax)
        shown = _safe_indexing(X, display.positions)
        display.plot(ax=ax, heat_maps=grad_cam(estimator, shown, class_of_interest=label, coordinates="grid"))
        name = class_name(name_classes(estimator.classes_, target_names)[label])
        display.color_bar_.set_label(escape_mathtext(f"Contribution to the log odds of {name}"))
        return display

    @classmethod
    @validated(n_errors=COUNT, threshold=THRESHOLD, **PREPROCESSING)
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
        target_names: Any = None,
        ax: Any = None,
    ) -> "ErrorGalleryDisplay":
        """Create an error gallery from predicted probabilities.

        Parameters
        ----------
        X : list, tuple, Series, ndarray of shape (n_samples,) or (n_samples, 1), or one-column DataFrame
            Images, as in `PneumoniaClassifier`. Only images that are shown are read.
        y : array-like of shape (n_samples,)
            True binary labels.
        y_proba : array-like of shape (n_samples,) or (n_samples, 2)
            Probability of the positive class, or of both classes in sorted order as returned by ``predict_proba``.
        n_errors, pos_label, ax
            As in `from_estimator`.
        threshold : float, default=0.5
            Lowest probability that is predicted positive.
        image_size, aspect, contrast
            Preprocessing of the images, as in `PneumoniaClassifier`.
        target_names : array-like of shape (2,), default=None
            Names of the classes, in sorted order of the labels. If None, labels are shown.

        Returns
        -------
        display : ErrorGalleryDisplay
            The plotted display.

        Raises
        ------
        ImageReadError
            If images to be shown cannot be read. It lists all of them.
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
        y = column_or_1d(y)
        labels = name_labels(y, np.unique(y), target_names)
        display.y_true = [labels[i] for i in display.positions]
        return display.plot(ax=ax)

    @classmethod
    def _of_predictions(
        cls, X: Any, y: Any, y_proba: Any, *, n_errors: Any, threshold: Any, pos_label: Any, **preprocessing: Any
    ) -> "ErrorGalleryDisplay":
        names = file_names(images_of(X))
        study = check_study(y, y_proba, None, pos_label)
        check_consistent_length(names, study.y)
        predicted = study.p >= float(threshold)
        shown = surest_errors(study.y, study.p, predicted, n_errors)
        positions = np.concatenate(shown)
        return cls(
            _read_errors(X, positions, preprocessing),
            positions=positions,
            y_proba=study.p[positions],
            y_true=column_or_1d(y)[positions].tolist(),
            names=[names[i] for i in positions],
            n_shown=(len(shown[0]), len(shown[1])),
            n_wrong=(int((study.y & ~predicted).sum()), int((~study.y & predicted).sum())),
            n_in_all=(int(study.y.sum()), int((~study.y).sum())),
            threshold=float(threshold),
        )

    def plot(self, *, ax: Any = None, heat_maps: Any = None) -> "ErrorGalleryDisplay":
        """Plot the gallery.

        Parameters
        ----------
        ax : Axes or array-like of Axes, default=None
            Axes to divide, or as many axes as are needed. If None, a new figure is created.
        heat_maps : array-like of shape (n_errors, height, width), default=None
            Heat maps to overlay, in the order of `positions` and at any resolution, such as those of `grad_cam` with
            ``coordinates="grid"`` or ``"preprocessed"``. All share one scale; only values above 0 are shown.

        Returns
        -------
        display : ErrorGalleryDisplay
            The plotted display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `heat_maps` does not contain one heat map per image, or their shapes differ.

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
        pairs = zip(first + second, self.images, strict=True)
        self.images_ = [draw_image(ax, image, self._title(i)) for i, (ax, image) in enumerate(pairs)]
        self.heat_maps_ = [] if maps is None else self._overlay(first + second, maps)
        self._label_row(0, "False negatives", "positive", f"probability below {self.threshold:.3g}")
        self._label_row(1, "False positives", "negative", f"probability {self.threshold:.3g} or above")
        return self

    def _check_maps(self, heat_maps: Any) -> np.ndarray | None:
        if heat_maps is None:
            return None
        try:
            maps = np.nan_to_num(np.asarray(heat_maps, dtype=float))
        except ValueError as error:
            raise ValueError(
                "heat_maps must be numeric arrays of equal shape, such as those of grad_cam with coordinates='grid' or "
                f"coordinates='preprocessed'; got an error from NumPy: {error}"
            ) from None
        if maps.ndim != 3 or len(maps) != len(self.images):
            raise ValueError(
                f"heat_maps must have shape ({len(self.images)}, height, width), in the order of positions; got "
                f"{maps.shape}."
            )
        return maps if len(maps) else None

    def _title(self, number: int) -> str:
        label = f"Label: {self.y_true[number]}, probability: {format_probability(self.y_proba[number])}"
        return f"{shorten_name(self.names[number])}\n{label}"

    def _overlay(self, axes: list[Any], maps: np.ndarray) -> list[Any]:
        """Draw heat maps over the images on one scale."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limit = max(float(maps.max()), 0.0) or 1.0
        both = [
            overlay(image, spread(heat, image.shape, "stretch"), limit)
            for image, heat in zip(self.images, maps, strict=True)
        ]
        scale = ScalarMappable(Normalize(0, limit), COLORS)
        self.color_bar_ = self.figure_.colorbar(scale, ax=self.axes_.ravel().tolist(), label="Heat map", shrink=0.6)
        return [ax.imshow(each) for ax, each in zip(axes, both, strict=True)]

    def _label_row(self, row: int, kind: str, label: str, condition: str) -> None:
        """Label a row with the number of its errors, inside its axes if there are none."""
        ax, n = self.axes_[row, 0], self.n_wrong[row]
        text = f"{kind}: {n} of {self.n_in_all[row]} {label}\n({condition})"
        if n:
            ax.set_ylabel(text, fontsize=8)
        else:
            ax.text(0.5, 0.5, text, fontsize=8, ha="center", va="center", transform=ax.transAxes)


def _read_errors(X: Any, positions: np.ndarray, preprocessing: dict[str, Any]) -> np.ndarray:
    """Read and preprocess the images at `positions`, to which positions in an error refer."""
    if not len(positions):
        return np.empty((0, preprocessing["image_size"], preprocessing["image_size"]), np.uint8)
    try:
        return image_views(_safe_indexing(X, positions), n_views=1, **preprocessing)[:, 0]
    except ImageReadError as error:
        raise ImageReadError([(int(positions[i]), path, reason) for i, path, reason in error.failures]) from None
