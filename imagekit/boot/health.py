"""The health protocol: what a device and the host that watches it say to each other about one boot.

Decides: the messages, their JSON form and its limits. Leaves to others: the port, the checks (`imagekit.device`) and
what a verdict is worth (`imagekit.qemu`): every word of a verdict is the guest's own claim.

Grammar: one JSON object per line, UTF-8, at most 64 KiB with its newline; `imagekit` is the protocol's version (1).
The guest opens with `hello`, the host answers with `challenge`, the guest closes with `verdict`, which repeats the
nonce (an empty one: no challenge came in time). Over a console, where lines get mangled, the host confirms with
`receipt` (`imagekit.boot.frames`). Unknown keys are ignored, so that either side may be newer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imagekit.errors import DocumentError

PORT_NAME = "org.imagekit.health"
PROTOCOL = 1
LINE_MAX = 64 * 1024
CHALLENGE_TIMEOUT_S = 5
_SECONDS_MAX = 1e9

_NONCE = re.compile(r"([0-9a-f]{64})?\Z")
_ROOT = re.compile(r"([0-9a-f]{64})?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Guest to host: this boot is up far enough to judge itself; `boot_id` is the kernel's."""

    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Host to guest: the number that only this boot can know, 64 hexadecimal digits."""

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Host to guest, over a console only: the verdict with this nonce came whole."""

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Guest to host: what is running and whether it is well.

    Roots are read back from the kernel's live tables, empty where there is none. `confirmed`: the slot is marked good
    now. `phases` are seconds by name, in order. `degraded`: the data partition could not be used.
    """

    nonce: str
    healthy: bool
    slot: str
    base_root: str
    kernel_root: str
    confirmed: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    phases: Mapping[str, float]
    degraded: bool


Message = Hello | Challenge | Verdict | Receipt
_TYPES: dict[str, type[Message]] = {"hello": Hello, "challenge": Challenge, "verdict": Verdict, "receipt": Receipt}


def encode_message(message: Message) -> bytes:
    """The line of a message, newline included."""
    name = next(name for name, kind in _TYPES.items() if isinstance(message, kind))
    line = json.dumps({"imagekit": PROTOCOL, "type": name, **asdict(message)}, separators=(",", ":"))
    return line.encode("ascii") + b"\n"


def decode_message(line: bytes) -> Message:
    """Read one line.

    Raises:
        DocumentError: too long, not JSON, another protocol, an unknown type, or a field missing or of the wrong kind.
    """
    if len(line) > LINE_MAX:
        raise _refusal(f"{len(line)} bytes, at most {LINE_MAX} are allowed")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _refusal("not a JSON object")
    if fields.get("imagekit") != PROTOCOL or isinstance(fields["imagekit"], bool):
        raise _refusal(f"protocol {fields.get('imagekit')!r}, this program speaks {PROTOCOL}")
    kind = fields.get("type")
    if kind == "hello":
        return Hello(boot_id=_field(fields, "boot_id", str))
    if kind == "challenge":
        return Challenge(nonce=_hex(fields, "nonce", _NONCE))
    if kind == "verdict":
        return _verdict(fields)
    if kind == "receipt":
        return Receipt(nonce=_hex(fields, "nonce", _NONCE))
    raise _refusal(f"type {kind!r}, allowed are {', '.join(_TYPES)}")


def _verdict(fields: dict[str, Any]) -> Verdict:
    slot = _field(fields, "slot", str)
    if slot not in ("a", "b", ""):
        raise _refusal(f"slot {slot!r}, allowed are a, b and nothing")
    reasons = _field(fields, "reasons", list)
    if not all(isinstance(reason, str) for reason in reasons):
        raise _refusal("reasons: not all are text")
    phases = _field(fields, "phases", dict)
    if not all(isinstance(seconds, int | float) and 0 <= seconds < _SECONDS_MAX for seconds in phases.values()):
        raise _refusal("phases: not all are seconds")
    return Verdict(
        nonce=_hex(fields, "nonce", _NONCE), healthy=_field(fields, "healthy", bool), slot=slot,
        base_root=_hex(fields, "base_root", _ROOT), kernel_root=_hex(fields, "kernel_root", _ROOT),
        confirmed=_field(fields, "confirmed", bool), reasons=tuple(reasons),
        checks=tuple(_check(item) for item in _field(fields, "checks", list)),
        phases={str(name): float(seconds) for name, seconds in phases.items()},
        degraded=_field(fields, "degraded", bool),
    )


def _check(item: object) -> Check:
    if not isinstance(item, dict):
        raise _refusal("checks: not all are objects")
    return Check(name=_field(item, "name", str), ok=_field(item, "ok", bool), detail=_field(item, "detail", str))


def _hex(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value: str = _field(fields, name, str)
    if not pattern.match(value):
        raise _refusal(f"{name}: {value[:80]!r} is not 64 hexadecimal digits")
    return value


def _field(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind):
        raise _refusal(f"{name}: {type(value).__name__} instead of {kind.__name__}")
    return value


def _refusal(reason: str) -> DocumentError:
    return DocumentError(f"cannot read a health message: {reason}")
