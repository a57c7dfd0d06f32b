"""Print the seconds of three calls on a store with a fault, and their ratios to a healthy store.

Run from the root of the repository, as root on Linux (it mounts small file systems in a private namespace):
``unshare -m python -m tests.benchmarks.store_faults``. Each fault runs in its own process, on a tiny network.
"""

import ctypes
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

N_IMAGES, N_BATCHES = 50, 7
SETTINGS = {"weights": None, "n_layers": 2, "image_size": 32, "pool_grid": 16}  # 64 KB per image
FILES = ("features", "leases", "digests")
NO_LOCKS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
static int without_locks(const char *name, int fd, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) { errno = ENOLCK; return -1; }
    return ((int (*)(int, int, void *)) dlsym(RTLD_NEXT, name))(fd, command, argument);
}
#define DEFINE(name) int name(int fd, int command, ...) { \\
    va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \\
    return without_locks(#name, fd, command, argument); }
DEFINE(fcntl)
DEFINE(fcntl64)
"""


@contextmanager
def mounted(store: Path, size: str) -> Iterator[None]:
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", store], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", store], check=True)


@contextmanager
def filled_up(store: Path) -> Iterator[None]:
    """Fill the disk from the second to the last batch of a call, when leases are released."""
    from skpneumo._vgg19.backbone import Backbone

    forward, calls = Backbone.forward, []

    def fill(backbone: Backbone) -> object:
        calls.append(1)
        if len(calls) % N_BATCHES == 2:
            with suppress(OSError), open(store / "other", "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        if len(calls) % N_BATCHES == 0:
            os.remove(store / "other")
        return forward(backbone)

    with mounted(store, "2m"):
        Backbone.forward = fill
        yield
        Backbone.forward = forward


@contextmanager
def locked(store: Path, names: tuple[str, ...] = FILES) -> Iterator[None]:
    (store / "skpneumo-features").mkdir(parents=True)
    held = [sqlite3.connect(store / "skpneumo-features" / f"{name}.sqlite") for name in names]
    for db in held:
        db.execute("CREATE TABLE other (a)")
        db.execute("BEGIN EXCLUSIVE")
    yield
    for db in held:
        db.close()


@contextmanager
def read_only(store: Path) -> Iterator[None]:
    with mounted(store, "64m"):
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        yield


@contextmanager
def filled(store: Path) -> Iterator[None]:
    extract(store)
    yield


@contextmanager
def filled_read_only(store: Path) -> Iterator[None]:
    with mounted(store, "64m"):
        extract(store)
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        yield


@contextmanager
def deleted(store: Path) -> Iterator[None]:
    from skpneumo._vgg19.backbone import Backbone

    forward = Backbone.forward
    Backbone.forward = lambda self: shutil.rmtree(store, ignore_errors=True) or forward(self)
    yield
    Backbone.forward = forward


@contextmanager
def directories(store: Path) -> Iterator[None]:
    for name in FILES:
        (store / "skpneumo-features" / f"{name}.sqlite").mkdir(parents=True)
    yield


@contextmanager
def without_locks(store: Path) -> Iterator[None]:
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])  # `measure` has set it
    assert library is not None
    yield


@contextmanager
def damaged(store: Path) -> Iterator[None]:
    extract(store)
    for name in FILES:
        file = store / "skpneumo-features" / f"{name}.sqlite"
        content = bytearray(file.read_bytes())
        for place in random.Random(0).sample(range(len(content)), len(content) // 10):
            content[place] ^= 0xFF
        file.write_bytes(content)
    yield


FAULTS = {
    "healthy": lambda store: filled(store.with_name("other")),
    "healthy, filled": filled,
    "full disk": lambda store: mounted(store, "1m"),
    "disk full during a call": filled_up,
    "locked": lambda store: locked(store, ("features",)),
    "all files locked": locked,
    "read-only, empty": read_only,
    "read-only, filled": filled_read_only,
    "deleted at each batch": deleted,
    "directories instead of files": directories,
    "no locks (ENOLCK)": without_locks,
    "damaged": damaged,
}


def images() -> list[str]:
    return sorted(map(str, Path(os.environ["STORE_FAULTS"]).rglob("*.jpeg")))


def extract(store: Path | None) -> float:
    from skpneumo import VGG19Features, _keras

    _keras.batch_size = lambda *_: 8
    start = time.perf_counter()
    VGG19Features(**SETTINGS, memory=store).fit_transform(images())
    return time.perf_counter() - start


def run(fault: str) -> None:
    """Print the seconds of three calls, and the numbers of their warnings."""
    extract(None)  # starts TensorFlow
    with tempfile.TemporaryDirectory() as folder, FAULTS[fault](Path(folder, "store")):
        for _ in range(3):
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                print(extract(Path(folder, "store")), len(warned), flush=True)


def measure(fault: str) -> list[tuple[float, int]]:
    environment = dict(os.environ)
    if fault.startswith("no locks"):
        library = str(Path(environment["STORE_FAULTS"], "no_locks.so"))
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=NO_LOCKS, text=True, check=True)
        environment["LD_PRELOAD"] = library
    command = [sys.executable, "-m", "tests.benchmarks.store_faults", fault]
    lines = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [(float(each.split()[0]), int(each.split()[1])) for each in lines]


def main() -> None:
    from skpneumo.datasets import make_chest_xrays

    with tempfile.TemporaryDirectory() as folder:
        os.environ["STORE_FAULTS"] = folder
        make_chest_xrays(N_IMAGES, folder, image_size=48, random_state=0)
        time.sleep(3.5)  # until digests of files are stored
        healthy = None
        for fault in sys.argv[2:] if sys.argv[1:2] == ["--only"] else FAULTS:
            calls = measure(fault)
            healthy = healthy or calls
            cells = [
                f"{seconds:8.2f} s ({seconds / base:6.1f}x, {n_warnings} warnings)"
                for (seconds, n_warnings), (base, _) in zip(calls, healthy, strict=True)
            ]
            print(f"{fault:30}", *cells, flush=True)


if __name__ == "__main__":
    run(sys.argv[1]) if len(sys.argv) == 2 else main()
