"""Look into an image, from its bytes alone: read everything, judge everything, change nothing.

Decides the order of reading; what it finds is `imagekit.plan.inspection`'s values, how grave it is
`imagekit.plan.verdicts`'. Only an image whose partitions cannot be found at all is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from imagekit.assertions import Assertion
from imagekit.boot.next_boot import NextBoot, plan_next_boot, plan_next_piboot, plan_next_uboot, read_copies
from imagekit.boot.picard import read_card
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.build.inspect_beside import look_beside
from imagekit.build.inspect_boot import (
    entry_of,
    look_at_esp,
    look_at_kernels,
    look_at_part,
    read_record,
)
from imagekit.build.inspect_piboot import boots_by_piboot, look_at_piboot, look_at_piboot_kernels
from imagekit.build.inspect_seed import look_at_seed
from imagekit.build.inspect_uboot import boots_by_uboot, look_at_slot_kernels, look_at_uboot
from imagekit.disk.ext4 import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, decode_condition
from imagekit.disk.probe import SLOT_STATE, Content, DiskImage, probe
from imagekit.errors import DocumentError
from imagekit.host.ports import Progress
from imagekit.plan.inspection import PARTS, DataFound, EspFound, Inspection, Verdict
from imagekit.plan.verdicts import (
    judge_beside,
    judge_boot,
    judge_data,
    judge_hybrid,
    judge_kernel,
    judge_next,
    judge_part,
    judge_record,
    judge_seed,
    judge_table,
)

DATA = "data"


def inspect_image(path: Path, stream: BinaryIO, *, trusted: Iterable[Assertion], now: datetime,
                  progress: Progress, quick: bool = False, known: bool = False,
                  block_map: Path | None = None) -> Inspection:
    """Everything there is to tell of an image. `quick`: what takes reading all of it is left out. `known`: these
    bytes were found good once: what follows from them alone is left out too, and who signed them until when is not.
    `block_map`: its block map, where that is not named after `path`.

    Raises:
        DocumentError: it is no image of ours, both copies of its table are damaged, or partitions are cut off.
        TrustError: what the user trusts is itself wrong.
    """
    image = probe(stream, name=str(path))
    quick |= known
    told = None if quick else progress
    esp = look_at_boot(stream, image)
    raw = read_record(stream, image)
    copies, record = read_copies(raw) if raw is not None else ((), None)
    seed = look_at_seed(stream, image, trusted=trusted, now=now, progress=told)
    architecture = seed.model.architecture if seed.model else None
    parts = tuple(look_at_part(stream, image, slot, part, entry=entry_of(esp, slot), architecture=architecture,
                               progress=told, programs=not known) for slot in Slot for part in PARTS)
    look_at_kernels_of = (look_at_piboot_kernels if esp.piboot else look_at_slot_kernels if esp.uboot else
                          look_at_kernels)
    found = Inspection(
        path=str(path), image=image, esp=esp, copies=copies, record=record, parts=parts, seed=seed, quick=quick,
        next_boot=look_ahead(stream, esp, raw or (b"", b""), record),
        kernels=() if known else look_at_kernels_of(stream, image, esp, parts),
        data=look_at_data(stream, image),
        beside=look_beside(path, stream, image, seed, progress=told, block_map=block_map), verdicts=())
    return replace(found, verdicts=tuple(judge_all(found)))


def look_at_boot(stream: BinaryIO, image: DiskImage) -> EspFound:
    """What starts the image, by whoever starts it."""
    if not boots_by_uboot(image):
        return look_at_esp(stream, image)
    return (look_at_piboot if boots_by_piboot(stream, image) else look_at_uboot)(stream, image)


def look_ahead(stream: BinaryIO, esp: EspFound, copies: tuple[bytes, bytes], record: SlotState | None) -> NextBoot:
    """What the next boot does."""
    if esp.piboot:
        return plan_next_piboot(read_card(stream), record)
    return plan_next_uboot(copies, esp.sound) if esp.uboot else plan_next_boot(esp.raw_entries, esp.programs, record)


def judge_all(found: Inspection) -> Iterator[Verdict]:
    """Every verdict, in the order of the report."""
    model, state = found.seed.model, found.image.find(SLOT_STATE)
    yield from judge_table(found.image)
    yield from judge_hybrid(found.image, found.esp)
    yield from judge_seed(found.seed)
    yield from judge_boot(found.esp, model, str(state.partition.unique_guid) if state else None)
    yield from judge_record(found.copies, found.record)
    for item in found.parts:
        entry = entry_of(found.esp, item.slot)
        root = None if entry is None else entry.base_root if item.part == "base" else entry.kernel_root
        yield from judge_part(item, root, found.seed.known, model)
    for kernel in found.kernels:
        yield from judge_kernel(kernel, model)
    yield from judge_next(found.next_boot, found.parts, found.record, found.esp)
    yield from judge_data(found.data)
    for beside in found.beside:
        yield from judge_beside(beside)


def look_at_data(stream: BinaryIO, image: DiskImage) -> DataFound:
    """How the data partition was left."""
    found = image.find(DATA)
    if found is None:
        return DataFound(content=None, room=0, condition=None, problem="there is no data partition")
    condition, problem = None, ""
    if found.content is Content.EXT4:
        stream.seek(found.partition.start + SUPERBLOCK_OFFSET)
        try:
            condition = decode_condition(stream.read(SUPERBLOCK_SIZE))
        except DocumentError as error:
            problem = error.message
    return DataFound(content=found.content, room=found.partition.size, condition=condition, problem=problem)
