"""Look at this device before an update: what runs in which slot, what the other slot holds, how the loader is told.

Answers with a `RunningState`, from which `imagekit.plan.update` plans. Roots are those that the running kernel was
given; which revision has such a root is said by signatures, in the slot itself or in the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from imagekit.assertions import Assertion, decode_stream
from imagekit.boot import pislot
from imagekit.boot.entries import ENTRY_FOLDER, VERSION_MAX, parse_entry
from imagekit.boot.piboot import CMDLINE_NAME
from imagekit.boot.slotproof import PROOF_MOST, decode_proof
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.boot.systemd_boot import parse_name, slot_of
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, LOADER_WORD, decode_env, env_roots
from imagekit.device.anchors import Anchors
from imagekit.device.autoboot import slot_numbers
from imagekit.device.esp import entry_bytes, read_entries
from imagekit.device.machine import Machine
from imagekit.device.partitions import Partition, partition
from imagekit.device.report import PIBOOT, SYSTEMD_BOOT, U_BOOT, BootReport
from imagekit.device.state import StatePartition
from imagekit.disk.fat_read import read_fat
from imagekit.disk.verity import read_root, tree_size, verify
from imagekit.errors import DocumentError, ImagekitError, TargetError
from imagekit.packages.erofs import Erofs
from imagekit.plan.update import BASE, PARTS, Held, RunningState, check_loader

_KERNEL_MOST = 1 << 28


def slot_proof(device: Partition) -> tuple[Assertion, ...]:
    """The assertions behind the package in a slot's partition; none where there are none. Nothing is believed."""
    with suppress(OSError, DocumentError), device.device.open("rb") as stream:
        size = Erofs(stream, name=device.name).size
        stream.seek(size + tree_size(size))
        return decode_stream(decode_proof(stream.read(PROOF_MOST)), name=device.name)
    return ()


def claimed_root(device: Partition) -> tuple[int, str] | None:
    """Size and verity root of what a partition says it holds; None where it holds no package with a tree."""
    with suppress(OSError, ImagekitError), device.device.open("rb") as stream:
        size = Erofs(stream, name=device.name).size
        return size, read_root(stream, size=size)
    return None


def holds(device: Partition, root: str) -> bool:
    """Whether all of a partition is the package with this root, read from the first byte to the last."""
    claimed = claimed_root(device)
    if claimed is None or claimed[1] != root:
        return False
    with suppress(OSError, ImagekitError), device.device.open("rb") as stream:
        verify(stream, size=claimed[0], root_hash=root)
        return True
    return False


def name_of(anchors: Anchors, part: str) -> str:
    """What the model calls the package of a slot's part."""
    return (anchors.model.base_snap if part == BASE else anchors.model.kernel).name


def held(anchors: Anchors, part: str, root: str, *, now: datetime) -> Held:
    """The package with that root, if a believed revision, or the measured one of a seed, has it."""
    name = name_of(anchors, part)
    found = anchors.with_root(name, root, now=now)
    if found is not None:
        return Held(name=name, revision=found.snap_revision, root=root)
    loose = next((number for (package, number), file in anchors.packages.items()
                  if package == name and file.measured is not None and file.measured.verity_root == root), None)
    return Held(name=name, revision=loose, root=root)


def survey(machine: Machine, report: BootReport, partitions: dict[str, Partition], running: Mapping[str, Held], *,
           named_tree: Callable[[], str | None]) -> RunningState:
    """The state of the device, but for what the idle slot holds.

    `named_tree` is asked for the device tree that the gadget names, below `dtbs`, where content does not tell.

    Raises:
        TargetError: how the running slot was booted cannot be read, or no update is made for its loader.
    """
    check_loader(report.loader)
    spare = report.slot.other.value
    files: dict[str, str] = {}
    own: dict[str, pislot.Measure] = {}
    names: tuple[str, ...] = PARTS if report.loader == SYSTEMD_BOOT else (*PARTS, "boot")
    state = StatePartition(device=report.state_device)
    record = state.load()
    rank, spent = 0, None
    if report.loader == U_BOOT:
        state_partuuid, cmdline, files = _from_volume(machine, report, named_tree)
        spent = _spent_volume(partition(partitions, f"boot-{spare}"), report.slot, record)
    elif report.loader == PIBOOT:
        state_partuuid, cmdline, own = _from_pi_volume(report)
    else:
        entries = read_entries(machine.esp).values()
        entry = next((item for item in entries if item.slot is report.slot and item.base_root == report.base_root
                      and item.kernel_root == report.kernel_root), None)
        if entry is None:
            raise TargetError(f"cannot update this device: {machine.esp / ENTRY_FOLDER} has no entry of slot"
                              f" {report.slot.value} with the roots that run", hint="is the ESP mounted?")
        state_partuuid, cmdline, rank = entry.state_partuuid, entry.cmdline, max(item.version for item in entries)
        if rank == VERSION_MAX:
            raise TargetError(f"cannot update this device: an entry of its loader has version {rank}, and none can be"
                              " above it", hint="reboot: the next healthy boot ranks them from 1 on")
        spent = _spent(machine.esp, report.slot.other)
    return RunningState(
        loader=report.loader, slot=report.slot, record=record, held=running, spare_roots={},
        state_partuuid=state_partuuid, cmdline=cmdline, rank=rank, boot_files=files, own_files=own, spent=spent,
        last_resort=state.is_last_resort(report.slot),
        numbers=slot_numbers(disk=report.disk, sys=machine.sys) if report.loader == PIBOOT else {},
        capacity={name: partition(partitions, f"{name}-{spare}").size for name in names})


