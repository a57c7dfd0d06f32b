"""A web service around a model of skpneumo: X-rays come in by HTTP, probabilities go out as JSON.

A research tool, not a medical device. Run it with ``SKPNEUMO_MODEL=pneumonia.joblib python service.py``; README.md says
more. Nothing of what is uploaded is stored: it stays in memory, and goes with the answer.
"""

import asyncio
import io
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
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

import skpneumo
from loaded_model import LoadedModel
from skpneumo.exceptions import ImageReadError
from skpneumo.serving import DynamicBatcher

NO_MODEL = """\
SKPNEUMO_MODEL names no model. To try the service, make a small one, which knows drawn films alone:
  python examples/serving/make_model.py pneumonia.joblib
  SKPNEUMO_MODEL=pneumonia.joblib python examples/serving/service.py"""
FORMATS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II", b"MM", b"RIFF")  # JPEG, PNG, BMP, TIFF, WebP
OTHERS = {b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive", b"GIF8": "a GIF", b"<": "HTML or XML"}
UPLOAD = {"type": "array", "items": {"type": "string", "format": "binary"}}
BODY = {"multipart/form-data": {"schema": {"type": "object", "properties": {"files": UPLOAD}, "required": ["files"]}}}


@dataclass(frozen=True)
class Limits:
    """What a client may ask for; beyond it, requests are refused before they cost much."""

    file_bytes: int = 25_000_000
    body_bytes: int = 64_000_000
    held_bytes: int = 1_000_000_000  # in memory, of all requests together
    pixels: int = 40_000_000  # an image; large detectors have some 20 million
    request_pixels: int = 100_000_000
    files: int = 16  # a request
    requests: int = 32  # at once, of those that have come
    waiting: int = 128  # images in the queue of the network
    seconds: float = 60.0  # until a body has come
    linger: float = 2.0  # seconds in which the rest of a refused body is read


class Refusal(Exception):  # noqa: N818
    """An answer that is no prediction: its status, one sentence, and what is wrong with which file."""

    def __init__(self, status: int, detail: str, files: list[tuple[str, str]] | None = None) -> None:
        self.status, self.detail, self.files = status, detail, files or []

    def response(self) -> JSONResponse:
        files = [{"name": name, "reason": reason} for name, reason in self.files]
        # Of a body that was not read to its end, the rest must not be taken for the next request.
        headers = {"Connection": "close"} | ({"Retry-After": "1"} if self.status == 503 else {})
        return JSONResponse({"detail": self.detail, "files": files}, self.status, headers)


class InMemoryParser(MultiPartParser):
    """Keeps large uploads out of temporary files on disk."""

    spool_max_size = max_file_size = sys.maxsize  # the second is its name in Starlette before 0.46
    is_whole = False

    def on_end(self) -> None:
        super().on_end()
        self.is_whole = True


class Memory:
    """Counts the bytes that requests hold, so that who sends little, however slowly, keeps nobody out."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Yield what counts the bytes of a request until its end."""
        own = 0

        def take(n_bytes: int) -> None:
            nonlocal own
            if self.held + n_bytes > self.most:
                raise Refusal(503, "Too many bytes are held already; try again later.")
            own += n_bytes
            self.held += n_bytes

        try:
            yield take
        finally:
            self.held -= own


async def bounded(
    stream: AsyncIterator[bytes], limits: Limits, take: Callable[[int], None] = lambda _: None
) -> AsyncIterator[bytes]:
    n_bytes = 0
    async for chunk in stream:
        n_bytes += len(chunk)
        if n_bytes > limits.body_bytes:
            raise Refusal(413, f"A request may hold {limits.body_bytes} bytes at most.")
        take(len(chunk))
        yield chunk


async def linger(request: Request, limits: Limits) -> None:
    """Read the rest of a refused body, up to a limit: who still sends does not read the answer."""

    async def read() -> None:
        async for _ in bounded(request.stream(), limits):
            pass

    with suppress(Refusal, ClientDisconnect, asyncio.TimeoutError, RuntimeError):  # the last: nothing was left
        await asyncio.wait_for(read(), limits.linger)


async def uploads(request: Request, limits: Limits, take: Callable[[int], None]) -> list[tuple[str, bytes]]:
    """Read the names and bytes of the files of a request."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise Refusal(415, "Send images as multipart/form-data, in the field 'files'.")
    if int(request.headers.get("Content-Length", 0)) > limits.body_bytes:
        raise Refusal(413, f"A request may hold {limits.body_bytes} bytes at most.")
    stream = bounded(request.stream(), limits, take)
    parser = InMemoryParser(request.headers, stream, max_files=limits.files, max_fields=limits.files)
    try:
        form = await asyncio.wait_for(parser.parse(), limits.seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"The request took more than {limits.seconds:g} seconds to come.") from None
    except (MultiPartException, ValueError) as error:
        if "Too many" in getattr(error, "message", ""):
            raise Refusal(413, f"A request may hold {limits.files} files at most.") from None
        raise Refusal(400, "The body is not well-formed multipart/form-data.") from None
    try:
        if not parser.is_whole:
            raise Refusal(400, "The body breaks off before its end.")
        return [(name, await file.read()) for name, file in files_in(form)]
    finally:
        await form.close()


def files_in(form: FormData) -> list[tuple[str, UploadFile]]:
    """Return the files of a form with names that are fit to be echoed."""
    wrong = sorted({clean(field) for field, _ in form.multi_items() if field != "files"})
    if wrong:
        raise Refusal(422, f"Send images in the field 'files' alone; got {', '.join(map(repr, wrong))}.")
    files = form.getlist("files")
    if not files or not all(isinstance(file, UploadFile) for file in files):
        raise Refusal(422, "The field 'files' holds no file." if not files else "The field 'files' must hold files.")
    return [(clean(file.filename or "") or f"file {i}", file) for i, file in enumerate(files, 1)]


def clean(name: str) -> str:
    """Make a name fit to be echoed: no folders, nothing that a terminal or a page would act on, not long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter if letter.isprintable() else "?" for letter in last)[:100]


