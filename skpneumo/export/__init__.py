"""Export of fitted models to ONNX and Keras, which other programs run without this package."""

from skpneumo.export._keras_model import to_keras
from skpneumo.export._onnx_file import to_onnx
from skpneumo.export._preprocess import preprocess_images

__all__ = ["preprocess_images", "to_keras", "to_onnx"]
