"""Our partition tables as gdisk and util-linux see them, and theirs as we do."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk import gpt, mbr
from imagekit.units import MIB

pytestmark = pytest.mark.tools

DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")
SIZE = 64 * MIB
NAMES = ("esp", "slot-state", "base-a", "n" * 36, "ünïcøde")
PARTITIONS = tuple(
    gpt.Partition(index=index, name=name, type_guid=gpt.ESP if index == 1 else uuid.uuid5(DISK, "type"),
                  unique_guid=uuid.uuid5(DISK, name), start=index * 8 * MIB, end=(index + 1) * 8 * MIB,
                  attributes=gpt.REQUIRED if index == 1 else gpt.NO_AUTO)
    for index, name in enumerate(NAMES, 1))


HYBRID = (mbr.Partition(index=1, type=0x0C, start=PARTITIONS[0].start, end=PARTITIONS[0].end, active=True),)


def written(path: Path, sector: int, *, entries: int = gpt.ENTRIES, entries_at: int | None = None,
            hybrid: tuple[mbr.Partition, ...] = ()) -> gpt.Table:
    table = gpt.Table(disk_guid=DISK, partitions=PARTITIONS, disk_size=SIZE, sector=sector, entries=entries,
                      entries_at=entries_at, hybrid=hybrid)
    with path.open("wb") as stream:
        stream.truncate(SIZE)
        for offset, piece in gpt.encode(table):
            stream.seek(offset)
            stream.write(piece)
    return table


def test_gdisk_finds_nothing_wrong(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512)
    said = run_tool("sgdisk", "-v", tmp_path / "disk")
    assert "No problems found" in said
    assert "Caution" not in said
    for partition in table.partitions:
        told = run_tool("sgdisk", f"-i{partition.index}", tmp_path / "disk")
        assert f"Partition unique GUID: {str(partition.unique_guid).upper()}" in told
        assert f"Partition GUID code: {str(partition.type_guid).upper()}" in told
        assert f"First sector: {partition.start // 512} " in told
        assert f"Last sector: {partition.end // 512 - 1} " in told
        assert f"Attribute flags: {partition.attributes:016X}" in told
        assert f"Partition name: '{partition.name}'" in told


def test_sfdisk_reads_what_was_planned(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512)
    said = run_tool("sfdisk", "--verify", tmp_path / "disk")
    assert "No errors detected" in said
    assert "warning" not in said.lower()
    told = json.loads(run_tool("sfdisk", "--json", tmp_path / "disk"))["partitiontable"]
    assert uuid.UUID(told["id"]) == DISK
    assert [(item["name"], uuid.UUID(item["type"]), uuid.UUID(item["uuid"]), item["start"] * 512,
             (item["start"] + item["size"]) * 512) for item in told["partitions"]] == [
        (item.name, item.type_guid, item.unique_guid, item.start, item.end) for item in table.partitions]


def test_fdisk_reads_a_disk_of_large_sectors(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 4096)
    said = run_tool("fdisk", "-b", "4096", "-l", "-o", "Start,End,UUID,Name", tmp_path / "disk")
    assert not re.search("corrupt|warning|error|overlap|mismatch", said, re.IGNORECASE)
    rows = [line.split(maxsplit=3) for line in said.splitlines() if re.match(r"\s*\d+ +\d+ [0-9A-F]{8}-", line)]
    assert [(int(start) * 4096, (int(end) + 1) * 4096, uuid.UUID(guid), name) for start, end, guid, name in rows] == [
        (item.start, item.end, item.unique_guid, item.name) for item in table.partitions]


def test_table_made_by_gdisk_is_read(run_tool: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as stream:
        stream.truncate(SIZE)
    run_tool("sgdisk", "-U", str(DISK), "-n", "1:2048:+8M", "-t", "1:ef00", "-c", "1:boot", "-A", "1:set:2",
             "-n", "3:0:0", "-c", "3:rest", path)
    with path.open("rb") as stream:
        found = gpt.decode(stream)
    assert found.problems == ()
    assert found.disk_guid == DISK
    assert [(item.index, item.name, item.start, item.attributes) for item in found.partitions] == [
        (1, "boot", MIB, gpt.LEGACY_BOOT), (3, "rest", 9 * MIB, 0)]
    assert found.partitions[0].type_guid == gpt.ESP


def test_table_with_room_for_boot_code_at_8_kib_is_read_by_all(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512, entries=56)
    told = json.loads(run_tool("sfdisk", "--json", tmp_path / "disk"))["partitiontable"]
    assert told["firstlba"] * 512 == 8192
    assert [(item["name"], item["start"] * 512) for item in told["partitions"]] == [
        (item.name, item.start) for item in table.partitions]
    assert "No errors detected" in run_tool("sfdisk", "--verify", tmp_path / "disk")
    assert "No problems found" in run_tool("sgdisk", "-v", tmp_path / "disk")
    assert "Partition table holds up to 56 entries" in run_tool("sgdisk", "-p", tmp_path / "disk")


def test_small_table_written_again_by_gdisk_keeps_its_size(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512, entries=56)
    run_tool("sgdisk", "-c", "1:other", tmp_path / "disk")
    with (tmp_path / "disk").open("rb") as stream:
        found = gpt.decode(stream)
    assert (found.entries, found.problems) == (56, ())
    assert [item.name for item in found.partitions] == ["other", *(item.name for item in table.partitions[1:])]


AT_1_MIB = MIB - gpt.array_size()


def test_table_with_room_for_boot_code_at_1_kib_is_read_by_all(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512, entries_at=AT_1_MIB)
    told = json.loads(run_tool("sfdisk", "--json", tmp_path / "disk"))["partitiontable"]
    assert told["firstlba"] * 512 == MIB
    assert [(item["name"], item["start"] * 512) for item in told["partitions"]] == [
        (item.name, item.start) for item in table.partitions]
    assert "No errors detected" in run_tool("sfdisk", "--verify", tmp_path / "disk")
    assert "No problems found" in run_tool("sgdisk", "-v", tmp_path / "disk")
    assert f"Main partition table begins at sector {AT_1_MIB // 512} and ends at sector 2047" in run_tool(
        "sgdisk", "-p", tmp_path / "disk")


@pytest.mark.parametrize("change", [("sgdisk", "-c", "1:other"), ("sfdisk", "--part-label", None, "1", "other")])
def test_boot_code_at_1_kib_stays_when_others_write_the_table(change: tuple[str | None, ...],
                                                              run_tool: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "disk"
    written(path, 512, entries_at=AT_1_MIB)
    code = bytes(range(256)) * ((AT_1_MIB - 1024) // 256)
    with path.open("r+b") as stream:
        stream.seek(1024)
        stream.write(code)
    words = [str(path) if word is None else word for word in change]
    run_tool(*words, *([] if None in change else [path]))
    with path.open("rb") as stream:
        found = gpt.decode(stream)
        stream.seek(1024)
        assert stream.read(len(code)) == code
    assert (found.partitions[0].name, found.entries_at, found.problems) == ("other", AT_1_MIB, ())


def test_table_moved_by_gdisk_is_read(run_tool: Callable[..., str], tmp_path: Path) -> None:
    written(tmp_path / "disk", 512)
    run_tool("sgdisk", "-j", str(AT_1_MIB // 512), tmp_path / "disk")
    with (tmp_path / "disk").open("rb") as stream:
        found = gpt.decode(stream)
    assert (found.entries_at, found.problems, len(found.partitions)) == (AT_1_MIB, (), len(PARTITIONS))


def test_hybrid_mbr_is_a_gpt_to_all_and_lists_the_boot_partition(run_tool: Callable[..., str], tmp_path: Path) -> None:
    table = written(tmp_path / "disk", 512, hybrid=HYBRID)
    told = json.loads(run_tool("sfdisk", "--json", tmp_path / "disk"))["partitiontable"]
    assert (told["label"], len(told["partitions"])) == ("gpt", len(table.partitions))
    assert "No problems found" in run_tool("sgdisk", "-v", tmp_path / "disk")
    assert "MBR: hybrid" in run_tool("gdisk", "-l", tmp_path / "disk")
    old = json.loads(run_tool("sfdisk", "--label-nested", "dos", "--json", tmp_path / "disk"))["partitiontable"]
    assert [(item["type"], item["start"] * 512, item.get("bootable", False)) for item in old["partitions"]] == [
        ("c", PARTITIONS[0].start, True), ("ee", 512, False)]


@pytest.mark.parametrize("change", [("sgdisk", "-c", "1:other"), ("sfdisk", "--part-label", None, "1", "other")])
def test_hybrid_mbr_stays_when_others_write_the_table(change: tuple[str | None, ...], run_tool: Callable[..., str],
                                                      tmp_path: Path) -> None:
    path = tmp_path / "disk"
    written(path, 512, hybrid=HYBRID)
    words = [str(path) if word is None else word for word in change]
    run_tool(*words, *([] if None in change else [path]))
    with path.open("rb") as stream:
        found = gpt.decode(stream)
    assert (found.partitions[0].name, found.hybrid, found.problems) == ("other", HYBRID, ())
