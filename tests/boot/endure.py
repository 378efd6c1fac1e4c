"""Break a device, leave it alone, and look at what it made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from imagekit.boot.slotstate import LIMIT, TRIES, Slot
from imagekit.qemu.device import Device
from imagekit.qemu.surgery_piboot import named_slot
from tests.boot.boards import Counts
from tests.boot.faults import Fault
from tests.boot.stock import Stock

# What a board's loader says when neither slot can be loaded, before it starts over.
LAST_RESORT = {Counts.SYSTEMD_BOOT: r"imagekit: nothing here can be loaded, starting over",
               Counts.U_BOOT: r"imagekit: neither slot can be loaded"}
STARTS_OVER = 2  # seen to start over so often, it will go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Endured:
    """How it ended: on which boot, after how many seconds of it all."""

    result: str
    boots: int
    seconds: float


def endure(device: Device, stock: Stock, fault: Fault) -> Endured:
    """The fault is done to a device that is off; in the end it must be healthy in the other slot, unattended."""
    with device.disk() as disk:
        fault.wound(disk, stock)
        if fault.begun:
            state = disk.state
            assert state is not None
            disk.set_state(replace(state, generation=state.generation + 1, unhealthy=fault.begun))
    healthy = device.boot(slot=fault.survivor)
    # The tries, perhaps a hand-over, and this one; or just those of a detour.
    assert healthy.number <= (fault.boots if fault.detour else 1 + max(TRIES, LIMIT) + 1 - fault.begun)
    assert not any(boot.healthy for boot in device.boots[:-1])
    if fault.tries:
        assert fault.cause in {boot.cause.partition(" (")[0] for boot in device.boots[1:]}
    device.power_cut()
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.unhealthy) == (Slot(fault.survivor), True, 0)
        if fault.board.counts is Counts.PIBOOT:
            assert healthy.number == fault.boots
            assert named_slot(disk) is Slot(fault.survivor)
        elif fault.board.uboot:
            assert not fault.trial or healthy.number == 1 + fault.tries
        elif not fault.trial:
            assert disk.entries()[Slot.B][1].version > disk.entries()[Slot.A][1].version, "the next boot begins there"
        else:
            used = f"{TRIES - fault.tries}-{fault.tries}" if fault.tries else f"{TRIES}"
            assert disk.entries()[Slot.B][0] == f"imagekit-b+{used}.conf"
    assert healthy.judged_s is not None
    return Endured(result=f"healthy in slot {fault.survivor}", boots=healthy.number, seconds=healthy.judged_s)


def endure_both(device: Device, stock: Stock) -> Endured:
    """Neither slot has a kernel: the device says so, and starts over, again and again; it never waits in silence."""
    with device.disk() as disk:
        for slot in Slot:
            stock.take_kernel(disk, slot)
    device.power_on()
    said = LAST_RESORT[stock.board.counts]
    for _ in range(STARTS_OVER + 1):
        device.expect(said, timeout_s=stock.board.deadline_s)
    assert len(device.boots) > STARTS_OVER
    assert not any(boot.judgement for boot in device.boots)
    last = device.transcript.lines[-1].time_s
    return Endured(result=f"says {re.sub(r'^imagekit: ', '', said)!r}, starts over", boots=len(device.boots),
                   seconds=last)
