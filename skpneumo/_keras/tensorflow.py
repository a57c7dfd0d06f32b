"""Backend-specific code for TensorFlow: its start, its GPUs, compiled passes and training steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from skpneumo._keras.optimizer import Optimizer, Signature

NAME = "TensorFlow"
CPU = "cpu:0"


def start(n_cores: int | None) -> None:
    """Import and initialize TensorFlow, with at most `n_cores` cores unless None."""
    import tensorflow as tf

    if n_cores is not None:
        tf.config.threading.set_intra_op_parallelism_threads(n_cores)
    for gpu in gpus():
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the host application has initialized the GPU
            break
    tf.constant(0)  # the first use of the devices writes log messages


def gpus() -> list[Any]:
    """Return the GPUs that TensorFlow can use."""
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def gpu_capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU, zeros if it has none."""
    import tensorflow as tf

    return tuple(tf.config.experimental.get_device_details(gpus()[0]).get("compute_capability", (0, 0)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that TensorFlow is out of memory."""
    import tensorflow as tf

    return isinstance(error, tf.errors.ResourceExhaustedError)


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares, by a single operation with a cheap gradient."""
    import tensorflow as tf

    return tf.nn.l2_loss(variable.value)


def compile_forward(
    function: Callable[..., Any],
    variables: Sequence[Any],  # not needed by TensorFlow
    signature: Signature,
    full_batch: int | None,
) -> Callable[..., np.ndarray]:
    """Compile `function` once for all batch sizes."""
    import tensorflow as tf

    # A concrete function avoids TensorFlow's warnings about retracing.
    compiled = tf.function(function, input_signature=_spec(signature)).get_concrete_function()

    def forward(*arrays: np.ndarray, _alive: Any = function) -> np.ndarray:
        return compiled(*_tensors(arrays, signature)).numpy()

    return forward


def compile_step(
    objective: Callable[..., tuple[Any, list[Any]]], optimizer: Optimizer, signature: Signature
) -> Callable[..., np.ndarray]:
    """Compile a training step once for all batch sizes."""
    import tensorflow as tf

    def step(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            loss, scalars = objective(*tensors)
        gradients = tape.gradient(loss, [variable.value for variable in optimizer.trained])
        optimizer.adam.apply(gradients, optimizer.trained)
        return tf.stack(scalars)

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
