"""Preprocessing of gray images as ONNX nodes, bit-identical to Pillow.

Images are resized along the width, then along the height, with a triangle filter (bilinear interpolation with
antialiasing). Weights are rounded to 22 bits and averages to integer gray values, so sums in float64 are exact.
"""

from dataclasses import dataclass

import numpy as np

from skpneumo._images.decoding import Preprocessing
from skpneumo.export._graph import Graph

_ONE = np.float64(2**22)
_HALF = np.float64(0.5)


@dataclass(frozen=True)
class _Axis:
    """One axis of the image, as names of float64 scalars in the graph.

    `extent` input pixels from `start` on are resized to `n_new` output pixels, the first of them at `offset`.
    """

    length: str
    start: str
    extent: str
    n_new: str
    offset: str


def add_preprocessing(graph: Graph, pixels: str, preprocessing: Preprocessing) -> str:
    """Add the preprocessing of `pixels`, uint8 of shape (n, height, width), to int64 of shape (n, size, size)."""
    shape = graph("Shape", pixels)
    height, width = (graph.cast(graph("Gather", shape, np.int64(axis)), "float64") for axis in (1, 2))
    axes = _axes(graph, height, width, preprocessing)
    matrices = [_matrix(graph, axis, preprocessing.size, new=new) for new, axis in enumerate(axes)]
    down, across = matrices
    narrow = _rounded(graph, graph("MatMul", graph.cast(pixels, "float64"), across))
    images = graph.cast(_rounded(graph, graph("MatMul", down, narrow)), "int64")
    return _equalized(graph, images, matrices, preprocessing.size) if preprocessing.contrast == "equalize" else images


def _axes(graph: Graph, height: str, width: str, preprocessing: Preprocessing) -> list[_Axis]:
    size, zero = graph.constant(np.float64(preprocessing.size)), graph.constant(np.float64(0))
    if preprocessing.aspect == "stretch":
        return [_Axis(length, zero, length, size, zero) for length in (height, width)]
    if preprocessing.aspect == "crop":
        short = graph("Min", height, width)
        starts = [graph("Mul", graph("Sub", length, short), _HALF) for length in (height, width)]
        return [_Axis(length, start, short, size, zero) for length, start in zip((height, width), starts, strict=True)]
    long = graph("Max", height, width)
    axes = []
    for length in (height, width):
        n_new = graph("Max", graph("Round", graph("Div", graph("Mul", length, size), long)), np.float64(1))
        offset = graph("Floor", graph("Mul", graph("Sub", size, n_new), _HALF))
        axes.append(_Axis(length, zero, length, n_new, offset))
    return axes


def _matrix(graph: Graph, axis: _Axis, size: int, new: int) -> str:
    """Return the weights of input pixels in each output pixel, in units of 2**-22, with 0 in the padding.

    Output pixels are along axis `new`, since ONNX Runtime 1.18 cannot transpose a float64 matrix product.
    """
    old = 1 - new
    numbers = graph("Sub", np.expand_dims(np.arange(size, dtype=np.float64), old), axis.offset)
    step = graph("Div", axis.extent, axis.n_new)
    centers = graph("Add", axis.start, graph("Mul", graph("Add", numbers, _HALF), step))
    inverse = graph("Div", np.float64(1), graph("Max", step, np.float64(1)))
    positions = graph("Unsqueeze", graph("Range", np.float64(0), axis.length, np.float64(1)), np.array([new]))
    distances = graph("Mul", graph("Add", graph("Sub", positions, centers), _HALF), inverse)
    weights = graph("Max", graph("Sub", np.float64(1), graph("Abs", distances)), np.float64(0))
    normalized = graph("Div", weights, graph("ReduceSum", weights, np.array([old]), keepdims=1))
    units = graph("Floor", graph("Add", graph("Mul", normalized, _ONE), _HALF))
    return graph("Where", _is_inside(graph, numbers, axis.n_new), units, np.float64(0))


def _is_inside(graph: Graph, numbers: str, n_new: str) -> str:
    return graph("And", graph("GreaterOrEqual", numbers, np.float64(0)), graph("Less", numbers, n_new))


def _rounded(graph: Graph, sums: str) -> str:
    return graph("Floor", graph("Add", graph("Div", sums, _ONE), _HALF))


def _equalized(graph: Graph, images: str, matrices: list[str], size: int) -> str:
    """Equalize the histogram inside the image in integers, like Pillow."""
    flat = graph("Reshape", images, np.array([0, -1]))
    counted = _inside(graph, matrices, flat)
    empty = graph("ConstantOfShape", graph("Concat", _n_rows(graph, flat), np.array([256]), axis=0))
    counts = graph("ScatterElements", graph.cast(empty, "int64"), flat, counted, axis=1, reduction="add")
    brightest = graph("ReduceMax", flat, np.array([1]), keepdims=1)
    others = graph("Sub", graph("ReduceSum", counts, np.array([1]), keepdims=1), _at(graph, counts, brightest))
    step = graph("Div", others, np.int64(255))
    below = graph("CumSum", counts, np.int64(1), exclusive=1)
    divisor = graph("Max", step, np.int64(1))
    values = graph("Div", graph("Add", graph("Div", step, np.int64(2)), below), divisor)
    values = graph("Min", values, np.int64(255))
    table = graph("Where", graph("Equal", step, np.int64(0)), np.arange(256)[np.newaxis], values)
    return graph("Reshape", _at(graph, table, flat), np.array([-1, size, size]))


def _inside(graph: Graph, matrices: list[str], flat: str) -> str:
    """Return 1 for pixels inside the image and 0 for padding, int64 of shape (n, size * size)."""
    largest = [graph("ReduceMax", matrix, np.array([1 - new]), keepdims=1) for new, matrix in enumerate(matrices)]
    rows, columns = (graph.cast(graph("Greater", each, np.float64(0)), "int64") for each in largest)
    mask = graph("Reshape", graph("Mul", rows, columns), np.array([1, -1]))
    return graph("Expand", mask, graph("Shape", flat))


def _n_rows(graph: Graph, rows: str) -> str:
    return graph("Gather", graph("Shape", rows), np.array([0]))


def _at(graph: Graph, rows: str, indices: str) -> str:
    return graph("GatherElements", rows, indices, axis=1)
