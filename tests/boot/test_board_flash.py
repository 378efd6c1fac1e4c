"""A Pi's card with an image of this tree, repaired by its own U-Boot; it then boots until it is healthy."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from imagekit.disk import gpt
from imagekit.qemu.workbench import copy_sparse
from imagekit.units import GIB, KIB, MIB
from tests.boot import uboot_rig
from tests.boot.boards import PI
from tests.boot.serial_rig import Powered, powered
from tests.boot.stock import Stock, StockOf, imagekit

pytestmark = pytest.mark.boot
CARD = 4 * GIB  # QEMU's card slots take powers of two only
DEADLINE_S = 1800  # U-Boot reads some 4 MB/s from QEMU's card, on a host that has nothing else to do


def flashed(board: Powered, stock: Stock) -> list[dict[str, Any]]:
    """What `imagekit board flash` says; it is asked at a terminal, and gets its answer there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "imagekit.cli", "board", "flash", stock.image, "--trust", stock.trust,
                           "--json", "--board", board.name, "--serial", board.url], stdin=theirs,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        os.close(theirs)
        assert running.stderr is not None
        late = threading.Timer(DEADLINE_S, running.kill)
        late.start()
        heard = b""
        while not (asked := re.search(rb"type '([^']+)' to go on", heard)):
            piece = os.read(running.stderr.fileno(), 4096)
            assert piece, heard.decode()
            heard += piece
        os.write(ours, asked[1] + b"\n")
        said, rest = running.communicate()
        late.cancel()
    os.close(ours)
    print((heard + rest).decode())
    assert running.returncode == 0
    return [json.loads(line) for line in said.splitlines()]


def is_healthy(disk: Path, stock: Stock) -> bool:
    """Whether `imagekit boot` calls the disk healthy, in slot a at the first boot."""
    ended = imagekit("boot", disk, "--json", "--trust", stock.trust, "--machine", stock.board.name, "--deadline",
                     f"{stock.board.deadline_s:g}", data=stock.data)
    told = json.loads(ended.stdout)
    print(told)
    return (ended.returncode, told["healthy"], told["slot"], told["reboots"]) == (0, True, "a", 0)


def wounded(image: Path, card: Path) -> None:
    """A card with the image, and wounds in what a boot reads: the table, U-Boot's files, the kernel, the base."""
    copy_sparse(image, card)
    os.truncate(card, CARD)
    with card.open("r+b") as disk:
        starts = {item.name: item.start for item in gpt.decode(disk).partitions}
        for at, length in ((1024, 176), (starts["boot-a"] + 20 * MIB, 60 * KIB), (starts["kernel-a"] + MIB, 1),
                           (starts["base-a"] + 90 * MIB, 100 * KIB)):
            disk.seek(at)
            there = disk.read(length)
            assert any(there)
            disk.seek(at)
            disk.write(random.Random(at).randbytes(length))


def test_card_of_a_pi_is_repaired_over_the_serial_line_and_gets_healthy(stock_of: StockOf, tmp_path: Path) -> None:
    """Each extent's CRC-32 is made on the board, and only what differs is sent."""
    stock, card = stock_of(PI), tmp_path / "card.img"
    wounded(stock.image, card)
    with powered(uboot_rig.make_rig("pi", tmp_path), card) as board:
        plan, *_, result = (item for item in flashed(board, stock) if item["event"] in ("plan", "result"))
    assert 0 < plan["different"] <= 512 * KIB
    assert plan["packed"] <= 256 * KIB
    assert result["ok"]
    assert is_healthy(card, stock)
