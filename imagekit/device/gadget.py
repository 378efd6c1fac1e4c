"""Which gadget this device has, what a new one brings, and what a healthy boot makes of one on trial.

The record on the slot-state partition says which revision is installed, if it is proved; else the seed's is. Where the
gadget's files lie in the slots, each slot says which one it has. Its gadget.yaml, which a new one is compared with,
comes from the same place. A gadget that was offered is read whole into memory and checked there, so that what was
checked is what is written.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from imagekit.assertions import Assertion, decode_stream, parse_snap_revision
from imagekit.boot import pislot
from imagekit.boot.gadgetrecord import NO_RECORD, End, GadgetRecord, KnownGadget, end_of
from imagekit.device.anchors import Anchors
from imagekit.device.gadget_steps import settle_gadget
from imagekit.device.machine import Machine
from imagekit.device.medium import DiskMedium
from imagekit.device.offers import Offer
from imagekit.device.partitions import Partition, find_partitions, partition
from imagekit.device.report import PIBOOT, BootReport
from imagekit.device.state import StatePartition, load_gadget_record
from imagekit.digests import b64url, short
from imagekit.disk.fat_read import read_fat
from imagekit.errors import DocumentError, ImagekitError, PlanError, TargetError, TrustError
from imagekit.gadget import GADGET_MOST, GADGET_YAML, Gadget, parse_gadget_yaml
from imagekit.packages.erofs import Erofs
from imagekit.packages.forward import rewound, unpacked
from imagekit.packages.snapyaml import read_snap_yaml
from imagekit.plan.identity import check_identity
from imagekit.plan.resolve import Resolution, ResolvedPackage
from imagekit.plan.seed_read import SEED, read_system
from imagekit.plan.update_gadget import NewGadget, gadget_inside
from imagekit.units import MIB, iec

SNAP_YAML = "meta/snap.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGadget:
    """The gadget of this device. `known` None: the factory's, revision `revision` in the seed."""

    name: str
    revision: int | None
    record: GadgetRecord
    known: KnownGadget | None


def gadget_record(report: BootReport) -> GadgetRecord:
    """The record of the gadget; made of what the running slot says, where that has the gadget's files."""
    if report.loader != PIBOOT:
        return load_gadget_record(report.state_device)
    return replace(NO_RECORD, installed=_in_slot(report))


def _in_slot(report: BootReport) -> KnownGadget | None:
    """What the running slot says that it has; None: the factory's."""
    with suppress(OSError, DocumentError):
        if report.boot_device is not None:
            with report.boot_device.open("rb") as stream:
                volume = read_fat(stream, name=f"boot-{report.slot.value}")
                document = volume.read(pislot.GADGET_NAME, limit=MIB)
                proof = volume.read(pislot.GADGET_PROOF, limit=MIB)
            for item in decode_stream(proof, name=pislot.GADGET_PROOF):
                if item.type == "snap-revision":
                    return KnownGadget(revision=parse_snap_revision(item).snap_revision, document=document, proof=proof)
    return None


def proofs_of(record: GadgetRecord) -> tuple[Assertion, ...]:
    """The assertions that came with the gadgets in the record; nothing is believed."""
    found: list[Assertion] = []
    for known in (record.installed, record.trial.gadget if record.trial else None):
        with suppress(DocumentError):
            found += decode_stream(known.proof, name="the gadget's record") if known else ()
    return tuple(found)


def held_gadget(anchors: Anchors, record: GadgetRecord, report: BootReport) -> HeldGadget:
    """What the device has, once a trial has ended as things are now; the record's where its revision is proved."""
    name = anchors.model.gadget.name
    known, trial = record.installed, record.trial
    if trial is not None and end_of(trial, report.slot, (report.base_root, report.kernel_root)) is End.KEPT:
        known = trial.gadget
    if known is not None and not any(item.snap_revision == known.revision and anchors.believed(item, now=item.timestamp)
                                     for item in anchors.revisions(name)):
        known = None
    seeded = max((number for package, number in anchors.packages if package == name), default=None)
    return HeldGadget(name=name, revision=known.revision if known else seeded, record=record, known=known)


