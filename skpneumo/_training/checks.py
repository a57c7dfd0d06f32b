"""Checks of the parameters of a classifier, of its training data and of later labels."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from skpneumo._heads.resampling import check_sampler_selects_images
from skpneumo._images.dicom_patients import reproducible
from skpneumo._images.groups import as_groups, check_groups, patients_by_name
from skpneumo._images.inputs import as_images, check_column
from skpneumo._training.dataset import Examples
from skpneumo._utils.messages import list_items, list_values, plain, shortened
from skpneumo._utils.validation import COUNT, Finite, check_constraints

FLOATS = (np.float64, np.float32)
_SMALLEST, _LARGEST = 1e-20, 1e20  # beyond, the penalty relative to the weights overflows in float32, or vanishes
_LARGEST_FEATURE = 1e30  # squares of larger features overflow
_RESCALE = "divide all weights, and alpha, by the same number"
_WEIGHT = [Finite(Real, 0, None, closed="left")]


def check_parameters(clf: Any) -> None:
    """Check each parameter of a classifier, then combinations of them."""
    check_constraints(clf._parameter_constraints, clf.get_params(deep=False), type(clf).__name__)
    sizes = clf.hidden_layer_sizes
    if isinstance(clf.class_weight, dict):
        weights = {f"class_weight[{plain(label)!r}]": weight for label, weight in clf.class_weight.items()}
        check_constraints(dict.fromkeys(weights, _WEIGHT), weights, type(clf).__name__)
    for size in () if isinstance(sizes, Integral) else sizes:
        check_constraints({"hidden_layer_sizes": COUNT}, {"hidden_layer_sizes": size}, type(clf).__name__)
    if isinstance(clf.sampler, type):
        raise ValueError(f"sampler must be an instance, but it is a class: pass {clf.sampler.__name__}().")
    if clf.n_trainable_layers and clf.sampler is not None:
        check_sampler_selects_images(clf.sampler)


def hidden_layer_sizes(clf: Any) -> tuple[int, ...]:
    """Return `hidden_layer_sizes`, which are checked, as a tuple."""
    sizes = clf.hidden_layer_sizes
    return tuple(map(int, [sizes] if isinstance(sizes, Integral) else sizes))


def check_examples(
    clf: Any, X: Any, y: Any, sample_weight: Any, groups: Any = None, classes: np.ndarray | None = None
) -> Examples:
    """Check the training data. `classes` are all classes of later calls; if None, those of `y`."""
    given, images = X, as_images(X)
    is_first = classes is None or not hasattr(clf, "coefs_")
    if images is None:
        X, y = validate_data(clf, X, y, dtype=FLOATS, reset=is_first)
        check_features(X, is_fit=True)
    else:
        y = validate_data(clf, X="no_validation", y=y)
        check_column(clf, images, reset=is_first)
        check_consistent_length(images, y)
    if images is None and clf.n_trainable_layers:
        raise ValueError(
            f"n_trainable_layers={clf.n_trainable_layers} requires images, but X contains extracted features: pass "
            "images or set n_trainable_layers=0."
        )
    check_classification_targets(y)
    encoder = LabelEncoder().fit(y if classes is None else classes)
    if len(encoder.classes_) < 2:
        raise ValueError(f"y must contain at least 2 classes, but it contains only one class: {encoder.classes_[0]}.")
    metadata = {
        name: value for name, value in (("sample_weight", sample_weight), ("groups", groups)) if value is not None
    }
    are_groups_given = groups is not None
    if groups is not None:
        groups = check_groups(as_groups(groups, X if images is None else images), len(y))
    elif images is not None:
        groups = reproducible(patients_by_name(images))
    else:
        groups = np.arange(len(y))
    sample_weight = _check_weights(sample_weight, y)
    codes = _codes(y, encoder.classes_)
    if isinstance(clf.class_weight, str) and clf.sampler is None:  # a sampler changes the class counts itself
        none = np.zeros(len(encoder.classes_))
        before = none if is_first else clf.reference_.get("class_count", none)
        loss_weight = sample_weight * _balanced_weights(codes, sample_weight, before)
    else:
        class_weight = None if isinstance(clf.class_weight, str) else clf.class_weight
        loss_weight = sample_weight * compute_sample_weight(class_weight, y)
    if not _SMALLEST <= loss_weight.max() <= _LARGEST:
        raise ValueError(
            f"class_weight must give weights of which the largest is between {_SMALLEST:g} and {_LARGEST:g}, but it is "
            f"{loss_weight.max():g} with class_weight={shortened(repr(plain(clf.class_weight)))}: {_RESCALE}."
        )
    return Examples(
        X if images is None else images,
        is_images=images is not None,
        classes=encoder.classes_,
        codes=codes,
        sample_weight=sample_weight,
        loss_weight=loss_weight,
        groups=groups,
        are_groups_given=are_groups_given,
        for_callbacks={"X": given, "y": y, "metadata": metadata or None},
    )


def _balanced_weights(codes: np.ndarray, sample_weight: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the weights that balance the classes, whose counts include those of earlier calls, `before`.

    Unlike those of scikit-learn, they depend on `sample_weight`, so that a weight of 2 equals a repetition.
    """
    count = before + np.bincount(codes, weights=sample_weight, minlength=len(before))
    is_present = count > 0
    weights = np.divide(count.sum(), is_present.sum() * count, out=np.zeros_like(count), where=is_present)
    return weights[codes]


