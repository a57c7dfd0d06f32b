"""Absolute paths, also in worker processes, whose own current folder may be another one than that of the caller."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def absolute_paths(paths: Sequence[str], name: str) -> list[str]:
    """Resolve relative paths against the current folder of the main process; empty strings stay empty.

    Workers of joblib are reused: they keep the current folder that the main process had when they were started. A
    relative path could therefore refer to another file of the same name there.

    Parameters
    ----------
    paths : sequence of str
        Paths, relative or absolute.
    name : str
        Name of the parameter, for the error.

    Raises
    ------
    ValueError
        If a path is relative and the current folder of the main process cannot be determined.

    Examples
    --------
    >>> absolute_paths([os.path.join(os.getcwd(), "a.png")], "X") == absolute_paths(["a.png"], "X")
    True
    """
    relative = [path for path in paths if path and not os.path.isabs(path)]
    if not relative:
        return list(paths)
    try:
        folder = _current_folder()
    except LookupError as error:
        raise ValueError(
            f"{name} contains the relative path {relative[0]!r}, but {error}. Pass absolute paths: call "
            "os.path.abspath in the main process."
        ) from error
    return [str(Path(folder, path)) if path else path for path in paths]  # unlike abspath, "link/.." is kept


def absolute_path(path: str | os.PathLike[str], name: str) -> str:
    """Expand "~" in one path and resolve it, as in `absolute_paths`."""
    return absolute_paths([os.path.expanduser(os.fsdecode(path))], name)[0]


def is_dask_task() -> bool:
    """Whether this code runs in a task of Dask."""
    return _dask_worker() is not None


def _current_folder() -> str:
    """Return the current folder of the main process; raise LookupError if it cannot be determined."""
    try:
        own = os.getcwd()
    except OSError:
        raise LookupError("the current folder does not exist anymore") from None
    worker = _dask_worker()
    if (worker is not None and not worker.scheduler.address.startswith("inproc:")) or _is_ray_worker():
        raise LookupError("a worker of a cluster does not have the current folder of the main process")
    if multiprocessing.parent_process() is None:
        return own
    main = _folder_of_main_process()
    if own not in (main, _FOLDER_AT_IMPORT):
        raise LookupError(f"the current folder of this worker process is {own!r}, and that of the main one {main!r}")
    return main


def _folder_of_main_process() -> str:
    import psutil

    parent = multiprocessing.parent_process()
    try:
        process = psutil.Process(parent and parent.pid)
        for _ in multiprocessing.current_process()._identity[1:]:  # for each level of nested workers
            process = _starter(process)
        folder = process.cwd()
    except (psutil.Error, OSError, AttributeError) as error:  # AttributeError if a process has no parent anymore
        raise LookupError(f"the current folder of the main process cannot be determined ({error})") from error
    if not os.path.isdir(folder):
        raise LookupError("the current folder of the main process does not exist anymore")
    return folder


def _starter(process: Any) -> Any:
    """Return the process that started a worker, itself or through a fork server."""
    parent = process.parent()
    return parent.parent() if "multiprocessing.forkserver" in " ".join(parent.cmdline()) else parent


def _dask_worker() -> Any:
    """Return the worker of Dask whose task this is, or None."""
    distributed: Any = sys.modules.get("distributed")
    with suppress(ValueError):  # raised outside a task
        return distributed and distributed.get_worker()
    return None


def _is_ray_worker() -> bool:
    ray: Any = sys.modules.get("ray")
    is_running = hasattr(ray, "is_initialized") and ray.is_initialized()  # get_runtime_context would start Ray
    return is_running and ray.get_runtime_context().worker.mode == ray.WORKER_MODE


def _folder_at_import() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None


_FOLDER_AT_IMPORT = _folder_at_import()  # a worker whose folder is still the same has not chosen one itself
