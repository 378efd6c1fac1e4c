"""The rules of gadget.yaml that span the structures of a volume: order, overlap, names, labels, offset writes.

Order and implied values follow snapd (gadget/gadget.go): in the order of the document, a structure without an offset
lies behind the one before it, and never below 1 MiB unless it is an mbr; behind a structure whose size is not fixed
nobody knows. Each run of structures behind a known offset moves with it when they are sorted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.values import Era, Role, Schema, Structure, Volume
from imagekit.nodes import shown
from imagekit.schema import Path, Problems
from imagekit.units import MIB

FIRST_IMPLIED = 1 * MIB
OFFSET_WRITE_SIZE = 4

MODES_LABELS = {Role.SEED: "ubuntu-seed", Role.SEED_NULL: "ubuntu-seed", Role.BOOT: "ubuntu-boot",
                Role.SAVE: "ubuntu-save", Role.DATA: "ubuntu-data"}
UC16_LABELS = {Role.DATA: "writable"}
IMPLIED_LABELS: dict[Era, dict[Role, str]] = {
    Era.NONE: {}, Era.UC16: UC16_LABELS, Era.UC20: MODES_LABELS, Era.CLASSIC: MODES_LABELS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A structure and where it starts; None where only the device can know."""

    structure: Structure
    start: int | None


def implied(volume: Volume, era: Era) -> Volume:
    """The volume with its implied roles and labels filled in."""
    return replace(volume, structures=tuple(_implied(structure, era) for structure in volume.structures))


def _implied(structure: Structure, era: Era) -> Structure:
    role, label = structure.role, structure.label
    if era is Era.UC16 and role is None and label == "system-boot":
        role = Role.BOOT
    if label is None and role is not None:
        label = IMPLIED_LABELS[era].get(role)
    return replace(structure, role=role, label=label)


def placed(volume: Volume) -> tuple[Placed, ...]:
    """The structures in the order of the disk."""
    runs: list[list[Placed]] = []
    behind: int | None = 0
    for structure in volume.structures:
        start = structure.offset
        if start is None and behind is not None:
            start = behind if structure.role is Role.MBR else max(behind, FIRST_IMPLIED)
        if start is not None or not runs:
            runs.append([])
        runs[-1].append(Placed(structure=structure, start=start))
        fixed = structure.size is not None and structure.size == structure.min_size
        behind = start + structure.size if start is not None and structure.size is not None and fixed else None
    return tuple(item for run in sorted(runs, key=lambda run: run[0].start or 0) for item in run)


def disk_order(volume: Volume) -> Volume:
    """The volume with its structures in the order of the disk."""
    if volume.schema is Schema.EMMC:
        return volume
    return replace(volume, structures=tuple(item.structure for item in placed(volume)))


def check_volume(problems: Problems, volume: Volume) -> None:
    """Names, labels, overlap and offset writes of one volume."""
    path = ("volumes", volume.name)
    check_names(problems, path, volume)
    check_labels(problems, path, volume)
    if volume.schema is not Schema.EMMC:
        order = placed(volume)
        check_overlap(problems, path, order)
        check_offset_writes(problems, path, order)


def place(path: Path, structure: Structure, key: str | None = None) -> Path:
    """The path of a structure, or of one of its fields."""
    where = (*path, "structure", structure.index)
    return where if key is None else (*where, key)


def check_names(problems: Problems, path: Path, volume: Volume) -> None:
    """A name is used once in a volume."""
    seen: dict[str, Structure] = {}
    for structure in volume.structures:
        if structure.name and structure.name in seen:
            problems.add(place(path, structure, "name"),
                         f"{shown(structure.name)} is the name of structure[{seen[structure.name].index}] already",
                         Rules.NAME_TWICE)
        elif structure.name:
            seen[structure.name] = structure


def check_labels(problems: Problems, path: Path, volume: Volume) -> None:
    """A label is used once; where a FAT is among the two, without regard to case."""
    exact: dict[str, Structure] = {}
    fats: dict[str, Structure] = {}
    folded: dict[str, Structure] = {}
    for structure in volume.structures:
        label = structure.label
        if label is None:
            continue
        lower = label.lower()
        is_vfat = structure.filesystem is not None and structure.filesystem.is_vfat
        other = fats.get(lower) or (folded.get(lower) if is_vfat else exact.get(label))
        if other is not None:
            problems.add(place(path, structure, "filesystem-label"),
                         f"{shown(label)} is the label of structure[{other.index}] already", Rules.LABEL_TWICE)
        exact.setdefault(label, structure)
        folded.setdefault(lower, structure)
        if is_vfat:
            fats.setdefault(lower, structure)


def check_overlap(problems: Problems, path: Path, order: tuple[Placed, ...]) -> None:
    """No two structures share a byte, whatever sizes the device chooses; an mbr lies at the start."""
    end, last = 0, None
    for item in order:
        structure = item.structure
        if structure.role is Role.MBR and item.start != 0:
            where = "nobody knows where" if item.start is None else f"at {item.start}"
            problems.add(place(path, structure, "offset"), f"the role mbr lies at offset 0, this one {where}",
                         Rules.MBR_OFFSET)
        if item.start is not None and item.start < end and last is not None:
            problems.add(place(path, structure, "offset"),
                         f"structure {shown(structure.title)} starts at {item.start}, inside structure"
                         f" {shown(last.title)} which ends at {end}", Rules.OVERLAP)
        stop = (end if item.start is None else item.start) + (structure.size or 0)
        if stop > end:
            end, last = stop, structure


def check_offset_writes(problems: Problems, path: Path, order: tuple[Placed, ...]) -> None:
    """An offset is written into the first structure, which lies at 0, or somewhere on the disk."""
    volume_size = 0
    for item in order:
        volume_size = (volume_size if item.start is None else item.start) + (item.structure.min_size or 0)
    for item in order:
        write = item.structure.offset_write
        if write is None:
            continue
        where = place(path, item.structure, "offset-write")
        limit, inside = volume_size, "volume"
        if write.relative_to is not None:
            first = order[0]
            if write.relative_to != first.structure.name or first.start != 0:
                problems.add(where, f"{shown(write.relative_to)} is not the first structure, at 0, of the volume",
                             Rules.WRITE_FIRST)
                continue
            limit, inside = first.structure.min_size or 0, "structure"
        if write.offset + OFFSET_WRITE_SIZE > limit:
            problems.add(where, f"4 bytes at {write.offset} do not fit in the {inside} of {limit} bytes",
                         Rules.WRITE_FIT)
