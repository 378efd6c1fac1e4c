"""Carry out an update plan, one step after the other, each on the medium before the next begins.

Decides nothing: what is written, where and in which order is the plan's. Bytes stream through in pieces of 1 MiB; a
package's hash tree is made on the way, and must have the signed root; then the partition is read back and checked
against that root, as the kernel will. What the loader reads itself is compared byte by byte with the package that was
just read back. A step that fails leaves the idle slot closed and the running one as it was; the whole may be begun
again at any time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from imagekit.boot.autoboot import AUTOBOOT_NAME
from imagekit.boot.entries import ENTRY_FOLDER, LoaderEntry, kernel_path
from imagekit.boot.pislot import Measure
from imagekit.boot.slotstate import Slot
from imagekit.boot.systemd_boot import slot_of
from imagekit.device.gadget_steps import put_gadget, settle_gadget, sweep
from imagekit.device.medium import ESP, Medium
from imagekit.digests import CHUNK, chunks
from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_write import FatFile, FatPlan, plan_fat
from imagekit.disk.verity import TreeBuilder, salt_for, uuid_for, verify
from imagekit.errors import DocumentError, PlanError, TargetError, TrustError
from imagekit.packages.erofs import Erofs
from imagekit.plan import piboot, uboot
from imagekit.plan.update import BASE, KERNEL, PIBOOT, SYSTEMD_BOOT, BootVolume, PartPlan, Step, UpdatePlan
from imagekit.plan.writes import PackageMember
from imagekit.units import BLOCK, align_up

KERNEL_IMAGE = "kernel.efi"
FRESH = "new"  # the ending of an entry that is being written: the loader takes `.conf` alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A plan and what it works on. `open_part` gives the bytes of a part's package, `say` takes a line for people."""

    plan: UpdatePlan
    medium: Medium
    open_part: Callable[[PartPlan], AbstractContextManager[BinaryIO]]
    say: Callable[[str], None]
    held_back: dict[str, bytes] = field(default_factory=dict)  # first blocks that are written last, by partition


def execute(job: Job) -> None:
    """Do all steps of the plan; the idle slot is on trial when this returns.

    Raises:
        TargetError: the medium failed.
        TrustError: a package is not what it was when it was checked, or not what was written.
    """
    with ExitStack() as stack:
        if job.plan.loader == SYSTEMD_BOOT:
            stack.enter_context(job.medium.writable_esp())
        for step in job.plan.steps:
            job.say(f"update: {_TOLD[step].format(slot=job.plan.slot.value)}")
            _STEPS[step](job)


def _forget(job: Job) -> None:
    assert job.plan.forgotten is not None
    job.medium.store(job.plan.forgotten)


def _close(job: Job) -> None:
    """Take the idle slot's entries away; or the first block of its FAT image, without which it is none."""
    if job.plan.loader == PIBOOT:
        _name(job, job.plan.running)
    if job.plan.volume is not None:
        job.medium.write(job.plan.volume.partition, 0, bytes(BLOCK))
        job.medium.flush(job.plan.volume.partition)
        return
    gone = [name for name in job.medium.names(ENTRY_FOLDER)
            if slot_of(name) is job.plan.slot or name == _fresh_name(job.plan)]
    for name in gone:
        job.medium.remove(f"{ENTRY_FOLDER}/{name}")
    job.medium.sync_folder(ENTRY_FOLDER)


def _write_part(job: Job, name: str) -> None:
    part = job.plan.part(name)
    builder = TreeBuilder(salt=salt_for(part.sha3_384), uuid=uuid_for(part.sha3_384))
    with job.open_part(part) as stream:
        for offset, chunk in _exactly(stream, part):
            builder.update(chunk)
            job.medium.write(part.partition, offset, chunk)
    made = builder.finish()
    if made.root_hash != part.root:
        raise TrustError(f"cannot install {part.name} {part.revision}: what was written has the verity root"
                         f" {made.root_hash[:12]}, signed is {part.root[:12]}",
                         hint="its bytes changed while they were read: look at the stick, then try again")
    job.medium.write(part.partition, part.size, made.tree + part.proof)
    job.medium.flush(part.partition)
    _check_part(job, part)


def _check_part(job: Job, part: PartPlan) -> None:
    """Raises: TargetError: the medium does not give back what was written."""
    with job.medium.read_back(part.partition) as stream:
        try:
            verify(stream, size=part.size, root_hash=part.root)
            stream.seek(part.size + part.tree_size)
            intact = stream.read(len(part.proof)) == part.proof
        except TrustError as error:
            raise _not_kept(part.partition, error.message) from error
    if not intact:
        raise _not_kept(part.partition, "what lies behind the hash tree differs")


def _not_kept(what: str, why: str) -> TargetError:
    return TargetError(f"cannot install into {what}: it does not give back what was written: {why}",
                       hint="the disk is failing, or somebody writes to it")


