"""The partitions of the disk that this device was booted from, by name, as the kernel lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagekit.device.machine import Machine
from imagekit.errors import TargetError
from imagekit.units import SECTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition; `size` in bytes."""

    name: str
    device: Path
    size: int


def find_partitions(machine: Machine, disk: Path) -> dict[str, Partition]:
    """All that have a name. Raises: TargetError: the kernel knows no such disk."""
    folder = machine.sys / "block" / disk.name
    found: dict[str, Partition] = {}
    try:
        for path in sorted(folder.glob(f"{disk.name}*/uevent")):
            words = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            name, device = words.get("PARTNAME"), words.get("DEVNAME")
            if name and device and name not in found:
                size = int((path.parent / "size").read_text()) * SECTOR
                found[name] = Partition(name=name, device=machine.dev / device, size=size)
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot read the partitions of {disk}: {error}") from error
    if not found:
        raise TargetError(f"cannot read the partitions of {disk}: there are none with a name")
    return found


def partition(partitions: dict[str, Partition], name: str) -> Partition:
    """Raises: TargetError: the disk has none of that name."""
    found = partitions.get(name)
    if found is None:
        raise TargetError(f"cannot use this disk: it has no partition {name}")
    return found
