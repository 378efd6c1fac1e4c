"""Give every structure of a gadget volume its place on the disk.

Nothing here touches a file: a `Volume` goes in, a `VolumeLayout` comes out, and equal input gives an equal layout.
Sizes and offsets are bytes; extents are half-open. The volume's structures are in disk order already
(`imagekit.gadget` orders them), so one pass is enough; each gets its largest size. What a volume leaves to the device
cannot be laid out: `imagekit.plan.spans` tells what can be said of it.

Source: gadget.yaml rules (snapd gadget/layout.go); UEFI 2.10 section 5.3 for the room that GPT takes, 5.2 for MBR's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.disk import gpt, mbr
from imagekit.errors import PlanError
from imagekit.gadget import Gadget, Role, Schema, Structure, Volume
from imagekit.plan.spans import FIRST_IMPLIED
from imagekit.units import MIB, SECTOR, align_up, iec

MAX_DISK = 1 << 60  # what a file can be asked to be, with room to calculate
TAIL_RESERVED = 1 * MIB  # backup GPT: 33 sectors, rounded up
NAME_LIMIT = 36  # UTF-16 units of a GPT partition name
POINTER_SIZE = 4  # of an offset-write


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
class Pointer:
    """A resolved offset-write: at `offset` of the disk stands the first `sector` of the structure `of`."""

    of: Structure
    offset: int
    sector: int

    @property
    def content(self) -> bytes:
        """The four bytes."""
        return self.sector.to_bytes(POINTER_SIZE, "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLayout:
    """Placements in ascending order, none overlapping, all within `disk_size`.

    `entries` and `entries_at` are the GPT's.
    """

    volume: Volume
    placements: tuple[Placement, ...]
    disk_size: int
    sector: int = SECTOR
    entries: int = gpt.ENTRIES
    entries_at: int | None = None
    pointers: tuple[Pointer, ...] = ()

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

    @property
    def partitions(self) -> tuple[Placement, ...]:
        """The placements that the partition table has entries for, in its order."""
        return tuple(item for item in self.placements if item.structure.is_partition)


def lay_out_of(gadget: Gadget, volume: Volume, *, sector: int = SECTOR) -> VolumeLayout:
    """`lay_out` with the table that x-imagekit wants: what it says is about the bootloader's volume."""
    own = gadget.extension if volume.bootloader is not None else None
    entries = own.gpt_entries if own is not None and own.gpt_entries is not None else gpt.ENTRIES
    return lay_out(volume, sector=sector, entries=entries, entries_at=own.gpt_entries_at if own is not None else None)


def lay_out(volume: Volume, *, sector: int = SECTOR, entries: int = gpt.ENTRIES,
            entries_at: int | None = None) -> VolumeLayout:
    """Place the structures, each at its declared offset or at the end of the one before.

    `sector` is the disk's logical sector, 512 or 4096 bytes; `entries` the number of entries of a GPT, which begin at
    `entries_at` or right behind its header.

    Raises:
        PlanError: a structure starts in space that is taken, has no size, or cannot be in the partition table; the
            volume is no disk, or leaves its schema to the device; no disk is as large.
    """
    _check_volume(volume, sector, entries, entries_at)
    assert volume.schema is not None
    extents = table_extents(volume.schema, sector=sector, entries=entries, entries_at=entries_at)
    placements: list[Placement] = []
    taken = 0
    for structure in volume.structures:
        start, end = _extent(volume, structure, taken)
        if start < taken:
            raise PlanError(
                f"cannot place structure {structure.title!r} of volume {volume.name!r} at {iec(start)}: the disk is"
                f" taken up to {iec(taken)}", hint="raise its offset, or leave the offset out")
        _check_table(volume, structure, start, end, sector=sector, extents=extents)
        taken = end
        placements.append(Placement(structure=structure, start=start, end=end))
    disk_size = align_up(max(taken, 1), MIB) + (TAIL_RESERVED if volume.schema is Schema.GPT else 0)
    if disk_size > MAX_DISK:
        raise PlanError(f"cannot lay out volume {volume.name!r}: it needs a disk of {iec(disk_size)}, at most"
                        f" {iec(MAX_DISK)} are possible")
    return VolumeLayout(volume=volume, placements=tuple(placements), disk_size=disk_size, sector=sector,
                        entries=entries, entries_at=entries_at,
                        pointers=tuple(_pointers(volume, placements, sector, extents)))


Extents = tuple[tuple[int, int], ...]


def table_extents(schema: Schema, *, sector: int = SECTOR, entries: int = gpt.ENTRIES,
                  entries_at: int | None = None) -> Extents:
    """The bytes at the disk's start that a partition table takes; boot code lies before them."""
    first = (mbr.TABLE_OFFSET, 512)
    if schema is not Schema.GPT:
        return (first,)
    start, end = gpt.entries_extent(sector, entries, entries_at)
    return (first, (sector, end)) if start == 2 * sector else (first, (sector, 2 * sector), (start, end))


