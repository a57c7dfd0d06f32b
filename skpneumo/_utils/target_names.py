"""Display names of classes and of labels."""

from typing import Any

import numpy as np

from skpneumo._utils.messages import list_values, plain, shortened


def name_classes(classes: Any, target_names: Any) -> dict[Any, Any]:
    """Return the display name of each class, or the class itself if `target_names` is None.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        Class labels, in the order of `target_names`.
    target_names : array-like of shape (n_classes,) or None
        Names of the classes.

    Raises
    ------
    ValueError
        If `target_names` is not one string per class, each different.

    Examples
    --------
    >>> from skpneumo._utils.target_names import name_classes
    >>> name_classes([0, 1], ["normal", "pneumonia"])
    {0: 'normal', 1: 'pneumonia'}
    """
    labels = np.asarray(classes).tolist()
    if target_names is None:
        return dict(zip(labels, labels, strict=True))
    names = np.asarray(target_names, dtype=object)  # of a str, a set or a mapping: an array without dimensions
    are_strings = names.shape == (len(labels),) and all(isinstance(name, str) for name in names)
    if not are_strings or len(set(names)) < len(labels):
        given = plain(names.tolist() if names.ndim else target_names)
        raise ValueError(
            f"target_names must be a different string for each class, in the order of the classes {list_values(labels)}"
            f"; got {shortened(repr(given))}."
        )
    return dict(zip(labels, map(str, names), strict=True))


def name_labels(y: np.ndarray, classes: Any, target_names: Any) -> list[Any]:
    """Return the display name of each label of `y`, or the label itself if `target_names` is None.

    Raises
    ------
    ValueError
        As in `name_classes`, or if `y` contains other labels than `classes`.

    Examples
    --------
    >>> import numpy as np
    >>> from skpneumo._utils.target_names import name_labels
    >>> name_labels(np.array([1, 1, 0]), [0, 1], ["normal", "pneumonia"])
    ['pneumonia', 'pneumonia', 'normal']
    """
    labels = y.tolist()
    if target_names is None:
        return labels
    names = name_classes(classes, target_names)
    if unknown := [label for label in dict.fromkeys(labels) if label not in names]:
        raise ValueError(
            f"With target_names, y must contain labels of the classes {list_values(list(names))}, but it also contains "
            f"{list_values(unknown)}. Fix these labels, or omit target_names."
        )
    return [names[label] for label in labels]
