"""Factory reset: this device's data and settings go, and what it runs stays.

Decides when one may begin, and what is told of it. It is a mark on the slot-state partition, one sector; the initrd of
the next boot empties the data partition before anything of it is used, and takes the mark away when all of that is on
the disk (`imagekit/build/initrd/init`). So it can be cut at any moment, and it works where the data partition is lost.
No software is brought back: the seed's packages may be older than what ran here. What keeps older software away stays:
floors, ended keys, the versions of the store (docs/decisions/0012-factory-reset.md).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from imagekit.device.history import Change, alone, edit_history, load_history
from imagekit.device.machine import Machine
from imagekit.device.report import BootReport, load_report
from imagekit.device.state import StatePartition, load_gadget_record
from imagekit.errors import TargetError

WHAT = "factory-reset"
DONE = "reset"  # in /run/imagekit: how the initrd did it
REASONS = {"emptied": "", "anew": "the data partition could not be emptied and was made anew, its memory is lost"}


def factory_reset(machine: Machine, say: Callable[[str], None], *, now: str, reboot: bool = True) -> None:
    """Leave the mark, and reboot.

    Raises:
        TargetError: what runs is not confirmed, an update is under way, or this slot's initrd knows of no reset.
    """
    with alone(machine):
        report = load_report(machine.run)
        partition = StatePartition(device=report.state_device)
        state = partition.load()
        memory = load_history(machine)
        if not report.resets:
            raise TargetError("cannot reset this device: the kernel that runs cannot do it yet",
                              hint="update the kernel: imagekit-device refresh")
        if state is None or state.slot is not report.slot or not state.confirmed:
            raise TargetError(f"cannot reset this device: slot {report.slot.value} is on trial",
                              hint="wait for its verdict: imagekit-device status")
        if (memory.pending is not None and memory.pending.trial) or load_gadget_record(report.state_device).trial:
            raise TargetError("cannot reset this device: an update waits for its reboot",
                              hint="reboot, and reset it when that is judged")
        with suppress(TargetError):  # a data partition that is lost is what brought somebody here
            edit_history(machine, lambda memory: replace(memory, hold_until="").with_change(
                Change(time=now, what=WHAT, packages=(), outcome="begun")))
        partition.want_reset(True)
    say("factory reset: the next boot empties the data partition")
    if reboot:
        machine.programs.run("systemctl", "--no-block", "reboot")


def end_reset(machine: Machine, report: BootReport, *, now: str) -> None:
    """Tell what became of one; a mark that is left is taken away, so that none outlives a healthy boot.

    Raises: TargetError: it cannot be.
    """
    partition = StatePartition(device=report.state_device)
    left = partition.wants_reset()
    how = ""
    with suppress(OSError):
        how = (machine.run / DONE).read_text().strip()
    if not how and not left:
        return
    partition.want_reset(False)
    (machine.run / DONE).unlink(missing_ok=True)
    change = Change(time=now, what=WHAT, packages=(), outcome="done", reason=REASONS.get(how, how))
    if not how:
        change = replace(change, outcome="failed", reason="the data partition could not be reset in this boot")
    edit_history(machine, lambda memory: memory.with_change(change))
