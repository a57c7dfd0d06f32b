"""Keras itself: its import, the device and the precision that it runs on, the size of a batch."""

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

# Without one of these TensorFlow finds no GPU, and need not be imported to be asked.
_GPU_TRACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# The name that Keras gives a backend, and what it leaves to it.
_FRAMEWORKS = {"tensorflow": tensorflow, "jax": jax, "torch": torch}
_OTHER_BACKEND = (
    "skpneumo runs Keras on TensorFlow, JAX or PyTorch, but Keras is set to {!r} in this process: unset KERAS_BACKEND, "
    "or set it to 'tensorflow', 'jax' or 'torch', before Keras is imported."
)

_lock = threading.RLock()
_process: list[int] = []  # the one that imported Keras


def keras() -> ModuleType:
    """Import Keras on the backend that it is set to, once, and return it."""
    refuse_fork()
    with _lock:
        return _import_keras()


@functools.cache
def _import_keras() -> ModuleType:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" not in sys.modules and backend not in _FRAMEWORKS:
        raise RuntimeError(_OTHER_BACKEND.format(backend))
    _process.append(os.getpid())
    is_ours = "tensorflow" not in sys.modules  # else its threads are the host application's
    with _quiet_start():
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


def framework() -> ModuleType:
    """Return the module of the framework that Keras runs on."""
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
        gpu_lock.hold()
    chosen = framework()
    first = keras().device(chosen.CPU if device == "cpu" else "gpu:0")
    return jax.spread(device, first) if chosen is jax else first


def n_cores() -> int:
    """Processors that this process may keep busy: all, or what joblib and Dask grant a worker by OMP_NUM_THREADS."""
    granted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(int(granted), cpu_count()) if granted.isdigit() and int(granted) else cpu_count()


def refuse_fork() -> None:
    """Raise in the child of a fork, where the threads of its parent are missing."""
    if _process and _process[-1] != os.getpid():
        raise RuntimeError(
            "This process was forked after Keras had started, and Keras could hang in it: use joblib's 'loky' or "
            "'threading' backend, or the start method 'spawn' of multiprocessing."
        )


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Set ``TF_CPP_MIN_LOG_LEVEL`` to 3 where the host has not set it, and unset it afterwards.

    At 3 TensorFlow does not report as an error that a machine without a GPU has none. A few lines are written before
    TensorFlow reads the level; these stay on stderr.
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
        A GPU is asked for where the framework under Keras finds none.
    """
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    if framework().gpus():
        return "gpu"
    if device == "gpu":
        raise ValueError(
            f"device='gpu', but {framework().NAME} finds no GPU: pass device='auto' or 'cpu', or install its CUDA "
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
    """Images a batch: as many as hold the activations of the first block within some 0.4 GB (CPU) or 1.6 GB (GPU)."""
    at_224 = 64 if device == "gpu" else 16
    return int(np.clip(at_224 * 224**2 // image_size**2, 1, 512))
