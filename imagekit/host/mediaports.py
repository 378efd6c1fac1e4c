"""The ports of a station: what is plugged in where, now.

Decides what belongs to a port: of a USB port every disk below it that has a medium (a hub below it is none of it), of a
path what is there under that name. Looking costs a few reads of sysfs, and none of a medium; only who wants to know a
medium has it opened. A medium that was taken out and put in again is another one.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from imagekit.errors import HostError
from imagekit.host.devices import SystemInventory
from imagekit.host.files import reason
from imagekit.host.ports import BlockTarget
from imagekit.plan.factory_job import Port
from imagekit.plan.flash_device import Device


class SystemPorts:
    """`MediaPorts` of this machine."""

    def __init__(self, inventory: SystemInventory) -> None:
        self._inventory = inventory

    def seen(self, port: Port) -> str:
        if port.usb:
            return " ".join(self._inventory.plugged(port.usb).values())
        try:
            found = Path(port.path).stat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise HostError(f"cannot look at port {port.name}: {reason(error)}") from error
        if stat.S_ISBLK(found.st_mode):
            name = Path(os.path.realpath(port.path)).name
            return self._inventory.mark(name)
        return f"{found.st_dev}:{found.st_ino}"

    def device(self, port: Port) -> Device:
        if not port.usb:
            return self._inventory.device(Path(port.path))
        names = list(self._inventory.plugged(port.usb))
        if len(names) != 1:
            raise HostError(f"cannot use port {port.name}: {len(names)} media are plugged in at {port.usb}"
                            + (f": {', '.join(names)}" if names else ""),
                            hint="one medium for each port; of a reader with several slots, use one")
        return self._inventory.device(self._inventory.node(names[0]))

    def open(self, device: Device) -> BlockTarget:
        return self._inventory.open(device, writable=True)