def _exactly(stream: BinaryIO, part: PartPlan) -> Iterator[tuple[int, bytes]]:
    """The package in pieces with their offsets. Raises: TargetError: it ends early, as when a stick is pulled out."""
    offset = 0
    while offset < part.size:
        chunk = stream.read(min(CHUNK, part.size - offset))
        if not chunk:
            raise TargetError(f"cannot install {part.name} {part.revision}: it ends after {offset} of {part.size}"
                              " bytes", hint="the running slot is untouched; install again from the whole file")
        yield offset, chunk
        offset += len(chunk)


def _boot_files(job: Job) -> None:
    kernel = job.plan.part(KERNEL)
    with job.medium.read_back(kernel.partition) as stream:
        package = Erofs(stream, name=kernel.partition)
        if job.plan.volume is None:
            _write_image(job, package)
        else:
            _write_volume(job, job.plan.volume, package)


def _write_image(job: Job, package: Erofs) -> None:
    """The kernel image on the ESP. No entry names it now, so it takes its own name at once: nothing is renamed."""
    path = kernel_path(job.plan.slot)
    folder, _, name = path.rpartition("/")
    if name in job.medium.names(folder):
        with suppress(TargetError):  # what cannot be read is written anew
            if _equals_image(job, path, package):
                return
        job.medium.remove(path)  # first: there may be no room for three
        job.medium.sync_folder(folder)
    job.medium.create(path, chunks(package.open(KERNEL_IMAGE)))
    job.medium.sync_file(path)
    job.medium.sync_folder(folder)
    job.medium.sync_folder(folder.rpartition("/")[0])
    if not _equals_image(job, path, package):
        raise _not_kept(path, "it differs from the package's")


def _equals_image(job: Job, path: str, package: Erofs) -> bool:
    with job.medium.open_file(path) as mine:
        theirs = package.open(KERNEL_IMAGE)
        while chunk := theirs.read(CHUNK):
            if mine.read(len(chunk)) != chunk:
                return False
        return not mine.read(1)


def _write_volume(job: Job, volume: BootVolume, package: Erofs) -> None:
    """The slot's FAT image, but for its first block, which tells U-Boot, last of all. The Pi's gets it at once."""
    head = bytearray()
    planned = plan_volume(job.plan, volume, package, _own_files(job, volume))
    for offset, piece in volume_pieces(planned, package):
        taken = max(min(BLOCK - offset, len(piece)), 0)
        head += piece[:taken]
        if len(piece) > taken:
            job.medium.write(volume.partition, offset + taken, piece[taken:])
    job.medium.flush(volume.partition)
    with job.medium.read_back(volume.partition) as stream:
        for offset, piece in volume_pieces(planned, package):
            taken = max(min(BLOCK - offset, len(piece)), 0)
            if stream.read(len(piece))[taken:] != piece[taken:]:
                raise _not_kept(volume.partition, f"the bytes from {offset} differ")
    job.held_back[volume.partition] = bytes(head)
    if job.plan.loader == PIBOOT:
        _open_volume(job, volume)


def _open_volume(job: Job, volume: BootVolume) -> None:
    """The first block, without which the FAT image is none."""
    head = job.held_back[volume.partition]
    job.medium.write(volume.partition, 0, head)
    job.medium.flush(volume.partition)
    with job.medium.read_back(volume.partition) as stream:
        if stream.read(len(head)) != head:
            raise _not_kept(volume.partition, "its first block differs")


def _own_files(job: Job, volume: BootVolume) -> dict[str, bytes]:
    """The gadget's files: the new one's, or out of the running slot.

    Raises:
        TargetError: one is not what that slot measures.
    """
    if job.plan.gadget is not None and job.plan.gadget.in_slot:
        return {asset.path: asset.content for asset in job.plan.gadget.assets}
    if not volume.own:
        return {}
    with job.medium.read_back(volume.running) as stream:
        there = read_fat(stream, name=volume.running)
        found = {name: there.read(name, limit=measure.size) for name, measure in volume.own}
    for name, measure in volume.own:
        if Measure.of(found[name]) != measure:
            raise TargetError(f"cannot install: {name} of {volume.running} is not what it was measured to be",
                              hint="the disk is failing, or somebody writes to it")
    return found


def plan_volume(plan: UpdatePlan, volume: BootVolume, package: Erofs, own: Mapping[str, bytes]) -> FatPlan:
    """The FAT image, as the builder plans it. Raises: PlanError: it does not fit."""
    base_root, kernel_root = plan.part(BASE).root, plan.part(KERNEL).root
    if plan.loader == PIBOOT:
        paths = (entry.path for entry in package.walk() if entry.inode.is_file)
        files = piboot.slot_files(
            LoaderEntry(slot=plan.slot, version=0, base_root=base_root, kernel_root=kernel_root,
                        state_partuuid=plan.state_partuuid, cmdline=plan.cmdline),
            _measured(package, piboot.wanted_files(paths, piboot.ARCHITECTURE)), own, package=plan.part(KERNEL).name)
    else:
        files = uboot.slot_files(
            _measured(package, dict(volume.files)), slot=plan.slot, package=plan.part(KERNEL).name,
            base_root=base_root, kernel_root=kernel_root, state_partuuid=plan.state_partuuid, cmdline=plan.cmdline)
    return plan_fat(volume.size, volume.label, volume.volume_id,
                    [FatFile(path=path, source=source) for path, source in sorted(files.items())], time=volume.time)