def problem(data: bytes, limits: Limits) -> tuple[int, str] | None:
    """Say what keeps an upload from being an image, as far as it can be told without decoding it."""
    if not data:
        return 422, "is empty"
    if len(data) > limits.file_bytes:
        return 413, f"holds {len(data)} bytes, more than {limits.file_bytes}"
    if data.startswith(FORMATS):
        return (413, f"has more than {limits.pixels} pixels") if n_pixels(data) > limits.pixels else None
    kinds = (kind for start, kind in OTHERS.items() if data.lstrip().startswith(start))
    kind = "a DICOM file" if data[128:132] == b"DICM" else next(kinds, "something else")
    return 415, f"is {kind}, not a JPEG, PNG, BMP, TIFF or WebP image"


def n_pixels(data: bytes) -> float:
    """Read from its header how large an image will be in memory; 0 where the reader will say what is wrong with it."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP", "TIFF", "WEBP")) as image:
            return image.width * image.height
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return float("inf")
    except Exception:
        return 0


def check(files: list[tuple[str, bytes]], limits: Limits) -> None:
    """Refuse a request for what can be told of its files without decoding them."""
    found = [(name, problem(data, limits)) for name, data in files]
    refuse([(why[0], name, why[1]) for name, why in found if why], len(files))
    if sum(n_pixels(data) for _, data in files) > limits.request_pixels:
        raise Refusal(413, f"The images of a request may have {limits.request_pixels} pixels at most.")


def refuse(bad: list[tuple[int, str, str]], n_files: int) -> None:
    """Refuse a request for some of its files: what is left out silently might be taken for healthy."""
    if bad:
        statuses = {status for status, _, _ in bad}
        reasons = "; ".join(f"{name!r} {reason.rstrip('.')}" for _, name, reason in bad)
        several = f"{len(bad)} of {n_files} files cannot be used, so nothing was predicted: " if n_files > 1 else ""
        detail = f"{several}{reasons}."
        raise Refusal(statuses.pop() if len(statuses) == 1 else 422, detail, [(name, why) for _, name, why in bad])


def create_app(model: LoadedModel, limits: Limits = Limits(), **batching: Any) -> FastAPI:
    """Make the application; `batching` goes to the batcher."""
    memory, at_once = Memory(limits.held_bytes), asyncio.Semaphore(limits.requests)

    async def warm_up() -> None:
        try:
            await asyncio.to_thread(model.warm_up)
            app.state.is_ready = True
        except Exception:
            logging.getLogger("uvicorn.error").exception("The model cannot be warmed up: the service is never ready.")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Made here, since an application may be started again after its end.
        batcher = DynamicBatcher(model.rows, max_queue=limits.waiting, **batching)
        app.state.batcher, app.state.is_ready = batcher, False
        warming = asyncio.create_task(warm_up())  # so that /healthz and /readyz answer meanwhile
        yield
        await warming
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="skpneumo", description=model.card()["disclaimer"], version=skpneumo.__version__, lifespan=lifespan
    )
    app.add_exception_handler(Refusal, lambda _, refusal: refusal.response())
    app.add_exception_handler(Exception, lambda *_: Refusal(500, "The service failed; its log says why.").response())
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=400))  # nobody reads it

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "up"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        if not app.state.is_ready:
            raise Refusal(503, "The model is not warm yet.")
        return {"status": "ready"}

    @app.get("/model")
    async def card() -> dict[str, Any]:
        return model.card() | model.history()

    @app.post("/predict", openapi_extra={"requestBody": {"required": True, "content": BODY}})
    async def predict(request: Request) -> dict[str, Any]:
        await readyz()
        with memory.request() as take:
            try:
                files = await uploads(request, limits, take)
            except Refusal:
                await linger(request, limits)
                raise
            if at_once.locked():
                raise Refusal(503, "Too many requests at once; try again later.")
            async with at_once:
                await asyncio.to_thread(check, files, limits)
                answers = model.answers(await ask(files))
        said = [{"name": name} | answer for (name, _), answer in zip(files, answers, strict=True)]
        return {"files": said, "model": model.card()}

    async def ask(files: list[tuple[str, bytes]]) -> np.ndarray:
        try:
            return await asyncio.wrap_future(app.state.batcher.submit([data for _, data in files]))
        except queue.Full:
            raise Refusal(503, "Too many images wait already; try again later.") from None
        except ImageReadError as error:
            refuse([(422, files[i][0], f"cannot be read: {why}") for i, _, why in error.failures], len(files))
            raise

    return app


def main() -> None:
    """Serve the model that SKPNEUMO_MODEL names."""
    path = os.environ.get("SKPNEUMO_MODEL") or sys.exit(NO_MODEL)
    try:
        app = create_app(LoadedModel(path))
    except (OSError, ValueError) as error:
        sys.exit(f"The model cannot be loaded: {error}")
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    main()
