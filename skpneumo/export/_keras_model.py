"""Export to a Keras model of standard layers."""

from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._vgg19.layers import CHANNEL_MEANS, LARGEST_FLOAT16, LAYERS
from skpneumo.export._parts import Parts, extract_parts

# Explicit for each layer, so that neither global settings of Keras nor Python's random state, from which default
# initializers draw seeds, are used.
_SETTINGS = {"kernel_initializer": "zeros", "dtype": "float32"}
_NO_BIAS = {**_SETTINGS, "bias_axes": None}


def to_keras(clf: Any) -> Any:
    """Convert a fitted classifier to a Keras model from preprocessed images to probabilities.

    The model consists of standard Keras layers in float32. Keras loads the file of ``model.save("pneumonia.keras")``
    without this package.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Classifier fitted on images.

    Returns
    -------
    model : keras.Model
        Its input is preprocessed images of shape (n_samples, image_size, image_size, 1), gray values from 0 (black) to
        255; its output is probabilities of shape (n_samples, n_classes), in the order of ``classes_``.

    Raises
    ------
    TypeError
        If `clf` is not a PneumoniaClassifier.
    NotFittedError
        If `clf` is not fitted.
    ValueError
        If `clf` was fitted on features, averages several views, or its parameters or weights changed after `fit`.

    See Also
    --------
    preprocess_images : Preprocess images for this model.
    to_onnx : Export to an ONNX file for images of any size.

    Examples
    --------
    >>> import tempfile
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.export import preprocess_images, to_keras
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     pixels = preprocess_images(clf, X)[..., None]
    >>> to_keras(clf).predict(pixels, verbose=0).shape
    (8, 2)
    """
    parts = extract_parts(clf)
    keras = _keras.keras()
    size = parts.preprocessing.size
    pixels = keras.Input((size, size, 1), dtype="float32", name="pixels")
    maps = pixels
    for layer, weights in _layers(parts):
        maps = layer(maps)
        if weights:
            layer.set_weights(weights)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # otherwise Normalization ignores its weights
    return keras.Model(pixels, maps, name="skpneumo")


def _layers(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    """Return the layers in order, with their weights."""
    return [_centering(), *_convolutions(parts), *_averages(parts), *_head(parts)]


def _centering() -> tuple[Any, list[np.ndarray]]:
    """Return the layer that repeats gray values in three channels and subtracts the channel means."""
    layer = _keras.keras().layers.Conv2D(3, 1, name="center", data_format="channels_last", **_SETTINGS)
    return layer, [np.ones((1, 1, 1, 3), np.float32), -np.array(CHANNEL_MEANS, np.float32)]


def _convolutions(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    layers, stack = _keras.keras().layers, list[tuple[Any, list[np.ndarray]]]()
    for number, (name, filters, completes) in enumerate(LAYERS[: parts.n_layers], 1):
        conv = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=name, data_format="channels_last", **_SETTINGS
        )
        stack.append((conv, [parts.arrays[f"{name}/kernel"], parts.arrays[f"{name}/bias"]]))
        if completes:
            pool = layers.MaxPooling2D(
                2, name=name.split("_")[0] + "_pool", data_format="channels_last", dtype="float32"
            )
            stack.append((pool, []))
        if number == parts.rounded_after:
            stack.append((layers.ReLU(LARGEST_FLOAT16, name="limit", dtype="float32"), []))
            stack.append((layers.Activation("linear", name="round", dtype="float16"), []))
    return stack


def _averages(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    layers = _keras.keras().layers
    grid, side = parts.pooling.shape
    channels = LAYERS[parts.n_layers - 1][1]
    rows = layers.EinsumDense("nhwc,hg->ngwc", (grid, side, channels), name="average_rows", **_NO_BIAS)
    columns = layers.EinsumDense("ngwc,wk->ngkc", (grid, grid, channels), name="average_columns", **_NO_BIAS)
    flat = layers.Flatten(name="features", data_format="channels_last", dtype="float32")
    stack = [(rows, [parts.pooling.T]), (columns, [parts.pooling.T]), (flat, [])]
    if parts.norm is not None:
        stack.append((layers.UnitNormalization(name="unit_norm", dtype="float32"), []))
    return stack


def _head(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    """Return the layers of the head; means are subtracted first for accuracy, scales are merged into weights."""
    layers = _keras.keras().layers
    center = layers.Normalization(name="less_mean", dtype="float32")
    stack = [(center, [parts.mean, np.ones_like(parts.mean), np.zeros(())])]
    for number, (coef, intercept) in enumerate(parts.dense, 1):
        is_last = number == len(parts.dense)
        kernel = coef / parts.scale[:, np.newaxis] if number == 1 else coef
        dense = layers.Dense(
            len(intercept),
            activation="softmax" if is_last else "relu",
            name="probabilities" if is_last else f"hidden_{number}",
            **_SETTINGS,
        )
        stack.append((dense, [kernel, intercept]))
    return stack
