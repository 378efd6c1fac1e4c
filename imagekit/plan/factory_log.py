"""A station's log: one signed record for each unit, each bound to all before it.

    log    = line*
    line   = {"record": RECORD, "signature": base64} LF         JSON without spaces, keys sorted, UTF-8
    RECORD = {"version": 1, "number": 0, 1, ..., "previous": SHA-256 of the line before, with its LF, in hex,
              "kind": "start" | "unit" | "serial" | "recovered" | "stop", "station": ..., "time": RFC 3339, ...}

The first record has 64 zeros for `previous`. A signature is one of `imagekit.keys`, over `imagekit-factory-record-1`, a
line feed and the record's JSON, by the key that the first record states. So no line can be changed, taken out or put in
by anybody but the station; that lines at the end are missing is seen by whoever knows the last digest.

Decides what a whole line is, what of the end a power cut may have torn, and what is told of a log. Documented in
docs/reference/factory.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from imagekit.assertions.wire import armor, unarmor
from imagekit.digests import short
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import PublicKey, Signer, decode_public_key, sign_content, verify_signature

VERSION = 1
NOTHING = "0" * 64
CONTEXT = b"imagekit-factory-record-1\n"
MOST_LINE = 1 << 20
COMMON = ("version", "number", "previous", "kind", "station", "time")


class Kind(StrEnum):
    """What a record is about: a run that began, a unit, a serial that a signing service gave, a torn line that was set
    aside, a run that ended."""

    START = "start"
    UNIT = "unit"
    SERIAL = "serial"
    RECOVERED = "recovered"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line. `digest` is what the next one has as `previous`; `said` is all that the record says."""

    number: int
    kind: Kind
    digest: str
    signature: str  # base64
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The whole lines of a log, verified. `torn` are bytes at the end that are no line; `unended`: a whole line that
    lacks its LF."""

    records: tuple[Record, ...]
    key: PublicKey | None  # None: it is empty
    torn: bytes
    unended: bool

    @property
    def head(self) -> str:
        """The digest of the last line; 64 zeros of an empty log."""
        return self.records[-1].digest if self.records else NOTHING

    def of(self, kind: Kind) -> Iterator[Record]:
        return (record for record in self.records if record.kind is kind)


def encode_record(kind: Kind, said: Mapping[str, Any], *, number: int, previous: str, station: str, key: Signer,
                  now: datetime) -> bytes:
    """One line. Raises: TrustError, HostError: the key does not sign."""
    record = {**said, "version": VERSION, "number": number, "previous": previous, "kind": kind.value,
              "station": station, "time": now.isoformat(timespec="seconds")}
    content = _json(record)
    signature = sign_content(key, CONTEXT + content, created=now, what=f"record {number} of station {station}")
    return b'{"record":' + content + b',"signature":' + _json(base64.b64encode(signature).decode()) + b"}\n"


def key_said(key: PublicKey) -> dict[str, str]:
    """A public key as the first record states it."""
    return {"id": key.key_id, "public": armor(key.encode()).decode()}


def _json(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")  # a byte in a file's name that is no UTF-8: `\udc..`


def decode_log(raw: bytes, *, name: str) -> Log:
    """Read and verify a log by the key that it states itself; whether that key is the right one is not asked here.

    Raises:
        TrustError: a line does not follow the one before it, or its signature does not hold.
        DocumentError: a line that is none, and not the last.
    """
    records: list[Record] = []
    key: PublicKey | None = None
    lines = raw.split(b"\n")
    for index, line in enumerate(lines):
        ended = index < len(lines) - 1
        if not line and not ended:
            break
        found = _parsed(line)
        if found is None:
            rest = b"\n".join(lines[index:])
            if index + 1 < len(lines) and lines[index + 1:] != [b""]:
                raise DocumentError(f"cannot use {name}: line {index + 1} is no record, and others follow it",
                                    hint="it was changed by something else than a power cut")
            return Log(records=tuple(records), key=key, torn=rest, unended=False)
        record, signature = found
        what = f"{name}: line {index + 1}"
        key = key or _stated_key(record, what)
        _check_place(record, records, what)
        try:
            verify_signature(key, CONTEXT + _json(record), signature)
        except (TrustError, DocumentError) as error:
            raise TrustError(f"cannot believe {what}: {error.message}") from error
        records.append(Record(number=record["number"], kind=Kind(record["kind"]), said=record,
                              signature=base64.b64encode(signature).decode(),
                              digest=hashlib.sha256(line + b"\n").hexdigest()))
    return Log(records=tuple(records), key=key, torn=b"", unended=bool(lines[-1]))


def _parsed(line: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Record and signature of a line; None: it is no line of a log, whatever its meaning may be."""
    try:
        value: Any = json.loads(line) if len(line) <= MOST_LINE else None
        record, signature = value["record"], base64.b64decode(value["signature"], validate=True)
        whole = b'{"record":' + _json(record) + b',"signature":' + _json(value["signature"]) + b"}"
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        return None
    return (record, signature) if isinstance(record, dict) and whole == line else None