def _spent(esp: Path, slot: Slot) -> tuple[str, str] | None:
    """The roots of base and kernel that used up all boots of their trial in this slot, if any did."""
    with suppress(OSError, DocumentError):
        for path in sorted((esp / ENTRY_FOLDER).iterdir()):
            if slot_of(path.name) is slot and parse_name(path.name).left == 0:
                entry = parse_entry(entry_bytes(path), name=path.name)
                return entry.base_root, entry.kernel_root
    return None


def _spent_volume(volume: Partition, running: Slot, record: SlotState | None) -> tuple[str, str] | None:
    """The same under U-Boot. A FAT image that can be read was opened to it, and the record says that it began a trial:
    where that names the running slot, and the other one was never good, the trial is over.
    """
    if record is None or record.slot is not running or record.other_good:
        return None
    with suppress(OSError, ImagekitError), volume.device.open("rb") as stream:
        return env_roots({ENV_NAME: read_fat(stream, name=volume.name).read(ENV_NAME)})
    return None


def _from_volume(machine: Machine, report: BootReport, named_tree: Callable[[], str | None]
                 ) -> tuple[str, str, dict[str, str]]:
    """Out of the running slot's FAT image: state partition, command line, and where its files lie in a kernel."""
    if report.boot_device is None:
        raise TargetError(f"cannot update this device: it has no partition boot-{report.slot.value}")
    try:
        with report.boot_device.open("rb") as stream:
            volume = read_fat(stream, name=f"boot-{report.slot.value}")
            files = {entry.path: entry.path for entry in volume.walk() if not entry.is_dir and entry.path != ENV_NAME}
            if DEVICE_TREE in files:
                files[DEVICE_TREE] = _tree_path(machine.package, volume.read(DEVICE_TREE, limit=_KERNEL_MOST),
                                                named_tree)
            words = decode_env(volume.read(ENV_NAME), name=ENV_NAME)["bootargs"].split()
    except (OSError, DocumentError, KeyError) as error:
        raise TargetError(f"cannot update this device: boot-{report.slot.value} does not say how it was booted:"
                          f" {error}") from error
    own = dict(word.split("=", 1) for word in words if word.startswith("imagekit."))
    rest = " ".join(word for word in words if not word.startswith("imagekit."))
    if LOADER_WORD not in words or "imagekit.state" not in own:
        raise TargetError(f"cannot update this device: {ENV_NAME} of boot-{report.slot.value} is not one of ours")
    return own["imagekit.state"], rest, files


def _from_pi_volume(report: BootReport) -> tuple[str, str, dict[str, pislot.Measure]]:
    """Out of the running slot's FAT image: state partition, command line, and which of its files are the gadget's."""
    name = f"boot-{report.slot.value}"
    if report.boot_device is None:
        raise TargetError(f"cannot update this device: it has no partition {name}")
    try:
        with report.boot_device.open("rb") as stream:
            volume = read_fat(stream, name=name)
            _, measures = pislot.decode_sums(volume.read(pislot.SUMS_NAME), name=pislot.SUMS_NAME)
            entry = pislot.parse_cmdline(volume.read(CMDLINE_NAME), name=CMDLINE_NAME)
    except (OSError, DocumentError) as error:
        raise TargetError(f"cannot update this device: {name} does not say how it was booted: {error}") from error
    return entry.state_partuuid, entry.cmdline, {
        file: found for file, found in measures.items() if file != CMDLINE_NAME and not pislot.is_of_kernel(file)}


def _tree_path(package: Path, content: bytes, named_tree: Callable[[], str | None]) -> str:
    """The device tree in the running kernel's package that this is; of equal ones the gadget's, as the next may differ.

    Raises:
        TargetError: there is none.
    """
    trees = package / "dtbs"
    found = {str(path.relative_to(trees)) for path in trees.rglob("*.dtb") if path.read_bytes() == content}
    if len(found) > 1:
        found &= {named_tree()}
    if not found:
        raise TargetError("cannot update this device: its kernel package has no device tree that is the one that it was"
                          " booted with, and the one that its gadget names")
    return f"dtbs/{found.pop()}"
