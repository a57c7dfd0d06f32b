"""A classifier as one Keras model of standard layers."""

from typing import Any

import numpy as np

from skpneumo import _keras
from skpneumo._vgg19.layers import CHANNEL_MEANS, LARGEST_FLOAT16, LAYERS
from skpneumo.export._parts import Parts, take_apart

# Said to each layer, so that the host's global settings of Keras stay out; as do Python's random numbers, which Keras's
# default initializers draw seeds from.
_SETTINGS = {"kernel_initializer": "zeros", "dtype": "float32"}
_NO_BIAS = {**_SETTINGS, "bias_axes": None}


def to_keras(clf: Any) -> Any:
    """Build one Keras model from preprocessed images to probabilities.

    It consists of Keras's own layers alone, which compute in float32: ``model.save("pneumonia.keras")`` writes a file
    that Keras loads anywhere, without this package.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Fitted on images.

    Returns
    -------
    keras.Model
        It takes preprocessed images of shape (n_samples, image_size, image_size, 1), gray values from 0 (black) to 255,
        and returns probabilities of shape (n_samples, n_classes), in the order of ``classes_``.

    Raises
    ------
    TypeError, NotFittedError
        `clf` is not a fitted PneumoniaClassifier.
    ValueError
        `clf` was fitted on features, averages several views, or has other parameters or weights than in `fit`.

    See Also
    --------
    preprocess_images : The preprocessed images that it takes, of paths of images.
    to_onnx : A file that takes images of any size.

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
    parts = take_apart(clf)
    keras = _keras.keras()
    size = parts.square.size
    pixels = keras.Input((size, size, 1), dtype="float32", name="pixels")
    maps = pixels
    for layer, weights in _layers(parts):
        maps = layer(maps)
        if weights:
            layer.set_weights(weights)
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()  # only now does a Normalization use its weights
    return keras.Model(pixels, maps, name="skpneumo")


def _layers(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    """Return the layers in their order, with the weights of each."""
    return [_centering(), *_convolutions(parts), *_averages(parts), *_head(parts)]


def _centering() -> tuple[Any, list[np.ndarray]]:
    """Three channels of one, less their means."""
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
    return [(rows, [parts.pooling.T]), (columns, [parts.pooling.T]), (flat, [])]


def _head(parts: Parts) -> list[tuple[Any, list[np.ndarray]]]:
    """Subtract the means first, for accuracy; the first weights divide."""
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
