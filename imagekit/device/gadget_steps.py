"""Exchange the gadget's boot files on a medium, one at a time; keep what a healthy boot confirmed, take back the rest.

Decides the order, by which a power cut at any moment finds every boot file whole, old or new, and a record that knows
the way back (docs/decisions/0011): new contents and their chains beside the old ones, flushed and read back; the
record with the way back, flushed; each file's directory entry, one sector, flushed and read back. Ending a trial:
taking back turns the entries in the reverse order before the record forgets them, keeping makes the record first; what
nothing reaches any more is freed last. All of it may be begun again at any point.
"""

from __future__ import annotations

from dataclasses import replace

from imagekit.boot.gadgetrecord import (
    GADGET_OFFSETS,
    GADGET_SIZE,
    End,
    GadgetRecord,
    GadgetTrial,
    encode_gadget_record,
    ended,
    following,
    newest_gadget,
)
from imagekit.device.medium import Medium
from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_swap import Switch, plan_swap, plan_sweep, points_alike, sector_with
from imagekit.errors import TargetError
from imagekit.plan.update import BASE, KERNEL, UpdatePlan, settled_record
from imagekit.units import SECTOR


def put_gadget(plan: UpdatePlan, medium: Medium) -> None:
    """Bring the plan's boot files onto the boot partition; they are on trial with the plan's slot from then on.

    Raises:
        TargetError: the medium failed, or what lies on it is not what it was.
        PlanError: there is no room for them beside the old ones.
    """
    gadget = plan.gadget
    assert gadget is not None
    with medium.unmounted(gadget.partition):
        with medium.read_back(gadget.partition) as stream:
            swap = plan_swap(read_fat(stream, name=gadget.partition),
                             {asset.path: asset.content for asset in gadget.assets})
        for offset, content in swap.prepare:
            medium.write(gadget.partition, offset, content)
        medium.flush(gadget.partition)
        for offset, content in swap.prepare:
            _compare(medium, gadget.partition, offset, content)
        trial = GadgetTrial(gadget=gadget.known, slot=plan.slot, base_root=plan.part(BASE).root,
                            kernel_root=plan.part(KERNEL).root, partition=gadget.partition, switches=swap.switches)
        store_gadget(medium, plan.state_partition, following(replace(settled_record(plan), trial=trial)))
        for switch in swap.switches:
            _turn(medium, gadget.partition, switch)


def settle_gadget(record: GadgetRecord, end: End, medium: Medium, *, state_partition: str) -> None:
    """End the trial in the record.

    Raises:
        TargetError: the medium failed, or somebody else has changed an entry; the trial goes on.
    """
    trial = record.trial
    assert trial is not None
    with medium.unmounted(trial.partition):
        if end is End.TAKEN_BACK:
            for switch in reversed(trial.switches):
                _turn(medium, trial.partition, switch.back)
        store_gadget(medium, state_partition, ended(record, end))
        sweep(medium, trial.partition)


def sweep(medium: Medium, partition: str) -> None:
    """Free what nothing on a FAT that is not mounted reaches; no gadget may be on trial there, whose way back that is.

    Raises:
        TargetError: the medium failed.
        DocumentError, PlanError: it is damaged, or no FAT that is written; nothing is done.
    """
    with medium.read_back(partition) as stream:
        freed = plan_sweep(read_fat(stream, name=partition))
    for offset, content in freed:
        medium.write(partition, offset, content)
    if freed:
        medium.flush(partition)


def store_gadget(medium: Medium, partition: str, record: GadgetRecord) -> None:
    """Write the record over the copy that does not count, and wait for the medium. Raises: TargetError."""
    raw = encode_gadget_record(record)
    with medium.read_back(partition) as stream:
        copies = []
        for offset in GADGET_OFFSETS:
            stream.seek(offset)
            copies.append(stream.read(GADGET_SIZE))
    offset = GADGET_OFFSETS[newest_gadget(copies)[1]]
    if len(copies[-1]) < GADGET_SIZE:
        raise TargetError(f"cannot update the gadget: partition {partition} has no room for its record",
                          hint="it needs 1 MiB: write the disk anew from a newer image")
    medium.write(partition, offset, raw)
    medium.flush(partition)
    _compare(medium, partition, offset, raw)


def _turn(medium: Medium, partition: str, switch: Switch) -> None:
    """Point one directory entry elsewhere; nothing is done where it points there already."""
    start = switch.at // SECTOR * SECTOR
    with medium.read_back(partition) as stream:
        stream.seek(start)
        sector = stream.read(SECTOR)
    there = sector[switch.at - start:switch.at - start + len(switch.old)]
    if points_alike(there, switch.new):
        return
    if not points_alike(there, switch.old):
        raise TargetError(f"cannot exchange {switch.path}: its entry on {partition} is neither the old nor the new one",
                          hint="somebody else has written to the boot partition")
    _, changed = sector_with(sector, switch.at, switch.new)
    medium.write(partition, start, changed)
    medium.flush(partition)
    _compare(medium, partition, start, changed)


def _compare(medium: Medium, partition: str, offset: int, content: bytes) -> None:
    with medium.read_back(partition) as stream:
        stream.seek(offset)
        if stream.read(len(content)) != content:
            raise TargetError(f"cannot install into {partition}: it does not give back what was written at {offset}",
                              hint="the disk is failing, or somebody writes to it")
