"""The rules of gadget.yaml that span structures and volumes: order, overlap, names, labels, roles.

Order and implied values follow snapd (gadget/gadget.go): an mbr structure lies at 0, nothing else without an offset
below 1 MiB; each run of structures behind an explicit offset moves with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from imagekit.gadget.values import Era, Role, Schema, Structure, Volume
from imagekit.schema import Path, Problems
from imagekit.units import MIB

FIRST_IMPLIED = 1 * MIB
OFFSET_WRITE_SIZE = 4

LABELS = {
    Era.UC16: {Role.DATA: "writable"},
    Era.UC20: {Role.SEED: "ubuntu-seed", Role.SEED_NULL: "ubuntu-seed", Role.BOOT: "ubuntu-boot",
               Role.SAVE: "ubuntu-save", Role.DATA: "ubuntu-data"},
}
ONCE = (Role.SEED, Role.SEED_NULL, Role.BOOT, Role.DATA, Role.SAVE, Role.BOOT_STATE)


def implied(volume: Volume, era: Era) -> Volume:
    """The volume with its implied roles and labels filled in."""
    return replace(volume, structures=tuple(_implied(structure, era) for structure in volume.structures))


def _implied(structure: Structure, era: Era) -> Structure:
    role, label = structure.role, structure.label
    if era is Era.UC16 and role is None and label == "system-boot":
        role = Role.BOOT
    if label is None and role is not None:
        label = LABELS[era].get(role)
    return replace(structure, role=role, label=label)


def disk_order(volume: Volume) -> Volume:
    """The volume with its structures in the order of the disk."""
    keyed: list[tuple[int, Structure]] = []
    run = 0
    for index, structure in enumerate(volume.structures):
        if structure.offset is not None:
            run = structure.offset
        elif structure.role is Role.MBR:
            run = 0
        elif index == 0:
            run = FIRST_IMPLIED
        keyed.append((run, structure))
    return replace(volume, structures=tuple(item for _, item in sorted(keyed, key=lambda pair: pair[0])))


def starts(volume: Volume) -> Iterator[tuple[Structure, int | None, int | None]]:
    """Each structure in disk order with its earliest start and end; None where only the device can know."""
    taken: int | None = 0
    for structure in disk_order(volume).structures:
        start = structure.offset
        if start is None and structure.role is Role.MBR:
            start = 0
        if start is None and taken is not None:
            start = max(taken, FIRST_IMPLIED)
        end = None if start is None or structure.min_size is None else start + structure.min_size
        yield structure, start, end
        taken = end


def check_volume(problems: Problems, path: Path, volume: Volume) -> None:
    """Names, labels, types of a partial schema, overlap and offset writes of one volume."""
    check_names(problems, path, volume)
    check_labels(problems, path, volume)
    if volume.schema is None:
        for structure in volume.structures:
            if structure.type.in_table and None in (structure.type.mbr, structure.type.guid):
                problems.add(place(path, structure, "type"), "partial schema needs types of the form XX,GUID")
    if volume.schema is not Schema.EMMC:
        check_overlap(problems, path, volume)
        check_offset_writes(problems, path, volume)


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
                         f"{structure.name!r} is already the name of structure[{seen[structure.name].index}]")
        elif structure.name:
            seen[structure.name] = structure


def check_labels(problems: Problems, path: Path, volume: Volume) -> None:
    """A label is used once; where a FAT is among the two, without regard to case."""
    for position, structure in enumerate(volume.structures):
        for other in volume.structures[:position]:
            if structure.label is None or other.label is None:
                continue
            loose = any(item.filesystem is not None and item.filesystem.is_vfat for item in (structure, other))
            one, two = (structure.label.lower(), other.label.lower()) if loose else (structure.label, other.label)
            if one == two:
                problems.add(place(path, structure, "filesystem-label"),
                             f"{structure.label!r} is already the label of structure[{other.index}]")
                break


def check_overlap(problems: Problems, path: Path, volume: Volume) -> None:
    """No two structures share a byte."""
    furthest: tuple[int, Structure] | None = None
    for structure, start, end in starts(volume):
        if furthest is not None and start is not None and start < furthest[0]:
            problems.add(place(path, structure, "offset"),
                         f"structure {structure.title!r} starts at {start}, inside structure {furthest[1].title!r}"
                         f" which ends at {furthest[0]}")
        if end is not None and (furthest is None or end > furthest[0]):
            furthest = (end, structure)


def check_offset_writes(problems: Problems, path: Path, volume: Volume) -> None:
    """An offset is written into the first structure, which lies at 0, or somewhere on the disk."""
    placed = list(starts(volume))
    size = max((end or 0 for _, _, end in placed), default=0)
    for structure in volume.structures:
        write = structure.offset_write
        if write is None:
            continue
        where = place(path, structure, "offset-write")
        limit, inside = size, "volume"
        if write.relative_to is not None:
            first, start, _ = placed[0]
            if write.relative_to != first.name or start != 0:
                problems.add(where, f"{write.relative_to!r} is not the first structure, at offset 0, of the volume")
                continue
            limit, inside = first.size or 0, "structure"
        if write.offset + OFFSET_WRITE_SIZE > limit:
            problems.add(where, f"4 bytes at {write.offset} do not fit in the {inside} of {limit} bytes")


def check_gadget(problems: Problems, volumes: tuple[Volume, ...], era: Era) -> None:
    """One bootloader, and the roles the era wants."""
    with_bootloader = [volume.name for volume in volumes if volume.bootloader is not None]
    if volumes and not with_bootloader and not problems:
        problems.add(("volumes",), "exactly one volume needs a bootloader, none has one")
    for name in with_bootloader[1:]:
        problems.add(("volumes", name, "bootloader"), f"volume {with_bootloader[0]!r} already has the bootloader")
    holders = check_once(problems, volumes)
    if Role.SEED in holders and Role.SEED_NULL in holders:
        problems.add(holders[Role.SEED_NULL][1], "system-seed and system-seed-null exclude each other")
    if era is Era.UC20:
        check_uc20(problems, volumes, holders)
    else:
        for role in (Role.SEED, Role.SEED_NULL, Role.SAVE):
            if role in holders:
                problems.add(holders[role][1], f"{role.value} is not allowed in a gadget for UC16/18")
    check_role_labels(problems, volumes, era)


Holders = dict[Role, tuple[str, Path]]


def check_once(problems: Problems, volumes: tuple[Volume, ...]) -> Holders:
    """The volume and place of each role of which there is at most one."""
    holders: Holders = {}
    for volume in volumes:
        for structure in volume.structures:
            role = structure.role
            if role not in ONCE or role is None:
                continue
            where = place(("volumes", volume.name), structure, "role")
            if role in holders:
                problems.add(where, f"there is already a structure with the role {role.value}")
            else:
                holders[role] = (volume.name, where)
    return holders


def check_uc20(problems: Problems, volumes: tuple[Volume, ...], holders: Holders) -> None:
    """A seed and a data structure exist; boot, data and save lie on the seed's volume."""
    seed = holders.get(Role.SEED) or holders.get(Role.SEED_NULL)
    if problems:
        return  # what is missing may be what could not be read
    for role, found in ((Role.SEED, seed), (Role.DATA, holders.get(Role.DATA))):
        if found is None and volumes:
            problems.add(("volumes",), f"a gadget for UC20+ needs a structure with the role {role.value}")
    if seed is None:
        return
    for role in (Role.BOOT, Role.DATA, Role.SAVE):
        if role in holders and holders[role][0] != seed[0]:
            problems.add(holders[role][1], f"{role.value} must lie on the volume of the seed, {seed[0]!r}")


def check_role_labels(problems: Problems, volumes: tuple[Volume, ...], era: Era) -> None:
    """The labels of the roles are fixed, and nobody else takes them."""
    reserved = {label: role for role, label in reversed(LABELS[era].items())}
    for volume in volumes:
        for structure in volume.structures:
            where = place(("volumes", volume.name), structure, "filesystem-label")
            wanted = LABELS[era].get(structure.role) if structure.role is not None else None
            if wanted is not None and structure.label != wanted:
                assert structure.role is not None
                problems.add(where, f"the role {structure.role.value} has the label {wanted!r},"
                                    f" not {structure.label!r}")
            elif wanted is None and structure.label in reserved:
                problems.add(where, f"the label {structure.label!r} is reserved for the role"
                                    f" {reserved[structure.label].value}")
