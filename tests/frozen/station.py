"""What a station keeps: its log, its job, records and journals of media, and what lies beside an image.

`UNIT`, `GIVEN`, `AGAIN` and `ENDED` are what a station says in its log; that it still does is shown by a run of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from unittest.mock import patch

from imagekit.cli import factory_run
from imagekit.cli.flash_run import Looked, Records
from imagekit.disk.bmap import MappedRange
from imagekit.disk.ext_csd import BootArea
from imagekit.flash.board import BoardJournal, find_journal, mark_of
from imagekit.flash.journal import Journals
from imagekit.flash.run import Outcome
from imagekit.flash.source import Source
from imagekit.host import prepared
from imagekit.packages.lockfile import Lock, Part, Section, encode_lock, parse_lock
from imagekit.plan.factory_job import parse_job
from imagekit.plan.factory_label import Label
from imagekit.plan.factory_log import Kind, decode_log, encode_record, given, key_said, made, totals
from imagekit.plan.flash import FlashPlan, ImageFacts, TargetPlan
from imagekit.plan.flash_damage import Damage, Pattern
from imagekit.plan.flash_device import Device, Identity, Use
from imagekit.plan.flash_device import Kind as DeviceKind
from imagekit.plan.flash_events import Ended, Result, State
from imagekit.plan.manifest import (
    Booted,
    Manifest,
    ManifestFile,
    ManifestImage,
    ManifestModel,
    ManifestPackage,
    ManifestStructure,
    encode_manifest,
    parse_manifest,
)
from imagekit.schema import load_yaml
from imagekit.testing.documents import signing_key
from tests.frozen.format import Format, Holds, in_folder, places

WHEN = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
IMAGE = ImageFacts(path="disk.img", size=16384, digest="ab" * 32, ranges=tuple(
    MappedRange(start=at, end=at + 4096, sha256="") for at in (0, 4096, 8192)))
MEDIUM = Device(path="/dev/sdx", kind=DeviceKind.DISK, model="a reader", bus="usb", port="1-1.3", removable=True,
                identity=Identity(size=16384, serial="0001", diskseq=7, backing="/srv/disk.img"), content="nothing",
                boots_from=BootArea.BOOT0, uses=(Use(device="/dev/sdx1", how="mounted"),), system=("/srv",))
PLAN = FlashPlan(image=IMAGE, pieces=(), targets=(TargetPlan(device=MEDIUM, patches=(), wipes=(), refusals=()),))
OUTCOME = Outcome(digests={}, source_error=None, interrupt=None, ended=(Ended(
    target="/dev/sdx", result=Result.FAILED, state=State.NOT_BOOTABLE, written=8192, verified=4096, seconds=2.5,
    problem="it wraps", damage=Damage(first=4096, blocks=2, pattern=next(iter(Pattern)), distance=8192)),))

# ---- the log

JOB = """\
factory-job: 1
station: line-1
operator: Jo
key: line-1
image: out/pc.img
log: line-1.log
report: line-1.html
ports: [{name: left, usb: 1-1.3}, {name: file, path: bench/c.img}]
size: {least: 4G, most: 64G}
personalise: {structure: identity, service: "https://serials.example.com", token: token, ca: ca.pem}
label: {text: "{serial}", code: "{serial}", folder: labels, command: [lpr, "{file}"]}
page: 8080
"""
GIVEN = {"serial": "A0001", "device_key": "K" * 64, "brand": "acme", "model": "pc", "asked_by": "line-1",
         "assertions": "type: serial\n"}
UNIT = {"port": "left", "place": "1-1.3", "device": {"path": "/dev/sdx"}, "image": "ab" * 32,
        "began": "2026-06-01T12:29:00+00:00", "result": "done", "state": "verified", "written": 8192, "verified": 8192,
        "seconds": 2.5, "problem": None,
        "identity": {"serial": "A0001", "device_key": "K" * 64, "brand": "acme", "model": "pc"}}
AGAIN = {"file": "line-1.log.torn-1-abcdef01", "bytes": 7, "sha256": "ab" * 32}
LOGGED = (3, ("A0001",), {"A0001"}, {"A0001": "K" * 64},
          ["start", "serial", "unit", "unit", "unit", "recovered", "stop"])


def _log() -> bytes:
    """All kinds of records, as one station and one signing service say them."""
    key = signing_key("brand")
    start = factory_run._start(_job(JOB.encode()), "cd" * 32, Looked(
        source=cast(Source, None), facts=IMAGE, about="pc of acme", model="acme/pc"))
    failed = {**UNIT, "result": "failed", "problem": "it wraps", "identity": None}
    raw, previous = b"", "0" * 64
    for number, (kind, said) in enumerate((
            (Kind.START, {**start, "tool": "1", "key": key_said(key.public)}), (Kind.SERIAL, GIVEN), (Kind.UNIT, UNIT),
            (Kind.UNIT, failed), (Kind.UNIT, {**failed, "result": "interrupted"}), (Kind.RECOVERED, AGAIN),
            (Kind.STOP, factory_run._stop("all units are made", 1, 1, (3,))))):
        line = encode_record(kind, said, number=number, previous=previous, station="line-1", key=key, now=WHEN)
        raw, previous = raw + line, decode_log(raw + line, name="frozen").head
    return raw


def _logged(raw: bytes) -> Any:
    log = decode_log(raw, name="frozen")
    counted = totals(log)
    return (counted.done + counted.failed + counted.interrupted, counted.serials, made(log), given(log),
            [record.kind.value for record in log.records])


def _job(raw: bytes) -> Any:
    return parse_job(load_yaml(raw, name="frozen"))


def _told(raw: bytes) -> Any:
    job = _job(raw)
    return (job.station, job.operator, job.key, job.image, job.log, job.report,
            [(port.name, port.usb, port.path) for port in job.ports], job.least, job.most,
            (job.personal.structure, job.personal.service, job.personal.token, job.personal.ca), job.label, job.page)


JOB_TOLD = ("line-1", "Jo", "line-1", "out/pc.img", "line-1.log", "line-1.html",
            [("left", "1-1.3", ""), ("file", "", "bench/c.img")], 4 << 30, 64 << 30,
            ("identity", "https://serials.example.com", "token", "ca.pem"),
            Label(text="{serial}", code="{serial}", folder="labels", command=("lpr", "{file}")), 8080)

# ---- media

JOURNAL, BOARD = "4872ea96d4801ed70308c67818b1db07.json", "board-026541e170e405e3ff8b288422971ead.json"


def _journals(folder: Path) -> Journals:
    return Journals(folder, IMAGE, warn=lambda text: None)


def _journal(folder: Path) -> bytes:
    _journals(folder).reached(MEDIUM, 2)
    return (folder / JOURNAL).read_bytes()


def _reached(raw: bytes) -> Any:
    def read(folder: Path) -> int:
        (folder / JOURNAL).write_bytes(raw)
        return _journals(folder).ranges(MEDIUM)

    return in_folder(read)


class _Marked:
    """A board's disk that bears the mark of a run."""

    def disk_holds(self, start: int, content: bytes) -> bool:
        return (start, content) == (0, mark_of(IMAGE.digest, "run-1"))


