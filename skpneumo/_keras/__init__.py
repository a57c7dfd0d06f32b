"""Interface to Keras: only this package imports Keras or its backends."""

from skpneumo._keras.compile import InMemory, Step, compile_forward, compile_step, is_out_of_memory, l2_loss
from skpneumo._keras.device import (
    DEVICES,
    PRECISIONS,
    backend_name,
    batch_size,
    keras,
    n_cores,
    place,
    resolve_device,
    resolve_precision,
)

__all__ = [
    "DEVICES",
    "PRECISIONS",
    "InMemory",
    "Step",
    "backend_name",
    "batch_size",
    "compile_forward",
    "compile_step",
    "is_out_of_memory",
    "keras",
    "l2_loss",
    "n_cores",
    "place",
    "resolve_device",
    "resolve_precision",
]
