"""The one door to Keras: its import, the device, the precision, the size of a batch, a compiled forward pass."""

import functools
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from joblib import cpu_count

DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16")

# Without one of these TensorFlow finds no GPU, and need not be imported to be asked.
_GPU_TRACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CHATTER = re.compile(
    rb"[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IWE] |WARNING: All log messages before absl|To enable the foll"
)

_OTHER_BACKEND = (
    "skpneumo runs Keras on TensorFlow, but Keras runs on {!r} in this process: unset KERAS_BACKEND, or set it to "
    "'tensorflow', before Keras is imported."
)

_lock = threading.RLock()
_process: list[int] = []  # the one that imported Keras


def keras() -> ModuleType:
    """Import Keras on TensorFlow, once and without its start-up chatter, and return it."""
    _refuse_fork()
    with _lock:
        return _import_keras()


@functools.cache
def _import_keras() -> ModuleType:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" not in sys.modules and backend != "tensorflow":
        raise RuntimeError(_OTHER_BACKEND.format(backend))
    _process.append(os.getpid())
    is_ours = "tensorflow" not in sys.modules  # else its threads are the host application's
    with _without_chatter():
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(_OTHER_BACKEND.format(keras.backend.backend()))
        if is_ours and n_cores() < cpu_count():
            tf.config.threading.set_intra_op_parallelism_threads(n_cores())
        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:  # the host application uses it already, in its own way
                break
        tf.constant(0)  # the devices speak once, when they are first used
    return keras


def n_cores() -> int:
    """Processors that this process may keep busy: all, or what joblib and Dask grant a worker by OMP_NUM_THREADS."""
    granted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(int(granted), cpu_count()) if granted.isdigit() and int(granted) else cpu_count()


def _refuse_fork() -> None:
    """Raise in the child of a fork, where TensorFlow would hang."""
    if _process and _process[-1] != os.getpid():
        raise RuntimeError(
            "This process was forked after TensorFlow had started, and TensorFlow would hang in it: use joblib's "
            "'loky' or 'threading' backend, or the start method 'spawn' of multiprocessing."
        )


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep TensorFlow's start-up lines off the terminal.

    They are written to the file descriptor before any log level is read, so the descriptor is turned aside meanwhile.
    Whatever else was written to it is handed on, all of it where an error comes out. What a child process started by
    another thread at that moment writes to it is lost; a host that minds imports TensorFlow first.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    with tempfile.TemporaryFile() as aside:
        real = os.dup(2)
        os.dup2(aside.fileno(), 2)
        chatter = _CHATTER
        try:
            yield
        except BaseException:
            chatter = re.compile(rb"$^")
            raise
        finally:
            os.dup2(real, 2)
            aside.seek(0)
            rest = b"".join(line for line in aside if not chatter.match(line))
            if rest:
                os.write(real, rest)
            os.close(real)


