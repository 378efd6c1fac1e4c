"""What `imagekit inspect` tells of an image: a bar of the disk, its partitions, a line for each verdict."""

from __future__ import annotations

import sys
from typing import Any

from imagekit.assertions.fields import format_time
from imagekit.assertions.wire import printable
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.cli.disk_bar import BarPart, draw_parts
from imagekit.cli.output import colors_wanted, console, drawn, table, talk_of, write
from imagekit.disk import gpt
from imagekit.disk.probe import Content, DiskPartition
from imagekit.errors import DocumentError, ImagekitError, TrustError
from imagekit.plan.inspection import (
    PARTS,
    BesideFound,
    EspFound,
    Inspection,
    KernelFound,
    Level,
    PartFound,
    SeedFound,
    Verdict,
)
from imagekit.units import iec

MARKS = {Level.GOOD: "ok", Level.NOTE: "note", Level.WRONG: "WRONG", Level.REFUSED: "REFUSED"}
COLORS = {Level.GOOD: "green", Level.NOTE: "yellow", Level.WRONG: "bold red", Level.REFUSED: "bold red"}
STYLES = {"esp": "boot", "slot-state": "state", "seed": "seed", "data": "data"}
TAKE = "do not flash it: build or fetch the image again"


def error_of(found: Inspection) -> ImagekitError | None:
    """What is wrong with the image as one error; None: nothing is."""
    bad = [item for item in found.verdicts if item.level in (Level.WRONG, Level.REFUSED)]
    if not bad:
        return None
    kind = TrustError if found.worst is Level.REFUSED else DocumentError
    if found.seed.model_state == "authority unproven":
        hint = "name the folder with the brand's root of trust: --trust DIR"
    else:
        hint = TAKE
    if len(bad) == 1:
        return kind(f"cannot use {found.path}: {_line(bad[0])}", hint=hint)
    return kind(f"cannot use {found.path}: {len(bad)} problems", details=tuple(_line(item) for item in bad), hint=hint)


def _line(verdict: Verdict) -> str:
    return printable(f"{verdict.about}: {verdict.text}")


def show_image(found: Inspection) -> None:
    """The whole report."""
    image = found.image
    write(f"image:         {found.path}: {iec(image.size)}, {len(image.partitions)} partitions")
    if found.seed.model is not None:
        model = found.seed.model
        write(f"model:         {model.brand_id}/{model.model} revision {model.revision}, {model.architecture}, grade"
              f" {model.grade.value}, {format_time(model.timestamp)}: {found.seed.model_state}")
    for item in found.esp.loaders:
        if item.loader is not None:
            write(f"boot loader:   {item.loader.name} {item.loader.version}".rstrip())
    for slot in Slot:
        write(f"slot {slot.value}:        {_slot_text(found, slot)}")
    boots = found.next_boot
    write(f"boots next:    {f'slot {boots.slot.value}' if boots.slot else 'nothing'}")
    for reason in boots.reasons:
        write(f"               {printable(reason)}")
    write("")
    draw_parts([_bar(item) for item in image.partitions])
    table(("#", "name", "offset", "size", "content", "label"), [
        (item.partition.index, printable(item.name), iec(item.partition.start), iec(item.partition.size),
         item.content.value, printable(item.label)) for item in image.partitions], right=("#", "offset", "size"))
    write("")
    _show_verdicts(found.verdicts)


def _slot_text(found: Inspection, slot: Slot) -> str:
    held = []
    for part in PARTS:
        item = found.part(slot, part)
        named = found.named(item)
        held.append(f"{named.name} revision {named.revision}" if named else "an unknown package" if item.size
                    else "" if item.content in (Content.EMPTY, None) else "something that is no package")
    if not any(held):
        return "empty"
    versions = [item.version for item in found.kernels if item.slot is slot and item.version]
    entries = [item.file_name for item in found.esp.entries if item.slot is slot]
    return ", ".join([*(text or "nothing" for text in held), *(f"Linux {version}" for version in versions),
                      *(entries or ["no loader entry"])])


def _bar(item: DiskPartition) -> BarPart:
    name = item.name
    style = STYLES.get(name, name[-1] if name[:-1] in ("base-", "kernel-", "boot-") else "")
    used = 0 if item.content is Content.EMPTY else item.package_size or None
    return BarPart(number=item.partition.index, title=printable(name), size=item.partition.size, used=used, style=style)


def _show_verdicts(verdicts: tuple[Verdict, ...]) -> None:
    """A line for each, aligned; coloured where there are colours."""
    rows = [(MARKS[item.level], printable(item.about), printable(item.text)) for item in verdicts]
    width = max(len(row[1]) for row in rows)
    if not (drawn(sys.stdout) and colors_wanted(sys.stdout, talk=talk_of())):
        for mark, about, text in rows:
            write(f"{mark:8} {about:{width}}  {text}".rstrip())
        return
    from rich.text import Text

    screen = console()
    for verdict, (mark, about, text) in zip(verdicts, rows, strict=True):
        line = Text().append(f"{mark:8} ", style=COLORS[verdict.level]).append(f"{about:{width}}  ", style="bold")
        screen.print(line.append(text), soft_wrap=True)


