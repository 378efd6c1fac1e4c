"""Identities from a signing service, one for each unit, asked for when the unit is written and verified.

The station makes the device key, and asks for a serial assertion about it, in two requests as snapd's devices do:

    POST URL/request-id                             -> {"request-id": ID}
    POST URL/serial    a serial-request assertion   -> a serial assertion, and those that prove it

The brand's key stays with the service, the device's key never leaves the station but to the device. Decides what of an
answer is taken: a serial that is believed, of the image's model, about this very key; how long an answer may take from
its first byte to its last; and what a refusal concerns: this request, all of them, or only this moment.
Plain HTTP is for this machine alone; to another one it is HTTPS. A station shows the service who it is by a token (RFC
6750), if it was given one.

Source: the two requests are those of Canonical's serial-vault (/v1/request-id, /v1/serial), which snapd asks.
"""

from __future__ import annotations

import queue
import re
import secrets
import ssl
import threading
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.assertions import Assertion, Serial, decode_stream, sign
from imagekit.assertions.wire import armor, printable
from imagekit.disk.identity import DeviceIdentity, encode_identity
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.addresses import refuse_unaskable
from imagekit.host.prepared import Prepared
from imagekit.host.privatefiles import create_private, read_private
from imagekit.keys import SIGNING_BITS, PrivateKey

TIMEOUT_S = 20.0
MOST = 64 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ASSERTION = "application/x.ubuntu.assertion"
_THIS_REQUEST = frozenset({400, 409, 411, 413, 422})  # RFC 9110, section 15: what was sent is wrong
_NOT_NOW = frozenset({408, 425, 429, 500, 502, 503, 504})
TOKEN = re.compile(r"[!-~]{20,200}\Z")


class RequestRefused(HostError):
    """This request gets nothing; another unit's may."""


class NotNow(HostError):
    """The service is not there, or has no time: it may answer when it is asked again."""


def make_token(path: Path) -> None:
    """A station's token, which nobody can guess. Raises: UsageError: there is such a file. HostError: no room."""
    create_private(path, f"{secrets.token_hex(32)}\n".encode())


def read_token(path: Path) -> str:
    """Raises: TrustError: others may read it. DocumentError: it is no token. HostError: it cannot be read."""
    text = read_private(path).decode("ascii", "replace").removesuffix("\n")
    if not TOKEN.match(text):
        raise DocumentError(f"cannot use {path}: a token is one line of 20 to 200 visible characters")
    return text


class SerialService:
    """`Identities` of a service. It has always one left: how many there are is the service's to say."""

    left = 1 << 30

    def __init__(self, url: str, *, brand: str, model: str, now: Callable[[], datetime],
                 check: Callable[[Assertion, tuple[Assertion, ...]], Serial], token: str = "",
                 ca: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`ca` are the certificates that the service's is to lead back to, in PEM; the system's if it is left out.

        Raises:
            UsageError: it is no address that identities may be asked from.
        """
        scheme = url.partition(":")[0].lower()
        if scheme in ("http", "https"):
            refuse_unaskable(url, what="a signing service")
        if scheme != "https" and not (scheme == "http" and urlsplit(url).hostname in LOOPBACK):
            raise UsageError(f"cannot ask {url} for identities: https is allowed, and http on this machine")
        import requests

        self._url, self._brand, self._model, self._now, self._check = url.rstrip("/"), brand, model, now, check
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between a station and its service
        self._timeout_s = timeout_s
        self._unanswered: list[PrivateKey] = []
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if ca is not None:
            self._session.verify = str(ca)

    def take(self) -> Prepared | None:
        """An identity that nobody else gets.

        A key whose request was not answered is asked about again: of an answer that was lost, the service may know.

        Raises:
            NotNow, RequestRefused: as they say.
            HostError: the service refuses this station, or is none.
            DocumentError, TrustError: its answer is none, or about another key.
        """
        try:
            key = self._unanswered.pop()
        except IndexError:
            key = PrivateKey(rsa=rsa.generate_private_key(public_exponent=65537, key_size=SIGNING_BITS))
        try:
            return self._asked(key)
        except NotNow:
            self._unanswered.append(key)
            raise

    def _asked(self, key: PrivateKey) -> Prepared:
        asked = self._post("request-id", b"", kind="application/json")
        request_id = _request_id(asked)
        request = sign({"type": "serial-request", "brand-id": self._brand, "model": self._model,
                        "request-id": request_id, "device-key": armor(key.public.encode()).decode()},
                       key=key, created=self._now())
        answer = self._post("serial", request.encode(), kind=ASSERTION)
        stream = decode_stream(answer, name=f"{self._url}/serial")
        if not stream or stream[0].type != "serial":
            raise DocumentError(f"cannot use the answer of {self._url}: it does not begin with a serial assertion")
        serial = self._check(stream[0], stream[1:])
        if serial.device_key != key.public:
            raise TrustError(f"cannot use serial {serial.serial} of {self._url}: it is about another device key")
        pem = key.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Prepared(name=serial.serial, serial=serial,
                        record=encode_identity(DeviceIdentity(assertions=answer, key=pem)))

    def _post(self, what: str, content: bytes, *, kind: str) -> bytes:
        import requests

        place = f"{self._url}/{what}"
        answered: queue.SimpleQueue[tuple[int, bytes] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                with self._session.post(place, data=content, headers={"Content-Type": kind}, timeout=self._timeout_s,
                                        allow_redirects=False, stream=True) as answer:
                    body = b""  # read to its end: only there it is told that an answer was cut off
                    while more := answer.raw.read(MOST + 1 - len(body), decode_content=False):
                        body += more
                    answered.put((answer.status_code, body))
            except Exception as error:
                answered.put(error)

        # a thread, because a time limit of the library begins anew with every byte that comes
        threading.Thread(target=ask, name="signing service", daemon=True).start()
        try:
            found = answered.get(timeout=self._timeout_s)
        except queue.Empty as error:
            raise NotNow(f"cannot ask {place}: it took longer than {self._timeout_s:g} s") from error
        if isinstance(found, Exception):
            unproved = isinstance(found, requests.exceptions.SSLError) and not _hung_up(found)
            raise (HostError if unproved else NotNow)(f"cannot ask {place}: {type(found).__name__}",
                                                      hint="is the signing service running?") from found
        status, body = found
        if status != requests.codes.ok:
            said = printable(body[:300].decode("utf-8", "replace")).strip()
            kind_of = RequestRefused if status in _THIS_REQUEST else NotNow if status in _NOT_NOW else HostError
            raise kind_of(f"cannot ask {place}: it answers {status}" + (f": {said}" if said else ""))
        if len(body) > MOST:
            raise DocumentError(f"cannot use the answer of {place}: it has more than {MOST} bytes")
        return bytes(body)

    def forget_key(self, item: Prepared) -> None:
        """It was never on this machine's disk."""

    def forget_made(self, serials: Collection[str]) -> None:
        """Nor were those."""

    def close(self) -> None:
        self._session.close()


def _hung_up(error: BaseException | None) -> bool:
    """Whether the other side went away while TLS began, as one does that ends or has no room; it proved nothing yet."""
    while error is not None and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        error = error.__cause__ or error.__context__
    return error is not None


def _request_id(raw: bytes) -> str:
    import json

    try:
        found = json.loads(raw)["request-id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, str) or not 0 < len(found) <= 1000 or not found.isprintable():
        raise DocumentError("cannot use the signing service's answer: it has no request-id")
    return found
