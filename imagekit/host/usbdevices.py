"""The USB devices of this machine, as sysfs has them: what each is, where it is plugged in, whether it may be used.

Decides nothing about what they are for. Nothing is opened: a list needs no rights, so that a device that is denied can
be told from one that is not there. Folders are parameters, so that tests can hand in a machine of their own.

Source: Linux Documentation/ABI/testing/sysfs-bus-usb; drivers/usb/core/sysfs.c.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import HostError

_DEVICE = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")

RULES = "/etc/udev/rules.d/70-imagekit.rules"  # before 73-seat-late.rules, which acts on its tags


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbDevice:
    """A device. `port` is the place that it is plugged in at, the same for whatever is plugged in there."""

    port: str
    vendor: int
    product: int
    bus: int
    address: int
    serial: str = ""
    name: str = ""
    interfaces: tuple[tuple[int, int, int], ...] = ()  # class, subclass, protocol
    permitted: bool = True

    @property
    def id(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}"

    def __str__(self) -> str:
        words = [f"USB device {self.id} at port {self.port}", f"({self.name})" if self.name else "",
                 f"serial {self.serial}" if self.serial else ""]
        return " ".join(word for word in words if word)


class LastingError(HostError):
    """What waiting for a device does not change."""


class DeniedError(LastingError):
    """A device is there, and may not be used."""

    def __init__(self, device: UsbDevice) -> None:
        super().__init__(f"cannot use {device}: it is there, but you may not open it",
                         hint=f"as root, or by a udev rule: imagekit doctor --udev-rules | sudo tee {RULES}")


Access = Callable[[Path, int], bool]


def usb_devices(*, sys: Path = Path("/sys"), dev: Path = Path("/dev"),
                access: Access = os.access) -> tuple[UsbDevice, ...]:
    """All devices but hubs' roots, by port."""
    found = []
    for folder in sorted((sys / "bus/usb/devices").glob("*")):
        if _DEVICE.fullmatch(folder.name) and (device := _device(folder, dev, access)) is not None:
            found.append(device)
    return tuple(found)


def _device(folder: Path, dev: Path, access: Access) -> UsbDevice | None:
    """A device; None: it has just been pulled out."""
    numbers = [_number(folder / name, base) for name, base in
               (("idVendor", 16), ("idProduct", 16), ("busnum", 10), ("devnum", 10))]
    vendor, product, bus, address = (-1 if number is None else number for number in numbers)
    if min(vendor, product, bus, address) < 0:
        return None
    interfaces = []
    for entry in sorted(folder.glob(f"{folder.name}:*")):
        words = [_number(entry / f"bInterface{name}", 16) for name in ("Class", "SubClass", "Protocol")]
        if None not in words:
            interfaces.append((words[0] or 0, words[1] or 0, words[2] or 0))
    names = (_text(folder / "manufacturer"), _text(folder / "product"))
    node = dev / f"bus/usb/{bus:03d}/{address:03d}"
    return UsbDevice(port=folder.name, vendor=vendor, product=product, bus=bus, address=address,
                     serial=_text(folder / "serial"), name=" ".join(word for word in names if word),
                     interfaces=tuple(interfaces), permitted=access(node, os.R_OK | os.W_OK) or not node.exists())


def _number(path: Path, base: int) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None


def _text(path: Path) -> str:
    """A file of sysfs, in what can be shown; empty where there is none."""
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        return ""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
