"""Whatever is wrong with a slot, the device is healthy in the other one in the end, and nobody had to help."""

from __future__ import annotations

import os
import random

import pytest

from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.boards import BOARDS, PC, Board
from tests.boot.endure import endure, endure_both
from tests.boot.faults import Fault, commit, drawn_faults
from tests.boot.matrix import ENDURE_S
from tests.boot.stock import StockOf

pytestmark = pytest.mark.boot


@pytest.mark.parametrize("fault", drawn_faults(), ids=str)
def test_fault_ends_in_the_other_slot_unattended(fault: Fault, stock_of: StockOf, make_device: MakeDevice) -> None:
    stock = stock_of(fault.board)
    device = make_device(stock.image if fault.trial else stock.both, machine=fault.board.name, deadline_s=ENDURE_S)
    endure(device, stock, fault)


def boards_without_a_kernel() -> tuple[Board, ...]:
    """The PC, and one of the others in CI, drawn by the commit; all of them with IMAGEKIT_FAULTS=all."""
    others = [board for board in BOARDS if board.in_ci and board is not PC]
    if os.environ.get("IMAGEKIT_FAULTS") != "all":
        others = [random.Random(commit()).choice(others)]
    return (PC, *others)


@pytest.mark.parametrize("board", boards_without_a_kernel(), ids=str)
def test_two_broken_slots_are_told_and_the_device_starts_over(board: Board, stock_of: StockOf,
                                                             make_device: MakeDevice) -> None:
    stock = stock_of(board)
    endure_both(make_device(stock.both, machine=board.name), stock)
