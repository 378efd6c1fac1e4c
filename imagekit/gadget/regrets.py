"""What gadget.yaml may say and somebody will regret: warnings, which change no verdict.

Each stands for an image that was built and did not boot, a card that could not be partitioned, a label that nobody
found. Sources: UEFI 2.10 section 5.3 (GPT), mkfs.fat and mke2fs (labels), snapd gadget/gadget.go (what it only
logs), the gadgets of the field (sizes).
"""

from __future__ import annotations

from imagekit.disk.gpt import ENTRIES, entries_extent
from imagekit.gadget.roles import has_label
from imagekit.gadget.rulebook import GadgetWarnings as Warnings
from imagekit.gadget.rules import place, placed
from imagekit.gadget.values import Bootloader, Era, Extension, Filesystem, Gadget, Role, Schema, Structure, Volume
from imagekit.nodes import shown
from imagekit.schema import Path, Problems
from imagekit.units import BLOCK, MIB, SECTOR, iec

GPT_NAME = 36  # UTF-16 code units
PRIMARIES = 4
LEAST_DATA = 256 * MIB
LEAST_SAVE = 16 * MIB
LABEL_LENGTHS = {Filesystem.VFAT16: 11, Filesystem.VFAT32: 11, Filesystem.EXT4: 16}
LEGACY_ROLES = {Role.LEGACY_BOOT_IMAGE: Role.BOOT_IMAGE, Role.LEGACY_BOOT_SELECT: Role.BOOT_SELECT}


def note_regrets(problems: Problems, gadget: Gadget) -> None:
    """Add every warning about a gadget."""
    for volume in gadget.volumes:
        path = ("volumes", volume.name)
        misread = any(problem.path[:2] == path for problem in problems.found)
        if not volume.structures and "structure" not in volume.partial and not misread:
            problems.warn(path, "the volume has no structure: nothing is written to its disk", Warnings.NO_STRUCTURES)
        for structure in volume.structures:
            _note_words(problems, path, structure)
            if volume.schema is not Schema.EMMC:
                _note_structure(problems, path, volume, structure)
                _note_label(problems, path, structure, gadget.era)
        own = gadget.extension if volume.bootloader else None
        _note_places(problems, path, volume, own)
    if gadget.volumes and gadget.era in (Era.UC20, Era.CLASSIC) and gadget.extension is None:
        _note_missing(problems, gadget)


def _note_words(problems: Problems, path: Path, structure: Structure) -> None:
    """Old words for new things."""
    newer = LEGACY_ROLES.get(structure.role) if structure.role is not None else None
    if newer is not None and structure.role is not None:
        problems.warn(place(path, structure, "role"), f"{structure.role.value} is the old word for {newer.value}, and"
                      " may go", Warnings.LEGACY_ROLE)
    if structure.legacy_mbr:
        problems.warn(place(path, structure, "type"), "type mbr is the old spelling: write type bare and role mbr",
                      Warnings.LEGACY_MBR)


def _note_structure(problems: Problems, path: Path, volume: Volume, structure: Structure) -> None:
    """What the partition table or the system makes of one structure."""
    partition = structure.is_partition
    units = len(structure.name.encode("utf-16-le", "surrogatepass")) // 2
    if partition and volume.schema is not Schema.MBR and units > GPT_NAME:
        problems.warn(place(path, structure, "name"), f"{shown(structure.name)} has {units} characters, a GPT holds"
                      f" {GPT_NAME}: no image can be built", Warnings.GPT_NAME)
    if partition and structure.size is not None and structure.size % BLOCK:
        problems.warn(place(path, structure, "size"), f"{structure.size} is no multiple of {BLOCK}: a partition has"
                      " whole sectors, of 512 or of 4096 bytes", Warnings.ALIGNMENT)
    if structure.size is None:
        return
    if structure.role is Role.DATA and structure.size < LEAST_DATA:
        problems.warn(place(path, structure, "size"), f"{iec(structure.size)} for system-data, where all snaps and data"
                      f" live: less than {iec(LEAST_DATA)} is full after the first boot", Warnings.SMALL)
    if structure.role is Role.SAVE and structure.size < LEAST_SAVE:
        problems.warn(place(path, structure, "size"), f"{iec(structure.size)} for system-save: the header of encrypted"
                      f" storage and what it keeps need {iec(LEAST_SAVE)}", Warnings.SMALL)


