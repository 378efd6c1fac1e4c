"""Plan an update of a running device: what the idle slot gets, in which order, and what makes it boot.

Pure: what runs, what the idle slot holds and what was resolved come in; out comes a frozen `UpdatePlan` which the
device carries out step by step (`imagekit.device.install_steps`) and which leaves nothing to decide. A slot is a pair
of base and kernel. Where only one of them changes, the other is kept, if the idle slot holds it already, or else
copied from the running slot. The order is that of docs/reference/updates.md: whatever the power does between two
steps, the loader finds no slot that is half written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from imagekit.assertions import encode_stream
from imagekit.boot.autoboot import Autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, encode_entry, entry_name
from imagekit.boot.gadgetrecord import NO_RECORD, End, GadgetRecord, end_of, ended
from imagekit.boot.pislot import Measure
from imagekit.boot.slotproof import encode_proof
from imagekit.boot.slotstate import TRIES, Slot, SlotState, begin_trial, forget_other, seen_from
from imagekit.boot.uboot import LABEL
from imagekit.digests import derived_uuid
from imagekit.disk.verity import tree_size
from imagekit.errors import PlanError, TargetError
from imagekit.plan.proofs import evidence
from imagekit.plan.resolve import Resolution, ResolvedPackage, model_digest
from imagekit.plan.update_gadget import GADGET, GadgetPlan
from imagekit.units import iec

BASE, KERNEL = "base", "kernel"
PARTS = (BASE, KERNEL)
SYSTEMD_BOOT, U_BOOT, PIBOOT = "systemd-boot", "u-boot", "piboot"
LOADERS = (SYSTEMD_BOOT, U_BOOT, PIBOOT)

_ONCE_MORE = "wait for something newer, or try it once more: --again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A package in a slot: which revision it is, None where no signature says so, and its verity root."""

    name: str
    revision: int | None
    root: str

    @property
    def text(self) -> str:
        return f"{self.name} {'of unknown revision' if self.revision is None else self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningState:
    """The device before an update.

    `held` are the packages of the running slot, by part. `spare_roots` are the roots, by part, that the idle slot's
    partitions were found to hold from their first byte to the last. `rank` is the highest version among the loader
    entries. `capacity` has the bytes of the idle slot's partitions, by part. `boot_files` is for U-Boot: name in a
    slot's FAT image -> path in the kernel package. For the Raspberry Pi's firmware, `own_files` are those of the
    running slot's FAT image that are the gadget's, and `numbers` the partitions of the slots' boot files. `held` may
    have the gadget too, whose root is empty; `gadget_record` is the device's memory of it, which lies on
    `state_partition`. `spent`: the roots of base and kernel that used up the boots of their trial in the idle slot,
    which systemd-boot's entry tells where the device has lost its memory, and under U-Boot the slot and the record.
    `last_resort`: neither slot has become healthy in many boots, although both are good ones.
    """

    loader: str
    slot: Slot
    record: SlotState | None
    held: Mapping[str, Held]
    spare_roots: Mapping[str, str]
    state_partuuid: str
    cmdline: str
    rank: int
    capacity: Mapping[str, int]
    boot_files: Mapping[str, str]
    own_files: Mapping[str, Measure] = field(default_factory=dict)
    numbers: Mapping[Slot, int] = field(default_factory=dict)
    gadget_record: GadgetRecord = NO_RECORD
    state_partition: str = "slot-state"
    spent: tuple[str, str] | None = None
    last_resort: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A pair of packages that was tried and did not become healthy, by name and revision."""

    packages: tuple[tuple[str, int], ...]
    reason: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the device remembers: the highest revision of each package that was ever healthy, and what failed."""

    floors: Mapping[str, int]
    failed: tuple[Failure, ...] = ()


class Source(StrEnum):
    """Where a part of the idle slot comes from."""

    PACKAGE = "package"  # the file that was handed in
    RUNNING = "running"  # the running slot, through its verity device
    KEPT = "kept"  # it is there already


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """One partition of the idle slot. `proof` goes behind the tree; `file` is the offered package's name."""

    part: str
    partition: str
    source: Source
    name: str
    revision: int
    size: int
    tree_size: int
    sha3_384: str
    root: str
    file: str
    proof: bytes

    @property
    def length(self) -> int:
        return self.size + self.tree_size + len(self.proof)


