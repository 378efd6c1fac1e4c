"""Whatever is wrong with a slot, the device is healthy in the other one in the end, and nobody had to help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.boot.slotstate import LIMIT, TRIES, Slot
from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.faults import Fault, drawn_faults
from tests.boot.stock import StockOf

pytestmark = pytest.mark.boot

DEADLINE_S = 720.0  # three failing boots, a hand-over and a healthy one, on a busy host


@pytest.mark.parametrize("fault", drawn_faults(), ids=str)
def test_fault_ends_in_the_other_slot_unattended(fault: Fault, stock_of: StockOf, make_device: MakeDevice) -> None:
    stock = stock_of(fault.board)
    device = make_device(stock.image if fault.trial else stock.both, deadline_s=DEADLINE_S)
    with device.disk() as disk:
        fault.wound(disk, stock)
        if fault.begun:
            state = disk.state
            assert state is not None
            disk.set_state(replace(state, generation=state.generation + 1, unhealthy=fault.begun))
    healthy = device.boot(slot=fault.survivor)
    assert healthy.number <= 1 + max(TRIES, LIMIT) + 1 - fault.begun  # the tries, perhaps a hand-over, and this one
    assert not any(boot.healthy for boot in device.boots[:-1])
    if fault.tries:
        assert fault.cause in {boot.cause.partition(" (")[0] for boot in device.boots[1:]}
    device.power_cut()
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.unhealthy) == (Slot(fault.survivor), True, 0)
        if fault.board.uboot:
            assert not fault.trial or healthy.number == 1 + fault.tries
        elif fault.trial:
            used = f"{TRIES - fault.tries}-{fault.tries}" if fault.tries else f"{TRIES}"
            assert disk.entries()[Slot.B][0] == f"imagekit-b+{used}.conf"