def _check_place(record: Mapping[str, Any], before: list[Record], what: str) -> None:
    if record.get("version") != VERSION or record.get("kind") not in tuple(Kind):
        raise DocumentError(f"cannot read {what}: version {record.get('version')!r} and kind {record.get('kind')!r},"
                            f" only version {VERSION} is known", hint="use a newer imagekit")
    missing = [key for key in COMMON if key not in record]
    if missing:
        raise DocumentError(f"cannot read {what}: it has no {', '.join(missing)}")
    previous = before[-1].digest if before else NOTHING
    if record["number"] != len(before) or record["previous"] != previous:
        raise TrustError(f"cannot believe {what}: it is record {record['number']} after"
                         f" {short(str(record['previous']))}, expected is record {len(before)} after {short(previous)}",
                         hint="a line before it was changed, taken out or put in")
    if before and record["station"] != before[0].said["station"]:
        raise TrustError(f"cannot believe {what}: it is of station {record['station']!r}, the log of"
                         f" {before[0].said['station']!r}")


def _stated_key(record: Mapping[str, Any], what: str) -> PublicKey:
    stated = record.get("key")
    text = stated.get("public") if isinstance(stated, dict) else None
    if not isinstance(text, str):
        raise DocumentError(f"cannot read {what}: it does not state the station's key, as a log's first record does")
    return decode_public_key(unarmor(text.encode(), what=what))


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What came of a log's units."""

    done: int
    failed: int
    interrupted: int
    serials: tuple[str, ...]


def made(log: Log) -> frozenset[str]:
    """The serials of the units that are good."""
    return frozenset(record.said["identity"]["serial"] for record in log.of(Kind.UNIT)
                     if record.said.get("result") == "done" and record.said.get("identity"))


def named(log: Log) -> frozenset[str]:
    """The serials that units were given, whatever became of the units."""
    return frozenset(record.said["identity"]["serial"] for record in log.of(Kind.UNIT) if record.said.get("identity"))


def given(log: Log) -> Mapping[str, str]:
    """The serials that a signing service gave, each with the id of its device key.

    Raises:
        TrustError: one of them was given twice.
        DocumentError: a record does not say what it should.
    """
    found: dict[str, str] = {}
    keys: set[str] = set()
    for record in log.of(Kind.SERIAL):
        said = [record.said.get(name) for name in ("serial", "device_key", "assertions")]
        if not all(isinstance(text, str) for text in said):
            raise DocumentError(f"cannot read the log: record {record.number} does not say which serial was given")
        serial, key = str(said[0]), str(said[1])
        if serial in found or key in keys:
            raise TrustError(f"cannot believe the log: record {record.number} gives serial {serial} or its device key"
                             " a second time")
        found[serial] = key
        keys.add(key)
    return found


def totals(log: Log) -> Totals:
    """Count the units. Raises: TrustError: two of them were given one serial."""
    results = [record.said.get("result") for record in log.of(Kind.UNIT)]
    serials: dict[str, int] = {}
    for record in log.of(Kind.UNIT):
        serial = (record.said.get("identity") or {}).get("serial")
        if serial and serial in serials:
            raise TrustError(f"cannot believe the log: records {serials[serial]} and {record.number} gave the serial"
                             f" {serial} to two units")
        if serial:
            serials[serial] = record.number
    return Totals(done=results.count("done"), failed=results.count("failed"),
                  interrupted=results.count("interrupted"), serials=tuple(serials))
