"""Give serials to stations: the desk of a signing service, which has the brand's key.

Decides who gets which serial: one of the range it was opened with, about a device key that no other serial is about,
asked for by a station that showed its token, with a request-id that this desk gave to that very station and that is
used once. What was given is recorded before anybody is told. Who asks again about the same device key gets the same
assertion again; a serial never gets a second key.

The log is a station's (`imagekit.plan.factory_log`), with a `serial` record for each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from imagekit.assertions import Assertion, Database, decode_one, encode_stream, parse_serial_request, sign
from imagekit.assertions.devices import SerialRequest
from imagekit.assertions.fields import format_time
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError, HostError, TargetError, TrustError
from imagekit.host.factorylog import FactoryLog
from imagekit.host.ports import Clock
from imagekit.keys import Signer
from imagekit.plan.factory_job import MOST_PORTS
from imagekit.plan.factory_log import Kind, given

OPEN_IDS = MOST_PORTS  # request-ids that one station may have open
OPEN_S = 300.0
MINUTE_S = 60.0


class NotGiven(TargetError):
    """A request that gets no serial; `status` says to programs why (RFC 9110)."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a desk may give. `serials` in the order in which they are given; `a_minute` of them to one station."""

    authority: str
    brand: str
    model: str
    serials: Sequence[str]
    a_minute: int
    proof: tuple[Assertion, ...] = ()


@dataclass(slots=True)
class _Station:
    """What the desk remembers of one that asks: open request-ids until when, and when it was given something."""

    ids: OrderedDict[str, float] = field(default_factory=OrderedDict)
    times: deque[float] = field(default_factory=deque)


class Desk:
    """Answers requests, from any thread. `new_id` makes request-ids that nobody can guess."""

    def __init__(self, policy: Policy, *, key: Signer, log: FactoryLog, clock: Clock,
                 new_id: Callable[[], str]) -> None:
        """Raises: TrustError: the log gave a serial or a key twice. DocumentError: a record of it is not whole."""
        self._policy, self._key, self._log, self._clock, self._new_id = policy, key, log, clock, new_id
        self._lock = threading.Lock()
        self._stations: dict[str, _Station] = {}
        self._keys = dict(given(log.found))  # serial: the id of its device key
        self._answers = {record.said["device_key"]: str(record.said["assertions"]).encode()
                         for record in log.found.of(Kind.SERIAL)}

    @property
    def left(self) -> int:
        """Serials of the range that nobody has."""
        return sum(serial not in self._keys for serial in self._policy.serials)

    def request_id(self, station: str) -> str:
        """One more that this station may use once, soon. The oldest it has open is forgotten if there are too many."""
        with self._lock:
            ids = self._stations.setdefault(station, _Station()).ids
            made = self._new_id()
            ids[made] = self._clock.monotonic_s() + OPEN_S
            while len(ids) > OPEN_IDS:
                ids.popitem(last=False)
            return made

    def serial(self, station: str, raw: bytes) -> bytes:
        """A serial assertion and its proof, for the serial-request `raw`.

        Raises:
            NotGiven: with the reason for whoever asked.
        """
        request = _parsed(raw, self._clock.now())
        with self._lock:
            known = self._stations.setdefault(station, _Station())
            now_s = self._clock.monotonic_s()
            if known.ids.pop(request.request_id, 0.0) < now_s:
                raise NotGiven(HTTPStatus.BAD_REQUEST, "the request-id is not open: it was used, or is too old")
            asked = (request.brand_id, request.model)
            if asked != (self._policy.brand, self._policy.model):
                raise NotGiven(HTTPStatus.FORBIDDEN, f"{'/'.join(asked)} gets no serial here")
            before = self._answers.get(request.device_key.key_id)
            if before is not None:
                return before
            while known.times and known.times[0] <= now_s - MINUTE_S:
                known.times.popleft()
            if len(known.times) >= self._policy.a_minute:
                raise NotGiven(HTTPStatus.TOO_MANY_REQUESTS, f"{station} got {len(known.times)} serials in a minute")
            serial = self._chosen(request)
            answer = self._give(serial, request, station)
            known.times.append(now_s)
            return answer

    def _chosen(self, request: SerialRequest) -> str:
        """The serial that the request proposes, else the next one."""
        if not request.serial:
            free = next((serial for serial in self._policy.serials if serial not in self._keys), None)
            if free is None:
                raise NotGiven(HTTPStatus.FORBIDDEN, "no serial is left")
            return free
        if request.serial not in self._policy.serials:
            raise NotGiven(HTTPStatus.FORBIDDEN, "that serial is not of this service's range")
        if request.serial in self._keys:
            raise NotGiven(HTTPStatus.CONFLICT, f"serial {request.serial} is about another device key")
        return request.serial

    def _give(self, serial: str, request: SerialRequest, station: str) -> bytes:
        now, device, policy = self._clock.now().replace(microsecond=0), request.device_key, self._policy
        try:
            self._log.make_room()
            made = sign({"type": "serial", "authority-id": policy.authority, "brand-id": policy.brand,
                         "model": policy.model, "serial": serial, "device-key": armor(device.encode()).decode(),
                         "device-key-sha3-384": device.key_id, "timestamp": format_time(now)},
                        key=self._key, created=now)
            answer = encode_stream([made, *policy.proof])
            self._log.append(Kind.SERIAL, {"serial": serial, "device_key": device.key_id, "brand": policy.brand,
                                           "model": policy.model, "asked_by": station,
                                           "assertions": answer.decode()})
        except (HostError, TrustError, DocumentError) as error:
            raise NotGiven(HTTPStatus.SERVICE_UNAVAILABLE, error.message) from error
        self._keys[serial], self._answers[device.key_id] = device.key_id, answer
        return answer


def _parsed(raw: bytes, now: datetime) -> SerialRequest:
    """A serial-request that its own device key signed."""
    try:
        assertion = decode_one(raw, name="the request")
        request = parse_serial_request(assertion)
        Database(()).verify(assertion, now=now)
    except (DocumentError, TrustError) as error:
        raise NotGiven(HTTPStatus.BAD_REQUEST, error.message) from error
    return request
