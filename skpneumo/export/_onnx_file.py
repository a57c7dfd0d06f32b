"""Export to an ONNX file from decoded pixels of any size to probabilities."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from skpneumo._utils.atomic_write import write_atomically
from skpneumo._version import __version__
from skpneumo._vgg19.layers import CHANNEL_MEANS, LARGEST_FLOAT16, LAYERS
from skpneumo._vgg19.pooling import SMALLEST_NORM
from skpneumo.export._graph import Graph, import_onnx
from skpneumo.export._parts import Parts, extract_parts
from skpneumo.export._resample import add_preprocessing

# Supported by ONNX Runtime 1.18 and later.
_OPSET, _IR_VERSION = 18, 8

_DESCRIPTION = (
    "Class probabilities of chest X-rays from decoded gray pixels. Created by skpneumo {version}. A research tool, "
    "not a medical device."
)
_PIXELS = "Gray images of equal size, upright and not inverted: 0 is black, 255 is white. Any height and width."
_PROBABILITIES = "One column per class, in the order of the metadata entry 'classes'."


def to_onnx(clf: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted classifier to an ONNX file from decoded pixels to probabilities.

    The file includes preprocessing, with results identical to those of the classifier. Neither writing nor running it
    requires Keras or TensorFlow.

    Parameters
    ----------
    clf : PneumoniaClassifier
        Classifier fitted on images.
    path : str or pathlib.Path
        Path of the file. Its input "pixels" is uint8 of shape (n_samples, height, width), gray values from 0 (black);
        its output "probabilities" is float32 of shape (n_samples, n_classes), in the order of ``classes_``. Its
        metadata are JSON: "classes", "skpneumo_version" and, for two classes, "threshold": `predict` returns the second
        class if its probability is above it. For more classes, "prior_shift": `predict` subtracts it from the
        logarithms of the probabilities and returns the class of the largest.

    Raises
    ------
    TypeError
        If `clf` is not a PneumoniaClassifier.
    NotFittedError
        If `clf` is not fitted.
    ValueError
        If `clf` was fitted on features, averages several views, or its parameters or weights changed after `fit`.
    ImportError
        If onnx is not installed.

    See Also
    --------
    to_keras : Convert to a Keras model for preprocessed images.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skpneumo import PneumoniaClassifier
    >>> from skpneumo.datasets import make_chest_xrays
    >>> from skpneumo.export import to_onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X, y = make_chest_xrays(8, folder, random_state=0, return_X_y=True)
    ...     clf = PneumoniaClassifier(weights=None, n_layers=2, image_size=32, memory=None).fit(X, y)
    ...     to_onnx(clf, Path(folder) / "pneumonia.onnx")
    """
    parts = extract_parts(clf)
    onnx = import_onnx()
    model = _model(onnx, parts)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())


def _model(onnx: Any, parts: Parts) -> Any:
    helper, types, graph = onnx.helper, onnx.TensorProto, Graph()
    _add_head(graph, parts, _add_network(graph, parts, add_preprocessing(graph, "pixels", parts.preprocessing)))
    ends = [
        [helper.make_tensor_value_info("pixels", types.UINT8, ["n_samples", "height", "width"], _PIXELS)],
        [
            helper.make_tensor_value_info(
                "probabilities", types.FLOAT, ["n_samples", len(parts.classes)], _PROBABILITIES
            )
        ],
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "skpneumo", *ends, initializer=graph.initializers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="skpneumo",
        producer_version=__version__,
        doc_string=_DESCRIPTION.format(version=__version__),
    )
    helper.set_model_props(model, _metadata(parts))
    return model


def _metadata(parts: Parts) -> Mapping[str, str]:
    rule = {"threshold": parts.threshold} if len(parts.classes) == 2 else {"prior_shift": parts.prior_shift.tolist()}
    entries = {"classes": parts.classes.tolist(), "skpneumo_version": __version__, **rule}
    return {name: json.dumps(entry, default=str) for name, entry in entries.items()}


def _add_network(graph: Graph, parts: Parts, images: str) -> str:
    """Add VGG19, from preprocessed images to features of shape (n, n_features), float32."""
    gray = graph("Unsqueeze", graph.cast(images, "float32"), np.array([1]))
    maps = graph("Sub", gray, np.array(CHANNEL_MEANS, np.float32).reshape(1, 3, 1, 1))
    for number, (name, _, completes) in enumerate(LAYERS[: parts.n_layers], 1):
        kernel = graph.constant(parts.arrays[f"{name}/kernel"].transpose(3, 2, 0, 1), f"{name}/kernel")
        bias = graph.constant(parts.arrays[f"{name}/bias"], f"{name}/bias")
        maps = graph("Relu", graph("Conv", maps, kernel, bias, name=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        if completes:
            maps = graph("MaxPool", maps, name=f"{name.split('_')[0]}_pool", kernel_shape=[2, 2], strides=[2, 2])
        if number == parts.rounded_after:
            maps = graph.cast(graph.cast(graph("Min", maps, np.float32(LARGEST_FLOAT16)), "float16"), "float32")
    cells = graph("MatMul", parts.pooling, graph("MatMul", maps, parts.pooling.T))
    n_features = len(parts.mean)
    features = graph("Reshape", graph("Transpose", cells, perm=[0, 2, 3, 1]), np.array([-1, n_features]))
    if parts.norm is not None:
        norm = graph("ReduceL2", features, np.array([1]), keepdims=1)
        features = graph("Div", features, graph("Max", norm, np.float32(SMALLEST_NORM)))
    return graph("Identity", features, name="features")


def _add_head(graph: Graph, parts: Parts, features: str) -> None:
    """Add the head in float64, like the classifier, and the output "probabilities"."""
    hidden = graph("Div", graph("Sub", graph.cast(features, "float64"), parts.mean), parts.scale)
    for number, (coef, intercept) in enumerate(parts.dense, 1):
        hidden = graph("Add", graph("MatMul", hidden, coef), intercept)
        if number < len(parts.dense):
            hidden = graph("Relu", hidden)
    double = graph("Softmax", hidden, axis=1)
    graph("Identity", graph.cast(double, "float32"), name="probabilities")
