"""Import Keras, and choose its device, precision and batch size."""

import functools
import json
import os
import platform
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from joblib import cpu_count

from skpneumo._keras import gpu_lock, jax, tensorflow, torch

DEVICES = ("auto", "cpu", "gpu")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

# Without one of these files there is no GPU, and TensorFlow need not be imported to detect one.
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# Backend-specific code by Keras's name of the backend.
_FRAMEWORKS = {"tensorflow": tensorflow, "jax": jax, "torch": torch}
_OTHER_BACKEND = (
    "skpneumo runs Keras on TensorFlow, JAX or PyTorch, but Keras is set to {!r} in this process: unset KERAS_BACKEND, "
    "or set it to 'tensorflow', 'jax' or 'torch', before Keras is imported."
)
_NOT_INSTALLED = (
    "skpneumo needs Keras and its backend {} to compute features of images and to train dense layers, but they cannot "
    "be imported ({}): pip install {}. A fitted model predicts on features without them."
)
_PACKAGES = {"tensorflow": "tensorflow", "jax": "'skpneumo[jax]'", "torch": "'skpneumo[torch]'"}

_lock = threading.RLock()
_process: list[int] = []  # id of the process that imported Keras


def keras() -> ModuleType:
    """Import Keras with its configured backend, once, and return it.

    Raises
    ------
    ImportError
        If Keras or its backend cannot be imported.
    """
    refuse_fork()
    try:
        with _lock:
            return _import_keras()
    except ImportError as error:
        name = backend_name()
        raise ImportError(_NOT_INSTALLED.format(name, error, _PACKAGES.get(name, name))) from error


@functools.cache
def _import_keras() -> ModuleType:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" not in sys.modules and backend not in _FRAMEWORKS:
        raise RuntimeError(_OTHER_BACKEND.format(backend))
    _process.append(os.getpid())
    is_ours = "tensorflow" not in sys.modules  # otherwise the host application configures its threads
    with _quiet_start():
        import keras

        backend = keras.backend.backend()
        if backend not in _FRAMEWORKS:
            raise RuntimeError(_OTHER_BACKEND.format(backend))
        _FRAMEWORKS[backend].start(n_cores() if is_ours and n_cores() < cpu_count() else None)
    return keras


def backend_name() -> str:
    """Return the name of Keras's backend, active or configured, without importing Keras."""
    loaded = getattr(sys.modules.get("keras"), "backend", None)
    if loaded is not None and hasattr(loaded, "backend"):
        return str(loaded.backend())
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    with suppress(OSError, ValueError, AttributeError):
        settings = json.loads(Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser().read_bytes())
        return str(settings.get("backend", "tensorflow"))
    return "tensorflow"


def framework() -> ModuleType:
    """Return the module of the backend of Keras."""
    return _FRAMEWORKS[keras().backend.backend()]


def place(device: str) -> AbstractContextManager[Any]:
    """Return a single-use context in which Keras creates variables and computes on `device`.

    With JAX, these are all devices of this kind; with other backends, on which Keras does not distribute, the first.

    Raises
    ------
    RuntimeError
        If another worker of the same search uses the GPU.
    """
    if device == "gpu":
        gpu_lock.acquire()
    backend = framework()
    first = keras().device(backend.CPU if device == "cpu" else "gpu:0")
    return jax.spread(device, first) if backend is jax else first


def n_cores() -> int:
    """Return the number of cores for this process: all, or the limit of joblib and Dask in OMP_NUM_THREADS."""
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(int(limit), cpu_count()) if limit.isdigit() and int(limit) else cpu_count()


def refuse_fork() -> None:
    """Raise in a forked child process, which lacks the threads of its parent."""
    if _process and _process[-1] != os.getpid():
        raise RuntimeError(
            "This process was forked after Keras had started, and Keras could hang in it: use joblib's 'loky' or "
            "'threading' backend, or the start method 'spawn' of multiprocessing."
        )


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Set ``TF_CPP_MIN_LOG_LEVEL`` to 3 unless it is set, and unset it afterwards.

    At level 3, TensorFlow does not report a missing GPU as an error. It writes a few lines before it reads the level;
    these remain on stderr.
    """
    if _LOG_LEVEL in os.environ:
        yield
        return
    os.environ[_LOG_LEVEL] = "3"
    try:
        yield
    finally:
        os.environ.pop(_LOG_LEVEL, None)


def resolve_device(device: str) -> str:
    """Return "cpu" or "gpu".

    Raises
    ------
    ValueError
        If `device` is "gpu" and the backend of Keras finds no GPU.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    if framework().gpus():
        return "gpu"
    if device == "gpu":
        raise ValueError(
            f"device='gpu', but {framework().NAME} finds no GPU: set device='auto' or 'cpu', or install its CUDA build."
        )
    return "cpu"


def _may_have_gpu() -> bool:
    return platform.system() == "Darwin" or any(os.path.exists(path) for path in _GPU_FILES)


def resolve_precision(precision: str, device: str) -> str:
    """Resolve "auto": bfloat16 if `device` supports it natively, else float16 on a GPU with tensor cores."""
    if precision != "auto":
        return precision
    if device == "cpu":
        return "bfloat16" if _cpu_has_bfloat16() else "float32"
    capability = framework().gpu_capability()
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
    """Return the batch size whose activations of the first block need about 0.4 GB (CPU) or 1.6 GB (GPU)."""
    at_224 = 64 if device == "gpu" else 16
    return int(np.clip(at_224 * 224**2 // image_size**2, 1, 512))
