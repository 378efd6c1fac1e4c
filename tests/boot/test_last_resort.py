"""Two good slots and a data partition that neither bears: they do not take turns for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.boot.ledger import IN_VAIN, LEDGER_OFFSET, LEDGER_SIZE, decode_ledger, encode_ledger
from imagekit.boot.slotstate import Slot
from imagekit.qemu.judge import Package
from imagekit.qemu.pytest_plugin import MakeDevice
from imagekit.qemu.stick import make_stick
from tests.boot.faults import install, set_base_root
from tests.boot.stock import Stock
from tests.boot.test_update import signed

pytestmark = pytest.mark.boot

# Stands for a service that the content of the data partition breaks, whichever slot it runs in.
BROKEN_BY_DATA = b"#!/bin/sh\ngrep -q ' /var tmpfs ' /proc/mounts\n"


def test_data_that_breaks_both_slots_is_left_out_and_the_device_is_healthy(stock: Stock,
                                                                          make_device: MakeDevice) -> None:
    base = stock.variant(stock.base, "broken-by-data", {"usr/lib/imagekit/health.d/50-data": BROKEN_BY_DATA})
    device = make_device(stock.image, deadline_s=720)
    with device.disk() as disk:
        install(disk, stock, base=base)
        root = disk.put_package("base-a", base)
        set_base_root(disk, stock, Slot.A, root)
        state = disk.state
        assert state is not None
        assert state.slot is Slot.B
        disk.write("slot-state", LEDGER_OFFSET, encode_ledger(IN_VAIN - 1))  # the boots before would only repeat
    device.expect_packages(base=Package(name=stock.board.base, revision=1, root=root))
    healthy = device.boot(slot="b")
    assert healthy.number == 2
    assert healthy.verdict is not None
    assert healthy.verdict.degraded
    assert f"left out: {IN_VAIN} boots in a row had no healthy verdict" in device.transcript.text()
    device.power_cut()
    with device.disk() as disk:
        assert decode_ledger(disk.read("slot-state", LEDGER_OFFSET, LEDGER_SIZE)) == 0


def test_two_slots_that_are_both_in_vain_are_left_for_an_update(stock: Stock, make_device: MakeDevice,
                                                                tmp_path: Path) -> None:
    """What ails the device lies outside of both, as a pump that a hook looks at: it stays up, and takes what comes."""
    path, package = signed(stock, stock.other_base, 2)
    device = make_device(stock.both, deadline_s=720)
    with device.disk() as disk:
        for slot in Slot:
            set_base_root(disk, stock, slot, disk.put_package(f"base-{slot.value}", stock.sick_base))
        disk.write("slot-state", LEDGER_OFFSET, encode_ledger(IN_VAIN - 1))  # the boots before would only repeat
    device.plug(make_stick(tmp_path / "stick.img", [path, path.with_suffix(".assert")]))
    device.expect_packages(base=package)
    assert device.boot(slot="b").number == 3
    text = device.transcript.text()
    stays, comes = (text.index(line) for line in ("imagekit: rebooting in 4 h: no slot has become healthy",
                                                  "imagekit: update: writing the base of slot b"))
    assert "imagekit: rebooting: the other slot has once been healthy" in text[:stays]
    assert stays < comes