def _check_volume(volume: Volume, sector: int, entries: int, entries_at: int | None) -> None:
    what = f"cannot lay out volume {volume.name!r}"
    if volume.schema is Schema.EMMC:
        raise PlanError(f"{what}: the boot areas of an eMMC have no partition table, and no image is made of them",
                        hint="write their images to the device's boot areas")
    if volume.schema is None:
        raise PlanError(f"{what}: its schema is partial", hint="partial volumes describe disks made elsewhere; give"
                        " the volume a schema")
    if sector not in gpt.SECTORS:
        raise PlanError(f"{what}: sectors of {sector} bytes, allowed are {' and '.join(map(str, gpt.SECTORS))}")
    if not gpt.LEAST_ENTRIES <= entries <= gpt.ENTRIES:
        raise PlanError(f"{what}: a partition table of {entries} entries, allowed are {gpt.LEAST_ENTRIES} to"
                        f" {gpt.ENTRIES}")
    if entries_at is not None and (entries_at % sector or entries_at < 2 * sector):
        raise PlanError(f"{what}: the entries of its partition table at {entries_at}, allowed are multiples of {sector}"
                        f" from {2 * sector} on", hint="change gpt-entries-at of x-imagekit")
    count = sum(1 for structure in volume.structures if structure.is_partition)
    limit, hint = ((mbr.ENTRIES, "use schema gpt") if volume.schema is Schema.MBR else
                   (entries, "raise gpt-entries of x-imagekit"))
    if count > limit:
        raise PlanError(f"{what}: it has {count} partitions, its partition table holds {limit}", hint=hint)


def _extent(volume: Volume, structure: Structure, taken: int) -> tuple[int, int]:
    if structure.size is None:
        raise PlanError(f"cannot place structure {structure.title!r} of volume {volume.name!r}: it has no size",
                        hint="partial volumes describe disks made elsewhere; give every structure a size")
    start = structure.offset
    if start is None:
        start = 0 if structure.role is Role.MBR else max(taken, FIRST_IMPLIED)
    return start, start + structure.size


def _check_table(volume: Volume, structure: Structure, start: int, end: int, *, sector: int,
                 extents: Extents) -> None:
    """What the partition table demands: room for itself, whole sectors, numbers and names that fit."""
    title = f"structure {structure.title!r} of volume {volume.name!r}"
    for low, high in extents:
        if start < high and end > low:
            raise PlanError(f"cannot place {title} at {start}: the partition table needs bytes {low} to {high}",
                            hint=_way_out(volume.schema, start, high))
    if not structure.is_partition:
        return
    if volume.schema is Schema.GPT and start < extents[-1][1]:
        raise PlanError(f"cannot place {title} at {start}: partitions begin behind the table's entries, which end at"
                        f" {extents[-1][1]}", hint="give it the type bare, or raise its offset")
    if start % sector or end % sector:
        raise PlanError(f"cannot place {title} at {start} to {end}: partitions begin and end at multiples of {sector}")
    if volume.schema is Schema.GPT and len(structure.name.encode("utf-16-le")) > 2 * NAME_LIMIT:
        raise PlanError(f"cannot name {title}: a GPT partition name has at most {NAME_LIMIT} characters")
    if volume.schema is Schema.MBR and max(start, end - start) // sector > mbr.MAX_LBA:
        raise PlanError(f"cannot place {title} at {iec(start)} to {iec(end)}: an MBR table counts up to"
                        f" {iec(mbr.MAX_LBA * sector)}", hint="use schema gpt")


def _way_out(schema: Schema | None, start: int, high: int) -> str:
    """What helps: a smaller table, if there is one that ends before the structure; or its entries behind it."""
    fewer = (start - 2 * SECTOR) // 128
    if schema is Schema.GPT and fewer >= gpt.LEAST_ENTRIES:
        return (f"raise its offset to {high} or above, or make the table smaller: gpt-entries: {min(fewer, 128)} in"
                " x-imagekit")
    if schema is Schema.GPT and start >= 2 * SECTOR:
        return (f"raise its offset to {high} or above, or let the table's entries lie behind it: gpt-entries-at in"
                " x-imagekit")
    return f"raise its offset to {high} or above"


def _pointers(volume: Volume, placements: list[Placement], sector: int, taken: Extents) -> Iterator[Pointer]:
    """The resolved offset-writes."""
    starts = {item.structure.name: item.start for item in placements}
    if volume.schema is Schema.MBR:
        taken = ((mbr.SIGNATURE_OFFSET, mbr.TABLE_OFFSET), *taken)
    for item in placements:
        write = item.structure.offset_write
        if write is None:
            continue
        what = f"cannot write the offset of structure {item.structure.title!r} of volume {volume.name!r}"
        if item.start % sector or item.start // sector >= 1 << 8 * POINTER_SIZE:
            raise PlanError(f"{what}: {item.start} is not a number of sectors of {sector} bytes that has 32 bits")
        at = (starts[write.relative_to] if write.relative_to else 0) + write.offset
        for low, high in taken:
            if at < high and at + POINTER_SIZE > low:
                raise PlanError(f"{what} at {at}: the partition table needs bytes {low} to {high}")
        yield Pointer(of=item.structure, offset=at, sector=item.start // sector)