def _check_weights(sample_weight: Any, y: np.ndarray) -> np.ndarray:
    try:
        sample_weight = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    except (TypeError, ValueError) as error:
        is_named = "sample" in str(error).lower()
        raise ValueError(f"{'' if is_named else 'sample_weight must contain numbers: '}{error}") from error
    if not sample_weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if not _SMALLEST <= sample_weight.max() <= _LARGEST:
        raise ValueError(
            f"The largest sample_weight must be between {_SMALLEST:g} and {_LARGEST:g}, but it is "
            f"{sample_weight.max():g}: {_RESCALE}."
        )
    return sample_weight


def check_features(features: np.ndarray, *, is_fit: bool = False) -> np.ndarray:
    """Return features, or raise ValueError if their squares overflow or, in a fit, those of a whole column vanish."""
    if not features.size:
        return features
    largest = np.maximum(features.max(axis=0), -features.min(axis=0))
    is_wrong = (largest > _LARGEST_FEATURE) | (is_fit & (largest > 0) & (largest < 1 / _LARGEST_FEATURE))
    if is_wrong.any():
        columns = [f"{number} ({largest[number]:.3g})" for number in np.flatnonzero(is_wrong)]
        raise ValueError(
            f"The largest absolute value of each feature must be 0 or between {1 / _LARGEST_FEATURE:g} and "
            f"{_LARGEST_FEATURE:g}, but it is not in the columns {list_items(columns)}: rescale them."
        )
    return features


def codes_of_every_class(y: Any, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label of `y` in `classes`.

    Raises
    ------
    ValueError
        If `y` contains other labels, or lacks a class.
    """
    codes = _codes(column_or_1d(y, warn=True), classes)
    is_missing = np.bincount(codes, minlength=len(classes)) == 0
    if is_missing.any():
        raise ValueError(
            f"y must contain labels of every class, but there are none of {list_values(classes[is_missing])}: add "
            "images of these classes."
        )
    return codes


def _codes(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label of `y` in `classes`; raise ValueError for other labels."""
    position = {label: code for code, label in enumerate(classes.tolist())}
    labels = y.tolist()
    unknown = [label for label in dict.fromkeys(labels) if label not in position]
    if unknown:
        raise ValueError(
            f"y must contain labels of the classes {list_values(classes)}, but it also contains "
            f"{list_values(unknown)}: remove these images, or fit on all classes."
        )
    return np.array([position[label] for label in labels], dtype=np.intp)
