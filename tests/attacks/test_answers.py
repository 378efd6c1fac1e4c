"""Whatever a server answers, who asked it has bytes or one kind of error, told in a few printable characters.

The server is real and on the loopback; no name is looked up, and no other port is asked, however it sends on.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import given
from tuf.api.exceptions import DownloadError

from imagekit.errors import DocumentError, HostError
from imagekit.host.places import place_of
from imagekit.host.prepared import check_serial
from imagekit.host.serialservice import SerialService
from imagekit.host.web import TOLD, Patience, Web
from imagekit.testing.documents import NOW, Brand, signing_key
from tests.strategies.answers import PORT, answers

QUICK = Patience(stall_s=5.0, window_s=5.0)


class Parrot(socketserver.ThreadingTCPServer):
    """Answers every request with the bytes of `answer`, and hangs up."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer = b""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(socketserver.StreamRequestHandler):
    server: Parrot

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.answer)

    def finish(self) -> None:
        with suppress(OSError):  # nobody listens any more
            super().finish()


@pytest.fixture(scope="module")
def parrot() -> Iterator[Parrot]:
    with Parrot() as server, pytest.MonkeyPatch.context() as patch:
        look_up = socket.getaddrinfo

        def only_here(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            host.encode("idna")  # as the real one does
            if (host, port) != ("127.0.0.1", server.port):
                raise socket.gaierror(socket.EAI_NONAME, "no name is known here")
            return look_up(host, port, *args, **kwargs)

        patch.setattr(socket, "getaddrinfo", only_here)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answered(parrot: Parrot, answer: bytes) -> bytes | None:
    """What a device has of it; None: an error of the download."""
    parrot.answer = answer
    web = Web(QUICK)
    try:
        with closing(web.get(f"http://127.0.0.1:{parrot.port}/x")) as response:
            return b"".join(web.pieces(response))
    except DownloadError as error:
        assert str(error).isprintable() and len(str(error)) <= TOLD
        return None


@given(answer=answers())
def test_whatever_is_answered_is_bytes_or_a_download_error(parrot: Parrot, answer: bytes) -> None:
    answered(parrot, answer.replace(PORT, str(parrot.port).encode()))


NO_ANSWER = {
    "an empty label": b"http://a..b/x",
    "a label that is too long": b"http://" + b"a" * 64 + b".example/x",
    "half an address": b"http://[::1/x",
    "bytes that are no text": b"http://\xff\xfe/x",
    "a port that is none": b"http://127.0.0.1:99999/x",
    "what moves the cursor": b"http://a..b\x1b[2J/",
    "itself, for ever": b"/x",
}


@pytest.mark.parametrize("where", NO_ANSWER)
def test_redirect_that_leads_nowhere_is_no_answer(parrot: Parrot, where: str) -> None:
    location = NO_ANSWER[where]
    assert answered(parrot, b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n") is None


BROKEN = {
    "a body that ends early": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc",
    "chunks without a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nabc\r\n",
    "chunks without an end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "a body that was packed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "no words": b"\xff\xfe\r\n\r\n",
    "nothing": b"",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_answer_is_a_download_error(parrot: Parrot, how: str) -> None:
    assert answered(parrot, BROKEN[how]) is None


def test_sound_answers_are_taken(parrot: Parrot) -> None:
    assert answered(parrot, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc") == b"abc"
    assert answered(parrot, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") == b"abc"


# ---- who else asks a server

LEADING = {**{f"sent to {where}": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
              for where, location in NO_ANSWER.items()}, **BROKEN}


@pytest.mark.parametrize("how", LEADING)
def test_webdav_server_that_answers_badly_is_an_error_of_the_host(parrot: Parrot, how: str) -> None:
    parrot.answer = LEADING[how]
    with pytest.raises(HostError, match=r"cannot (reach|read|GET) ") as caught:
        place_of(f"http://127.0.0.1:{parrot.port}/x").read("metadata/timestamp.json")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("how", LEADING)
def test_signing_service_that_answers_badly_is_an_error_of_the_host(parrot: Parrot, how: str,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key", lambda **_: signing_key("stranger").rsa)
    parrot.answer = LEADING[how]
    brand = Brand("acme")
    service = SerialService(f"http://127.0.0.1:{parrot.port}/v1", brand="acme", model="pc", now=lambda: NOW,
                            check=check_serial(brand.database(), brand="acme", model="pc", now=NOW))
    with pytest.raises((HostError, DocumentError)) as caught:
        service.take()
    assert caught.value.message.isprintable()
