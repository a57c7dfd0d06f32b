"""The errors and warnings that are this package's own."""

from collections.abc import Sequence

__all__ = ["FeatureStoreWarning", "ImageReadError", "UntrainedLayersWarning", "WeightsError"]


class ImageReadError(ValueError):
    """Images of one call that cannot be read, all of them.

    Parameters
    ----------
    failures : sequence of (int, str, str)
        Position in ``X``, path and reason of every image that cannot be read.

    Attributes
    ----------
    failures : list of (int, str, str)
        The same, in order of position.

    Examples
    --------
    >>> from skpneumo.exceptions import ImageReadError
    >>> print(ImageReadError([(3, "films/a.png", "no such file")]))
    1 image cannot be read; mend it or leave it out:
      X[3] 'films/a.png': no such file
    """

    def __init__(self, failures: Sequence[tuple[int, str, str]]) -> None:
        super().__init__(failures)
        self.failures = sorted(failures)

    def __str__(self) -> str:
        count = len(self.failures)
        head = "1 image cannot be read; mend it" if count == 1 else f"{count} images cannot be read; mend them"
        lines = [f"  X[{position}] {path!r}: {reason}" for position, path, reason in self.failures]
        return "\n".join([f"{head} or leave {'it' if count == 1 else 'them'} out:", *lines])


class WeightsError(ValueError):
    """Weights of the backbone that cannot be reached or do not fit it.

    Examples
    --------
    >>> from skpneumo.exceptions import WeightsError
    >>> issubclass(WeightsError, ValueError)
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
