"""VGG19 transfer learning for chest X-rays behind scikit-learn's interface.

A research tool, not a medical device. Importing it imports neither Keras nor the framework that it runs on.
"""

from skpneumo._classifier import PneumoniaClassifier
from skpneumo._features import VGG19Features

__version__ = "0.1.0.dev0"

__all__ = ["PneumoniaClassifier", "VGG19Features", "__version__"]
