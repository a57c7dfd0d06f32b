"""Description of the hardware and software."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from skpneumo import _keras


def device() -> str:
    return _keras.resolve_device("auto")


def precision() -> str:
    """Return the precision of ``precision="auto"``: bfloat16 if the device supports it natively."""
    return _keras.resolve_precision("auto", device())


def facts() -> list[str]:
    native = "native" if precision() == "bfloat16" else "not native"
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "scikit-learn", "numpy"))
    return [
        f"{_processor()}, {os.cpu_count()} cores; GPU: {_gpu()}",
        f"bfloat16 is {native}; precision: {precision()}, float32 for Keras",
        f"Python {platform.python_version()}, {packages}",
    ]


def _processor() -> str:
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor() or platform.machine()


def _gpu() -> str:
    if device() != "gpu":
        return "none"
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return details.get("device_name", "unnamed")
