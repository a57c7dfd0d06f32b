"""Errors and warnings of skpneumo."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

__all__ = [
    "DomainShiftWarning",
    "FeatureStoreWarning",
    "ImageReadError",
    "LabelTableError",
    "LeakageWarning",
    "ModelFileError",
    "UntrainedLayersWarning",
    "WeightsError",
]

_N_SHOWN = 10
_ENDINGS = {"", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}  # they explain nothing


class ImageReadError(ValueError):
    """Error raised when images cannot be read.

    One error covers all unreadable images of a call. The message shows the first ten of them and, if there are more, a
    cause that all of them share.

    Parameters
    ----------
    failures : sequence of (int, str, str)
        Position in ``X``, path and reason of each unreadable image.
    lengths : mapping of str to int, default=None
        Names and lengths of the lists of images if they are not the single list ``X``. Positions then count through
        all lists, one after the other.

    Attributes
    ----------
    failures : list of (int, str, str)
        All failures, sorted by position.
    lengths : dict or None
        Names and lengths of the lists.

    Examples
    --------
    >>> from skpneumo.exceptions import ImageReadError
    >>> print(ImageReadError([(3, "images/a.png", "no such file")]))
    1 image cannot be read; fix or remove it:
      X[3] 'images/a.png': no such file
    """

    def __init__(self, failures: Sequence[tuple[int, str, str]], lengths: Mapping[str, int] | None = None) -> None:
        self.failures = sorted(failures)
        self.lengths = None if lengths is None else dict(lengths)
        super().__init__(self._message())  # alone, so that repr is short too

    def __reduce__(self) -> Any:
        return type(self), (self.failures, self.lengths)

    def _message(self) -> str:
        count = len(self.failures)
        head = "1 image cannot be read; fix or remove it:"
        if count != 1:
            head = f"{count} images cannot be read; fix or remove them:"
        lines = [f"  {self._place(position)} {path!r}: {reason}" for position, path, reason in self.failures[:_N_SHOWN]]
        if count > _N_SHOWN:
            lines.append(f"  and {count - _N_SHOWN} more; the attribute 'failures' lists all")
            lines += _likely_cause([path for _, path, _ in self.failures], {why for _, _, why in self.failures})
        return "\n".join([head, *lines])

    def _place(self, position: int) -> str:
        for name, length in (self.lengths or {}).items():
            if position < length:
                return f"{name}[{position}]"
            position -= length
        return f"X[{position}]"


def _likely_cause(paths: Sequence[str], reasons: set[str]) -> list[str]:
    """Return a line with the likely cause if all images fail for the same reason."""
    if reasons == {"no such file"}:
        if os.sep == "/" and all("\\" in path for path in paths):
            return [f"All {len(paths)} paths contain backslashes, which do not separate folders here."]
        with suppress(ValueError, OSError):  # there is no common or no current folder
            folder = os.path.commonpath([os.path.dirname(path) for path in paths])
            if not any("://" in path for path in paths) and folder != os.sep:
                current = "" if os.path.isabs(folder) else f" (current folder: {os.getcwd()!r})"
                return [f"None of these {len(paths)} files exists: is the folder {folder or '.'!r} right?{current}"]
    elif len(reasons) == 1 and next(iter(reasons)).startswith("not an image"):
        endings = {os.path.splitext(path)[1].lower() for path in paths}
        if len(endings) == 1 and not endings & _ENDINGS:
            return [f"All {len(paths)} names end in {endings.pop()!r}."]
    return []


class LabelTableError(ValueError):
    """Error raised when rows of a label table have problems.

    One error covers all problems of a table. The message shows the first ten rows of each kind.

    Parameters
    ----------
    message : str
        Text of the error.
    problems : DataFrame
        All problems.

    Attributes
    ----------
    problems : DataFrame
        One row for each problem, with the columns ``problem`` (the kind), ``row`` (position in the table, as for
        ``iloc``; NA for a missing column), ``image`` (name in the table) and ``detail``.

    Examples
    --------
    >>> from skpneumo.exceptions import LabelTableError
    >>> issubclass(LabelTableError, ValueError)
    True
    """

    def __init__(self, message: str, problems: Any) -> None:
        super().__init__(message, problems)
        self.problems = problems

    def __str__(self) -> str:
        return str(self.args[0])


class WeightsError(ValueError):
    """Error raised when the weights of the backbone are not found or do not fit it.

    Examples
    --------
    >>> from skpneumo.exceptions import WeightsError
    >>> issubclass(WeightsError, ValueError)
    True
    """


class ModelFileError(ValueError):
    """Error raised when a model file is missing, damaged, of another kind or of a later version.

    Examples
    --------
    >>> from skpneumo.exceptions import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


class FeatureStoreWarning(UserWarning):
    """Warning used when the feature store fails; features are computed but not stored.

    Examples
    --------
    >>> from skpneumo.exceptions import FeatureStoreWarning
    >>> issubclass(FeatureStoreWarning, UserWarning)
    True
    """


class UntrainedLayersWarning(UserWarning):
    """Warning used when the weights lack trainable layers, which then start from random weights.

    Examples
    --------
    >>> from skpneumo.exceptions import UntrainedLayersWarning
    >>> issubclass(UntrainedLayersWarning, UserWarning)
    True
    """


class LeakageWarning(UserWarning):
    """Warning used when a model is evaluated on images or patients of its training set.

    It is also used when a split of scikit-learn, such as that of a search, has the same patients on both sides.

    Examples
    --------
    >>> from skpneumo.exceptions import LeakageWarning
    >>> issubclass(LeakageWarning, UserWarning)
    True
    """


class DomainShiftWarning(UserWarning):
    """Warning used to notify the user that a set of images differs from the training images as a whole.

    Examples
    --------
    >>> from skpneumo.exceptions import DomainShiftWarning
    >>> issubclass(DomainShiftWarning, UserWarning)
    True
    """
