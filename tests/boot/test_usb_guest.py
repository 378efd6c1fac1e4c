"""imagekit inside a machine with USB: the kernel, a real udev, libusb, a disk and boards that are pulled out."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from imagekit.disk.bmap import decode_bmap
from imagekit.disk.gpt import decode
from imagekit.errors import ExitCode
from imagekit.testing.fastboot import FastbootBoard
from imagekit.testing.usbfastboot import UsbBoard
from imagekit.units import MIB
from tests.boot.stock import Stock
from tests.boot.usb_boards import DCD_POINTER, FastbootDevice, ImxRom
from tests.boot.usb_guest import make_guest, started
from tests.unit.flash.conftest import SIZE

pytestmark = pytest.mark.boot


def assert_holds(disk: BinaryIO, image: Path) -> None:
    """The disk has what the image has, and a partition table of its own size."""
    table = decode(disk)
    with image.open("rb") as stream:
        for item in decode_bmap(image.with_name("disk.img.bmap").read_bytes()).ranges[1:-1]:
            disk.seek(item.start)
            stream.seek(item.start)
            assert disk.read(item.end - item.start) == stream.read(item.end - item.start)
    assert (table.disk_size, table.problems) == (SIZE + 4 * MIB, ())


def test_disk_and_boards_that_are_plugged_in_are_found_flashed_and_pulled_out(stock: Stock, tmp_path: Path) -> None:
    guest, card = make_guest(stock, tmp_path), tmp_path / "card.img"
    boards = [FastbootBoard(disk=bytearray(SIZE + 4 * MIB), partitions={"all": (0, SIZE + 4 * MIB)}, tells_sizes=True,
                            serial=serial) for serial in ("BOARD-1", "BOARD-2", "BOARD-3")]
    whole, torn, recovered = (FastbootDevice(UsbBoard(board=board)) for board in boards)
    torn.usb.gone_after = 2 * MIB
    rom = ImxRom()
    with card.open("wb") as out:
        out.truncate(SIZE + 4 * MIB)
    with started(guest, card) as machine:
        machine.until("guest: ready")
        machine.plug("CARD-1")
        found = machine.listed("plugged")["/dev/sda"]
        assert (found["bus"], found["serial"], found["size"], found["removable"], found["refusals"]) == (
            "usb", "CARD-1", SIZE + 4 * MIB, True, [])
        assert re.fullmatch(r"\d-1", found["port"])
        assert found["diskseq"]
        status, said = machine.outcome("write")
        assert status == 0, machine.tail
        with card.open("rb") as stream:
            assert_holds(stream, guest.image)
        listed = machine.listed("written")
        assert [item["code"] for item in listed["/dev/sda1"]["refusals"]] == ["not-whole-disk"]
        machine.write_slowly(MIB)
        machine.pull_at('"event":"progress"')
        status, said = machine.outcome("pulled")
        ended = next(json.loads(line) for line in said.splitlines() if '"ended"' in line)
        assert (status, ended["result"], ended["state"]) == (7, "failed", "not-bootable"), said
        assert ended["problem"].endswith("/dev/sda: it was pulled out")
        assert "/dev/sda" not in machine.listed("gone")
        machine.port.plug(whole, torn)
        status, said = machine.outcome("denied")
        assert status == ExitCode.HOST, said
        assert "it is there, but you may not open it" in said
        status, said = machine.outcome("flashed")
        assert status == 0, machine.tail
        assert json.loads(said.splitlines()[-1])["ok"]
        status, said = machine.outcome("torn")
        assert status == ExitCode.TARGET, machine.tail
        assert "the connection is gone" in said
        status, said = machine.outcome("absent")
        assert status == ExitCode.HOST, said
        assert "no such USB device is plugged in" in said
        machine.port.plug(rom, recovered)
        status, said = machine.outcome("recovered")
        assert status == 0, machine.tail
        assert json.loads(said.splitlines()[-1])["ok"]
    assert boards[0].commands[-1] == "reboot"
    assert boards[1].disk.startswith(b"imagekit: this disk is being written and not complete")
    for board in (boards[0], boards[2]):
        assert_holds(BytesIO(board.disk), guest.image)
    loader = guest.loader.read_bytes()
    assert rom.registers
    assert rom.registers in loader
    assert rom.started == rom.base
    assert rom.memory[:DCD_POINTER] == loader[:DCD_POINTER]
    assert rom.memory[DCD_POINTER + 4:] == loader[DCD_POINTER + 4:len(rom.memory)]
