"""Give every structure of a gadget volume its place on the disk.

Nothing here touches a file: a `Volume` goes in, a `VolumeLayout` comes out, and equal input gives an equal layout.
Sizes and offsets are bytes; extents are half-open. The volume's structures are in disk order already
(`imagekit.gadget` orders them), so one pass is enough.

Source: gadget.yaml rules (snapd gadget/layout.go); UEFI 2.10 section 5.3 for the room that GPT takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagekit.errors import PlanError
from imagekit.gadget import Role, Schema, Structure, Volume
from imagekit.units import MIB, SECTOR, align_up, iec

FIRST_IMPLIED = 1 * MIB  # an offset left out never falls below this (gadget.yaml rules)
MAX_DISK = 1 << 60  # what a file can be asked to be, with room to calculate
TAIL_RESERVED = 1 * MIB  # backup GPT: 33 sectors, rounded up
GPT_START = 1 * SECTOR
GPT_END = 34 * SECTOR  # protective MBR, header, 128 entries
NAME_LIMIT = 36  # UTF-16 units of a GPT partition name


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a structure shall lie."""

    structure: Structure
    start: int
    end: int  # first byte after the structure

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLayout:
    """Placements in ascending order, none overlapping, all within `disk_size`."""

    volume: Volume
    placements: tuple[Placement, ...]
    disk_size: int

    def named(self, name: str) -> Placement:
        """The placement of the structure called `name`. Raises: PlanError: there is none."""
        for placement in self.placements:
            if placement.structure.name == name:
                return placement
        raise PlanError(f"cannot find structure {name!r}: volume {self.volume.name!r} has none of that name")

    def holding(self, role: Role) -> Placement:
        """The placement of the structure with `role`. Raises: PlanError: there is none."""
        for placement in self.placements:
            if placement.structure.role is role:
                return placement
        raise PlanError(f"cannot lay out volume {self.volume.name!r}: no structure has the role {role.value}")


def lay_out(volume: Volume) -> VolumeLayout:
    """Place the structures, each at its declared offset or at the end of the one before.

    Raises:
        PlanError: a structure starts in space that is taken, has no size, or cannot be in the partition table; no disk
            is as large.
    """
    placements: list[Placement] = []
    taken = 0
    for structure in volume.structures:
        start, end = _extent(volume, structure, taken)
        if start < taken:
            raise PlanError(
                f"cannot place structure {structure.title!r} of volume {volume.name!r} at {iec(start)}: the disk is"
                f" taken up to {iec(taken)}", hint="raise its offset, or leave the offset out")
        _check_table(volume, structure, start, end)
        taken = end
        placements.append(Placement(structure=structure, start=start, end=end))
    disk_size = align_up(taken, MIB) + TAIL_RESERVED
    if disk_size > MAX_DISK:
        raise PlanError(f"cannot lay out volume {volume.name!r}: it needs a disk of {iec(disk_size)}, at most"
                        f" {iec(MAX_DISK)} are possible")
    return VolumeLayout(volume=volume, placements=tuple(placements), disk_size=disk_size)


def _extent(volume: Volume, structure: Structure, taken: int) -> tuple[int, int]:
    if structure.size is None:
        raise PlanError(f"cannot place structure {structure.title!r} of volume {volume.name!r}: it has no size",
                        hint="partial volumes describe disks made elsewhere; give every structure a size")
    start = structure.offset
    if start is None:
        start = 0 if structure.role is Role.MBR else max(taken, FIRST_IMPLIED)
    return start, start + structure.size


def _check_table(volume: Volume, structure: Structure, start: int, end: int) -> None:
    """What the partition table demands: room for itself, whole sectors, names that fit."""
    title = f"structure {structure.title!r} of volume {volume.name!r}"
    if volume.schema is Schema.GPT and start < GPT_END and end > GPT_START:
        raise PlanError(f"cannot place {title} at {start}: the partition table needs bytes {GPT_START} to {GPT_END}",
                        hint=f"raise its offset to {GPT_END} or above")
    if not structure.type.in_table:
        return
    if start % SECTOR or end % SECTOR:
        raise PlanError(f"cannot place {title} at {start} to {end}: partitions begin and end at multiples of {SECTOR}")
    if volume.schema is Schema.GPT and len(structure.name.encode("utf-16-le")) > 2 * NAME_LIMIT:
        raise PlanError(f"cannot name {title}: a GPT partition name has at most {NAME_LIMIT} characters")
