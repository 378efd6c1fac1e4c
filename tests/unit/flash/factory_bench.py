"""A station in a folder: an image with a structure for identities, plain files as ports, prepared identities, a log."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.assertions import encode_stream
from imagekit.assertions.wire import armor
from imagekit.disk import gpt
from imagekit.disk.bmap import block_ranges, digest_ranges, encode_bmap
from imagekit.disk.identity import DeviceIdentity, decode_identity
from imagekit.flash.labels import Labels
from imagekit.flash.look import look
from imagekit.flash.personal import place_of
from imagekit.flash.source import Source, open_source
from imagekit.flash.station import Bench, Station, Wishes
from imagekit.host.clock import SystemClock
from imagekit.host.devices import SystemInventory
from imagekit.host.factorylog import FactoryLog
from imagekit.host.mediaports import SystemPorts
from imagekit.host.ports import Identities, MediaPorts
from imagekit.host.prepared import KEY, SERIAL, PreparedFolder, check_serial
from imagekit.plan.factory_job import Job, Personal, Port
from imagekit.plan.factory_log import Kind
from imagekit.testing.documents import NOW, Brand, signing_key
from imagekit.units import MIB

SIZE, IDENTITY = 16 * MIB, (9 * MIB, 10 * MIB)
PARTS = {"boot": (1 * MIB, 9 * MIB), "identity": IDENTITY, "data": (10 * MIB, 15 * MIB)}
USED = ((1 * MIB, 3 * MIB), (10 * MIB, 10 * MIB + 8192))
STATION = "line-1"


def write_image(path: Path) -> None:
    """A disk image with its block map; nothing in its structure `identity`."""
    table = gpt.Table(disk_guid=uuid.UUID(int=7), disk_size=SIZE, partitions=tuple(
        gpt.Partition(index=index, name=name, type_guid=gpt.LINUX_DATA, unique_guid=uuid.UUID(int=index), start=start,
                      end=end) for index, (name, (start, end)) in enumerate(PARTS.items(), 1)))
    pieces = [*gpt.encode(table), *((start, random.Random(start).randbytes(end - start)) for start, end in USED)]
    with path.open("wb") as out:
        out.truncate(SIZE)
        for offset, content in pieces:
            out.seek(offset)
            out.write(content)
    extents = [(offset, offset + len(content)) for offset, content in pieces]
    with path.open("rb") as image:
        path.with_name(path.name + ".bmap").write_bytes(
            encode_bmap(SIZE, digest_ranges(image, block_ranges(extents, SIZE))))


def write_identity(folder: Path, serial: str, *, brand: Brand, model: str = "pc", key: str = "stranger") -> None:
    """A prepared identity, its device key being one of the test keys."""
    device = signing_key(key)
    made = brand.sign({"type": "serial", "authority-id": brand.name, "brand-id": brand.name, "model": model,
                       "serial": serial, "device-key": armor(device.public.encode()).decode(),
                       "device-key-sha3-384": device.public.key_id, "timestamp": "2026-01-01T00:00:00Z"})
    folder.mkdir(exist_ok=True)
    (folder / (serial + SERIAL)).write_bytes(encode_stream([made, *brand.roots]))
    path = folder / (serial + KEY)
    path.touch(mode=0o600)
    path.write_bytes(device.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@dataclass(slots=True, kw_only=True)
class Floor:
    """What a test changes before it opens a station."""

    folder: Path
    ports: int = 2
    brand: Brand = field(default_factory=lambda: Brand("acme"))
    personal: bool = True
    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    also: Callable[[str, str], None] | None = None

    def __post_init__(self) -> None:
        if not self.image.exists():
            write_image(self.image)

    @property
    def image(self) -> Path:
        return self.folder / "disk.img"

    @property
    def log(self) -> Path:
        return self.folder / "factory.log"

    @property
    def units(self) -> Path:
        return self.folder / "units"

    def medium(self, number: int) -> Path:
        return self.folder / f"port-{number}.img"

    def job(self) -> Job:
        return Job(station=STATION, operator="", key="station", image=str(self.image), log=str(self.log), report="",
                   ports=tuple(Port(name=str(number), path=str(self.medium(number))) for number in range(self.ports)),
                   least=0, most=0, label=None, page=0,
                   personal=Personal(structure="identity", list=str(self.units)) if self.personal else None)

    def told(self, port: str, event: str, more: Mapping[str, Any]) -> None:
        self.events.append((port, event, more))
        if self.also is not None:
            self.also(port, event)

    def open_log(self) -> FactoryLog:
        return FactoryLog(self.log, station=STATION, key=signing_key("brand"), clock=SystemClock())

    def prepared(self) -> PreparedFolder:
        return PreparedFolder(self.units, check=check_serial(self.brand.database(), brand="acme", model="pc", now=NOW))

    def run(self, *, wishes: Wishes | None = None, ports: MediaPorts | None = None, labels: Labels | None = None,
            job: Job | None = None, identities: Identities | None = None,
            opened: Callable[[Station], None] = lambda _: None) -> Station:
        """Open a station, run it to its end, close it."""
        log = self.open_log()
        prepared = identities or (self.prepared() if self.personal else None)
        try:
            source = self.source()
            facts = look(self.image, source)
            start = {"image": {"file": self.image.name, "size": facts.size, "digest": facts.digest, "about": "a test",
                               "model": "pc"}}
            log.append(Kind.START, start)
            station = Station(Bench(
                job=job or self.job(), image=facts, source=source, reopen=self.source, log=log, run=start,
                clock=SystemClock(), ports=ports or SystemPorts(SystemInventory()), told=self.told, prepared=prepared,
                labels=labels, identity_at=place_of(facts, "identity") if self.personal else 0,
                wishes=replace(wishes or Wishes(once=True), poll_s=0.01)))
            opened(station)
            station.run()
            return station
        finally:
            if prepared is not None:
                prepared.close()
            log.close()

    def source(self) -> Source:
        found = open_source(self.image)
        assert found is not None
        return found

    def identity_on(self, medium: Path) -> DeviceIdentity | None:
        with medium.open("rb") as stream:
            stream.seek(IDENTITY[0])
            return decode_identity(stream.read(64 * 1024))

