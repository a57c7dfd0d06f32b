"""Passes and training steps, written in Keras's operations, compiled into functions of arrays."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from skpneumo._keras.device import framework, keras, place, refuse_fork
from skpneumo._keras.optimizer import Optimizer, Signature

_TOO_LARGE = (
    "the device has no memory for a batch of {} images: it goes on with batches of half the size, and halves them "
    "again where need be. A smaller batch_size or image_size, or device='cpu', avoids this."
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
    """Compile `function` of tensors, written in Keras's operations, into one from arrays to an array.

    Parameters
    ----------
    function : callable
        It takes tensors whose first axis is that of the batch, and so returns one.
    variables : list of keras.Variable
        What it reads. A value that is assigned to one of them counts from the next call on.
    signature : list of (shape, dtype)
        Of each tensor.
    device : {"cpu", "gpu"}
        Where it runs.
    full_batch : int, optional
        The usual number of rows. JAX, which compiles anew for every other number, pads to this and to powers of two.
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
    """A compiled step of Adam, with the state that its steps have gathered.

    Parameters
    ----------
    run : callable
        The step, of arrays.
    optimizer : Optimizer
        What it trains and changes.
    """

    def __init__(self, run: Callable[..., np.ndarray], optimizer: Optimizer) -> None:
        self._run = run
        self._optimizer = optimizer

    def __call__(self, *arrays: Any, learning_rate: float) -> np.ndarray:
        """Take a step on a batch, and return the figures of the objective from before it."""
        refuse_fork()
        self._optimizer.learning_rate.assign(np.float32(learning_rate))
        return self._run(*arrays)

    def state(self) -> list[np.ndarray]:
        """Return the number of steps and the moments of the gradients."""
        return [np.array(variable.numpy()) for variable in self._optimizer.adam.variables]

    def restore(self, state: Sequence[np.ndarray] | None) -> None:
        """Go on from such a state; forget all steps where it is None."""
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
    """Compile a step of Adam, for every number of rows in a batch.

    Parameters
    ----------
    objective : callable
        It takes tensors and returns the loss and a list of scalars to be told of it.
    trained : list of keras.Variable
        What is trained.
    others : list of keras.Variable
        What the objective changes besides: the states of random generators.
    signature : list of (shape, dtype)
        Of each tensor.
    device : {"cpu", "gpu"}
        Where the variables are. The step is to be taken within ``place(device)``.
    clip_norm : float, optional
        Gradients of a greater global norm are scaled down to it.
    """
    with place(device):
        # Keras's own learning rate would take the type of floats that the host application has chosen.
        rate = keras().Variable(np.float32(0), dtype="float32", trainable=False)
        adam = keras().optimizers.Adam(lambda: rate.value, global_clipnorm=clip_norm, name="adam")
        adam.build(list(trained))
        optimizer = Optimizer(trained, others, adam, rate)
        return Step(framework().compile_step(objective, optimizer, signature), optimizer)


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares of a Keras variable."""
    return framework().l2_loss(variable)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a computation has ended with this error for want of memory."""
    return isinstance(error, MemoryError) or framework().is_out_of_memory(error)


class InMemory:
    """Calls functions of batches that the device may lack the memory for: such a batch is halved and tried again."""

    def __init__(self) -> None:
        self.largest: int | None = None  # rows that have turned out to fit

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
