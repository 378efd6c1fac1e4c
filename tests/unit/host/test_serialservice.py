"""A signing service on this machine that has the brand's key, and everything that one may answer instead."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imagekit.assertions import decode_one, encode_stream, parse_serial_request
from imagekit.assertions.wire import armor
from imagekit.disk.identity import decode_identity
from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError, UsageError
from imagekit.host.keyring import decode_private_pem
from imagekit.host.prepared import check_serial
from imagekit.host.serialservice import NotNow, RequestRefused, SerialService
from imagekit.testing.documents import NOW, Brand, signing_key

ACME = Brand("acme")


class Service(ThreadingHTTPServer):
    """Gives serials one after another; `wrong` says what it does instead of what it should."""

    wrong = ""
    given = 0
    requests: tuple[str, ...] = ()

    def serial_for(self, raw: bytes) -> bytes:
        asked = decode_one(raw, name="request")
        ACME.database().verify(asked, now=datetime.now(UTC))  # signed by the device's own key
        request = parse_serial_request(asked)
        assert request.request_id == f"request-{self.given}"
        device = signing_key("store").public if self.wrong == "another key" else request.device_key
        brand = Brand("acme", key="stranger") if self.wrong == "another brand" else ACME
        made = brand.sign({"type": "serial", "authority-id": "acme", "brand-id": "acme",
                           "model": "pi" if self.wrong == "another model" else request.model,
                           "serial": f"S{self.given:04}", "device-key": armor(device.encode()).decode(),
                           "device-key-sha3-384": device.key_id, "timestamp": "2026-01-01T00:00:00Z"})
        return encode_stream([made, *brand.roots])


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wrong = self.server.wrong
        self.server.requests += (self.path,)
        if self.path == "/v1/request-id":
            self.server.given += 1
            answer = json.dumps({"request-id": f"request-{self.server.given}"}).encode()
        else:
            answer = {"nonsense": b"no assertion", "account": ACME.account.encode(), "huge": b"x" * 100_000}.get(
                wrong) or self.server.serial_for(body)
        self.send_response({"refuses": 403, "elsewhere": 302}.get(wrong, int(wrong) if wrong.isdigit() else 200))
        if wrong == "elsewhere":
            self.send_header("Location", "http://127.0.0.1:9/")
        answer = b"the batch is over" if wrong == "refuses" else answer
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def client(server: Service) -> SerialService:
    return SerialService(f"http://127.0.0.1:{server.server_address[1]}/v1/", brand="acme", model="pc", now=lambda: NOW,
                         check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))


def test_every_unit_gets_a_serial_about_a_key_that_was_made_for_it(service: Service) -> None:
    asking = client(service)
    first, second = asking.take(), asking.take()
    assert first is not None and second is not None
    assert (first.serial.serial, second.serial.serial) == ("S0001", "S0002")
    assert first.serial.device_key != second.serial.device_key
    found = decode_identity(first.record)
    assert found is not None
    key = decode_private_pem(found.key, what="key", passphrase=lambda: b"")
    assert key.public == first.serial.device_key
    assert service.requests == ("/v1/request-id", "/v1/serial") * 2


@pytest.mark.parametrize(("wrong", "error", "words"), [
    ("another key", TrustError, "about another device key"), ("another brand", TrustError, ""),
    ("another model", DocumentError, "it is of acme/pi, the image of acme/pc"), ("nonsense", DocumentError, ""),
    ("account", DocumentError, "does not begin with a serial"), ("huge", DocumentError, "more than 65536 bytes"),
    ("refuses", HostError, "it answers 403: the batch is over"), ("elsewhere", HostError, "it answers 302")])
def test_answer_that_is_not_right_gives_no_identity(service: Service, monkeypatch: pytest.MonkeyPatch, wrong: str,
                                                    error: type[ImagekitError], words: str) -> None:
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key",
                        lambda **_: signing_key("stranger").rsa)  # making a key takes seconds
    service.wrong = wrong
    with pytest.raises(error) as caught:
        client(service).take()
    assert words in caught.value.message


@pytest.mark.parametrize(("status", "kind"), [
    (400, RequestRefused), (409, RequestRefused), (429, NotNow), (503, NotNow), (401, HostError), (404, HostError)])
def test_status_tells_whom_a_refusal_concerns(service: Service, monkeypatch: pytest.MonkeyPatch, status: int,
                                              kind: type[HostError]) -> None:
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key",
                        lambda **_: signing_key("stranger").rsa)
    service.wrong = str(status)
    with pytest.raises(HostError, match=f"it answers {status}") as caught:
        client(service).take()
    assert caught.type is kind


def test_key_whose_request_was_not_answered_is_asked_about_again(service: Service, monkeypatch: pytest.MonkeyPatch
                                                                 ) -> None:
    keys = iter(("stranger", "store"))
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key", lambda **_: signing_key(next(keys)).rsa)
    asking = client(service)
    service.wrong = "503"
    with pytest.raises(NotNow):
        asking.take()
    service.wrong = ""
    taken = [asking.take() for _ in range(2)]
    assert [item and item.serial.device_key for item in taken] == [signing_key(name).public
                                                                   for name in ("stranger", "store")]


@pytest.mark.parametrize(("what", "words"), [("nothing", "cannot ask"), ("its head", "longer than 1 s"),
                                             ("its body", "longer than 1 s")])
def test_service_that_is_silent_or_drips_is_left_after_its_time(monkeypatch: pytest.MonkeyPatch, what: str,
                                                                words: str) -> None:
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key",
                        lambda **_: signing_key("stranger").rsa)
    over = threading.Event()

    def drip() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            if what == "its body":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            if what == "its head":
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            for _ in range(200):
                if over.wait(0.05):
                    return
                connection.sendall(b"x" if what != "nothing" else b"")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip)
        thread.start()
        asking = SerialService(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", brand="acme", model="pc",
                               now=lambda: NOW, timeout_s=1.0,
                               check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))
        with pytest.raises(HostError, match=words):
            asking.take()
        over.set()
        thread.join()


@pytest.mark.parametrize(("scheme", "answer", "words"), [
    ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"request-id\": \"1\"}", "ProtocolError"),
    ("https", b"", "SSLError"),
    ("https", b"\x15\x03\x03\0\2\1\0", "SSLError")],  # an alert of TLS: close_notify
    ids=["http", "https", "https-closed"])
def test_service_that_hangs_up_halfway_may_answer_when_it_is_asked_again(monkeypatch: pytest.MonkeyPatch, scheme: str,
                                                                         answer: bytes, words: str) -> None:
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key",
                        lambda **_: signing_key("stranger").rsa)

    def answer_one() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer_one)
        thread.start()
        asking = SerialService(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/v1", brand="acme", model="pc",
                               now=lambda: NOW, check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))
        with pytest.raises(NotNow, match=words):
            asking.take()
        thread.join()


def test_service_that_is_not_there_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = SerialService("http://127.0.0.1:1", brand="acme", model="pc", now=lambda: NOW,
                           check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key",
                        lambda **_: signing_key("stranger").rsa)
    with pytest.raises(HostError, match="cannot ask http"):
        asking.take()


@pytest.mark.parametrize("url", ["http://serials.example.com", "ftp://127.0.0.1", "serials", "file:///etc"])
def test_identities_do_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(UsageError, match="https is allowed, and http on this machine"):
        SerialService(url, brand="acme", model="pc", now=lambda: NOW,
                      check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))


@pytest.mark.parametrize("url", ["https://a..b/v1", "https://[::1/v1", "http://127.0.0.1:99999/v1"])
def test_address_of_a_service_that_cannot_be_asked_is_refused_before_a_unit_is_written(url: str) -> None:
    with pytest.raises(UsageError, match="as the address of a signing service"):
        SerialService(url, brand="acme", model="pc", now=lambda: NOW,
                      check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))
