"""A signing service that gives serials, asked by the station's own client, by others, and by whom it must not serve."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.assertions import decode_stream, parse_serial, sign
from imagekit.assertions.wire import armor
from imagekit.errors import HostError, TrustError, UsageError
from imagekit.flash.serials import MINUTE_S, OPEN_IDS, OPEN_S, Desk, NotGiven, Policy
from imagekit.flash.serials_http import MOST, make_serial_server, tls_of
from imagekit.host.factorylog import FactoryLog
from imagekit.host.prepared import check_serial
from imagekit.host.serialservice import SerialService, make_token, read_token
from imagekit.plan.factory_log import Kind, decode_log, given
from imagekit.testing.documents import NOW, Brand, signing_key
from tests.patience import WALL_S

ACME = Brand("acme")
TOKENS = {"line-1": "1" * 64, "line-2": "2" * 64}


class Time:
    """`Clock` that a test moves."""

    at_s = 1000.0

    def now(self) -> datetime:
        return NOW

    def monotonic_s(self) -> float:
        return self.at_s


class Service:
    """A desk and its log in a folder; `again` starts it anew, as after a power cut."""

    def __init__(self, folder: Path, *, count: int = 3, a_minute: int = 100) -> None:
        self.folder, self.clock, self.count, self.a_minute, self.ids = folder, Time(), count, a_minute, 0
        self.again()

    @property
    def path(self) -> Path:
        return self.folder / "serials.log"

    def again(self) -> None:
        self.log = FactoryLog(self.path, station="acme/pc", key=signing_key("brand"), clock=self.clock)
        policy = Policy(authority="acme", brand="acme", model="pc", a_minute=self.a_minute, proof=tuple(ACME.roots),
                        serials=tuple(f"A{number:04}" for number in range(1, self.count + 1)))
        self.desk = Desk(policy, key=signing_key("brand"), log=self.log, clock=self.clock, new_id=self._new_id)

    def _new_id(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"

    def ask(self, key: str, *, station: str = "line-1", request_id: str = "", **changes: str) -> str:
        """The serial that a key gets."""
        asked = request(key, request_id or self.desk.request_id(station), **changes)
        serial = parse_serial(decode_stream(self.desk.serial(station, asked), name="answer")[0])
        assert serial.device_key == signing_key(key).public
        return serial.serial


def request(key: str, request_id: str, **changes: str) -> bytes:
    device = signing_key(key)
    return sign({"type": "serial-request", "brand-id": "acme", "model": "pc", "request-id": request_id,
                 "device-key": armor(device.public.encode()).decode(), **changes}, key=device, created=NOW).encode()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def status_of(service: Service, key: str, **changes: str) -> int:
    with pytest.raises(NotGiven) as caught:
        service.ask(key, **changes)
    return int(caught.value.status)


def test_serials_are_given_in_order_each_recorded_before_it_is_told(service: Service) -> None:
    assert [service.ask("store"), service.ask("stranger")] == ["A0001", "A0002"]
    log = decode_log(service.path.read_bytes(), name="log")
    assert dict(given(log)) == {"A0001": signing_key("store").public.key_id,
                                "A0002": signing_key("stranger").public.key_id}
    said = next(log.of(Kind.SERIAL)).said
    assert (said["asked_by"], said["brand"], said["model"]) == ("line-1", "acme", "pc")
    assert "PRIVATE" not in service.path.read_text()


def test_same_device_key_gets_the_same_assertion_again_and_no_second_serial(service: Service) -> None:
    first = service.desk.serial("line-1", request("store", service.desk.request_id("line-1")))
    assert service.desk.serial("line-2", request("store", service.desk.request_id("line-2"))) == first
    service.log.close()
    service.again()  # nor after a power cut
    assert service.desk.serial("line-1", request("store", service.desk.request_id("line-1"))) == first
    assert service.ask("stranger") == "A0002"
    assert len(given(decode_log(service.path.read_bytes(), name="log"))) == 2


def test_second_device_key_for_a_serial_is_refused_whenever_it_comes(service: Service) -> None:
    assert service.ask("store", serial="A0002") == "A0002"
    assert status_of(service, "stranger", serial="A0002") == 409
    service.log.close()
    service.again()
    assert status_of(service, "stranger", serial="A0002") == 409
    assert service.ask("stranger") == "A0001"


def test_replayed_request_gets_nothing_nor_does_an_id_of_another_station_or_an_old_one(service: Service) -> None:
    raw = request("store", service.desk.request_id("line-1"))
    service.desk.serial("line-1", raw)
    with pytest.raises(NotGiven, match="not open"):
        service.desk.serial("line-1", raw)
    assert status_of(service, "stranger", request_id=service.desk.request_id("line-2")) == 400
    assert status_of(service, "stranger", request_id="id-4711") == 400
    old = service.desk.request_id("line-1")
    service.clock.at_s += OPEN_S + 1
    assert status_of(service, "stranger", request_id=old) == 400
    first = service.desk.request_id("line-1")
    for _ in range(OPEN_IDS):
        service.desk.request_id("line-1")
    assert status_of(service, "stranger", request_id=first) == 400
    assert service.ask("stranger") == "A0002"


@pytest.mark.parametrize(("changes", "status"), [
    ({"model": "pi"}, 403), ({"brand-id": "other"}, 403), ({"serial": "A0004"}, 403), ({"serial": "../A0001"}, 403)])
def test_what_the_policy_does_not_name_is_refused(service: Service, changes: dict[str, str], status: int) -> None:
    assert status_of(service, "store", **changes) == status
    assert service.log.count == 0


def test_request_that_another_key_signed_or_that_is_none_is_refused(service: Service) -> None:
    whole = request("store", service.desk.request_id("line-1"))
    stolen = whole.rpartition(b"\n\n")[0] + b"\n\n" + request("stranger", "id-1").rpartition(b"\n\n")[2]
    for raw in (stolen, whole[:-20], whole.replace(b"model: pc", b"model: pi"), b"", b"\xff" * 100,
                ACME.account.encode()):
        with pytest.raises(NotGiven) as caught:
            service.desk.serial("line-1", raw)
        assert caught.value.status == 400
    assert service.log.count == 0


def test_range_ends_and_a_station_that_asks_too_fast_waits(tmp_path: Path) -> None:
    service = Service(tmp_path, count=2, a_minute=1)
    assert service.ask("store") == "A0001"
    assert status_of(service, "stranger") == 429
    assert service.ask("stranger", station="line-2") == "A0002"
    service.clock.at_s += MINUTE_S
    with pytest.raises(NotGiven, match="no serial is left"):
        service.ask("brand")
    assert service.desk.left == 0


def test_full_disk_gives_nothing_that_is_not_recorded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    service.ask("store")
    (service.folder / "serials.log.reserve").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("imagekit.host.factorylog.os.posix_fallocate", full)
        assert status_of(service, "stranger") == 503
    assert len(given(decode_log(service.path.read_bytes(), name="log"))) == 1
    assert service.ask("stranger") == "A0002"


def test_log_in_which_a_serial_was_given_twice_is_not_gone_on_with(service: Service) -> None:
    service.ask("store")
    said = decode_log(service.path.read_bytes(), name="log").records[0].said
    service.log.append(Kind.SERIAL, {name: said[name] for name in ("serial", "device_key", "assertions")})
    service.log.close()
    with pytest.raises(TrustError, match="a second time"):
        service.again()


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    yield from served(service)


def served(service: Service, **more: object) -> Iterator[str]:
    server = make_serial_server(service.desk, TOKENS, host="127.0.0.1", port=0, told=lambda _: None,
                                **{"tls": None, **more})  # type: ignore[arg-type]  # a context, a number
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http{'s' if 'tls' in more else ''}://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(("stranger", "store", "brand"))  # making a key takes seconds
    monkeypatch.setattr("imagekit.host.serialservice.rsa.generate_private_key", lambda **_: signing_key(next(keys)).rsa)


def client(url: str, *, station: str = "line-1", ca: Path | None = None) -> SerialService:
    return SerialService(url, brand="acme", model="pc", now=lambda: NOW, token=TOKENS.get(station, "x" * 64), ca=ca,
                         check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))


def test_stations_get_identities_from_the_service_which_notes_who_asked(address: str, quick_keys: None,
                                                                        service: Service) -> None:
    found = [client(address, station=name).take() for name in ("line-1", "line-2")]
    assert [item and item.serial.serial for item in found] == ["A0001", "A0002"]
    log = decode_log(service.path.read_bytes(), name="log")
    assert [record.said["asked_by"] for record in log.of(Kind.SERIAL)] == ["line-1", "line-2"]


def test_station_without_its_token_gets_nothing_and_says_why(address: str, quick_keys: None,
                                                             service: Service) -> None:
    with pytest.raises(HostError, match="it answers 401: the token is none of this service"):
        client(address, station="line-3").take()
    for shown in ({}, {"Authorization": "Basic bGluZS0x"}, {"Authorization": "Bearer "}):
        assert requests.post(f"{address}/request-id", headers=shown, timeout=20).status_code == 401
    assert service.ids == 0


def test_what_is_no_request_of_a_station_is_refused(address: str) -> None:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKENS['line-1']}"
    assert session.post(f"{address}/serial", data=b"x" * (MOST + 1), timeout=20).status_code == 413
    assert session.post(f"{address}/other", data=b"", timeout=20).status_code == 404
    assert session.post(f"{address}/serial", data=iter([b"chunks"]), timeout=20).status_code == 411
    assert session.get(f"{address}/serial", timeout=20).status_code == 501
    assert json.loads(session.post(f"{address}/request-id", data=b"", timeout=20).content)["request-id"] == "id-1"


def test_connection_beyond_those_that_wait_is_closed_at_once(service: Service) -> None:
    for address in served(service, at_once=2):
        port = int(address.rpartition(":")[2].partition("/")[0])
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        one_more = socket.create_connection(("127.0.0.1", port))
        one_more.settimeout(WALL_S)
        assert one_more.recv(1) == b""
        with pytest.raises(BlockingIOError):  # the others wait still: it was not their time that ended it
            idle[-1].recv(1, socket.MSG_DONTWAIT)
        for item in (*idle, one_more):
            item.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    key, name = signing_key("store").rsa, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                           critical=False).sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_service_speaks_tls_to_stations_that_know_its_certificate(service: Service, quick_keys: None,
                                                                  tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    for url in served(service, tls=tls_of(cert, key)):
        item = client(url, ca=cert).take()
        assert item is not None and item.serial.serial == "A0001"
        with pytest.raises(HostError, match="SSLError"):
            client(url).take()
        with pytest.raises(HostError, match="cannot ask"):
            client(url.replace("https", "http")).take()
    with pytest.raises(UsageError, match="no certificate in PEM"):
        tls_of(key, key)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "serials.example.com"])
def test_tokens_do_not_travel_in_the_clear(service: Service, host: str) -> None:
    with pytest.raises(UsageError, match="without TLS"):
        make_serial_server(service.desk, TOKENS, host=host, port=0, tls=None, told=lambda _: None)


def test_token_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "line-1.token"
    make_token(path)
    assert len(read_token(path)) == 64
    with pytest.raises(UsageError, match="such a key already"):
        make_token(path)
    path.chmod(0o644)
    with pytest.raises(TrustError, match="others may get at it"):
        read_token(path)
