"""Load test of the example web service: throughput, latency, memory, and responses to bad uploads.

Run from the root of the repository: ``python -m tests.benchmarks.serving``. Clients send one image per request. Every
image is distinct: images of the folder with a number appended to the file. Features are not stored. If
``SKPNEUMO_SHARED`` is set, the test uses real X-rays and the weights of 8 layers from that folder; otherwise, synthetic
images and an untrained network. Clients and service share one machine. Linux only (memory is read from ``/proc``).
"""

import argparse
import contextlib
import functools
import gc
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import joblib
import numpy as np
from PIL import Image

from skpneumo import PneumoniaClassifier
from skpneumo.datasets import load_chest_xrays, make_chest_xrays
from tests.benchmarks import fresh, machine
from tests.benchmarks.data import HEAD
from tests.benchmarks.memory import process_memory
from tests.benchmarks.table import number

EXAMPLE = Path(__file__).parents[2] / "examples" / "serving"
N_FITTED = 40
N_EARLY = 200  # requests before the first reading of memory


@dataclass
class Load:
    """Measurements under load, by round."""

    images_per_second: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    memory: dict[int, float] = field(default_factory=dict)  # MB of the server by number of requests


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
        return
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKPNEUMO_CACHE"] = os.path.join(folder, "cache")
        listing, model = prepare(options, folder)
        print(*machine.facts(), flush=True, sep="\n")
        if options.sequential:
            early, late = fresh.call(memory_of_calls, model, listing, options.sequential)
            n = options.sequential
            print(f"predict_proba of one image in one process: {number(early)} MB after {n // 10:,} calls,")
            print(f"{number(late)} MB after {n:,} calls, a growth of {number(late - early)} MB")
            return
        measure(options, listing, model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    shared = os.environ.get("SKPNEUMO_SHARED")
    weights = f"{shared}/weights/vgg19_imagenet_first_8_layers.npz" if shared else None
    add = parser.add_argument
    add("--requests", type=int, default=2_000)
    add("--rounds", type=int, default=4, help="rounds that alternate between service and peers")
    add("--clients", type=int, default=16)
    add(
        "--folder",
        default=f"{shared}/xrays/kermany" if shared else None,
        help="folder of images; default: real or synthetic X-rays",
    )
    add("--weights", default=weights, help="weights file; default: the first 8 layers in SKPNEUMO_SHARED, or untrained")
    add("--n-layers", type=int, default=8)
    add("--image-size", type=int, default=224)
    add("--sequential", type=int, default=0, metavar="N", help="only measure N calls of predict_proba in one process")
    return parser


def prepare(options: argparse.Namespace, folder: str) -> tuple[str, str]:
    """Fit and save a model; return the files with the paths of all images and with the model."""
    if options.folder:
        X, y = load_chest_xrays(options.folder, subset="all", return_X_y=True)
    else:
        X, y = make_chest_xrays(60, os.path.join(folder, "images"), image_size=1000, random_state=0, return_X_y=True)
    paths = [str(path) for path in X.ravel()]
    size = {"n_layers": options.n_layers, "image_size": options.image_size}
    clf = PneumoniaClassifier(options.weights, **size, norm=None, **HEAD, memory=None)
    listing, model = os.path.join(folder, "images.json"), os.path.join(folder, "model.joblib")
    Path(listing).write_text(json.dumps(paths))
    joblib.dump(clf.fit(paths[:N_FITTED], y[:N_FITTED]), model)
    return listing, model


def image_bytes(listing: str, i: int) -> bytes:
    """Return the i-th image, with distinct bytes."""
    paths = _paths(listing)
    return Path(paths[i % len(paths)]).read_bytes() + str(i).encode()


@functools.cache
def _paths(listing: str) -> list[str]:
    return json.loads(Path(listing).read_text())


def measure(options: argparse.Namespace, listing: str, model: str) -> None:
    clients, batched, single, one_call = options.clients, Load(), Load(), list[float]()
    size = -(-options.requests // options.rounds)
    rounds = [range(first, min(first + size, options.requests)) for first in range(0, options.requests, size)]
    print(
        f"{options.requests:,} requests of one image each by {clients} clients, in {len(rounds)} alternating rounds; "
        f"{options.n_layers} layers at {options.image_size} px",
        flush=True,
    )
    with served(model) as server, served(model, "1") as without:
        for numbers in rounds:
            seconds = fresh.call(seconds_of_one_call, model, listing, numbers.start, numbers.stop)
            one_call.append(len(numbers) / seconds)
            put_load(server, listing, numbers, clients, batched)
            put_load(without, listing, numbers, clients, single)
        refused = bad_uploads(server)
    print(f"\n{'':<28}{'images/s':>10}{'/ one call':>24}{'median':>10}{'99 %':>10}{'errors':>8}")
    print(f"{'predict_proba in one call':<28}{number(median(one_call)):>10}")
    for name, found in (("service", batched), ("service, no batching", single)):
        ratios = [ours / peer for ours, peer in zip(found.images_per_second, one_call, strict=True)]
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        middle, slow = (f"{1e3 * value:,.0f} ms" for value in np.percentile(found.latencies, [50, 99]))
        n_errors = options.requests - found.statuses[200]
        speed = number(median(found.images_per_second))
        print(f"{name:<28}{speed:>10}{ratio:>24}{middle:>10}{slow:>10}{n_errors:>8}")
    print(
        "\nMemory of the server:", ", ".join(f"{mb:,.0f} MB after {n:,} requests" for n, mb in batched.memory.items())
    )
    print("\nBad uploads:")
    for name, (status, detail) in refused.items():
        print(f"  {name:<24}{status}  {detail}")


def serve(model: str, port: str, max_batch_size: str) -> None:
    """Run the example service with the given batch size."""
    sys.path.insert(0, str(EXAMPLE))
    import uvicorn

    from loaded_model import LoadedModel
    from service import create_app

    app = create_app(LoadedModel(model), max_batch_size=int(max_batch_size))
    uvicorn.run(app, port=int(port), log_level="error")


@dataclass(frozen=True)
class Server:
    port: int
    process: int

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)


@contextlib.contextmanager
def served(model: str, max_batch_size: str = "32") -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.benchmarks.serving", "--serve", model, str(port), max_batch_size]
    process = subprocess.Popen(command)
    server = Server(port, process.pid)
    try:
        while not is_ready(server):
            if process.poll() is not None:
                raise RuntimeError(f"the service exited with status {process.returncode}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


def is_ready(server: Server) -> bool:
    try:
        return ask(server.connection(), "GET", "/readyz")[0] == 200
    except OSError:
        return False


def ask(connection: http.client.HTTPConnection, method: str, address: str, *arguments: Any) -> tuple[int, Any]:
    if connection.sock is None:
        connection.connect()
    with contextlib.suppress(
        ConnectionError
    ):  # the service closes the connection after its response to a too large body
        connection.request(method, address, *arguments)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def form(*files: bytes, name: str = "files") -> tuple[bytes, dict[str, str]]:
    """Create body and headers of an upload."""
    head = f'--image\r\nContent-Disposition: form-data; name="{name}"; filename="image.jpeg"\r\n\r\n'.encode()
    body = b"".join(head + data + b"\r\n" for data in files) + b"--image--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=image"}


def put_load(server: Server, listing: str, numbers: range, n_clients: int, found: Load) -> None:
    remaining, lock = iter(numbers), threading.Lock()

    def client(_: int) -> None:
        connection = server.connection()
        while (i := next_number()) is not None:
            upload = form(image_bytes(listing, i))
            begun = time.perf_counter()
            status, _ = ask(connection, "POST", "/predict", *upload)
            record(status, time.perf_counter() - begun)
        connection.close()

    def next_number() -> int | None:
        with lock:
            return next(remaining, None)

    def record(status: int, seconds: float) -> None:
        with lock:
            found.latencies.append(seconds)
            found.statuses[status] += 1
            if len(found.latencies) == N_EARLY:
                found.memory[N_EARLY] = process_memory("VmRSS", server.process)

    start = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as pool:
        list(pool.map(client, range(n_clients)))
    found.images_per_second.append(len(numbers) / (time.perf_counter() - start))
    found.memory.pop(numbers.start, None)
    found.memory[numbers.stop] = process_memory("VmRSS", server.process)


def seconds_of_one_call(model: str, listing: str, first: int, end: int) -> float:
    clf, images = joblib.load(model), [image_bytes(listing, i) for i in range(first, end)]
    clf.predict_proba([image_bytes(listing, end)])
    start = time.perf_counter()
    clf.predict_proba(images)
    return time.perf_counter() - start


def memory_of_calls(model: str, listing: str, n_calls: int) -> tuple[float, float]:
    clf, read = joblib.load(model), []
    for i in range(n_calls):
        clf.predict_proba([image_bytes(listing, i)])
        if i + 1 in {n_calls // 10, n_calls}:
            gc.collect()
            read.append(process_memory("VmRSS"))
    return read[0], read[1]


def bad_uploads(server: Server) -> dict[str, tuple[int, str]]:
    """Send bad uploads; return status and detail of each response."""
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (96, 96), np.uint8))
    good = _saved(noise, "PNG")
    kinds = {
        "no file": form(),
        "another field": form(good, name="image"),
        "empty": form(b""),
        "text": form(b"an image"),
        "HTML": form(b"<!doctype html>"),
        "PDF": form(b"%PDF-1.7"),
        "ZIP": form(b"PK\x03\x04"),
        "DICOM": form(bytes(128) + b"DICM" + bytes(64)),
        "animated GIF": form(_saved(noise, "GIF", save_all=True, append_images=[noise.rotate(90)])),
        "TIFF of two pages": form(_saved(noise, "TIFF", save_all=True, append_images=[noise])),
        "truncated JPEG": form(_saved(noise, "JPEG")[:2_000]),
        "decompression bomb": form(_saved(Image.new("1", (20_000, 20_000)), "PNG")),
        "a good and a bad file": form(good, b"an image"),
        "17 images": form(*[good] * 17),
        "a file of 26 MB": form(b"\xff\xd8\xff" + bytes(26_000_000)),
        "a body of 65 MB": form(*[bytes(13_000_000)] * 5),
        "malformed multipart": (b"nonsense", form()[1]),
        "JSON": (b"{}", {"Content-Type": "application/json"}),
    }
    found = {}
    for name, upload in kinds.items():
        status, response = ask(server.connection(), "POST", "/predict", *upload)
        found[name] = status, response["detail"]
    found["GET"] = (answer := ask(server.connection(), "GET", "/predict"))[0], answer[1]["detail"]
    return found


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


if __name__ == "__main__":
    from tests.benchmarks import serving  # so that new processes can import its functions by name

    serving.main()
