"""The errors and warnings that are this package's own."""

from collections.abc import Mapping, Sequence

__all__ = [
    "FeatureStoreWarning",
    "ImageReadError",
    "LeakageWarning",
    "ModelFileError",
    "UntrainedLayersWarning",
    "WeightsError",
]


class ImageReadError(ValueError):
    """Images of one call that cannot be read, all of them.

    Parameters
    ----------
    failures : sequence of (int, str, str)
        Position in ``X``, path and reason of every image that cannot be read.
    lengths : mapping of str to int, default=None
        Names and lengths of the lists of images, where there are others than ``X``; positions count through all of
        them, one after the other.

    Attributes
    ----------
    failures : list of (int, str, str)
        The same, in order of position.
    lengths : dict or None
        Names and lengths of the lists.

    Examples
    --------
    >>> from skpneumo.exceptions import ImageReadError
    >>> print(ImageReadError([(3, "films/a.png", "no such file")]))
    1 image cannot be read; mend it or leave it out:
      X[3] 'films/a.png': no such file
    """

    def __init__(self, failures: Sequence[tuple[int, str, str]], lengths: Mapping[str, int] | None = None) -> None:
        super().__init__(failures)
        self.failures = sorted(failures)
        self.lengths = None if lengths is None else dict(lengths)

    def __str__(self) -> str:
        count = len(self.failures)
        head = "1 image cannot be read; mend it" if count == 1 else f"{count} images cannot be read; mend them"
        lines = [f"  {self._place(position)} {path!r}: {reason}" for position, path, reason in self.failures]
        return "\n".join([f"{head} or leave {'it' if count == 1 else 'them'} out:", *lines])

    def _place(self, position: int) -> str:
        for name, length in (self.lengths or {}).items():
            if position < length:
                return f"{name}[{position}]"
            position -= length
        return f"X[{position}]"


class WeightsError(ValueError):
    """Weights of the backbone that cannot be reached or do not fit it.

    Examples
    --------
    >>> from skpneumo.exceptions import WeightsError
    >>> issubclass(WeightsError, ValueError)
    True
    """


class ModelFileError(ValueError):
    """A file that no model can be read from: it is missing, damaged, of another kind or of a later version.

    Examples
    --------
    >>> from skpneumo.exceptions import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


class FeatureStoreWarning(UserWarning):
    """The feature store cannot be used; features are computed but not kept.

    Examples
    --------
    >>> from skpneumo.exceptions import FeatureStoreWarning
    >>> issubclass(FeatureStoreWarning, UserWarning)
    True
    """


class UntrainedLayersWarning(UserWarning):
    """Trainable layers that the weights do not hold; they are trained from random weights.

    Examples
    --------
    >>> from skpneumo.exceptions import UntrainedLayersWarning
    >>> issubclass(UntrainedLayersWarning, UserWarning)
    True
    """


class LeakageWarning(UserWarning):
    """A model is judged on images, or on patients, that it was trained on.

    Examples
    --------
    >>> from skpneumo.exceptions import LeakageWarning
    >>> issubclass(LeakageWarning, UserWarning)
    True
    """
