"""Backend-specific code for PyTorch: its GPUs, and passes and training steps in eager mode."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skpneumo._keras.optimizer import Optimizer, Signature

NAME = "PyTorch"
CPU = "cpu"  # PyTorch copies to "cpu:0", which is another device


def start(n_cores: int | None) -> None:  # PyTorch itself reads OMP_NUM_THREADS
    """Import PyTorch."""
    import torch  # noqa: F401


def gpus() -> list[Any]:
    """Return the GPUs that PyTorch can use."""
    import torch

    return list(range(torch.cuda.device_count()))


def gpu_capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU."""
    import torch

    return torch.cuda.get_device_capability(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that PyTorch is out of memory, on a GPU or a CPU."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares."""
    return variable.value.square().sum() / 2


def compile_forward(
    function: Callable[..., Any],
    variables: Sequence[Any],  # not needed by PyTorch
    signature: Signature,
    full_batch: int | None,
) -> Callable[..., np.ndarray]:
    """Return `function` as a function from arrays to an array."""
    import torch

    def forward(*arrays: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(*_tensors(arrays, signature)).cpu().numpy()

    return forward


def compile_step(
    objective: Callable[..., tuple[Any, list[Any]]], optimizer: Optimizer, signature: Signature
) -> Callable[..., np.ndarray]:
    """Return a training step."""
    import torch

    def run(*arrays: Any) -> np.ndarray:
        loss, scalars = objective(*_tensors(arrays, signature))
        gradients = torch.autograd.grad(loss, [variable.value for variable in optimizer.trained])
        with torch.no_grad():
            optimizer.adam.apply(gradients, optimizer.trained)
            return torch.stack(scalars).cpu().numpy()

    return run


def _tensors(arrays: Sequence[Any], signature: Signature) -> list[Any]:
    import keras

    # Nothing writes to the arrays, but PyTorch warns about read-only ones.
    writeable = [np.require(array, dtype, "W") for array, (_, dtype) in zip(arrays, signature, strict=True)]
    return [keras.ops.convert_to_tensor(array, dtype=str(array.dtype)) for array in writeable]
