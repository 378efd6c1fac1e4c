"""What becomes of the data partition, from the table, the mark and the first superblock."""

from __future__ import annotations

import struct
import uuid
from dataclasses import replace

import pytest

from imagekit.boot.numbers import REPAIR, RESET
from imagekit.disk import gpt
from imagekit.disk.ext4 import MAGIC, SUPERBLOCK_OFFSET
from imagekit.errors import DocumentError
from imagekit.powercut.data import data_way
from imagekit.powercut.disk import CutDisk
from imagekit.units import MIB

SIZE, START, END = 64 * MIB, 2 * MIB, 63 * MIB
TABLE = gpt.Table(disk_guid=uuid.UUID(int=1), disk_size=SIZE, partitions=tuple(
    gpt.Partition(index=index, name=name, type_guid=gpt.LINUX_DATA, unique_guid=uuid.UUID(int=index + 1), start=start,
                  end=end)
    for index, (name, start, end) in enumerate((("slot-state", MIB, START), ("data", START, END)), 1)))


def way(*, mib: int = 61, state: int = 1, replay: bool = False, magic: int = MAGIC, reset: bytes = b"",
        repair: bytes = b"", table: gpt.Table = TABLE, start: int = START) -> str:
    """The words for a data partition with an ext4 of so many MiB, left like this."""
    image = bytearray(SIZE)
    for place, mark in ((RESET, reset), (REPAIR, repair)):
        image[MIB + place.offset:MIB + place.offset + len(mark)] = mark
    at = START + SUPERBLOCK_OFFSET
    struct.pack_into("<I", image, at + 4, mib * MIB // 4096)
    struct.pack_into("<II", image, at + 20, 0, 2)
    struct.pack_into("<I", image, at + 32, 32768)
    struct.pack_into("<HH", image, at + 56, magic, state)
    struct.pack_into("<I", image, at + 96, 4 if replay else 0)
    with CutDisk(bytes(image), bytes(512), size=SIZE) as disk:
        return data_way(disk, table, start=start)


@pytest.mark.parametrize(("left", "told"), [
    ({}, "mounts"), ({"replay": True}, "mounts after its journal is replayed"), ({"state": 3}, "is repaired"),
    ({"magic": 0}, "is repaired"), ({"mib": 59}, "mounts"), ({"mib": 58}, "mounts, grows"),
    ({"reset": RESET.encode(1)}, "mounts, is emptied"), ({"reset": RESET.encode(1)[:300]}, "mounts"),
    ({"magic": 0, "reset": RESET.encode(1)}, "is repaired, is emptied"),
    ({"repair": REPAIR.encode(1)}, "is repaired"), ({"repair": REPAIR.encode(0)}, "mounts"),
    ({"repair": REPAIR.encode(1)[:300]}, "mounts"),
])
def test_next_boot_does_what_the_superblock_and_the_mark_say(left: dict[str, int | bool | bytes], told: str) -> None:
    assert way(**left) == told  # type: ignore[arg-type]


def moved(**changes: int | str) -> gpt.Table:
    return replace(TABLE, partitions=(TABLE.partitions[0], replace(TABLE.partitions[1], **changes)))  # type: ignore[arg-type]


def test_room_behind_the_partition_is_grown_into() -> None:
    assert way(mib=30, table=moved(end=START + 30 * MIB)) == "mounts, grows"


@pytest.mark.parametrize(("left", "why"), [
    ({"mib": 62}, "the file system of the data partition has 65011712 bytes, the partition 63963136"),
    ({"table": moved(name="other")}, "the data partition is gone"),
    ({"table": moved(start=START + MIB)}, "begins at 3145728, and was at 2097152"),
])
def test_what_no_rule_of_the_device_mends_is_lost(left: dict[str, int | gpt.Table], why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        way(**left)  # type: ignore[arg-type]
