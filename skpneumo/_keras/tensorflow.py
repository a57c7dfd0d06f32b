"""What Keras leaves to TensorFlow: its start, its GPUs, compiled passes and steps of training."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skpneumo._keras.optimizer import Optimizer, Signature

NAME = "TensorFlow"
CPU = "cpu:0"


def start(n_cores: int | None) -> None:
    """Import TensorFlow and settle what it settles at its first use, on so many cores where they are given."""
    import tensorflow as tf

    if n_cores is not None:
        tf.config.threading.set_intra_op_parallelism_threads(n_cores)
    for gpu in gpus():
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the host application uses it already, in its own way
            break
    tf.constant(0)  # the devices speak once, when they are first used


def gpus() -> list[Any]:
    """Return the GPUs that TensorFlow can use."""
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def gpu_capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU, zeros where it has none."""
    import tensorflow as tf

    return tuple(tf.config.experimental.get_device_details(gpus()[0]).get("compute_capability", (0, 0)))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether the error is TensorFlow's way of running out of memory."""
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError)


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares; here in one operation, whose gradient takes one product."""
    import tensorflow as tf

    return tf.nn.l2_loss(variable.value)


def compile_forward(
    function: Callable[..., Any],
    variables: Sequence[Any],  # the function finds them by itself
    signature: Signature,
    full_batch: int | None,
) -> Callable[..., np.ndarray]:
    """Compile `function` once for all lengths of the first axis."""
    import tensorflow as tf

    # One concrete function: TensorFlow counts calls to others and warns when it takes them for too many.
    compiled = tf.function(function, input_signature=_spec(signature)).get_concrete_function()

    def forward(*arrays: np.ndarray, _alive: Any = function) -> np.ndarray:
        return compiled(*_tensors(arrays, signature)).numpy()

    return forward


def compile_step(
    objective: Callable[..., tuple[Any, list[Any]]], optimizer: Optimizer, signature: Signature
) -> Callable[..., np.ndarray]:
    """Compile a step once for all lengths of the first axis."""
    import tensorflow as tf

    def step(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            loss, figures = objective(*tensors)
        gradients = tape.gradient(loss, [variable.value for variable in optimizer.trained])
        optimizer.adam.apply(gradients, optimizer.trained)
        return tf.stack(figures)

    compiled = tf.function(step, input_signature=_spec(signature)).get_concrete_function()

    def run(*arrays: Any, _alive: Any = step) -> np.ndarray:
        return compiled(*_tensors(arrays, signature)).numpy()

    return run


def _spec(signature: Signature) -> list[Any]:
    import tensorflow as tf

    return [tf.TensorSpec(shape, dtype) for shape, dtype in signature]


def _tensors(arrays: Sequence[Any], signature: Signature) -> list[Any]:
    import tensorflow as tf

    return [tf.constant(array, dtype) for array, (_, dtype) in zip(arrays, signature, strict=True)]