def installed_document(held: HeldGadget, seed: Partition) -> Gadget:
    """The gadget.yaml of what the device has. Raises: TargetError: it is lost. DocumentError: it is damaged."""
    raw = held.known.document if held.known is not None else _seeded(held, seed)
    return parse_gadget_yaml(raw, name=f"{held.name} {held.revision}: {GADGET_YAML}")


def _seeded(held: HeldGadget, seed: Partition) -> bytes:
    try:
        with seed.device.open("rb") as stream:
            volume = read_fat(stream, name=SEED)
            for item in read_system(volume, name=SEED).packages():
                if (item.name, item.revision) == (held.name, held.revision):
                    with volume.open(item.path) as packed:
                        whole = rewound(lambda: unpacked(packed), most=GADGET_MOST) if item.compressed else packed
                        return Erofs(whole, name=item.path).read(GADGET_YAML, limit=MIB)
    except OSError as error:
        raise TargetError(f"cannot read {seed.device}: {error.strerror}") from error
    raise TargetError(f"cannot update the gadget: the seed has no {held.name} {held.revision}, so nothing says what"
                      " this device was made with")


def read_offered(offer: Offer, resolution: Resolution) -> NewGadget:
    """Read an offered gadget from its first byte to its last.

    Raises:
        TrustError, DocumentError: other bytes than those that were signed.
        PlanError: they are another package than it should be, or no gadget that can be used.
    """
    package = resolution.of(resolution.model.gadget)
    if package.size > GADGET_MOST:
        raise PlanError(f"cannot install {offer.file}: a gadget of {iec(package.size)}, a device takes at most"
                        f" {iec(GADGET_MOST)}")
    with offer.open(most=package.size + 1) as stream:
        stream.seek(0)
        raw = stream.read(package.size + 1)
    found = b64url(hashlib.sha3_384(raw).digest())
    if len(raw) != package.size or found != package.sha3_384:
        raise TrustError(f"cannot install {offer.file}: its SHA3-384 is {short(found)}, signed as revision"
                         f" {package.number} is {short(package.sha3_384)}",
                         hint="the file was cut short or changed after it was signed: copy it again")
    try:
        return _inside(raw, offer.file, package, resolution)
    except DocumentError as error:
        raise PlanError(error.message, hint=error.hint, details=error.details) from error


def _inside(raw: bytes, file: str, package: ResolvedPackage, resolution: Resolution) -> NewGadget:
    tree = Erofs(io.BytesIO(raw), name=file)
    info = read_snap_yaml(tree.read(SNAP_YAML, limit=MIB), name=f"{file} {SNAP_YAML}")
    check_identity(package, info, resolution.model)
    gadget, files = gadget_inside(tree, name=file)
    return NewGadget(package=package, gadget=gadget, files=files)


def settle(machine: Machine, report: BootReport, say: Callable[[str], None]) -> None:
    """This boot is healthy and confirmed: end the trial that is in the record. What fails is told, and waits."""
    try:
        record = load_gadget_record(report.state_device)
        assert record.trial is not None
        end = end_of(record.trial, report.slot, (report.base_root, report.kernel_root))
        partitions = find_partitions(machine, report.disk)
        partition(partitions, record.trial.partition)  # which a damaged table may have lost
        with open_medium(machine, report, partitions) as medium:
            settle_gadget(record, end, medium, state_partition=state_name(report, partitions))
        say(f"update: gadget revision {record.trial.gadget.revision} is {end.value}")
    except ImagekitError as error:
        say(f"update: {error.message}: the gadget stays on trial")


def open_medium(machine: Machine, report: BootReport, partitions: dict[str, Partition]) -> DiskMedium:
    """The device's disk, for an update."""
    return DiskMedium(partitions={name: item.device for name, item in partitions.items()}, esp=machine.esp,
                      record=StatePartition(device=report.state_device), programs=machine.programs)


def state_name(report: BootReport, partitions: dict[str, Partition]) -> str:
    """What the slot-state partition is called. Raises: TargetError: it is not on this disk."""
    for name, item in partitions.items():
        if item.device == report.state_device:
            return name
    return partition(partitions, "slot-state").name
