"""Plan a whole image: the partition table, and every write, from a resolution and the insides of its packages.

Pure: equal input gives an equal `ImagePlan`, which leaves nothing to decide and has a form in JSON
(docs/reference/manifest.md lists the fields that it shares with the manifest).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imagekit.assertions import Model
from imagekit.errors import PlanError
from imagekit.gadget import Extension, Filesystem, Part, Role, Schema, SlotPart
from imagekit.plan.contents import Contents, Insides, check_references, fill
from imagekit.plan.layout import Placement, VolumeLayout, lay_out_of
from imagekit.plan.resolve import Resolution, model_digest
from imagekit.plan.tables import DiskTable, TableEntry, disk_id, entry_at, table_writes
from imagekit.plan.writes import Copy, Literal, MakeExt4, PackageWrite, SeedFile, Write, Zeros

BACKENDS = ("systemd-boot", "u-boot", "piboot")
BOOT_NAMES = {"systemd-boot": "esp", "piboot": "boot"}  # of the partition with role system-boot, on a device
SEED, DATA, SLOT_STATE = "seed", "data", "slot-state"  # and of others
NAMES_HINT = "name and format them in gadget.yaml as docs/reference/gadget-yaml.md says"
CHOOSERS = {"u-boot": "boot script", "piboot": "autoboot.txt"}  # what the boot partition holds to choose the slot by


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One structure: where it lies, its entry in the table if it has one, and what is written into it."""

    placement: Placement
    entry: TableEntry | None
    held: SlotPart | None
    writes: tuple[Write, ...]
    chooser: str  # one of CHOOSERS, or empty

    @property
    def content(self) -> str:
        """What it holds, in a few words."""
        if self.held is not None and self.held.part is Part.STATE:
            return "slot-state record"
        packages = [write.package for write in self.writes if isinstance(write, PackageWrite)]
        if packages:
            return f"{packages[0]} + hash tree"
        if self.held is not None:
            return f"boot files of slot {self.held.slot}" if self.writes else f"empty, for slot {self.held.slot}"
        copies = [write for write in self.writes if isinstance(write, Copy)]
        seeds = sum(1 for write in copies if isinstance(write.source, SeedFile))
        if seeds:
            return f"model, assertions, {seeds} packages"
        if copies:
            return "boot files of slot a"
        if self.placement.structure.role is Role.BOOT:
            return self.chooser or "files"
        if any(isinstance(write, MakeExt4) for write in self.writes):
            return "empty ext4"
        return "files" if self.writes and self.placement.structure.filesystem else "raw" if self.writes else "empty"

    @property
    def used(self) -> int | None:
        """Bytes written into it; None where only a tool knows (ext4)."""
        if any(isinstance(write, MakeExt4) for write in self.writes):
            return None
        return sum(write.length for write in self.writes if not isinstance(write, Zeros))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """All of an image. `writes` has the partition tables and the structures' writes, ascending."""

    resolution: Resolution
    layout: VolumeLayout
    table: DiskTable
    structures: tuple[Planned, ...]
    writes: tuple[Write, ...]
    model_digest: str
    timestamp: datetime

    @property
    def model(self) -> Model:
        return self.resolution.model

    @property
    def disk_size(self) -> int:
        return self.layout.disk_size


def plan_image(resolution: Resolution, insides: Insides, *, timestamp: datetime) -> ImagePlan:
    """Plan the image of a resolved model; `timestamp` is the time of everything in it.

    Raises:
        PlanError: the gadget asks for what is not built, or something does not fit.
    """
    volume = insides.gadget.boot_volume
    extension = insides.gadget.extension
    if extension is None or extension.bootloader not in BACKENDS:
        found = "no x-imagekit" if extension is None else f"bootloader {extension.bootloader!r} in x-imagekit"
        raise PlanError(f"cannot plan an image of gadget {resolution.model.gadget.name!r}: it has {found}",
                        hint=f"images are built with {' or '.join(BACKENDS)}: see docs/reference/gadget-yaml.md")
    if volume.schema is not Schema.GPT:
        schema = volume.schema.value if volume.schema is not None else "partial"
        raise PlanError(f"cannot plan volume {volume.name!r}: its schema is {schema}, and slots are found by the"
                        " names that only a GPT has",
                        hint="use schema gpt; gpt-entries of x-imagekit makes room for boot code in front")
    layout = lay_out_of(insides.gadget, volume)
    _refuse_hidden(resolution.model.gadget.name, extension, layout)
    digest = model_digest(resolution.model)
    contents = Contents(resolution=resolution, insides=insides, layout=layout, model_digest=digest,
                        timestamp=timestamp)
    check_references(contents)
    table = contents.table
    structures = tuple(
        Planned(placement=item, entry=entry_at(table, item.start), held=extension.structures.get(item.structure.name),
                writes=fill(contents, item), chooser=CHOOSERS.get(extension.bootloader, ""))
        for item in layout.placements)
    own = [write for item in structures for write in item.writes]
    writes = merged([*table_writes(layout, table), *own])
    return ImagePlan(resolution=resolution, layout=layout, table=table, structures=structures, writes=writes,
                     model_digest=digest, timestamp=timestamp)


