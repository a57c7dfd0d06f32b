"""VGG19 transfer learning for chest X-rays with the scikit-learn API.

This is a research tool, not a medical device. Importing the package imports neither Keras nor its backend.
"""

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._feature_store.cache import cache_info, clear_cache
from skpneumo._features import VGG19Features
from skpneumo._loading import TRUSTED_TYPES, load_model
from skpneumo._saving import save_model
from skpneumo._version import __version__

__all__ = [
    "TRUSTED_TYPES",
    "PneumoniaClassifier",
    "VGG19Features",
    "__version__",
    "cache_info",
    "clear_cache",
    "load_model",
    "save_model",
]
