"""An ONNX graph that is written node by node, each named by what it computes."""

from types import ModuleType
from typing import Any

import numpy as np


def import_onnx() -> ModuleType:
    """Import onnx, or say how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("to_onnx needs onnx: install it with 'pip install onnx'.") from error
    return onnx


class Graph:
    """Nodes and constants in the order in which they were added; values are known by their names."""

    def __init__(self) -> None:
        self._onnx = import_onnx()
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def __call__(self, op: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output; inputs that are no names are constants."""
        name = name or f"{op.lower()}_{len(self.nodes)}"
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        self.nodes.append(self._onnx.helper.make_node(op, names, [name], name=name, **attributes))
        return name

    def constant(self, array: Any, name: str | None = None) -> str:
        """Add a constant and return its name."""
        name = name or f"constant_{len(self.initializers)}"
        self.initializers.append(self._onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def cast(self, value: str, dtype: str) -> str:
        """Add a change of type, to that of this name in numpy."""
        return self("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