def _note_label(problems: Problems, path: Path, structure: Structure, era: Era) -> None:
    """Labels that cannot be written, or that nobody finds."""
    filesystem, label = structure.filesystem, structure.label
    if filesystem is not None and label is not None and len(label.encode()) > LABEL_LENGTHS.get(filesystem, 255):
        problems.warn(place(path, structure, "filesystem-label"), f"{shown(label)} is longer than the"
                      f" {LABEL_LENGTHS[filesystem]} characters that {filesystem.value} holds: it cannot be made",
                      Warnings.LABEL_LENGTH)
    if structure.role is Role.BOOT and era in (Era.UC16, Era.UC20):
        wanted = "system-boot" if era is Era.UC16 else "ubuntu-boot"
        if not has_label(structure, wanted):
            came = "no label" if label is None else f"the label {shown(label)}"
            problems.warn(place(path, structure, "filesystem-label"), f"system-boot has {came}: {era.value} mounts it"
                          f" by the label {wanted!r}", Warnings.BOOT_LABEL)
    elif filesystem not in (None, Filesystem.NONE) and label is None and structure.role is None:
        problems.warn(place(path, structure), f"structure {shown(structure.title)} has a filesystem without a label:"
                      " nothing on the device finds it by name", Warnings.LABEL_MISSING)


def _note_places(problems: Problems, path: Path, volume: Volume, own: Extension | None) -> None:
    """Where structures lie."""
    if volume.schema is Schema.EMMC:
        return
    partitions = 0
    for item in placed(volume):
        structure = item.structure
        partition = structure.is_partition
        partitions += partition
        if volume.schema is Schema.MBR and partition and partitions == PRIMARIES + 1:
            problems.warn(place(path, structure), "the fifth partition of schema mbr: its table holds four, and"
                          " extended partitions are not made", Warnings.PRIMARIES)
        if item.start is None:
            continue
        if volume.schema is Schema.GPT and structure.min_size is not None:
            _note_table(problems, place(path, structure, None if structure.offset is None else "offset"),
                        structure.title, (item.start, item.start + structure.min_size), own)
        if partition and structure.offset is not None and structure.offset % MIB:
            problems.warn(place(path, structure, "offset"), f"{structure.offset} is no multiple of 1 MiB: flash writes"
                          " such a partition slowly, and wears", Warnings.ALIGNMENT)


def _note_table(problems: Problems, where: Path, title: str, extent: tuple[int, int], own: Extension | None) -> None:
    """A structure over the table of a GPT: certain, or with one sector size only."""
    start, end = extent
    entries, at = (own.gpt_entries or ENTRIES, own.gpt_entries_at) if own is not None else (ENTRIES, None)
    over = []
    for size in (SECTOR, BLOCK):
        pieces = ((size, 2 * size), entries_extent(size, entries, at))
        if hit := [piece for piece in pieces if start < piece[1] and end > piece[0]]:
            first, last = (size, pieces[1][1]) if at is None else hit[0]
            over.append((size, first, last))
    if len(over) == 2:
        problems.warn(where, f"structure {shown(title)} covers bytes {start} to {end}, over the partition table with"
                      " any size of sectors: snapd only logs it, no image can be built", Warnings.TABLE)
    elif over:
        size, first, last = over[0]
        problems.warn(where, f"structure {shown(title)} covers bytes {start} to {end}, over the partition table at"
                      f" {first} to {last} of disks with sectors of {size} bytes", Warnings.TABLE_MAYBE)


def _note_missing(problems: Problems, gadget: Gadget) -> None:
    """What UC20 and later can do without, and their owners cannot."""
    roles = {structure.role for volume in gadget.volumes for structure in volume.structures}
    boots_from_seed = any(volume.bootloader is Bootloader.LK for volume in gadget.volumes)
    if Role.BOOT not in roles and Role.BOOT_IMAGE not in roles and not boots_from_seed:
        problems.warn(("volumes",), "no structure has the role system-boot: a run system has nothing to boot from",
                      Warnings.NO_BOOT)
    if Role.SAVE not in roles:
        problems.warn(("volumes",), "no structure has the role system-save: storage cannot be encrypted, and a factory"
                      " reset loses the device's identity", Warnings.NO_SAVE)
