"""A real HTTP server on this machine that behaves as servers do on bad days; it is a proxy too."""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Request:
    """What was asked: the path, the headers of ranges, and whether it came as to a proxy."""

    path: str
    range: str | None
    if_range: str | None
    proxied: bool
    login: str | None


@dataclass
class ModelServer:
    """The server's files and moods; both may be changed while it runs.

    Attributes:
        files: Path to content.
        ranges: Whether it can send a part.
        validator: "etag", "weak", "date" or "" for none.
        cuts: Bytes after which each of the next answers breaks off.
        statuses: What the next answers are in place of the file.
        redirects: Path to the address it leads to.
        headers: Sent with each file.
        length: Whether it says how long a file is.
        hold: Bytes after which an answer waits until `go` is set.
        requests: What was asked so far.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    validator: str = "etag"
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = True
    hold: int | None = None
    go: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str) -> str:
        """Return the address of a file."""
        return f"http://127.0.0.1:{self.port}{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        mood = self.server.mood
        proxied = self.path.startswith("http://")
        path = urlsplit(self.path).path
        asked = self.headers.get("Range")
        login = self.headers.get("Proxy-Authorization")
        mood.requests.append(Request(path, asked, self.headers.get("If-Range"), proxied, login))
        if mood.statuses:
            self._end(mood.statuses.pop(0))
        elif path in mood.redirects:
            self._end(302, {"Location": mood.redirects[path]})
        elif path not in mood.files:
            self._end(404)
        else:
            self._send(mood.files[path], asked)

    def _end(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, asked: str | None) -> None:
        mood = self.server.mood
        tag = hashlib.sha256(content).hexdigest()[:16]
        validators = {
            "etag": ("ETag", f'"{tag}"'),
            "weak": ("ETag", 'W/"same"'),
            "date": ("Last-Modified", "Fri, 01 Mar 2024 10:00:00 GMT"),
        }
        sent = validators.get(mood.validator)
        condition = self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and mood.ranges else 0
        if condition is not None and (sent is None or condition != sent[1]):
            start = 0
        if start and start >= len(content):
            self._end(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        headers = {"Content-Type": "application/zip", **({"Content-Length": str(len(content) - start)} if mood.length else {})}
        for key, value in {**headers, **mood.headers, **({sent[0]: sent[1]} if sent else {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self._write(content[start:])
        self.close_connection = True

    def _write(self, content: bytes) -> None:
        mood = self.server.mood
        if mood.hold is not None:
            self.wfile.write(content[: mood.hold])
            mood.go.wait(20)
            content = content[mood.hold :]
        if mood.cuts:
            self.wfile.write(content[: mood.cuts.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Stay silent."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, mood: ModelServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mood = mood

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what the tests are about."""


@contextmanager
def model_server(tls: ssl.SSLContext | None = None) -> Iterator[ModelServer]:
    """Run a server, with TLS when a context is given; for the fixture `server` of a test file."""
    mood = ModelServer()
    with _Server(mood) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        mood.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield mood
        finally:
            mood.go.set()
            server.shutdown()
            thread.join(5)


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
