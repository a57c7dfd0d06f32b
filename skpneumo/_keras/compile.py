"""Compile forward passes and training steps, written with Keras operations, into functions of arrays."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from skpneumo._keras.device import framework, keras, place, refuse_fork
from skpneumo._keras.optimizer import Optimizer, Signature

_TOO_LARGE = (
    "The device does not have enough memory for a batch of {} images: the batch is halved until it fits. Reduce "
    "batch_size or image_size, or set device='cpu', to avoid this."
)

R = TypeVar("R")


def compile_forward(
    function: Callable[..., Any],
    variables: Sequence[Any],
    signature: Signature,
    device: str,
    *,
    full_batch: int | None = None,
) -> Callable[..., np.ndarray]:
    """Compile `function` of tensors, written with Keras operations, into a function from arrays to an array.

    Parameters
    ----------
    function : callable
        Takes tensors and returns a tensor; the first axis of each is the batch axis.
    variables : list of keras.Variable
        Variables that the function reads. A value assigned to one of them takes effect from the next call on.
    signature : list of (shape, dtype)
        Shape and dtype of each tensor.
    device : {"cpu", "gpu"}
        Device of the computation.
    full_batch : int, optional
        Usual number of rows. JAX, which compiles once per number of rows, pads to this number or to powers of two.
    """
    with place(device):
        compiled = framework().compile_forward(function, variables, signature, full_batch)

    in_memory = InMemory()

    def forward(*arrays: np.ndarray) -> np.ndarray:
        with place(device):
            parts = [rows for _, rows in in_memory(compiled, *arrays)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return forward


class Step:
    """A compiled training step of Adam, with the state of the optimizer.

    Parameters
    ----------
    run : callable
        The step as a function of arrays.
    optimizer : Optimizer
        The optimizer and the variables that the step updates.
    """

    def __init__(self, run: Callable[..., np.ndarray], optimizer: Optimizer) -> None:
        self._run = run
        self._optimizer = optimizer

    def __call__(self, *arrays: Any, learning_rate: float) -> np.ndarray:
        """Take a step on a batch, and return the scalars of the objective before the step."""
        refuse_fork()
        self._optimizer.learning_rate.assign(np.float32(learning_rate))
        return self._run(*arrays)

    def state(self) -> list[np.ndarray]:
        """Return the state of Adam: the number of steps and the moments of the gradients."""
        return [np.array(variable.numpy()) for variable in self._optimizer.adam.variables]

    def restore(self, state: Sequence[np.ndarray] | None) -> None:
        """Set the state of Adam; if None, reset it."""
        variables = self._optimizer.adam.variables
        if state is None:
            state = [np.zeros(variable.shape, variable.dtype) for variable in variables]
        for variable, array in zip(variables, state, strict=True):
            variable.assign(array)


def compile_step(
    objective: Callable[..., tuple[Any, list[Any]]],
    trained: Sequence[Any],
    others: Sequence[Any],
    signature: Signature,
    device: str,
    *,
    clip_norm: float | None = None,
) -> Step:
    """Compile a training step of Adam for any number of rows per batch.

    Parameters
    ----------
    objective : callable
        Takes tensors and returns the loss and a list of scalars to report.
    trained : list of keras.Variable
        Variables to train.
    others : list of keras.Variable
        Other variables that the objective changes: states of random generators.
    signature : list of (shape, dtype)
        Shape and dtype of each tensor.
    device : {"cpu", "gpu"}
        Device of the variables. The step must be called within ``place(device)``.
    clip_norm : float, optional
        Maximum global norm of the gradients; larger gradients are scaled down to it.
    """
    with place(device):
        # Keras's own learning rate would have the float type that the host application configured.
        rate = keras().Variable(np.float32(0), dtype="float32", trainable=False)
        adam = keras().optimizers.Adam(lambda *_: rate.value, global_clipnorm=clip_norm, name="adam")
        adam.build(list(trained))
        optimizer = Optimizer(trained, others, adam, rate)
        return Step(framework().compile_step(objective, optimizer, signature), optimizer)


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares of a Keras variable."""
    return framework().l2_loss(variable)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that the device is out of memory."""
    return isinstance(error, MemoryError) or framework().is_out_of_memory(error)


class InMemory:
    """Call functions on batches; halve and retry a batch that does not fit in the memory of the device."""

    def __init__(self) -> None:
        self.largest: int | None = None  # maximum number of rows after an out-of-memory error

    def __call__(self, function: Callable[..., R], *arrays: np.ndarray) -> Iterator[tuple[int, R]]:
        """Yield the number of rows and the result of each part of a batch."""
        start, n_rows = 0, len(arrays[0])
        while start < n_rows:
            size = min(n_rows - start, self.largest or n_rows)
            try:
                result = function(*(array[start : start + size] for array in arrays))
            except Exception as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                if self.largest is None:
                    warnings.warn(_TOO_LARGE.format(size), RuntimeWarning, stacklevel=2)
                self.largest = max(1, size // 2)
                continue
            yield size, result
            start += size