def _board(folder: Path) -> bytes:
    BoardJournal(folder=folder, image=IMAGE.digest, name="run-1").note((4096, 8192), (12288, 16384))
    return (folder / BOARD).read_bytes()


def _known(raw: bytes) -> Any:
    def read(folder: Path) -> Any:
        (folder / BOARD).write_bytes(raw)
        found = find_journal(folder, IMAGE.digest, _Marked())
        assert found is not None
        return found.name, found.good, found.path.name

    return in_folder(read)


@contextmanager
def _at_home(folder: Path) -> Iterator[Path]:
    with patch.dict(os.environ, {"XDG_STATE_HOME": str(folder)}):
        yield folder / "imagekit/flash"


def _record(folder: Path) -> bytes:
    with _at_home(folder) as where:
        Records(PLAN, "pc of acme").end(OUTCOME)
        record, = where.glob("*.json")
        return record.read_bytes()


# ---- beside an image

MANIFEST = Manifest(
    model=ManifestModel(brand="acme", model="pc", revision=3, grade="signed", architecture="amd64",
                        timestamp="2026-01-01T00:00:00+00:00", digest="d" * 64),
    image=ManifestImage(file="pc.img", size=8 << 20, mapped=4096, digest="a" * 64, disk_guid="b" * 36),
    packages=(ManifestPackage(name="debian-13", revision=7, version="13.1", type="base", snap_id="i" * 32,
                              sha3_384="s" * 64, size=10, verity_root="c" * 64, structures=("base-a",), seed_size=5,
                              mapped=6, share=0.5, asserted=False, extra=True),),
    structures=(ManifestStructure(name="base-a", partition=1, type="t", guid="g", start=1 << 20, size=2 << 20,
                                  role="system-boot", filesystem="vfat-32", label="ubuntu-boot", slot="a", part="base",
                                  content="boot files", mapped=4096, share=0.25, digest="e" * 64),),
    files={"bmap": ManifestFile(file="pc.img.bmap", sha256="f" * 64)}, timestamp="2026-01-02T00:00:00+00:00",
    booted=Booted(machine="pc", digest="a" * 64, time="2026-02-03T04:05:06+00:00"))
LOCK = Lock(sections=MappingProxyType({"debian-13": Section(suite="trixie", wants=("bash",), parts=(Part(
    name="bash", version="5.2.37-2", architecture="amd64", archive="debian", filename="pool/main/b/bash/bash.deb",
    size=1500, sha256="a" * 64, sha512="b" * 128, source="bash", source_version="5.2.37-2+b1"),))}))


def names() -> dict[str, Any]:
    """Files of prepared identities."""
    return {"identity": [prepared.SERIAL, prepared.KEY, prepared.TAKEN]}


STATION: Mapping[str, Format] = {
    "station-names.json": places(names),
    "factory.log": Format(encode=_log, decode=_logged, value=LOGGED),
    "factory-job.yaml": Format(encode=JOB.encode, decode=_told, value=JOB_TOLD, holds=Holds.READING),
    "flash-record.json": Format(encode=lambda: bytes(in_folder(_record)), decode=lambda raw: json.loads(raw)["version"],
                                value=1, holds=Holds.SHAPE),
    "flash-journal.json": Format(encode=lambda: bytes(in_folder(_journal)), decode=_reached, value=2,
                                 holds=Holds.KEYS),
    "board-journal.json": Format(encode=lambda: bytes(in_folder(_board)), decode=_known, holds=Holds.KEYS,
                                 value=("run-1", [(4096, 8192), (12288, 16384)], BOARD)),
    "board-mark.bin": Format(encode=lambda: mark_of(IMAGE.digest, "run-1"),
                             decode=lambda raw: raw == mark_of(IMAGE.digest, "run-1"), value=True),
    "manifest.json": Format(encode=lambda: encode_manifest(MANIFEST),
                            decode=lambda raw: parse_manifest(raw, name="frozen"), value=MANIFEST, holds=Holds.KEYS),
    "parts.lock": Format(encode=lambda: encode_lock(LOCK), decode=lambda raw: parse_lock(raw, name="frozen"),
                         value=LOCK, holds=Holds.KEYS),
}