def resolve_device(device: str) -> str:
    """Return "cpu" or "gpu".

    Raises
    ------
    ValueError
        A GPU is asked for where TensorFlow finds none.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    if _gpus():
        return "gpu"
    if device == "gpu":
        raise ValueError(
            "device='gpu', but TensorFlow finds no GPU: pass device='auto' or 'cpu', or install its CUDA build."
        )
    return "cpu"


def _may_have_gpu() -> bool:
    return platform.system() == "Darwin" or any(os.path.exists(trace) for trace in _GPU_TRACES)


def _gpus() -> list[Any]:
    keras()
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def resolve_precision(precision: str, device: str) -> str:
    """Return "float32" or "bfloat16": the latter for "auto" where `device` computes it natively."""
    if precision != "auto":
        return precision
    native = _gpu_has_bfloat16() if device == "gpu" else _cpu_has_bfloat16()
    return "bfloat16" if native else "float32"


def _gpu_has_bfloat16() -> bool:
    gpu = _gpus()[0]
    import tensorflow as tf

    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return bool(tuple(capability) >= (8, 0))


@functools.cache
def _cpu_has_bfloat16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and not _BF16_FLAGS.isdisjoint(flags[1].split())


def batch_size(image_size: int, device: str) -> int:
    """Images a batch: as many as hold the activations of the first block within some 0.4 GB (CPU) or 1.6 GB (GPU)."""
    at_224 = 64 if device == "gpu" else 16
    return int(np.clip(at_224 * 224**2 // image_size**2, 1, 512))


def compile_forward(function: Callable[[Any], Any], image_size: int, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Compile `function` of a batch of gray squares, once for every number of images."""
    keras()
    import tensorflow as tf

    spec = tf.TensorSpec((None, image_size, image_size), tf.uint8)
    with tf.device(f"/{device}:0"):
        # One concrete function: TensorFlow counts calls to others and warns when it takes them for too many.
        compiled = tf.function(function, input_signature=[spec]).get_concrete_function()

    def forward(batch: np.ndarray, _alive: Any = function) -> np.ndarray:
        _refuse_fork()
        with tf.device(f"/{device}:0"):
            return compiled(tf.constant(batch)).numpy()

    return forward


def compile_training_step(
    objective: Callable[..., tuple[Any, Any]], kernels: list[Any], biases: list[Any]
) -> tuple[Callable[..., np.ndarray], Callable[[], None]]:
    """Compile a step of Adam, once for every batch size, and what makes it forget the steps before.

    The step takes features, codes, weights, alpha and learning rate. It minimises the first of what `objective` of
    (features, codes, weights) returns, (loss, accuracy), plus ``alpha / 2 * n_inputs * ||kernel||^2`` of every kernel.
    It returns this loss and the accuracy, from before it was taken.
    """
    keras()
    import tensorflow as tf

    spec = [
        tf.TensorSpec((None, kernels[0].shape[0]), tf.float32),
        tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((), tf.float32),
    ]
    variables = [variable.value for variable in (*kernels, *biases)]
    moments = [(tf.Variable(tf.zeros_like(variable)), tf.Variable(tf.zeros_like(variable))) for variable in variables]
    n_steps = tf.Variable(0.0)
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-7  # of Keras's Adam

    def step(features: Any, codes: Any, weights: Any, alpha: Any, learning_rate: Any) -> Any:
        with tf.GradientTape() as tape:
            loss, accuracy = objective(features, codes, weights)
            loss += alpha * sum(kernel.shape[0] * tf.nn.l2_loss(kernel.value) for kernel in kernels)
        n_steps.assign_add(1.0)
        # In one operation, which reads and writes the memory once; Keras's optimizer takes a dozen.
        for variable, (first, second), slopes in zip(variables, moments, tape.gradient(loss, variables), strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=beta_1**n_steps,
                beta2_power=beta_2**n_steps,
                lr=learning_rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=epsilon,
                grad=slopes,
            )
        return tf.stack([loss, accuracy])

    compiled = tf.function(step, input_signature=spec).get_concrete_function()

    def run(*arrays: Any, _alive: Any = step) -> np.ndarray:
        _refuse_fork()
        return compiled(*map(tf.constant, arrays)).numpy()

    def forget() -> None:
        for variable in (n_steps, *(moment for pair in moments for moment in pair)):
            variable.assign(tf.zeros_like(variable))

    return run, forget


def download_vgg19(verbose: bool) -> dict[str, np.ndarray]:
    """Let Keras fetch its ImageNet weights of VGG19 into its cache, and return those of the convolution layers."""
    config = keras().config
    talks = config.is_interactive_logging_enabled()  # a setting of this thread alone
    try:
        if not verbose:
            config.disable_interactive_logging()
        network = keras().applications.VGG19(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    finally:
        if talks:
            config.enable_interactive_logging()
    arrays = {}
    for layer in network.layers:
        for name, array in zip(("kernel", "bias"), layer.get_weights(), strict=False):
            arrays[f"{layer.name}/{name}"] = array
    return arrays
