"""imagekit inside a machine that a USB disk is plugged into: the kernel, a real udev, and a disk that is pulled out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from imagekit.disk.bmap import decode_bmap
from imagekit.disk.gpt import decode
from imagekit.units import MIB
from tests.boot.stock import Stock
from tests.boot.usb_guest import make_guest, started
from tests.unit.flash.conftest import SIZE

pytestmark = pytest.mark.boot


def test_disk_that_is_plugged_in_is_found_flashed_and_pulled_out(stock: Stock, tmp_path: Path) -> None:
    guest, card = make_guest(stock, tmp_path), tmp_path / "card.img"
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
        with card.open("rb") as stream, guest.image.open("rb") as image:
            table = decode(stream)
            for item in decode_bmap(guest.image.with_name("disk.img.bmap").read_bytes()).ranges[1:-1]:
                stream.seek(item.start)
                image.seek(item.start)
                assert stream.read(item.end - item.start) == image.read(item.end - item.start)
        assert (table.disk_size, table.problems) == (SIZE + 4 * MIB, ())
        listed = machine.listed("written")
        assert [item["code"] for item in listed["/dev/sda1"]["refusals"]] == ["not-whole-disk"]
        machine.write_slowly(MIB)
        machine.pull_at('"event":"progress"')
        status, said = machine.outcome("pulled")
        ended = next(json.loads(line) for line in said.splitlines() if '"ended"' in line)
        assert (status, ended["result"], ended["state"]) == (7, "failed", "not-bootable"), said
        assert ended["problem"].endswith("/dev/sda: it was pulled out")
        assert "/dev/sda" not in machine.listed("gone")