class Step(StrEnum):
    """One thing that is done, complete and on the disk before the next begins."""

    FORGET = "forget"  # the record: no way back to what the idle slot holds
    CLOSE = "close"  # nothing leads the loader into the idle slot any more
    BASE = "base"  # write the partition, read it back
    KERNEL = "kernel"
    BOOT_FILES = "boot-files"  # what the loader itself reads, written and read back
    SETTLE = "settle"  # a gadget that is on trial with a slot that is given up is taken back, or else kept
    SWEEP = "sweep"  # systemd-boot: what earlier cuts left taken on the ESP is freed, as settling a gadget does too
    GADGET = "gadget"  # the gadget's boot files, one at a time, and that they are on trial
    TRIAL = "trial"  # the record: the idle slot gets its tries
    OPEN = "open"  # the commit: the entry appears; the FAT image gets its first block; autoboot.txt names the slot


@dataclass(frozen=True, slots=True, kw_only=True)
class BootVolume:
    """The FAT image that U-Boot or the Pi's firmware reads: the builder's, but for the slot.

    `files`: name in it -> path in the kernel, for U-Boot; the Pi's firmware gets all device trees of the kernel, and
    `own`, the gadget's files: those in the partition `running`, if no new gadget comes that has them.
    """

    partition: str
    size: int
    label: str
    volume_id: int
    time: datetime
    files: tuple[tuple[str, str], ...]
    running: str
    own: tuple[tuple[str, Measure], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePlan:
    """A whole update. `forgotten` and `trial` are the records.

    `entry` is systemd-boot's loader entry; `volume` the slot's FAT image, None under systemd-boot; `autoboot` are the
    contents by which the Pi's firmware boots a slot.
    """

    loader: str
    running: Slot
    slot: Slot
    parts: tuple[PartPlan, ...]
    forgotten: SlotState | None  # None: the record says so already
    trial: SlotState
    entry: tuple[str, bytes] | None
    volume: BootVolume | None
    autoboot: Mapping[Slot, bytes] | None
    state_partuuid: str
    cmdline: str
    steps: tuple[Step, ...]
    gadget: GadgetPlan | None = None
    gadget_record: GadgetRecord = NO_RECORD  # as it is before
    settled: End | None = None  # what becomes of the trial in it
    state_partition: str = "slot-state"

    def part(self, name: str) -> PartPlan:
        return next(item for item in self.parts if item.part == name)

    @property
    def pair(self) -> tuple[tuple[str, int], ...]:
        """Name and revision of both packages that will run together, and of the gadget where that is a new one."""
        pair = tuple((item.name, item.revision) for item in self.parts)
        return pair if self.gadget is None else (*pair, (self.gadget.name, self.gadget.revision))


def plan_update(device: RunningState, resolution: Resolution, past: Past, *, again: bool = False,
                gadget: GadgetPlan | None = None) -> UpdatePlan | None:
    """What brings the resolved base and kernel into the idle slot, and a new gadget with them; None: they run already.

    A gadget comes with a trial of the idle slot, as its way back; so that is filled although base and kernel stay.

    Raises:
        TargetError: the device is in no state to be updated, what came is older than what it may run, or it failed
            before and `again` is not set.
        PlanError: the packages do not fit.
    """
    wanted = {BASE: resolution.of(resolution.model.base_snap), KERNEL: resolution.of(resolution.model.kernel)}
    for part in PARTS:
        _refuse_older(wanted[part], device.held[part], past)
    if GADGET in device.held:
        _refuse_older(resolution.of(resolution.model.gadget), device.held[GADGET], past)
    changed = [part for part in PARTS if wanted[part].verity_root != device.held[part].root]
    if not changed and gadget is None:
        return None
    record = check_ready(device)
    pair = (*((wanted[part].name, wanted[part].number) for part in PARTS),
            *([(gadget.name, gadget.revision)] if gadget is not None else []))
    if not again and (failure := next((item for item in past.failed if item.packages == pair), None)):
        told = " with ".join(f"{name} {number}" for name, number in pair)
        raise TargetError(f"cannot install {told}: it was tried on {failure.time} and failed: {failure.reason}",
                          hint=_ONCE_MORE)
    # Of U-Boot's slot it is a conclusion, which a record that was lost makes wrong: a device with a memory has better.
    certain = device.loader == SYSTEMD_BOOT or not (past.floors or past.failed)
    remembered = any({*pair} <= {*item.packages} for item in past.failed)  # with a gadget that does not come now
    if (not again and gadget is None and not remembered and certain
            and device.spent == tuple(wanted[part].verity_root for part in PARTS)):
        told = " with ".join(f"{name} {number}" for name, number in pair)
        raise TargetError(f"cannot install {told}: slot {device.slot.other.value} holds it, and has used up its boots",
                          hint=_ONCE_MORE)
    parts = tuple(_part(device, resolution, wanted[part], part, changed=part in changed) for part in PARTS)
    forgotten = forget_other(record) if record.other_good or record != device.record else None
    settled = end_of_trial(device)
    if gadget is not None:
        device = replace(device, cmdline=gadget.cmdline)
    return UpdatePlan(
        loader=device.loader, running=device.slot, slot=device.slot.other, parts=parts, forgotten=forgotten,
        trial=begin_trial(forgotten or record, tries=TRIES),
        entry=_entry(device, parts) if device.loader == SYSTEMD_BOOT else None,
        volume=_volume(device, resolution, gadget) if device.loader != SYSTEMD_BOOT else None,
        autoboot=_autoboot(device) if device.loader == PIBOOT else None,
        state_partuuid=device.state_partuuid, cmdline=device.cmdline,
        steps=_steps(device.loader, parts, forget=forgotten is not None, settle=settled is not None,
                     gadget=gadget is not None and not gadget.in_slot),
        gadget=gadget, gadget_record=device.gadget_record, settled=settled, state_partition=device.state_partition)


def end_of_trial(device: RunningState) -> End | None:
    """What becomes of a gadget that is still on trial, now that another update begins; None: none is."""
    trial = device.gadget_record.trial
    if trial is None:
        return None
    return end_of(trial, device.slot, (device.held[BASE].root, device.held[KERNEL].root))


def settled_record(plan: UpdatePlan) -> GadgetRecord:
    """The gadget's record once the trial in it has ended."""
    return plan.gadget_record if plan.settled is None else ended(plan.gadget_record, plan.settled)


def check_loader(loader: str) -> None:
    """Raises: TargetError: slots that this loader boots are not updated yet."""
    if loader not in LOADERS:
        raise TargetError(f"cannot update this device: its loader is {loader}, updates are for {', '.join(LOADERS)}",
                          hint="write its disk anew from an image")


def check_ready(device: RunningState) -> SlotState:
    """The record as it looks from the running slot, of a device whose idle slot may be given up.

    A trial that has not begun yet may be given up too.

    Raises:
        TargetError: the loader is not one that is known, the record is lost, or the idle slot is the only good one.
    """
    record, here, there = device.record, device.slot.value, device.slot.other.value
    check_loader(device.loader)
    if record is None:
        raise TargetError("cannot update this device: its slot-state record is lost",
                          hint="the next boot writes it anew; see imagekit-device status")
    if record.slot is not device.slot and record.confirmed:
        raise TargetError(f"cannot update this device: it goes to slot {there} at the next boot", hint="reboot first")
    seen = seen_from(record, device.slot)
    if seen.other_good and not (seen.confirmed and (seen.unhealthy == 0 or device.last_resort)):
        raise TargetError(f"cannot update this device: slot {here} is not known to be healthy in this boot, and slot"
                          f" {there} is the way back", hint="wait for the health check: imagekit-device status")
    return seen


def _refuse_older(package: ResolvedPackage, held: Held, past: Past) -> None:
    """Raises: TargetError: below the running revision, or below what was once healthy here."""
    if held.revision is not None and package.number < held.revision:
        raise TargetError(f"cannot install {package.name} {package.number}: revision {held.revision} runs",
                          hint="an older one comes back only from the other slot: imagekit-device revert")
    floor = past.floors.get(package.name, 0)
    if package.number < floor and (package.verity_root or "") != held.root:
        raise TargetError(f"cannot install {package.name} {package.number}: revision {floor} has run here, and nothing"
                          " older is taken", hint="publish the content again under a higher revision")


def _part(device: RunningState, resolution: Resolution, package: ResolvedPackage, part: str, *,
          changed: bool) -> PartPlan:
    root = package.verity_root
    if root is None:
        raise PlanError(f"cannot install {package.file_name}: its signed revision has no verity-root",
                        hint=f"sign it again: imagekit sign {package.file_name} -k KEY")
    if package.revision is None or package.declaration is None:
        raise PlanError(f"cannot install {package.file_name}: nobody signed it, and a device takes nothing else")
    kept = device.spare_roots.get(part) == root
    source = Source.KEPT if kept else Source.PACKAGE if changed else Source.RUNNING
    plan = PartPlan(
        part=part, partition=f"{part}-{device.slot.other.value}", source=source, name=package.name,
        revision=package.number, size=package.size, tree_size=tree_size(package.size), sha3_384=package.sha3_384,
        root=root, file=package.file.path if source is Source.PACKAGE else "",
        proof=encode_proof(encode_stream(evidence(resolution, package))))
    if plan.length > device.capacity[part]:
        raise PlanError(f"cannot install {package.file_name}: with its hash tree it has {plan.length} bytes"
                        f" ({iec(plan.length)}), partition {plan.partition} has {device.capacity[part]}"
                        f" ({iec(device.capacity[part])})")
    return plan


def _entry(device: RunningState, parts: Iterable[PartPlan]) -> tuple[str, bytes]:
    roots = {item.part: item.root for item in parts}
    slot = device.slot.other
    return entry_name(slot, tries=TRIES), encode_entry(LoaderEntry(
        slot=slot, version=device.rank + 1, base_root=roots[BASE], kernel_root=roots[KERNEL],
        state_partuuid=device.state_partuuid, cmdline=device.cmdline))


def _volume(device: RunningState, resolution: Resolution, gadget: GadgetPlan | None) -> BootVolume:
    slot, model = device.slot.other, resolution.model
    own = (device.own_files if gadget is None or not gadget.in_slot else
           {asset.path: Measure.of(asset.content) for asset in gadget.assets})
    name = f"boot-{slot.value}"
    return BootVolume(
        partition=name, size=device.capacity["boot"], label=f"{LABEL}{slot.value}", time=model.timestamp,
        volume_id=int.from_bytes(derived_uuid(model_digest(model), "volume-id", name).bytes[:4]),
        files=tuple(sorted(device.boot_files.items())), running=f"boot-{device.slot.value}",
        own=tuple(sorted(own.items())))


def _autoboot(device: RunningState) -> dict[Slot, bytes]:
    return {slot: encode_autoboot(Autoboot(boot=device.numbers[slot], trial=device.numbers[slot.other]))
            for slot in Slot}


def _steps(loader: str, parts: Iterable[PartPlan], *, forget: bool, settle: bool, gadget: bool) -> tuple[Step, ...]:
    written = [Step(item.part) for item in parts if item.source is not Source.KEPT]
    tidy = [Step.SETTLE] if settle else [Step.SWEEP] if loader == SYSTEMD_BOOT else []
    steps = [*([Step.FORGET] if forget else []), Step.CLOSE, *tidy, *written, Step.BOOT_FILES,
             *([Step.GADGET] if gadget else []), Step.TRIAL]
    return (*steps, Step.OPEN)


def as_json(plan: UpdatePlan) -> dict[str, object]:
    """The plan for programs (docs/reference/updates.md)."""
    return {
        "loader": plan.loader, "running": plan.running.value, "slot": plan.slot.value,
        "parts": [{"part": item.part, "partition": item.partition, "source": item.source.value, "name": item.name,
                   "revision": item.revision, "size": item.size, "sha3-384": item.sha3_384, "verity-root": item.root,
                   "file": item.file or None} for item in plan.parts],
        "gadget": None if plan.gadget is None else _gadget_json(plan.gadget),
        "tries": plan.trial.tries, "steps": [step.value for step in plan.steps],
    }


def _gadget_json(gadget: GadgetPlan) -> dict[str, object]:
    return {
        "name": gadget.name, "revision": gadget.revision, "file": gadget.file, "size": gadget.size,
        "sha3-384": gadget.sha3_384, "partition": gadget.partition, "notes": list(gadget.notes),
        "files": [{"path": item.path, "source": item.source or None, "size": len(item.content)}
                  for item in gadget.assets],
    }
