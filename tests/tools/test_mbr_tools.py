"""Our MBR tables as util-linux and gdisk see them, and theirs as we do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk import mbr
from imagekit.units import MIB

pytestmark = pytest.mark.tools

SIZE = 64 * MIB
TABLE = mbr.Table(signature=0x3DC9BD04, disk_size=SIZE, partitions=(
    mbr.Partition(index=1, type=0x0C, start=MIB, end=9 * MIB, active=True),
    mbr.Partition(index=2, type=0x83, start=9 * MIB, end=33 * MIB),
    mbr.Partition(index=3, type=0x83, start=33 * MIB, end=34 * MIB),
    mbr.Partition(index=4, type=0x82, start=34 * MIB, end=64 * MIB)))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card"
    with path.open("wb") as stream:
        stream.truncate(SIZE)
        for offset, piece in mbr.encode(TABLE):
            stream.seek(offset)
            stream.write(piece)
    return path


def test_sfdisk_reads_what_was_planned(run_tool: Callable[..., str], card: Path) -> None:
    said = run_tool("sfdisk", "--verify", card)
    assert "No errors detected" in said or "Remaining" in said
    assert "overlap" not in said.lower()
    told = json.loads(run_tool("sfdisk", "--json", card))["partitiontable"]
    assert (told["label"], told["id"]) == ("dos", "0x3dc9bd04")
    assert [(int(item["type"], 16), item["start"] * 512, (item["start"] + item["size"]) * 512,
             item.get("bootable", False)) for item in told["partitions"]] == [
        (item.type, item.start, item.end, item.active) for item in TABLE.partitions]


def test_gdisk_knows_it_as_an_mbr_disk(run_tool: Callable[..., str], card: Path) -> None:
    said = run_tool("sgdisk", "-p", card)
    assert "MBR: MBR only" in said or "Found invalid GPT and valid MBR" in said


def test_table_made_by_sfdisk_is_read(run_tool: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "card"
    with path.open("wb") as stream:
        stream.truncate(SIZE)
    subprocess.run(["sfdisk", "-q", str(path)], check=True, text=True, capture_output=True,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                   input="label: dos\nlabel-id: 0xcafe0001\nstart=2048,size=16384,type=c,bootable\ntype=83\n")
    with path.open("rb") as stream:
        found = mbr.decode(stream)
    assert found.signature == 0xCAFE0001
    assert [(item.index, item.type, item.start, item.end, item.active) for item in found.partitions] == [
        (1, 0x0C, MIB, 9 * MIB, True), (2, 0x83, 9 * MIB, SIZE, False)]
