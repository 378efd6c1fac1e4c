"""Go back to the other slot by hand, where it has once been healthy.

The same two writes as the initrd's hand-over, in the same order: the other entry's `version` rises above all, or
autoboot.txt names the other slot, one sector in place; then the record does. Under U-Boot the record is all. What ran
is remembered like a failure, so that no stick brings it back by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from imagekit.boot.entries import ENTRY_FOLDER, entry_name, kernel_path
from imagekit.boot.slotstate import Slot, hand_over, seen_from
from imagekit.device.autoboot import prefer
from imagekit.device.esp import rank, read_entries
from imagekit.device.history import Change, Failed, Packages, alone, edit_history
from imagekit.device.machine import Machine
from imagekit.device.medium import DiskMedium
from imagekit.device.report import PIBOOT, SYSTEMD_BOOT, load_report
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError


def revert(machine: Machine, packages: Packages, say: Callable[[str], None], *, now: str, reboot: bool = True) -> Slot:
    """Give the device to the other slot and reboot; `packages` are what runs. Answers the other slot.

    Raises:
        TargetError: there is no other slot that was healthy, or it cannot be reached.
    """
    with alone(machine):
        report = load_report(machine.run)
        partition = StatePartition(device=report.state_device)
        state = partition.load()
        other = report.slot.other
        if state is None or not seen_from(state, report.slot).other_good:
            raise TargetError(f"cannot go back to slot {other.value}: what it holds has never been healthy",
                              hint="see imagekit-device status")
        if report.loader == SYSTEMD_BOOT:
            _rank_first(machine, other)
        elif report.loader == PIBOOT:
            prefer(other, boot=machine.esp, disk=report.disk, sys=machine.sys, programs=machine.programs)
        partition.store(hand_over(seen_from(state, report.slot)))
        failed = Failed(packages=packages, reason="reverted by hand", time=now)
        with suppress(TargetError):
            edit_history(machine, lambda memory: memory.with_failed(failed).with_change(
                Change(time=now, what="revert", packages=packages, outcome="done")))
    say(f"update: slot {other.value} is the one to boot")
    if reboot:
        machine.programs.run("systemctl", "--no-block", "reboot")
    return other


def _rank_first(machine: Machine, slot: Slot) -> None:
    """Raise the version of a slot's entry above all others: 512 bytes in place."""
    path = machine.esp / ENTRY_FOLDER / entry_name(slot)
    if not path.is_file() or not (machine.esp / kernel_path(slot)).is_file():
        raise TargetError(f"cannot go back to slot {slot.value}: the ESP has no confirmed entry of it, or no kernel")
    top = max((item.version for item in read_entries(machine.esp).values()), default=0)
    medium = DiskMedium(partitions={}, record=StatePartition(device=Path("/dev/null")), esp=machine.esp,
                        programs=machine.programs)
    try:
        with medium.writable_esp():
            rank(path, top + 1)
    except TargetError as error:
        raise TargetError(f"cannot go back to slot {slot.value}: {error.message}", hint=error.hint) from error
