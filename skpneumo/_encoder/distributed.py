"""Compute features on other machines, through the active joblib backend, such as Dask or Ray."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from skpneumo._encoder.batches import Reasons, compute_batches
from skpneumo._encoder.spec import FeatureSpec, content_of
from skpneumo._feature_store.store import Rows
from skpneumo._images.sources import Source, read_content
from skpneumo._keras import n_cores
from skpneumo._utils.executor import chunks
from skpneumo._utils.paths import is_dask_task

_BATCHES_PER_CHUNK = 4  # at most; a worker that dies loses one chunk


def is_cluster(n_jobs: int | None) -> bool:
    """Whether joblib uses a third-party backend and this code does not already run in one of its tasks."""
    backend, n_jobs_here = get_active_backend()
    if type(backend).__module__ == "joblib._parallel_backends" or is_dask_task():
        return False
    return next((n for n in (n_jobs, n_jobs_here) if n is not None), backend.default_n_jobs) != 1


def spread(
    items: Sequence[bytes], sources: Mapping[bytes, Source], spec: FeatureSpec, *, device: str, n_jobs: int | None
) -> Iterator[tuple[Rows, Reasons]]:
    """Distribute chunks of images over the workers, and yield the features that they return, by value."""
    size = min(_BATCHES_PER_CHUNK * spec.backbone.batch_size, -(-len(items) // (2 * effective_n_jobs(n_jobs))))
    backend, _ = get_active_backend()
    parallel = Parallel(n_jobs, batch_size=1, return_as="generator" if backend.supports_return_generator else "list")
    yield from parallel(
        delayed(compute)(chunk, {content: sources[content] for content in map(content_of, chunk)}, spec, device)
        for chunk in chunks(items, size)
    )


def compute(
    items: Sequence[bytes], sources: Mapping[bytes, Source], spec: FeatureSpec, device: str
) -> tuple[Rows, Reasons]:
    """Compute features of images on the current machine; return also why items cannot be decoded."""
    spec = replace(spec, backbone=spec.backbone.here(device))
    rows: Rows = []
    reasons: Reasons = {}

    def load(content: bytes) -> bytes:
        return read_content(sources[content], content)

    for some, unreadable in compute_batches(items, load, spec, n_threads=n_cores()):
        rows += some
        reasons |= {item: f"{why} (on {platform.node()})" for item, why in unreadable.items()}
    return rows, reasons
