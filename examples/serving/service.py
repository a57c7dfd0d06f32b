"""A web service that receives X-rays over HTTP and returns probabilities of pneumonia as JSON.

A research tool, not a medical device. Run it with ``SKPNEUMO_MODEL=pneumonia.joblib python service.py``; see README.md.
Uploads are kept in memory and discarded with the response.
"""

import asyncio
import logging
import os
import queue
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

import skpneumo
from loaded_model import LoadedModel
from skpneumo._images.decoding import sides
from skpneumo.exceptions import ImageReadError
from skpneumo.serving import DynamicBatcher

NO_MODEL = """\
The environment variable SKPNEUMO_MODEL must be the path of a model. To try out the service, make a small model:
  python examples/serving/make_model.py pneumonia.joblib
  SKPNEUMO_MODEL=pneumonia.joblib python examples/serving/service.py"""
FORMATS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II", b"MM", b"RIFF")  # JPEG, PNG, BMP, TIFF, WebP
OTHERS = {b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive", b"GIF8": "a GIF", b"<": "HTML or XML"}
UPLOAD = {"type": "array", "items": {"type": "string", "format": "binary"}}
BODY = {"multipart/form-data": {"schema": {"type": "object", "properties": {"files": UPLOAD}, "required": ["files"]}}}


@dataclass(frozen=True)
class Limits:
    """Limits of a request, checked before expensive work."""

    file_bytes: int = 25_000_000
    body_bytes: int = 64_000_000
    held_bytes: int = 1_000_000_000  # in memory, all requests together
    pixels: int = 40_000_000  # per image; large detectors have about 20 million
    request_pixels: int = 100_000_000
    files: int = 16  # per request
    requests: int = 32  # processed at once
    waiting: int = 128  # images in the queue of the batcher
    seconds: float = 60.0  # to receive a body
    linger: float = 2.0  # seconds to read the rest of a rejected body


class ServiceError(Exception):
    """An error response: status, a sentence, and the reason for each file."""

    def __init__(self, status: int, detail: str, files: list[tuple[str, str]] | None = None) -> None:
        self.status, self.detail, self.files = status, detail, files or []

    def response(self) -> JSONResponse:
        files = [{"name": name, "reason": reason} for name, reason in self.files]
        # The unread rest of a body must not be parsed as the next request.
        headers = {"Connection": "close"} | ({"Retry-After": "1"} if self.status == 503 else {})
        return JSONResponse({"detail": self.detail, "files": files}, self.status, headers)


class InMemoryParser(MultiPartParser):
    """Parser that keeps large uploads in memory instead of temporary files."""

    spool_max_size = max_file_size = sys.maxsize  # max_file_size before Starlette 0.46
    is_complete = False

    def on_end(self) -> None:
        super().on_end()
        self.is_complete = True


class Memory:
    """Counter of the bytes held by all requests; slow clients that send little do not block others."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held = max_bytes, 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes, which are released at the end of the request."""
        own = 0

        def count(n_bytes: int) -> None:
            nonlocal own
            if self.held + n_bytes > self.max_bytes:
                raise ServiceError(503, "The service holds too many bytes; try again later.")
            own += n_bytes
            self.held += n_bytes

        try:
            yield count
        finally:
            self.held -= own


async def bounded(
    stream: AsyncIterator[bytes], limits: Limits, count: Callable[[int], None] = lambda _: None
) -> AsyncIterator[bytes]:
    n_bytes = 0
    async for chunk in stream:
        n_bytes += len(chunk)
        if n_bytes > limits.body_bytes:
            raise ServiceError(413, f"A request may have at most {limits.body_bytes} bytes.")
        count(len(chunk))
        yield chunk


async def linger(request: Request, limits: Limits) -> None:
    """Read the rest of a rejected body, because clients read the response only after sending."""

    async def read() -> None:
        async for _ in bounded(request.stream(), limits):
            pass

    with suppress(ServiceError, ClientDisconnect, asyncio.TimeoutError, RuntimeError):  # RuntimeError: already consumed
        await asyncio.wait_for(read(), limits.linger)


async def uploads(request: Request, limits: Limits, count: Callable[[int], None]) -> list[tuple[str, bytes]]:
    """Read the names and bytes of the files of a request."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise ServiceError(415, "Send images as multipart/form-data, in the field 'files'.")
    if int(request.headers.get("Content-Length", 0)) > limits.body_bytes:
        raise ServiceError(413, f"A request may have at most {limits.body_bytes} bytes.")
    stream = bounded(request.stream(), limits, count)
    parser = InMemoryParser(request.headers, stream, max_files=limits.files, max_fields=limits.files)
    try:
        form = await asyncio.wait_for(parser.parse(), limits.seconds)
    except asyncio.TimeoutError:
        raise ServiceError(408, f"The request did not arrive within {limits.seconds:g} seconds.") from None
    except (MultiPartException, ValueError) as error:
        if "Too many" in getattr(error, "message", ""):
            raise ServiceError(413, f"A request may have at most {limits.files} files.") from None
        raise ServiceError(400, "The body is not well-formed multipart/form-data.") from None
    try:
        if not parser.is_complete:
            raise ServiceError(400, "The body is incomplete.")
        return [(name, await file.read()) for name, file in files_in(form)]
    finally:
        await form.close()


def files_in(form: FormData) -> list[tuple[str, UploadFile]]:
    """Return the files of a form with names that are safe to echo."""
    unknown = sorted({clean(field) for field, _ in form.multi_items() if field != "files"})
    if unknown:
        raise ServiceError(422, f"Send images only in the field 'files'; got {', '.join(map(repr, unknown))}.")
    files = form.getlist("files")
    if not files or not all(isinstance(file, UploadFile) for file in files):
        raise ServiceError(
            422, "The field 'files' has no file." if not files else "The field 'files' must contain files."
        )
    return [(clean(file.filename or "") or f"file {i}", file) for i, file in enumerate(files, 1)]


def clean(name: str) -> str:
    """Make a name safe to echo: no folders, no control characters, at most 100 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter if letter.isprintable() else "?" for letter in last)[:100]