def _measured(package: Erofs, wanted: Mapping[str, str]) -> dict[str, uboot.SlotFile]:
    found = {}
    for name, path in wanted.items():
        size = crc = 0
        for chunk in chunks(package.open(path)):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        found[name] = uboot.SlotFile(path=path, size=size, crc32=crc)
    return found


def volume_pieces(plan: FatPlan, package: Erofs) -> Iterator[tuple[int, bytes]]:
    """The image from its first byte to the last that means something, without a gap.

    A FAT plan leaves out what is zero, and a partition that held another image does not read as zeros.
    """
    at = 0
    for offset, source in plan.extents:
        yield from _zeros(at, offset)
        at = offset
        for chunk in [source] if isinstance(source, bytes) else chunks(package.open(cast(PackageMember, source).path)):
            yield at, chunk
            at += len(chunk)
    yield from _zeros(at, plan.geometry.data_start + align_up(at - plan.geometry.data_start, plan.geometry.cluster))


def _zeros(start: int, end: int) -> Iterator[tuple[int, bytes]]:
    while start < end:
        length = min(CHUNK, end - start)
        yield start, bytes(length)
        start += length


def _settle(job: Job) -> None:
    assert job.plan.settled is not None
    settle_gadget(job.plan.gadget_record, job.plan.settled, job.medium, state_partition=job.plan.state_partition)


def _sweep(job: Job) -> None:
    """Free what earlier cuts left taken on the ESP. An update can do without: an ESP in use, or damaged, is left."""
    with ExitStack() as stack:
        try:
            stack.enter_context(job.medium.unmounted(ESP))
            sweep(job.medium, ESP)
        except (TargetError, DocumentError, PlanError) as error:
            job.say(f"update: what is lost on {ESP} stays lost: {error.message}")


def _trial(job: Job) -> None:
    job.medium.store(job.plan.trial)


def _open(job: Job) -> None:
    """The entry appears, whole: written under a name that the loader ignores, read back, renamed.

    The file is flushed before the folder: vfat writes a renamed file's size with the file. The Pi's firmware takes a
    name instead, U-Boot the first block of the slot's FAT image.
    """
    if job.plan.loader == PIBOOT:
        _name(job, job.plan.slot)
        return
    if job.plan.volume is not None:
        _open_volume(job, job.plan.volume)
        return
    assert job.plan.entry is not None
    name, content = job.plan.entry
    fresh, path = f"{ENTRY_FOLDER}/{_fresh_name(job.plan)}", f"{ENTRY_FOLDER}/{name}"
    job.medium.create(fresh, [content])
    job.medium.sync_file(fresh)
    job.medium.sync_folder(ENTRY_FOLDER)
    with job.medium.open_file(fresh) as stream:
        if stream.read() != content:
            raise _not_kept(fresh, "the entry differs")
    job.medium.rename(fresh, path)
    job.medium.sync_file(path)
    job.medium.sync_folder(ENTRY_FOLDER)


def _name(job: Job, slot: Slot) -> None:
    """Let the Pi's firmware boot this slot: one sector, in place. Nothing is written where it does already."""
    assert job.plan.autoboot is not None
    wanted = job.plan.autoboot[slot]

    def there() -> bytes:
        with job.medium.open_file(AUTOBOOT_NAME) as stream:
            return stream.read(len(wanted) + 1)

    if AUTOBOOT_NAME in job.medium.names("") and there() == wanted:
        return
    with job.medium.writable_esp():
        job.medium.overwrite(AUTOBOOT_NAME, wanted)
    if there() != wanted:
        raise _not_kept(AUTOBOOT_NAME, "it differs")


def _fresh_name(plan: UpdatePlan) -> str:
    return f"imagekit-{plan.slot.value}.{FRESH}"


_STEPS: dict[Step, Callable[[Job], None]] = {
    Step.FORGET: _forget, Step.CLOSE: _close, Step.BASE: lambda job: _write_part(job, BASE),
    Step.KERNEL: lambda job: _write_part(job, KERNEL), Step.BOOT_FILES: _boot_files, Step.SETTLE: _settle,
    Step.SWEEP: _sweep, Step.GADGET: lambda job: put_gadget(job.plan, job.medium), Step.TRIAL: _trial,
    Step.OPEN: _open,
}
_TOLD = {
    Step.FORGET: "slot {slot} is no way back any more", Step.CLOSE: "slot {slot} is closed to the loader",
    Step.BASE: "writing the base of slot {slot}", Step.KERNEL: "writing the kernel of slot {slot}",
    Step.BOOT_FILES: "writing the boot files of slot {slot}", Step.TRIAL: "slot {slot} gets its tries",
    Step.SETTLE: "the trial of another gadget ends", Step.SWEEP: "what nothing reaches on the ESP is freed",
    Step.GADGET: "the gadget's boot files, one at a time",
    Step.OPEN: "the loader is told of slot {slot}",
}


def steps_told(steps: Iterable[Step], slot: str) -> tuple[str, ...]:
    """The steps in words."""
    return tuple(_TOLD[step].format(slot=slot) for step in steps)
