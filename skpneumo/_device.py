"""The one door to Keras: its import, the device, the precision, the size of a batch, compiled passes and steps."""

import functools
import json
import os
import platform
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count

from skpneumo import _gpu, _jax, _tensorflow, _torch
from skpneumo._adam import Adam, Signature

DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

# Without one of these TensorFlow finds no GPU, and need not be imported to be asked.
_GPU_TRACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CHATTER = re.compile(
    rb"[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IWE] |WARNING: All log messages before absl|To enable the foll"
)

# The name that Keras gives a backend, and what it leaves to it.
_FRAMEWORKS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
_OTHER_BACKEND = (
    "skpneumo runs Keras on TensorFlow, JAX or PyTorch, but Keras is set to {!r} in this process: unset KERAS_BACKEND, "
    "or set it to 'tensorflow', 'jax' or 'torch', before Keras is imported."
)

_TOO_LARGE = (
    "the device has no memory for a batch of {} images: it goes on with batches of half the size, and halves them "
    "again where need be. A smaller batch_size or image_size, or device='cpu', avoids this."
)

R = TypeVar("R")

_lock = threading.RLock()
_process: list[int] = []  # the one that imported Keras


def keras() -> ModuleType:
    """Import Keras on the backend that it is set to, once and without start-up chatter, and return it."""
    _refuse_fork()
    with _lock:
        return _import_keras()


@functools.cache
def _import_keras() -> ModuleType:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" not in sys.modules and backend not in _FRAMEWORKS:
        raise RuntimeError(_OTHER_BACKEND.format(backend))
    _process.append(os.getpid())
    is_ours = "tensorflow" not in sys.modules  # else its threads are the host application's
    with _without_chatter():
        import keras

        backend = keras.backend.backend()
        if backend not in _FRAMEWORKS:
            raise RuntimeError(_OTHER_BACKEND.format(backend))
        _FRAMEWORKS[backend].start(n_cores() if is_ours and n_cores() < cpu_count() else None)
    return keras


def backend_name() -> str:
    """Name the framework that Keras runs on, or is set to, without importing either."""
    loaded = getattr(sys.modules.get("keras"), "backend", None)
    if loaded is not None and hasattr(loaded, "backend"):
        return str(loaded.backend())
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    with suppress(OSError, ValueError, AttributeError):
        settings = json.loads(Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser().read_bytes())
        return str(settings.get("backend", "tensorflow"))
    return "tensorflow"


def _framework() -> ModuleType:
    return _FRAMEWORKS[keras().backend.backend()]


def place(device: str) -> AbstractContextManager[Any]:
    """Return a context in which Keras creates and computes on `device`; for one use.

    On JAX these are all devices of the kind, on other frameworks the first: Keras distributes on JAX alone.

    Raises
    ------
    RuntimeError
        It is a GPU that another worker of the same search has.
    """
    if device == "gpu":
        _gpu.hold()
    framework = _framework()
    first = keras().device(framework.CPU if device == "cpu" else "gpu:0")
    return _jax.spread(device, first) if framework is _jax else first


def n_cores() -> int:
    """Processors that this process may keep busy: all, or what joblib and Dask grant a worker by OMP_NUM_THREADS."""
    granted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(int(granted), cpu_count()) if granted.isdigit() and int(granted) else cpu_count()


def _refuse_fork() -> None:
    """Raise in the child of a fork, where the threads of its parent are missing."""
    if _process and _process[-1] != os.getpid():
        raise RuntimeError(
            "This process was forked after Keras had started, and Keras could hang in it: use joblib's 'loky' or "
            "'threading' backend, or the start method 'spawn' of multiprocessing."
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
        A GPU is asked for where the framework under Keras finds none.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    if _framework().gpus():
        return "gpu"
    if device == "gpu":
        raise ValueError(
            f"device='gpu', but {_framework().NAME} finds no GPU: pass device='auto' or 'cpu', or install its CUDA "
            "build."
        )
    return "cpu"


def _may_have_gpu() -> bool:
    return platform.system() == "Darwin" or any(os.path.exists(trace) for trace in _GPU_TRACES)


def resolve_precision(precision: str, device: str) -> str:
    """Return what "auto" means: bfloat16 where `device` has it natively, else float16 on a GPU with tensor cores."""
    if precision != "auto":
        return precision
    if device == "cpu":
        return "bfloat16" if _cpu_has_bfloat16() else "float32"
    capability = _framework().gpu_capability()
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


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
    framework = _framework()
    with place(device):
        compiled = framework.compile_forward(function, variables, signature, full_batch)

    in_memory = InMemory()

    def forward(*arrays: np.ndarray) -> np.ndarray:
        with place(device):
            parts = [rows for _, rows in in_memory(compiled, *arrays)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    return forward


class Step:
    """A compiled step of Adam, with what its steps have gathered.

    Parameters
    ----------
    run : callable
        The step, of arrays and a learning rate.
    adam : Adam
        What it trains and changes.
    """

    def __init__(self, run: Callable[..., np.ndarray], adam: Adam) -> None:
        self._run = run
        self._gathered = [adam.count, *adam.firsts, *adam.seconds]

    def __call__(self, *arrays: Any, learning_rate: float) -> np.ndarray:
        """Take a step on a batch, and return the figures of the objective from before it."""
        _refuse_fork()
        return self._run(*arrays, learning_rate=learning_rate)

    def state(self) -> list[np.ndarray]:
        """Return the number of steps, first moments and second moments, the same on every backend."""
        return [variable.numpy() for variable in self._gathered]

    def restore(self, state: Sequence[np.ndarray] | None) -> None:
        """Go on from such a state; forget all steps where it is None."""
        if state is None:
            state = [np.zeros(variable.shape, np.float32) for variable in self._gathered]
        for variable, array in zip(self._gathered, state, strict=True):
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
        Slopes of a greater global norm are scaled down to it.
    """
    framework, variable = _framework(), keras().Variable

    def zeros(shape: tuple[int, ...]) -> Any:
        return variable(np.zeros(shape, np.float32), dtype="float32", trainable=False)

    with place(device):
        adam = Adam(
            trained=trained,
            others=others,
            count=zeros(()),
            firsts=[zeros(tuple(array.shape)) for array in trained],
            seconds=[zeros(tuple(array.shape)) for array in trained],
            clip_norm=clip_norm,
        )
        return Step(framework.compile_step(objective, adam, signature), adam)


def l2_loss(variable: Any) -> Any:
    """Return half the sum of squares of a Keras variable."""
    return _framework().l2_loss(variable)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a computation has ended with this error for want of memory."""
    return isinstance(error, MemoryError) or _framework().is_out_of_memory(error)


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