def image_json(found: Inspection) -> dict[str, Any]:
    """One image (docs/reference/inspect.md)."""
    image = found.image
    return {
        "file": found.path, "kind": "image", "size": image.size, "quick": found.quick, "worst": found.worst,
        "disk_guid": image.table.disk_guid, "problems": list(image.problems),
        "gpt": {copy: image.table.problem_of(copy) for copy in gpt.COPIES},
        "hybrid_mbr": [{"index": item.index, "type": f"{item.type:02X}", "start": item.start, "size": item.size}
                       for item in image.table.hybrid],
        "partitions": [{
            "index": item.partition.index, "name": item.name, "type": item.partition.type_guid,
            "guid": item.partition.unique_guid, "start": item.partition.start, "size": item.partition.size,
            "content": item.content, "label": item.label or None, "package_size": item.package_size or None,
            "problem": item.problem or None} for item in image.partitions],
        **_boot_json(found.esp),
        "slot_state": {"record": _record_json(found.record), "copies": [
            {"offset": copy.offset, "record": _record_json(copy.record), "empty": copy.empty,
             "problem": copy.problem or None} for copy in found.copies]},
        "next_boot": {"entry": found.next_boot.entry, "slot": found.next_boot.slot,
                      "hand_over": found.next_boot.hand_over, "reasons": list(found.next_boot.reasons)},
        "slots": {slot.value: {part: _part_json(found, found.part(slot, part)) for part in PARTS}
                  | {"image": next((_kernel_json(item) for item in found.kernels if item.slot is slot), None)}
                  for slot in Slot},
        **_seed_json(found.seed),
        "data": None if found.data.condition is None else found.data.condition,
        "beside": [_beside_json(item) for item in found.beside],
        "verdicts": [{"check": item.check, "about": item.about, "level": item.level, "text": item.text}
                     for item in found.verdicts],
    }


def _record_json(record: SlotState | None) -> dict[str, Any] | None:
    return None if record is None else {
        "generation": record.generation, "slot": record.slot, "tries": record.tries, "confirmed": record.confirmed,
        "unhealthy": record.unhealthy, "other_good": record.other_good}


def _boot_json(esp: EspFound) -> dict[str, Any]:
    return {
        "loaders": [{"path": item.path, "name": item.loader.name if item.loader else None,
                     "version": item.loader.version if item.loader else None, "architecture": item.architecture,
                     "problem": item.problem or None}
                    for item in esp.loaders],
        "entries": [{"file": item.file_name, "slot": item.slot, "tries": item.tries, "problem": item.problem or None,
                     "version": item.entry.version if item.entry else None,
                     "base_root": item.entry.base_root if item.entry else None,
                     "kernel_root": item.entry.kernel_root if item.entry else None,
                     "cmdline": item.entry.cmdline if item.entry else None} for item in esp.entries]}


def _part_json(found: Inspection, item: PartFound) -> dict[str, Any]:
    named = found.named(item)
    return {"partition": item.partition, "name": named.name if named else None,
            "revision": named.revision if named else None, "signed": named.asserted if named else None,
            "believed": named.believed if named else None, "size": item.size or None, "root": item.root,
            "held_to": item.against, "tree": item.tree, "broken": item.broken or None,
            "programs": dict(item.programs.counts) if item.programs else None, "problem": item.problem or None}


def _kernel_json(item: KernelFound) -> dict[str, Any]:
    return {"path": item.path, "architecture": item.architecture, "version": item.version,
            "as_in_package": item.equal, "problem": item.problem or None}


def _seed_json(seed: SeedFound) -> dict[str, Any]:
    model = seed.model
    return {
        "model": None if model is None else {
            "brand": model.brand_id, "model": model.model, "revision": model.revision, "grade": model.grade,
            "architecture": model.architecture, "timestamp": format_time(model.timestamp),
            "state": seed.model_state, "cause": seed.model_cause},
        "signatures": [{"state": item.state, "cause": item.cause, "subjects": list(item.subjects)}
                       for item in seed.signatures],
        "packages": [{"name": item.name, "revision": item.revision, "path": item.path, "stated": item.stated,
                      "believed": item.believed, "sha3_384": item.digest, "problem": item.problem or None}
                     for item in seed.files],
        "validation_sets": list(seed.sets.names)}


def _beside_json(item: BesideFound) -> dict[str, Any]:
    return {"file": item.file, "what": item.what, "checked": item.checked, "differences": list(item.differences)}
