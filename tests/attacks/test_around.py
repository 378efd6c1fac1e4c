"""What a server may send around a body, a byte at a time or without end; each has a twin that takes it.

That is what comes before, between and behind the bytes that were asked for: the device can use none of it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.errors import HostError
from imagekit.host.web import PATIENCE, Patience
from tests.attacks.store import IMPATIENT, Field, send

ENDLESS = Patience(least_rate=0, beside=1 << 40)

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
BEFORE = b"HTTP/1.1 100 Continue\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /elsewhere\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


Parts = tuple[bytes, bytes, bytes]  # how an answer begins, what is sent again and again, how it ends

DRIPS: dict[str, Callable[[bytes], Parts]] = {
    "status-line": lambda body: (b"HTTP/1.1 200 ", b"x", b"\r\nConnection: close\r\n\r\n" + body),
    "header": lambda body: (OK + b"X: ", b"x", b"\r\n\r\n" + body),
    "answer-before-the-answer": lambda body: (BEFORE + b"X: ", b"x", b"\r\n\r\n" + OK + b"\r\n" + body),
    "length-of-a-chunk": lambda body: (CHUNKS, b"0", chunk(body) + chunk(b"")),
    "trailer": lambda body: (CHUNKS + chunk(body) + b"0\r\nX: ", b"x", b"\r\n\r\n"),
    "redirect": lambda body: (ELSEWHERE, b"x", b""),
}
LINE = b"X: %b\r\n" % (b"x" * 60_000)
FLOODS: dict[str, Callable[[bytes], Parts]] = {
    "headers": lambda body: (OK, LINE, b"\r\n" + body),
    "answers-before-the-answer": lambda body: (b"", (BEFORE + b"\r\n") * 2400, OK + b"\r\n" + body),
    "trailers": lambda body: (CHUNKS + chunk(body) + b"0\r\n", LINE, b"\r\n"),
    "redirect": lambda body: (ELSEWHERE, LINE, b""),
}


@dataclass(slots=True)
class Sending:
    """Sends `parts`, the middle one `times` times; `sent` is how often it was."""

    parts: Parts
    times: int
    pause_s: float = 0.0
    sent: int = 0

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        begin, again, end = self.parts
        handler.close_connection = True
        with suppress(OSError):  # nobody listens any more
            handler.wfile.write(begin)
            while self.sent < self.times:
                handler.wfile.write(again)
                self.sent += 1
                time.sleep(self.pause_s)
            handler.wfile.write(end)


TIMESTAMP, SMALL = "metadata/timestamp.json", "targets/packages/small/*.small_2.snap.zst"


def served(field: Field, name: str, attack: Callable[[bytes], Parts], *, times: int, pause_s: float = 0.0) -> Sending:
    path = next(field.served.glob(name))
    body = path.read_bytes()
    sending = Sending(attack(body), times, pause_s)
    field.server.answers |= {str(path.relative_to(field.served)): sending,
                             "elsewhere": lambda handler: send(handler, body)}
    return sending


@pytest.mark.parametrize("name", [TIMESTAMP, SMALL], ids=["metadata", "package"])
@pytest.mark.parametrize("attack", DRIPS)
def test_server_that_drips_around_a_body_is_left(field: Field, attack: str, name: str) -> None:
    sending = served(field, name, DRIPS[attack], times=1000, pause_s=0.01)
    with pytest.raises(HostError, match="it came too slowly"):
        field.takes_anew(IMPATIENT)
    assert sending.sent < sending.times
    field.server.answers.clear()
    assert field.takes_anew(IMPATIENT).stat().st_size > 0


@pytest.mark.parametrize("attack", DRIPS)
def test_server_that_drips_around_a_body_is_waited_for_without_a_least_rate(field: Field, attack: str) -> None:
    sending = served(field, TIMESTAMP, DRIPS[attack], times=100, pause_s=0.01)
    assert field.takes_anew(replace(IMPATIENT, least_rate=0)).stat().st_size > 0
    assert sending.sent == sending.times


@pytest.mark.parametrize("name", [TIMESTAMP, SMALL], ids=["metadata", "package"])
@pytest.mark.parametrize("attack", FLOODS)
def test_flood_around_a_body_is_left(field: Field, attack: str, name: str) -> None:
    """Five megabytes, as fast as they come."""
    served(field, name, FLOODS[attack], times=90)
    with pytest.raises(HostError, match="beside what it was asked for"):
        field.takes_anew(PATIENCE)
    field.server.answers.clear()
    assert field.takes_anew(PATIENCE).stat().st_size > 0


@pytest.mark.parametrize("attack", FLOODS)
def test_flood_around_a_body_is_taken_without_a_limit(field: Field, attack: str) -> None:
    sending = served(field, TIMESTAMP, FLOODS[attack], times=90)
    assert field.takes_anew(ENDLESS).stat().st_size > 0
    assert sending.sent == sending.times


@pytest.fixture
def over_tls(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """From when it is called on, the store is asked over HTTPS, and shows this certificate, which is trusted."""
    def begin(certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        field.server.socket = context.wrap_socket(field.server.socket, server_side=True)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        monkeypatch.setattr(Field, "url", property(lambda found: f"https://127.0.0.1:{found.server.server_port}"))

    return begin


@pytest.mark.parametrize("days", [-4000, 4000], ids=["long expired", "not valid for years"])
def test_certificate_by_a_wrong_clock_keeps_no_store_away(field: Field, tmp_path: Path, days: int,
                                                          over_tls: Callable[[Path], None]) -> None:
    """As a dead clock sees it, and one that stands far ahead. When a store's word ends is said by what is signed."""
    over_tls(self_signed(tmp_path, days=days))
    assert field.takes_anew(IMPATIENT).stat().st_size > 0


@pytest.mark.parametrize("what", ["of another host", "of nobody that is trusted"])
def test_certificate_is_held_to_all_but_its_time(field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 what: str, over_tls: Callable[[Path], None]) -> None:
    over_tls(self_signed(tmp_path, address="127.0.0.2" if what == "of another host" else "127.0.0.1"))
    if what != "of another host":
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed(tmp_path / "other")))
    with pytest.raises(HostError, match="certificate verify failed"):
        field.takes_anew(IMPATIENT)


def test_drip_inside_tls_is_left(field: Field, tmp_path: Path, over_tls: Callable[[Path], None]) -> None:
    """A store is asked over HTTPS, by other connections than those without."""
    over_tls(self_signed(tmp_path))
    sending = served(field, TIMESTAMP, DRIPS["header"], times=1000, pause_s=0.01)
    with pytest.raises(HostError, match="it came too slowly"):
        field.takes_anew(IMPATIENT)
    assert 0 < sending.sent < sending.times
    field.server.answers.clear()
    assert field.takes_anew(IMPATIENT).stat().st_size > 0


def self_signed(folder: Path, *, days: int = 0, address: str = "127.0.0.1") -> Path:
    """A certificate that is good for this hour, or the one so many days from now, with its key, for tests only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.now(UTC) + timedelta(days=days)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=True)
            .sign(key, hashes.SHA256()))
    path = folder / "test-certificate.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                                                                        NoEncryption()))
    return path