def problem(data: bytes, limits: Limits) -> tuple[int, str] | None:
    """Return status and reason if the first bytes show that an upload is not an acceptable image."""
    if not data:
        return 422, "is empty"
    if len(data) > limits.file_bytes:
        return 413, f"has {len(data)} bytes, more than {limits.file_bytes}"
    if data.startswith(FORMATS) or data[128:132] == b"DICM":
        return (413, f"has more than {limits.pixels} pixels") if n_pixels(data) > limits.pixels else None
    kinds = (kind for start, kind in OTHERS.items() if data.lstrip().startswith(start))
    return 415, f"is {next(kinds, 'something else')}, not a JPEG, PNG, BMP, TIFF, WebP or DICOM image"


def n_pixels(data: bytes) -> float:
    """Return the number of pixels from the header, or 0 if the image cannot be read."""
    try:
        width, height = sides(data)
    except ValueError as error:
        return float("inf") if str(error).startswith("too large") else 0
    return width * height


def check(files: list[tuple[str, bytes]], limits: Limits) -> None:
    """Reject a request with files that cannot be used, without decoding them."""
    found = [(name, problem(data, limits)) for name, data in files]
    reject([(bad[0], name, bad[1]) for name, bad in found if bad], len(files))
    if sum(n_pixels(data) for _, data in files) > limits.request_pixels:
        raise ServiceError(413, f"The images of a request may have at most {limits.request_pixels} pixels.")


def reject(bad: list[tuple[int, str, str]], n_files: int) -> None:
    """Reject a request with bad files, because an image skipped silently might be taken for a healthy one."""
    if bad:
        statuses = {status for status, _, _ in bad}
        reasons = "; ".join(f"{name!r} {reason.rstrip('.')}" for _, name, reason in bad)
        several = f"{len(bad)} of {n_files} files cannot be used, so nothing was predicted: " if n_files > 1 else ""
        detail = f"{several}{reasons}."
        raise ServiceError(
            statuses.pop() if len(statuses) == 1 else 422, detail, [(name, reason) for _, name, reason in bad]
        )


def create_app(model: LoadedModel, limits: Limits = Limits(), **batching: Any) -> FastAPI:
    """Create the application, with `batching` as parameters of the batcher."""
    memory, at_once = Memory(limits.held_bytes), asyncio.Semaphore(limits.requests)

    async def warm_up() -> None:
        try:
            await asyncio.to_thread(model.warm_up)
            app.state.is_ready = True
        except Exception:
            logging.getLogger("uvicorn.error").exception(
                "The model cannot be warmed up, so the service will not become ready."
            )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Created here, because an application may be restarted.
        batcher = DynamicBatcher(model.rows, max_queue=limits.waiting, **batching)
        app.state.batcher, app.state.is_ready = batcher, False
        warming = asyncio.create_task(warm_up())  # /healthz and /readyz respond meanwhile
        yield
        await warming
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="skpneumo", description=model.card()["disclaimer"], version=skpneumo.__version__, lifespan=lifespan
    )
    app.add_exception_handler(ServiceError, lambda _, error: error.response())
    app.add_exception_handler(
        Exception, lambda *_: ServiceError(500, "Internal error; see the log of the service.").response()
    )
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=400))  # the client is gone

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "up"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        if not app.state.is_ready:
            raise ServiceError(503, "The model is not warmed up yet.")
        return {"status": "ready"}

    @app.get("/model")
    async def card() -> dict[str, Any]:
        return model.card() | model.history()

    @app.post("/predict", openapi_extra={"requestBody": {"required": True, "content": BODY}})
    async def predict(request: Request) -> dict[str, Any]:
        await readyz()
        with memory.request() as count:
            try:
                files = await uploads(request, limits, count)
            except ServiceError:
                await linger(request, limits)
                raise
            if at_once.locked():
                raise ServiceError(503, "Too many requests at once; try again later.")
            async with at_once:
                await asyncio.to_thread(check, files, limits)
                predictions = model.predictions(await compute(files))
        results = [{"name": name} | prediction for (name, _), prediction in zip(files, predictions, strict=True)]
        return {"files": results, "model": model.card()}

    async def compute(files: list[tuple[str, bytes]]) -> np.ndarray:
        try:
            return await asyncio.wrap_future(app.state.batcher.submit([data for _, data in files]))
        except queue.Full:
            raise ServiceError(503, "Too many images are waiting; try again later.") from None
        except ImageReadError as error:
            reject([(422, files[i][0], f"cannot be read: {reason}") for i, _, reason in error.failures], len(files))
            raise

    return app


def main() -> None:
    """Serve the model at the path in SKPNEUMO_MODEL."""
    path = os.environ.get("SKPNEUMO_MODEL") or sys.exit(NO_MODEL)
    try:
        app = create_app(LoadedModel(path))
    except (OSError, ValueError) as error:
        sys.exit(f"The model cannot be loaded: {error}")
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    main()
