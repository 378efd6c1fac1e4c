"""Serve a store's public folder for trying it out: HTTP/1.1, read-only, with ranges so that downloads resume.

For fleets any web server does (docs/how-to/run-a-store.md). What is not a regular file below the folder is 404; there
are no listings. Cache headers are those that `imagekit.plan.upload` states.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from imagekit.digests import CHUNK
from imagekit.errors import HostError
from imagekit.host.addresses import refuse_no_host
from imagekit.host.files import reason
from imagekit.plan.upload import cache_control, content_type

IDLE_S = 60.0
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "imagekit"
    sys_version = ""
    timeout = IDLE_S
    root: Path
    told: Callable[[str], None]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        path = self.root / name
        parts = name.split("/")
        if not name or any(part in ("", ".", "..") or "\0" in part for part in parts):
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            if not path.resolve().is_relative_to(self.root) or not path.is_file():
                return self._refuse(HTTPStatus.NOT_FOUND)
            with path.open("rb") as stream:
                self._send(name, stream, body=body)
        except OSError:
            self.close_connection = True
        return None

    def _send(self, name: str, stream: BinaryIO, *, body: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        wanted = _wanted(self.headers.get("Range"), size)
        if wanted is None:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
            return
        start, end = wanted
        partial = (start, end) != (0, size)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        for key, value in {"Content-Length": str(end - start), "Content-Type": content_type(name),
                           "Cache-Control": cache_control(name), "Accept-Ranges": "bytes"}.items():
            self.send_header(key, value)
        self.end_headers()
        stream.seek(start)
        left = end - start if body else 0
        while left and (chunk := stream.read(min(left, CHUNK))):
            self.wfile.write(chunk)
            left -= len(chunk)
        if left:
            self.close_connection = True  # the file became shorter: no lie about its length

    def _refuse(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", "Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        type(self).told(f"{self.address_string()} {format % args}")


def _wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes `[start, end)` that a Range header asks for; the whole for none, None for what cannot be had."""
    found = _RANGE.match(header) if header else None
    if found is None or found.groups() == ("", ""):
        return 0, size
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    return (start, end) if start < end else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def make_server(public: Path, *, host: str, port: int, told: Callable[[str], None]) -> ThreadingHTTPServer:
    """A server that is bound and does not serve yet.

    Raises: HostError: the address is taken, or not of this machine. UsageError: it is none.
    """
    refuse_no_host(host)
    handler = type("Handler", (_Handler,), {"root": public.resolve(), "told": staticmethod(told)})
    try:
        return (_Server6 if ":" in host else _Server)((host, port), handler)
    except OSError as error:
        raise HostError(f"cannot serve at {host} port {port}: {reason(error)}",
                        hint="name another port with --port") from error


def serve(server: ThreadingHTTPServer) -> None:
    """Serve until interrupted; KeyboardInterrupt is the way to end it, and goes on to the caller."""
    try:
        server.serve_forever(poll_interval=0.2)
    finally:
        server.server_close()
