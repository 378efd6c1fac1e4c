"""Machines that have nothing but a UART: the verdict comes framed on the console, between the lines of all others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagekit.boot.frames import decode_frame
from imagekit.qemu.machine import MACHINES
from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.boards import ARM64_UBOOT, PC, Board
from tests.boot.stock import StockOf

pytestmark = pytest.mark.boot


# A 16550, and a PL011 where a long run is asked for: boards without virtio use one or the other on every run.
WIRES = [PC, ARM64_UBOOT] if os.environ.get("IMAGEKIT_FAULTS") == "all" else [PC]


@pytest.mark.parametrize("board", WIRES, ids=str)
def test_verdict_over_the_console_is_worth_what_one_over_the_port_is(board: Board, stock_of: StockOf, tmp_path: Path,
                                                                     make_device: MakeDevice) -> None:
    text = (MACHINES / f"{board.gadget}.yaml").read_text()
    machine = tmp_path / "console.yaml"
    machine.write_text(text.replace(f"name: {board.gadget}\n", "name: console\n") + "health: console\n")
    device = make_device(stock_of(board).image, machine=str(machine), deadline_s=300)
    boot = device.boot()
    assert boot.verdict is not None
    assert boot.verdict.nonce
    assert "imagekit: phase health" in device.transcript.text()
    assert not [line for line in device.transcript.lines if decode_frame(line.text.encode())]
