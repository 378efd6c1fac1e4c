"""Serve a desk that gives serials: two requests, as snapd's devices and `imagekit factory run` ask them.

    POST /v1/request-id                             -> {"request-id": ID}
    POST /v1/serial    a serial-request assertion   -> a serial assertion, and those that prove it

Decides who may ask: whoever shows a station's token (RFC 6750), over TLS or on this machine. Everything is bounded:
what a request may have, how long one byte of it may take, how many are answered at once.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imagekit.errors import HostError, UsageError
from imagekit.flash.serials import Desk, NotGiven
from imagekit.host.addresses import refuse_no_host
from imagekit.host.files import reason

BASE = "/v1"
IDLE_S = 20.0
MOST = 16 * 1024  # of a request
AT_ONCE = 256  # connections: all ports of a few stations


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "imagekit", ""
    timeout = IDLE_S
    desk: Desk
    tokens: Mapping[str, str]  # by station
    told: Callable[[str], None]

    def do_POST(self) -> None:
        station = self._station()
        length = self.headers.get("Content-Length", "")
        if not station:
            self._refuse(HTTPStatus.UNAUTHORIZED, "the token is none of this service")
        elif not (length.isascii() and length.isdigit()):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "how long is it?")
        elif len(length) > len(str(MOST)) or int(length) > MOST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST} bytes are read")
        else:
            self._answer(station, self.rfile.read(int(length)))

    def _answer(self, station: str, body: bytes) -> None:
        if self.path == f"{BASE}/request-id":
            answer = json.dumps({"request-id": self.desk.request_id(station)}).encode()
            return self._send(HTTPStatus.OK, answer, "application/json")
        if self.path != f"{BASE}/serial":
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such thing")
        try:
            answer = self.desk.serial(station, body)
        except NotGiven as error:
            type(self).told(f"{station}: refused: {error.message}")
            return self._refuse(error.status, error.message)
        type(self).told(f"{station}: given {answer.partition(b'serial: ')[2].partition(chr(10).encode())[0].decode()}")
        return self._send(HTTPStatus.OK, answer, "application/x.ubuntu.assertion")

    def _station(self) -> str:
        """Whose token the request shows; every token is compared, so that the time tells nothing."""
        kind, _, shown = self.headers.get("Authorization", "").partition(" ")
        matching = [name for name, token in self.tokens.items()
                    if hmac.compare_digest(token.encode(), shown.strip().encode("utf-8", "replace"))]
        return matching[0] if kind.lower() == "bearer" and matching else ""

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what else it sent is not read
        self._send(status, why.encode(), "text/plain; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        more = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
        closed = {"Connection": "close"} if self.close_connection else {}
        for key, value in {"Content-Length": str(len(content)), "Content-Type": kind, "Cache-Control": "no-store",
                           **more, **closed}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Only what the desk decides is told."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = AT_ONCE
    tls: ssl.SSLContext | None = None

    def __init__(self, *args: Any, at_once: int) -> None:
        self._room = threading.BoundedSemaphore(at_once)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            return super().finish_request(request, client_address)
        request.settimeout(IDLE_S)  # the handshake is waited for here, by this connection's own thread
        with self.tls.wrap_socket(request, server_side=True) as secure:
            return super().finish_request(secure, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A station that went away, or spoke no TLS, is no error of the service."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    """Raises: HostError: they cannot be read. UsageError: they are no certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise UsageError(f"cannot use {certificate} with {key}: they are no certificate in PEM and its key, without a"
                         " passphrase") from error
    except OSError as error:
        raise HostError(f"cannot read {certificate} or {key}: {reason(error)}") from error
    return context


def make_serial_server(desk: Desk, tokens: Mapping[str, str], *, host: str, port: int, tls: ssl.SSLContext | None,
                       told: Callable[[str], None], at_once: int = AT_ONCE) -> _Server:
    """A server that is bound and does not serve yet.

    Raises:
        UsageError: it is no address; or others would read along: it is not of this machine alone, and there is no TLS.
        HostError: the address is taken, or not of this machine.
    """
    refuse_no_host(host)
    if tls is None and not _loopback(host):
        raise UsageError(f"cannot serve at {host} without TLS: tokens would be read on the way",
                         hint="name --tls, or listen at 127.0.0.1 and let stations come by a tunnel")
    handler = type("Handler", (_Handler,), {"desk": desk, "tokens": dict(tokens), "told": staticmethod(told)})
    try:
        server = (_Server6 if ":" in host else _Server)((host, port), handler, at_once=at_once)
    except OSError as error:
        raise HostError(f"cannot serve at {host} port {port}: {reason(error)}",
                        hint="name another port with --port") from error
    server.tls = tls
    return server


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
