"""Serve a station's page: on this machine alone, read-only.

Decides who is answered: requests to 127.0.0.1 or localhost by name, so that no page of another site can look in by
giving its own name this address. There is nothing that a request could change.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from imagekit.errors import HostError
from imagekit.host.files import reason
from imagekit.plan.factory_page import POLICY, encode_page

LOOPBACK = "127.0.0.1"
IDLE_S = 30.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "imagekit", ""
    timeout = IDLE_S
    state: Callable[[], dict[str, Any]]

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in (LOOPBACK, "localhost"):
            return self._send(HTTPStatus.FORBIDDEN, b"", "text/plain")
        if self.path == "/":
            return self._send(HTTPStatus.OK, encode_page(type(self).state()), "text/html; charset=utf-8")
        if self.path == "/state.json":
            text = json.dumps(type(self).state(), sort_keys=True, ensure_ascii=False) + "\n"
            return self._send(HTTPStatus.OK, text.encode(), "application/json")
        return self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    do_HEAD = do_GET

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), "Content-Type": kind, "Cache-Control": "no-store",
                           "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff",
                           "Referrer-Policy": "no-referrer"}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody is told of every half second."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that went away is no error."""


class Page:
    """The page while it is served. `url` is its address."""

    def __init__(self, state: Callable[[], dict[str, Any]], *, port: int) -> None:
        """Raises: HostError: the port is taken."""
        handler = type("Handler", (_Handler,), {"state": staticmethod(state)})
        try:
            self._server = _Server((LOOPBACK, port), handler)
        except OSError as error:
            raise HostError(f"cannot show the station at {LOOPBACK} port {port}: {reason(error)}",
                            hint="give the job another page, or --no-page") from error
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
