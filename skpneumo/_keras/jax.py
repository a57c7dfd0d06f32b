"""Backend-specific code for JAX: its GPUs, compiled passes and training steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from skpneumo._keras.optimizer import Optimizer, Signature

NAME = "JAX"
CPU = "cpu:0"

_distributions: dict[str, Any] = {}  # over all devices of each kind


def start(n_cores: int | None) -> None:  # JAX has no setting of the number of cores
    """Import JAX."""
    import jax  # noqa: F401


def gpus() -> list[Any]:
    """Return the GPUs that JAX can use."""
    import jax

    try:
        return list(jax.devices("gpu"))
    except RuntimeError:  # raised if there is none
        return []


def gpu_capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU, zeros if it has none."""
    major, _, minor = str(getattr(gpus()[0], "compute_capability", "0")).partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)  # AMD has names such as "gfx90a"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that JAX is out of memory."""
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)


def spread(device: str, first: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    """Return a context in which Keras distributes over all devices of a kind, or `first` if there is only one.

    If the host application has set a distribution for this thread, return `first` and keep that distribution.
    """
    import jax
    import keras

    if device not in _distributions:
        names = [f"{one.platform}:{one.id}" for one in jax.local_devices(backend=device)]
        _distributions.setdefault(device, keras.distribution.DataParallel(devices=names))
    wanted, current = _distributions[device], keras.distribution.distribution()
    is_spread = current is None and wanted.device_mesh.devices.size > 1
    is_of_other_kind = current is not None and current is not wanted and current is _ours()
    return _within(wanted, first) if is_spread or is_of_other_kind else first


@contextmanager
def _within(distribution: Any, first: AbstractContextManager[Any]) -> Iterator[None]:
    with first, distribution.scope():
        yield


def _ours() -> Any:
    """Return the distribution of this thread if `spread` has set it."""
    import keras

    current = keras.distribution.distribution()
    return current if current in _distributions.values() else None


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares."""
    import jax.numpy as jnp

    return jnp.sum(jnp.square(variable.value)) / 2


def compile_forward(
    function: Callable[..., Any],
    variables: Sequence[Any],
    signature: Signature,
    full_batch: int | None,
) -> Callable[..., np.ndarray]:
    """Compile `function` for a few batch sizes, to which smaller batches are padded."""
    import jax
    import keras

    distribution = _ours()

    def stateless(values: list[Any], *arrays: Any) -> Any:
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return function(*arrays)

    # Otherwise XLA rounds to bfloat16 in different places for different batch sizes.
    compiled = jax.jit(stateless, compiler_options={"xla_allow_excess_precision": False})

    def forward(*arrays: np.ndarray) -> np.ndarray:
        n_rows = len(arrays[0])
        n_missing = _padded_length(n_rows, full_batch) - n_rows
        if distribution is not None:
            n_missing += -(n_rows + n_missing) % distribution.device_mesh.devices.size
        padded = [np.pad(array, [(0, n_missing)] + [(0, 0)] * (array.ndim - 1)) for array in _cast(arrays, signature)]
        return np.array(compiled([variable.value for variable in variables], *_split(padded, distribution)))[:n_rows]

    return forward


def _padded_length(n_rows: int, full_batch: int | None) -> int:
    """Return the next power of two, or the size of a full batch if that is closer."""
    power = 1 << (n_rows - 1).bit_length()
    return full_batch if full_batch is not None and n_rows <= full_batch < power else power


def compile_step(
    objective: Callable[..., tuple[Any, list[Any]]], optimizer: Optimizer, signature: Signature
) -> Callable[..., np.ndarray]:
    """Compile a training step, once for each batch size."""
    import jax
    import jax.numpy as jnp
    import keras

    distribution = _ours()
    trained, others = list(optimizer.trained), list(optimizer.others)
    moments = list(optimizer.adam.variables)
    changed, rate = [*trained, *others, *moments], optimizer.learning_rate

    def losses(values: list[Any], other_values: list[Any], arrays: tuple[Any, ...]) -> Any:
        mapping = [*zip(trained, values, strict=True), *zip(others, other_values, strict=True)]
        with keras.StatelessScope(mapping) as scope:
            loss, scalars = objective(*arrays)
        return loss, (jnp.stack(scalars), [scope.get_current_value(variable) for variable in others])

    @jax.jit
    def compiled(state: list[list[Any]], learning_rate: Any, *arrays: Any) -> Any:
        values, other_values, moment_values = state
        gradients, (scalars, other_values) = jax.grad(losses, has_aux=True)(values, other_values, arrays)
        before = [*values, *other_values, *moment_values, learning_rate]
        with keras.StatelessScope(list(zip([*changed, rate], before, strict=True))) as scope:
            optimizer.adam.apply(gradients, trained)
        return scalars, [scope.get_current_value(variable) for variable in changed]

    def run(*arrays: Any) -> np.ndarray:
        state = [[variable.value for variable in kind] for kind in (trained, others, moments)]
        scalars, values = compiled(state, rate.value, *_split(_cast(arrays, signature), distribution))
        for variable, value in zip(changed, values, strict=True):
            variable.assign(value)
        return np.array(scalars)

    return run


def _cast(arrays: Sequence[Any], signature: Signature) -> list[np.ndarray]:
    return [np.asarray(array, dtype) for array, (_, dtype) in zip(arrays, signature, strict=True)]


def _split(arrays: list[np.ndarray], distribution: Any) -> list[Any]:
    """Distribute the rows of arrays evenly over the devices, or copy them to each if they do not divide evenly."""
    if distribution is None:
        return arrays
    import keras

    n_devices = distribution.device_mesh.devices.size
    layouts = [
        distribution.get_data_layout(array.shape)
        if array.ndim and len(array) % n_devices == 0
        else distribution.get_variable_layout(array)
        for array in arrays
    ]
    return [keras.distribution.distribute_tensor(*pair) for pair in zip(arrays, layouts, strict=True)]
