"""Construction of an ONNX graph node by node."""

from types import ModuleType
from typing import Any

import numpy as np


def import_onnx() -> ModuleType:
    """Import onnx, or raise an ImportError with instructions."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("to_onnx requires onnx. Install it with 'pip install onnx'.") from error
    return onnx


class Graph:
    """Nodes and constants of an ONNX graph; values are referred to by name."""

    def __init__(self) -> None:
        self._onnx = import_onnx()
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def __call__(self, op: str, *inputs: Any, name: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output; inputs other than names become constants."""
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
        """Add a cast to a NumPy dtype and return the name of its output."""
        return self("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
