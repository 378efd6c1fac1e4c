"""What there is to say of a gadget's disks: where everything lies or may lie, and what is in it.

A volume that can be laid out is; one whose schema or sizes the device decides, and an eMMC's boot areas, are told as
far as they are known. Decides the words for partition types and contents; tables and pictures are made of these values
by who talks. Type names: UEFI 2.10, the Discoverable Partitions Specification, and common use for MBR's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from imagekit.digests import derived_uuid
from imagekit.disk import gpt
from imagekit.gadget import FileContent, Filesystem, Gadget, RawContent, Schema, SlotPart, Structure, Volume
from imagekit.gadget.content_files import landing_files, raw_images
from imagekit.packages.kernelyaml import is_reference
from imagekit.plan.layout import VolumeLayout, lay_out_of
from imagekit.plan.spans import Room, Span, exact, rooms, span_text
from imagekit.plan.svg import Drawn, DrawnVolume
from imagekit.units import SECTOR

GPT_TYPES = {
    gpt.ESP: "EFI System", gpt.LINUX_DATA: "Linux data",
    UUID("21686148-6449-6e6f-744e-656564454649"): "BIOS boot",
    UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"): "Basic data",
    UUID("3de21764-95bd-54bd-a5c3-4abe786f38a8"): "U-Boot environment",
    UUID("4d21b016-b534-45c2-a9fb-5c16e091fd2d"): "Linux variable data",
    **{derived_uuid("partition-type", part): f"imagekit {part}" for part in ("slot-state", "base", "kernel", "boot")},
}
MBR_TYPES = {0x06: "FAT16", 0x0B: "FAT32", 0x0C: "FAT32 LBA", 0x0E: "FAT16 LBA", 0x82: "Linux swap", 0x83: "Linux",
             0xDA: "raw data", 0xEF: "EFI System"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStructure:
    """One structure: its place where that is known, else the room it has; `number` in the partition table."""

    structure: Structure
    room: Room
    number: int | None
    start: int | None
    size: int | None
    type: str
    held: SlotPart | None
    contents: tuple[str, ...]
    used: int | None  # by the gadget's own content; None where its files are not known, or not all of it is its own

    @property
    def start_text(self) -> str:
        if self.start is not None:
            return exact(self.start)
        return span_text(self.room.start) if self.room.start is not None else "-"

    @property
    def end_text(self) -> str:
        if self.start is not None and self.size is not None:
            return exact(self.start + self.size)
        return span_text(self.room.end) if self.room.end is not None else "-"

    @property
    def size_text(self) -> str:
        return exact(self.size) if self.size is not None and self.room.size.fixed else span_text(self.room.size)

    @property
    def content_text(self) -> str:
        if self.held is not None:
            return f"{self.held.part.value} of slot {self.held.slot}" if self.held.slot else "slot state"
        return ", ".join(self.contents) or "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVolume:
    """One volume; without `layout` for the `reason`."""

    volume: Volume
    layout: VolumeLayout | None
    reason: str
    structures: tuple[ShownStructure, ...]

    @property
    def headline(self) -> str:
        """What it is, in a line."""
        volume, layout = self.volume, self.layout
        schema = volume.schema.value if volume.schema is not None else "left to the device"
        parts = [f"volume {volume.name}: schema {schema}"]
        parts += [f"bootloader {volume.bootloader.value}"] if volume.bootloader is not None else []
        if volume.partial:
            parts.append(f"partial {', '.join(sorted(volume.partial))}")
        if layout is None:
            return ", ".join([*parts, self.reason])
        parts += [f"a disk of {exact(layout.disk_size)}", f"sectors of {layout.sector} bytes"]
        if volume.schema is Schema.GPT and layout.entries != gpt.ENTRIES:
            parts.append(f"a table of {layout.entries} entries")
        if layout.entries_at is not None:
            parts.append(f"its entries at {exact(layout.entries_at)}")
        return ", ".join(parts)


def show_gadget(gadget: Gadget, *, sector: int = SECTOR,
                files: Mapping[str, int] | None = None) -> tuple[ShownVolume, ...]:
    """All volumes; `files` are the gadget's own with their sizes, if they are known.

    Raises:
        PlanError: a volume that leaves nothing to the device cannot be laid out.
    """
    return tuple(_volume(gadget, volume, sector, files) for volume in gadget.volumes)


def _volume(gadget: Gadget, volume: Volume, sector: int, files: Mapping[str, int] | None) -> ShownVolume:
    reason = _left_open(volume)
    layout = None if reason else lay_out_of(gadget, volume, sector=sector)
    shown, number = [], 0
    for position, room in enumerate(rooms(volume)):
        structure = room.structure
        number += structure.is_partition
        place = layout.placements[position] if layout is not None else None
        held = gadget.extension.structures.get(structure.name) if gadget.extension is not None else None
        fixed = room.start if room.start is not None and room.start.fixed else None
        shown.append(ShownStructure(
            structure=structure, room=room, number=number if structure.is_partition else None, held=held,
            start=place.start if place else fixed.least if fixed else None,
            size=place.size if place else structure.size if room.size.fixed else None,
            type=type_text(structure, volume.schema), contents=tuple(map(_content_text, structure.content)),
            used=_used(structure, files) if held is None else None))
    return ShownVolume(volume=volume, layout=layout, reason=reason, structures=tuple(shown))


def _left_open(volume: Volume) -> str:
    """Why no image of a volume can be made, whatever the gadget says else."""
    if volume.schema is Schema.EMMC:
        return "no image: its images go to the boot areas of an eMMC"
    if volume.schema is None:
        return "no image: the device has the schema"
    if any(structure.size is None for structure in volume.structures):
        return "no image: the device has the sizes"
    return ""


def type_text(structure: Structure, schema: Schema | None) -> str:
    """The partition type of the table that the volume has, by its name where it has a known one."""
    kind = structure.type
    if not kind.in_table:
        return "-"
    mbr = None if kind.mbr is None else f"{kind.mbr:02X} {MBR_TYPES.get(kind.mbr, '')}".rstrip()
    guid = None if kind.guid is None else GPT_TYPES.get(kind.guid, str(kind.guid).upper())
    chosen = mbr if schema is Schema.MBR else guid if schema is Schema.GPT else None
    return chosen or " or ".join(part for part in (mbr, guid) if part)


def _content_text(content: FileContent | RawContent) -> str:
    if isinstance(content, RawContent):
        return content.image + (f" at {exact(content.offset)}" if content.offset else "")
    return content.source


def _used(structure: Structure, files: Mapping[str, int] | None) -> int | None:
    if files is None:
        return None
    if any(isinstance(item, FileContent) and is_reference(item.source) for item in structure.content):
        return None
    raw = tuple(item for item in structure.content if isinstance(item, RawContent))
    if raw:
        return max((image.end for image in raw_images(raw, files)), default=0)
    return sum(found.size for item in structure.content if isinstance(item, FileContent)
               for found in landing_files(item.source, item.target, files))


def drawing_of(shown: ShownVolume) -> DrawnVolume:
    """A volume as the picture wants it."""
    size = shown.layout.disk_size if shown.layout is not None else None
    return DrawnVolume(heading=shown.headline, disk_size=size, structures=tuple(
        Drawn(name=item.structure.title, start=item.start if shown.layout else None, size=item.size or 0,
              used=item.used, role=item.structure.role.value if item.structure.role else None,
              slot=item.held.slot if item.held else None, part=item.held.part.value if item.held else None,
              content=_caption(item), room="" if item.size and item.room.size.fixed else item.size_text)
        for item in shown.structures))


def _caption(item: ShownStructure) -> str:
    structure = item.structure
    words = [structure.role.value] if structure.role is not None and structure.role.value != structure.name else []
    if structure.filesystem is not None and structure.filesystem is not Filesystem.NONE:
        words.append(structure.filesystem.value)
    return " · ".join([*words, item.content_text]) if item.content_text != "-" or not words else " · ".join(words)


def as_json(shown: ShownVolume) -> dict[str, Any]:
    """A volume for programs (docs/reference/gadget-yaml.md)."""
    volume, layout = shown.volume, shown.layout
    return {
        "name": volume.name, "schema": volume.schema.value if volume.schema is not None else None,
        "bootloader": volume.bootloader.value if volume.bootloader is not None else None, "id": volume.id,
        "partial": sorted(volume.partial), "reason": shown.reason or None,
        "disk": None if layout is None else {"size": layout.disk_size, "sector": layout.sector,
                                             "entries": layout.entries if volume.schema is Schema.GPT else None,
                                             "entries_at": layout.entries_at},
        "structures": [_structure_json(item) for item in shown.structures],
        "pointers": [] if layout is None else [
            {"of": item.of.title, "offset": item.offset, "sector": item.sector, "bytes": item.content.hex()}
            for item in layout.pointers],
    }


def _structure_json(item: ShownStructure) -> dict[str, Any]:
    structure = item.structure
    return {
        "index": structure.index, "name": structure.name or None, "number": item.number,
        "role": structure.role.value if structure.role is not None else None, "type": str(structure.type),
        "start": item.start, "size": item.size, "starts": _span_json(item.room.start),
        "sizes": _span_json(item.room.size),
        "filesystem": structure.filesystem.value if structure.filesystem is not None else None,
        "label": structure.label, "content": list(item.contents), "used": item.used,
        "edition": structure.update.edition, "preserve": list(structure.update.preserve),
        "slot": item.held.slot if item.held else None, "part": item.held.part.value if item.held else None,
    }


def _span_json(span: Span | None) -> list[int | None] | None:
    return None if span is None else [span.least, span.most]
