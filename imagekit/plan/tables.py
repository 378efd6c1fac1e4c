"""The partition table of an image: GPT or MBR as the gadget's schema says, out of a layout and derived identifiers.

Decides what of a structure goes into the table: the half of its type that matches the schema, its name, which
partition is marked active, the identifiers by which Linux finds it. How a table is written is `imagekit.disk`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from imagekit.disk import gpt, mbr
from imagekit.gadget import Role, Schema, Structure
from imagekit.plan.layout import Placement, VolumeLayout
from imagekit.plan.writes import Literal

DiskTable = gpt.Table | mbr.Table
UNNAMED_DATA = "writable"  # what a nameless data partition is called


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEntry:
    """What the table says of a structure: its number from 1, its type, and its PARTUUID."""

    index: int
    type: str
    id: str


def plan_table(layout: VolumeLayout, *, disk: UUID, unique: Callable[[Structure], UUID],
               hybrid: Sequence[str] = ()) -> DiskTable:
    """The table of a layout. `disk` identifies it (an MBR has its first 32 bits), `unique` each partition of a GPT.

    `hybrid` names the structures that an MBR lists beside the GPT.
    """
    numbered = list(enumerate(layout.partitions, 1))
    if layout.volume.schema is Schema.MBR:
        return mbr.Table(signature=mbr.signature_from(disk), disk_size=layout.disk_size, sector=layout.sector,
                         partitions=tuple(_mbr(index, item) for index, item in numbered))
    return gpt.Table(disk_guid=disk, disk_size=layout.disk_size, sector=layout.sector, entries=layout.entries,
                     entries_at=layout.entries_at,
                     partitions=tuple(_gpt(index, item, unique) for index, item in numbered),
                     hybrid=tuple(_mbr(index, layout.named(name)) for index, name in enumerate(hybrid, 1)))


def _mbr(index: int, item: Placement) -> mbr.Partition:
    assert item.structure.type.mbr is not None
    return mbr.Partition(index=index, type=item.structure.type.mbr, start=item.start, end=item.end,
                         active=item.structure.role is Role.BOOT)


def _gpt(index: int, item: Placement, unique: Callable[[Structure], UUID]) -> gpt.Partition:
    structure = item.structure
    assert structure.type.guid is not None
    name = structure.name or (UNNAMED_DATA if structure.role is Role.DATA else "")
    return gpt.Partition(index=index, name=name, type_guid=structure.type.guid, unique_guid=unique(structure),
                         start=item.start, end=item.end)


def table_writes(layout: VolumeLayout, table: DiskTable) -> tuple[Literal, ...]:
    """The table, and what offset-writes say; the whole first sector, so that boot code has something to lie in.

    Raises:
        PlanError: the table cannot be.
    """
    pieces = gpt.encode(table) if isinstance(table, gpt.Table) else ((0, bytes(512)), *mbr.encode(table))
    return (*(Literal(offset=offset, content=raw, what="partition table") for offset, raw in pieces),
            *(Literal(offset=item.offset, content=item.content, what=f"start of {item.of.title}")
              for item in layout.pointers))


def entry_at(table: DiskTable, start: int) -> TableEntry | None:
    """The entry of the partition that begins at `start`."""
    if isinstance(table, gpt.Table):
        return next((TableEntry(index=item.index, type=str(item.type_guid), id=str(item.unique_guid))
                     for item in table.partitions if item.start == start), None)
    return next((TableEntry(index=item.index, type=f"{item.type:02x}", id=table.partuuid(item.index))
                 for item in table.partitions if item.start == start), None)


def disk_id(table: DiskTable) -> str:
    """The disk's own identifier: a GUID, or the eight digits of an MBR's signature."""
    return str(table.disk_guid) if isinstance(table, gpt.Table) else f"{table.signature:08x}"
