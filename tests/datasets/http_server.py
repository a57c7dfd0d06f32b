"""A local HTTP server whose replies a test prescribes, and which counts the bytes that it sends."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Reply:
    """How the server answers one request.

    `cut` is the position in the file at which the connection breaks, `stall` the one at which nothing more is sent.
    """

    body: bytes
    status: int = 200
    etag: str = '"1"'
    cut: int | None = None
    stall: int | None = None
    ranges: bool = True
    ignores_if_range: bool = False
    location: str | None = None
    block: int = 2**16


class Server:
    """Answers the requests with `replies` in order, and all further requests with the last of them."""

    def __init__(self, url):
        self.url = url
        self.replies = []
        self.ranges = []  # the Range header of each request
        self.sent = []  # first position and number of bytes of each answer
        self.paths = []
        self.stalled = threading.Event()
        self.released = threading.Event()  # from stalling
        self._lock = threading.Lock()

    def next_reply(self, handler):
        with self._lock:
            self.ranges.append(handler.headers.get("Range"))
            self.paths.append(handler.path)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        reply = self.server.state.next_reply(self)
        start = self._start(reply)
        if reply.location is not None:
            self.send_response(302)
            self.send_header("Location", reply.location)
            self.send_header("Content-Length", "0")
        elif reply.status != 200:
            self.send_response(reply.status)
            self.send_header("Content-Length", "0")
        elif start >= len(reply.body) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
        else:
            self._send(reply, start)
            return
        self.end_headers()

    def log_message(self, *arguments):
        pass

    def _start(self, reply):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = reply.ignores_if_range or self.headers.get("If-Range") == reply.etag
        return int(asked[1]) if asked and reply.ranges and same else 0

    def _send(self, reply, start):
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(reply.body) - 1}/{len(reply.body)}")
        if reply.etag:
            self.send_header("ETag", reply.etag)
        self.send_header("Content-Length", str(len(reply.body) - start))
        self.end_headers()
        stops = [stop for stop in (reply.cut, reply.stall) if stop is not None]
        end = min(stops, default=len(reply.body))
        self.server.state.sent.append((start, end - start))
        for position in range(start, end, reply.block):
            self.wfile.write(reply.body[position : min(position + reply.block, end)])
        if reply.stall is not None:
            self.server.state.stalled.set()
            self.server.state.released.wait(10)
        if stops:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Ignore clients that have disconnected."""


@contextmanager
def serve():
    """Run a server in a thread."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.state = Server(f"http://127.0.0.1:{server.server_address[1]}/file")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.state
    finally:
        server.state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
