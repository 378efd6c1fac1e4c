"""A partition table on a disk of another size than the image's."""

from __future__ import annotations

import io
import uuid

import pytest

from imagekit.disk import gpt
from imagekit.disk.gpt_move import move_table
from imagekit.units import MIB

SIZE = 16 * MIB


def disk(sector: int, *, entries: int = gpt.ENTRIES, boot_code: bytes = b"") -> tuple[bytearray, gpt.Table]:
    table = gpt.Table(disk_guid=uuid.UUID(int=1), disk_size=SIZE, sector=sector, entries=entries, partitions=(
        gpt.Partition(index=1, name="one", type_guid=gpt.ESP, unique_guid=uuid.UUID(int=2), start=2 * MIB,
                      end=3 * MIB),))
    content = bytearray(SIZE)
    for offset, piece in gpt.encode(table):
        content[offset:offset + len(piece)] = piece
    content[:len(boot_code)] = boot_code
    return content, table


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("larger", [4096, 5 * MIB, 7 << 40])
def test_moved_table_is_whole_and_has_the_same_partitions(sector: int, larger: int) -> None:
    content, table = disk(sector)
    pieces = move_table(io.BytesIO(content), table, SIZE + larger)
    if larger > MIB << 10:
        assert max(offset + len(piece) for offset, piece in pieces) == SIZE + larger
        return
    moved = content + bytes(larger)
    for offset, piece in pieces:
        moved[offset:offset + len(piece)] = piece
    found = gpt.decode(io.BytesIO(moved), sector=sector)
    assert (found.problems, found.disk_size, found.partitions) == ((), SIZE + larger, table.partitions)
    assert int.from_bytes(moved[458:462], "little") == (SIZE + larger) // sector - 1
    end = gpt.usable_extent(SIZE + larger, sector)[1]
    for header in (sector, SIZE + larger - sector):  # or nothing could grow into the room
        assert int.from_bytes(moved[header + 48:header + 56], "little") == end // sector - 1


def test_boot_code_and_entries_of_others_stay_as_they_are() -> None:
    content, table = disk(512, entries=4, boot_code=b"\xfaboot code")
    content[1024 + 4 * 128:1024 + 4 * 128 + 9] = b"boot code"
    moved = content + bytes(MIB)
    for offset, piece in move_table(io.BytesIO(content), table, SIZE + MIB):
        moved[offset:offset + len(piece)] = piece
    assert moved[:10] == b"\xfaboot code"
    assert moved[1024:SIZE - 33 * 512] == content[1024:SIZE - 33 * 512]
    assert gpt.decode(io.BytesIO(moved)).problems == ()


def test_hybrid_partition_of_the_mbr_keeps_its_length() -> None:
    content, table = disk(512)
    content[462:478] = bytes([0, 0, 0, 0, 0x0C, 0, 0, 0]) + (4096).to_bytes(4, "little") + (2048).to_bytes(4, "little")
    (_, first), *_ = move_table(io.BytesIO(content), table, SIZE + MIB)
    assert first[462:478] == content[462:478]
    assert first[458:462] == ((SIZE + MIB) // 512 - 1).to_bytes(4, "little")


def test_nothing_is_moved_on_a_disk_of_the_same_size_or_of_half_a_sector_more() -> None:
    content, table = disk(512)
    assert move_table(io.BytesIO(content), table, SIZE) == ()
    assert move_table(io.BytesIO(content), table, SIZE + 100) == ()
