"""A station at the ports of a machine that umockdev pretends. Run it under `umockdev-wrapper`: FOLDER STORY.

What is plugged in where is found by the station's own code, in the sysfs and the udev of umockdev, which change while
the station runs. A disk of umockdev's is a plain file to fstat(2), so what is opened is a medium in memory. The library
is called by ctypes: its introspection data is a package more.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagekit.flash.station import Wishes
from imagekit.host.devices import SystemInventory
from imagekit.host.mediaports import SystemPorts
from imagekit.plan.factory_job import Port
from imagekit.plan.factory_log import Kind, decode_log
from imagekit.plan.flash_device import Device, bind
from imagekit.testing.blocks import MemoryTarget
from tests.unit.flash.factory_bench import SIZE, Floor, write_identity

LEFT, RIGHT = Port(name="left", usb="1-1.4"), Port(name="right", usb="1-1.3")
HUB = "/devices/pci0000:00/0000:00:14.0/usb1/1-1"
DISK = """\
P: {usb}
E: DEVTYPE=usb_device
E: SUBSYSTEM=usb
A: serial=000000001206

P: {usb}/host6/target6:0:0/6:0:0:0/block/{name}
N: {name}
E: DEVNAME=/dev/{name}
E: DEVTYPE=disk
E: SUBSYSTEM=block
E: MAJOR=8
E: MINOR={minor}
E: ID_BUS=usb
E: ID_SERIAL_SHORT={serial}
E: ID_MODEL=Ultra_Fit
A: dev=8:{minor}
A: size={sectors}
A: removable=1
A: ro=0
A: diskseq={number}
A: queue/logical_block_size=512
"""


class Machine:
    """The machine that is pretended, as a person with disks in the hand changes it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libumockdev.so.0")
        self._library.umockdev_testbed_new.restype = ctypes.c_void_p
        self._library.umockdev_testbed_get_sys_dir.restype = ctypes.c_char_p
        self._bed = ctypes.c_void_p(self._library.umockdev_testbed_new())
        self._number = 0

    def plug(self, port: str, serial: str, *, name: str = "sdb", sectors: int = SIZE // 512) -> None:
        """A disk is put in; below a hub if the port is one of it."""
        self._number += 1
        text = DISK.format(usb=_usb(port), name=name, serial=serial, sectors=sectors, number=self._number,
                           minor=16 * (ord(name[-1]) - ord("a")))
        assert self._library.umockdev_testbed_add_from_string(self._bed, text.encode(), None)

    def pull(self, port: str, *, name: str = "sdb") -> None:
        for place in (_block(port, name), _usb(port)):
            self._library.umockdev_testbed_remove_device(self._bed, f"/sys{place}".encode())
        folder = Path(self._library.umockdev_testbed_get_sys_dir(self._bed).decode())
        (folder / "block" / name).unlink(missing_ok=True)  # up to 0.17 it forgets this link

    def card(self, port: str, sectors: int, *, name: str = "sdb") -> None:
        """A card comes into a reader, or with 0 sectors leaves it."""
        self._number += 1
        for key, value in (("size", sectors), ("diskseq", self._number)):
            self._library.umockdev_testbed_set_attribute_int(self._bed, f"/sys{_block(port, name)}".encode(),
                                                             key.encode(), value)


def _usb(port: str) -> str:
    parts = port.removeprefix("1-1").split(".")[1:]
    return HUB + "".join(f"/1-1.{'.'.join(parts[:count])}" for count in range(1, len(parts) + 1))


def _block(port: str, name: str) -> str:
    return f"{_usb(port)}/host6/target6:0:0/6:0:0:0/block/{name}"


class Watched(SystemPorts):
    """The ports as `SystemPorts` finds them. `looked`: after each look, so many at this port; `held`: before a medium
    is opened, so many were."""

    def __init__(self) -> None:
        self._known = SystemInventory()
        super().__init__(self._known)
        self.looked: Callable[[str, int], None] = lambda port, count: None
        self.held: Callable[[int], None] = lambda count: None
        self.on_write: Callable[[MemoryTarget], None] = lambda target: None
        self.opened: list[tuple[str, str, str]] = []
        self._looks: dict[str, int] = {}
        self._lock = threading.Lock()

    def seen(self, port: Port) -> str:
        found = super().seen(port)
        with self._lock:
            self._looks[port.name] = self._looks.get(port.name, 0) + 1
            self.looked(port.name, self._looks[port.name])
        return found

    def open(self, device: Device) -> MemoryTarget:
        self.held(len(self.opened))
        self.opened.append((device.path, device.port, device.identity.serial))
        target = MemoryTarget(size=device.identity.size, seen=self._known.device(Path(device.path)).identity)
        target.on_write = lambda offset: self.on_write(target)
        bind(device, target.identity())
        return target


Heard = Callable[[str, str], None]  # port, event
Story = Callable[[Machine, Watched], tuple[int, Heard | None]]  # so many units; what is done at an event


def foreign(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """Disks at ports that are not the job's, one of them in a hub at a port of the job; then one where it belongs."""
    machine.plug("1-1.2", "FOREIGN", name="sdc")
    machine.plug("1-1.3.1", "BEHIND-A-HUB", name="sdd")
    ports.looked = lambda port, count: (machine.plug("1-1.4", "OURS") if (port, count) == ("left", 20) else None)
    return 1, None


def pulled(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """A disk is pulled out while it is written; another one comes to the same port."""
    def pull(target: MemoryTarget) -> None:
        if len(ports.opened) == 1 and not target.pulled_after:
            machine.pull("1-1.4")
            target.pulled_after = 1

    machine.plug("1-1.4", "FIRST")
    ports.on_write = pull
    return 1, lambda port, event: machine.plug("1-1.4", "SECOND") if event == "gone" else None


def flighty(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """A disk is there for two looks and gone before it is looked into; then another one comes."""
    def looked(port: str, count: int) -> None:
        if (port, count) == ("left", 2):
            machine.pull("1-1.4")

    machine.plug("1-1.4", "FIRST")
    ports.looked = looked
    return 1, lambda port, event: machine.plug("1-1.4", "SECOND") if event == "gone" else None


def exchanged(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """Another disk of that size is in the port when the one that was judged is to be held."""
    def held(count: int) -> None:
        if not count:
            machine.pull("1-1.4")
            machine.plug("1-1.4", "SECOND")

    machine.plug("1-1.4", "FIRST")
    ports.held = held
    return 1, None


def quick(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """Between two looks a unit that is done is taken out and the next disk put in: the port is never seen empty."""
    def heard(port: str, event: str) -> None:
        if event == "recorded" and len(ports.opened) == 1:
            machine.pull("1-1.4")
            machine.plug("1-1.4", "SECOND")

    machine.plug("1-1.4", "FIRST")
    return 2, heard


def reader(machine: Machine, ports: Watched) -> tuple[int, Heard | None]:
    """A reader that stays: without a card, with one, without, with the next one."""
    machine.plug("1-1.4", "READER", sectors=0)

    def looked(port: str, count: int) -> None:
        if (port, count) == ("left", 20):
            machine.card("1-1.4", SIZE // 512)

    def heard(port: str, event: str) -> None:
        if event in ("recorded", "gone"):
            machine.card("1-1.4", 0 if event == "recorded" else SIZE // 512)

    ports.looked = looked
    return 2, heard


STORIES: Mapping[str, Story] = {story.__name__: story for story in (foreign, pulled, flighty, exchanged, quick, reader)}


def main(folder: Path, name: str) -> None:
    """Tell a story; print what came of it."""
    floor, ports = Floor(folder=folder), Watched()
    for serial in ("A0001", "A0002"):
        write_identity(floor.units, serial, brand=floor.brand)
    units, floor.also = STORIES[name](Machine(), ports)
    station = floor.run(ports=ports, job=replace(floor.job(), ports=(LEFT, RIGHT)), wishes=Wishes(units=units))
    log = decode_log(floor.log.read_bytes(), name="log")
    found: dict[str, Any] = {
        "opened": ports.opened, "why": station.why,
        "events": [f"{port} {event}" for port, event, _ in floor.events
                   if event in ("begun", "refused", "recorded", "gone")],
        "refused": [more["problem"] for _, event, more in floor.events if event == "refused"],
        "units": [(record.said["device"]["serial"], record.said["result"],
                   record.said["identity"] and record.said["identity"]["serial"]) for record in log.of(Kind.UNIT)]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