def _refuse_hidden(gadget: str, extension: Extension, layout: VolumeLayout) -> None:
    """Raises: PlanError: a partition that a device would not find, since it looks by name, with all such."""
    problems = [problem for name, held in extension.structures.items() for problem in _hidden_part(name, held, layout)]
    names = {Role.SEED: SEED, Role.DATA: DATA, **({Role.BOOT: BOOT_NAMES[extension.bootloader]}
                                                if extension.bootloader in BOOT_NAMES else {})}
    for role in (Role.BOOT, Role.SEED, Role.DATA):
        structure = layout.holding(role).structure
        if structure.name != names.get(role, structure.name):
            problems.append(f"structure {structure.title!r} has the role {role.value}, and a device finds that by the"
                            f" name {names[role]}")
        found = structure.filesystem or Filesystem.NONE
        if found is not Filesystem.EXT4 if role is Role.DATA else not found.is_vfat:
            problems.append(f"structure {structure.title!r} has the filesystem {found.value}, and a device mounts"
                            f" {'ext4' if role is Role.DATA else 'vfat'} there")
    if len(problems) == 1:
        raise PlanError(f"cannot plan an image of gadget {gadget!r}: {problems[0]}", hint=NAMES_HINT)
    if problems:
        raise PlanError(f"cannot plan an image of gadget {gadget!r}: {len(problems)} things of its structures that no"
                        " device would find", details=tuple(problems), hint=NAMES_HINT)


def _hidden_part(name: str, held: SlotPart, layout: VolumeLayout) -> Iterator[str]:
    is_state = held.part is Part.STATE
    wanted = SLOT_STATE if is_state else f"{held.part.value}-{held.slot}"
    found = next((item.structure for item in layout.placements if item.structure.name == name), None)
    if found is None:
        yield f"structure {name!r} is on another volume than the bootloader"
    elif not found.is_partition:
        yield f"structure {name!r} is outside the partition table, where no device finds it"
    elif name != wanted:
        what = "the slot-state record" if is_state else f"{held.part.value} of slot {held.slot}"
        yield f"structure {name!r} is {what}, and a device finds that by the name {wanted}"


def merged(writes: Iterable[Write]) -> tuple[Write, ...]:
    """The writes, ascending, those within another one's literal merged into it: boot code into the first sector."""
    ordered: list[Write] = []
    for write in sorted(writes, key=lambda item: (item.offset, -item.length)):
        last = ordered[-1] if ordered else None
        if last is not None and write.offset < last.offset + last.length:
            if not (isinstance(last, Literal) and isinstance(write, Literal)
                    and write.offset + write.length <= last.offset + last.length):
                raise PlanError(f"cannot write {write.what} at {write.offset}: {last.what} lies there")
            at = write.offset - last.offset
            content = last.content[:at] + write.content + last.content[at + write.length:]
            ordered[-1] = Literal(offset=last.offset, content=content, what=last.what)
        else:
            ordered.append(write)
    return tuple(ordered)


def as_json(plan: ImagePlan) -> dict[str, Any]:
    """The plan for programs; literal bytes by their digest."""
    model = plan.model
    return {
        "model": {"brand": model.brand_id, "model": model.model, "revision": model.revision, "grade": model.grade,
                  "architecture": model.architecture, "digest": plan.model_digest},
        "timestamp": plan.timestamp.isoformat(),
        "packages": [{
            "name": item.name, "revision": item.number, "type": item.snap.type, "snap-id": item.snap.snap_id,
            "asserted": item.asserted, "extra": item.extra, "sha3-384": item.sha3_384, "size": item.file.size,
            "seed-size": item.file.seed_size, "verity-root": item.verity_root, "file": item.file.path,
        } for item in plan.resolution.packages],
        "validation-sets": [{"account-id": item.value.account_id, "name": item.value.name,
                             "sequence": item.value.sequence, "pinned": item.pinned} for item in plan.resolution.sets],
        "disk": {"size": plan.disk_size, "sector": plan.table.sector, "guid": disk_id(plan.table)},
        "structures": [_structure_json(item) for item in plan.structures],
        "writes": [_write_json(write) for write in plan.writes],
    }


def _structure_json(item: Planned) -> dict[str, Any]:
    structure, entry = item.placement.structure, item.entry
    return {
        "name": structure.name, "start": item.placement.start, "size": item.placement.size,
        "role": structure.role.value if structure.role else None,
        "filesystem": structure.filesystem.value if structure.filesystem else None, "label": structure.label,
        "slot": item.held.slot if item.held else None, "part": item.held.part.value if item.held else None,
        "partition": entry.index if entry else None, "type": entry.type if entry else None,
        "guid": entry.id if entry else None,
        "content": item.content, "used": item.used,
    }


def _write_json(write: Write) -> dict[str, Any]:
    result: dict[str, Any] = {"offset": write.offset, "length": write.length, "what": write.what}
    if isinstance(write, Literal):
        result["sha256"] = hashlib.sha256(write.content).hexdigest()
    elif isinstance(write, PackageWrite):
        result["verity-root"] = write.root_hash
    return result
