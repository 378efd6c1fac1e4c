from __future__ import annotations

import io
import struct
import uuid
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.disk import gpt, mbr
from imagekit.errors import DocumentError, PlanError

MIB = 1 << 20
DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")


def partition(index: int, start: int, end: int, name: str = "", attributes: int = 0) -> gpt.Partition:
    return gpt.Partition(index=index, name=name or f"part-{index}", type_guid=gpt.LINUX_DATA,
                         unique_guid=uuid.uuid5(DISK, str(index)), start=start, end=end, attributes=attributes)


def table(*partitions: gpt.Partition, disk_size: int = 8 * MIB, sector: int = 512) -> gpt.Table:
    return gpt.Table(disk_guid=DISK, partitions=partitions, disk_size=disk_size, sector=sector)


USUAL = table(partition(1, MIB, 2 * MIB, "esp", gpt.REQUIRED), partition(2, 2 * MIB, 7 * MIB, "base-a", gpt.NO_AUTO),
              partition(5, 7 * MIB, 7 * MIB + 4096, "ünïcøde 🙂"))


def disk(of: gpt.Table) -> bytearray:
    raw = bytearray(of.disk_size)
    for offset, piece in gpt.encode(of):
        raw[offset:offset + len(piece)] = piece
    return raw


def decoded(raw: bytes | bytearray, sector: int | None = None) -> gpt.Table:
    return gpt.decode(io.BytesIO(raw), sector=sector)


@pytest.mark.parametrize("sector", [512, 4096])
def test_table_comes_back_as_it_was(sector: int) -> None:
    made = table(*USUAL.partitions, sector=sector)
    found = decoded(disk(made))
    assert found == made
    assert found.problems == ()
    assert found.find("base-a") == made.partitions[1]
    assert found.find("nothing") is None


@pytest.mark.parametrize(("sector", "first"), [(512, 34 * 512), (4096, 6 * 4096)])
def test_usable_space_is_what_the_tables_leave(sector: int, first: int) -> None:
    low, high = gpt.usable_extent(8 * MIB, sector)
    assert (low, 8 * MIB - high) == (first, first - sector)
    whole = table(partition(1, low, high), sector=sector)
    assert decoded(disk(whole)) == whole


def test_pieces_ascend_and_leave_the_space_between_alone() -> None:
    pieces = gpt.encode(USUAL)
    assert [(offset, len(piece)) for offset, piece in pieces] == [
        (0, 512), (512, 33 * 512), (8 * MIB - 33 * 512, 33 * 512)]


def test_protective_mbr_covers_the_disk() -> None:
    raw = disk(USUAL)
    assert struct.unpack_from("<B3xB3xII", raw, 446) == (0, 0xEE, 1, 8 * MIB // 512 - 1)
    assert raw[510:512] == b"\x55\xaa"


def listed(index: int, of: gpt.Partition, kind: int = 0x0C) -> mbr.Partition:
    return mbr.Partition(index=index, type=kind, start=of.start, end=of.end)


HYBRID = replace(USUAL, hybrid=(listed(1, USUAL.partitions[1]), listed(2, USUAL.partitions[0], 0xEF)))


@pytest.mark.parametrize("sector", [512, 4096])
def test_hybrid_mbr_lists_its_partitions_first_and_protects_only_the_table(sector: int) -> None:
    made = replace(HYBRID, sector=sector)
    raw = disk(made)
    assert [struct.unpack_from("<B3xB3xII", raw, 446 + 16 * index) for index in range(4)] == [
        (0, 0x0C, 2 * MIB // sector, 5 * MIB // sector), (0, 0xEF, MIB // sector, MIB // sector),
        (0, 0xEE, 1, MIB // sector - 1), (0, 0, 0, 0)]
    assert decoded(raw) == made
    assert decoded(raw).problems == ()


def test_hybrid_mbr_changes_nothing_of_the_gpt() -> None:
    assert disk(HYBRID)[512:] == disk(USUAL)[512:]


@pytest.mark.parametrize(("hybrid", "why"), [
    ((replace(listed(1, USUAL.partitions[0]), end=7 * MIB),), "partition 1 of the MBR, at 1048576 to 7340032, is none"),
    (tuple(listed(index, partition(index, MIB * index, MIB * (index + 1))) for index in range(1, 5)), "has room for 3"),
])
def test_hybrid_mbr_with_other_partitions_or_too_many_is_refused(hybrid: tuple[mbr.Partition, ...], why: str) -> None:
    with pytest.raises(PlanError, match="cannot encode partition table") as caught:
        gpt.encode(replace(USUAL, hybrid=hybrid))
    assert why in "\n".join((caught.value.message, *caught.value.details))


def test_hybrid_mbr_that_says_something_else_than_the_gpt_is_a_problem() -> None:
    raw = disk(HYBRID)
    raw[446 + 12] ^= 1  # a sector less
    found = decoded(raw)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("hybrid MBR: partition 1 of the MBR, at ")
    assert found.find("base-a") == USUAL.partitions[1]


def test_protective_mbr_of_a_huge_disk_saturates() -> None:
    huge = table(disk_size=1 << 50)
    assert struct.unpack_from("<I", gpt.encode(huge)[0][1], 458) == (0xFFFFFFFF,)


def test_name_of_36_units_fits_and_37_do_not() -> None:
    made = table(partition(1, MIB, 2 * MIB, "n" * 36))
    assert decoded(disk(made)) == made
    with pytest.raises(PlanError, match="36 UTF-16 units"):
        gpt.encode(table(partition(1, MIB, 2 * MIB, "🙂" * 18 + "n")))


@pytest.mark.parametrize(("partitions", "why"), [
    ((partition(1, MIB, 3 * MIB), partition(2, 2 * MIB, 4 * MIB)), "before 'part-1' ends"),
    ((partition(1, 512, MIB),), "usable is 17408"),
    ((partition(1, MIB, 8 * MIB),), "usable is 17408"),
    ((partition(1, MIB, MIB),), "usable is 17408"),
    ((partition(1, MIB + 1, 2 * MIB),), "multiples of 512"),
    ((partition(0, MIB, 2 * MIB),), "numbers 1 to 128"),
    ((partition(129, MIB, 2 * MIB),), "numbers 1 to 128"),
    ((partition(1, MIB, 2 * MIB), partition(1, 2 * MIB, 3 * MIB)), "same number"),
    ((replace(partition(1, MIB, 2 * MIB), type_guid=uuid.UUID(int=0)),), "an entry of this type is not in use"),
])
def test_impossible_plan_is_refused(partitions: tuple[gpt.Partition, ...], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        gpt.encode(table(*partitions))


def test_all_problems_of_a_plan_come_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        gpt.encode(table(partition(1, 512, MIB), partition(200, MIB + 1, 2 * MIB)))
    assert len(caught.value.details) == 2


@pytest.mark.parametrize(("size", "sector"), [(17 * 1024, 512), (8 * MIB + 1, 512), (8 * MIB, 1024)])
def test_disk_that_cannot_hold_a_table_is_refused(size: int, sector: int) -> None:
    with pytest.raises(PlanError, match="cannot hold one"):
        gpt.encode(table(disk_size=size, sector=sector))


@pytest.mark.parametrize("offset", [512 + 60, 1024 + 16, 512], ids=["header", "entries", "magic"])
def test_damaged_primary_is_made_good_by_the_backup(offset: int) -> None:
    raw = disk(USUAL)
    raw[offset] ^= 1
    found = decoded(raw)
    assert found == USUAL
    assert len(found.problems) == 1
    assert found.problems[0].startswith("primary table: ")


@pytest.mark.parametrize("offset", [-512 + 60, -33 * 512 + 16, -512], ids=["header", "entries", "magic"])
def test_damaged_backup_is_reported(offset: int) -> None:
    raw = disk(USUAL)
    raw[offset] ^= 1
    found = decoded(raw)
    assert found == USUAL
    assert len(found.problems) == 1
    assert found.problems[0].startswith("backup table: ")


def test_both_copies_damaged_is_refused_with_the_reasons() -> None:
    raw = disk(USUAL)
    raw[512 + 60] ^= 1
    raw[-33 * 512] ^= 1
    with pytest.raises(DocumentError, match="neither") as caught:
        decoded(raw)
    assert "512-byte sectors: primary table: its header has the wrong checksum" in caught.value.details
    assert "512-byte sectors: backup table: its entries have the wrong checksum" in caught.value.details


def test_disk_larger_than_its_table_is_reported() -> None:
    found = decoded(disk(USUAL) + bytes(MIB))
    assert found == USUAL
    assert found.problems == (f"the table is for a disk of {8 * MIB} bytes, this one has {9 * MIB}",)


def test_cut_behind_the_last_partition_is_reported() -> None:
    found = decoded(disk(USUAL)[:-512])
    assert found == USUAL
    assert len(found.problems) == 2


def test_cut_inside_a_partition_is_refused() -> None:
    with pytest.raises(DocumentError, match="the disk has 6291456") as caught:
        decoded(disk(USUAL)[:6 * MIB])
    assert "cut short" in (caught.value.hint or "")


def test_wiped_protective_mbr_is_reported() -> None:
    raw = disk(USUAL)
    raw[:512] = bytes(512)
    assert decoded(raw).problems == ("protective MBR: there is none",)
    raw[510:512] = b"\x55\xaa"
    assert decoded(raw).problems == ("protective MBR: it has no partition of type 0xee",)


@pytest.mark.parametrize("sector", [512, 4096])
def test_protection_that_does_not_begin_at_sector_1_is_reported(sector: int) -> None:
    raw = disk(table(*USUAL.partitions, sector=sector))
    struct.pack_into("<I", raw, mbr.TABLE_OFFSET + 8, 2)
    assert decoded(raw).problems == ("protective MBR: its partition of type 0xee does not begin at sector 1, so Linux"
                                     " and firmware do not take the GPT",)


def test_copies_that_disagree_are_reported() -> None:
    raw = disk(USUAL)
    other = table(*USUAL.partitions[:1])
    offset, piece = gpt.encode(other)[2]
    raw[offset:offset + len(piece)] = piece
    assert decoded(raw).problems == ("backup table: it differs from the primary",)


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(511), bytes(512), bytes(4096), bytes(MIB), b"\x55\xaa" * 4096])
def test_what_is_no_table_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="cannot read partition table"):
        decoded(raw)


def forged(offset: int, value: bytes) -> bytearray:
    """A disk with only a primary table, changed at `offset` of header (0..91) or entries (512..), checksums right."""
    raw = disk(USUAL)
    raw[-33 * 512:] = bytes(33 * 512)
    raw[512 + offset:512 + offset + len(value)] = value
    struct.pack_into("<I", raw, 512 + 88, zlib.crc32(raw[1024:1024 + 128 * 128]))
    struct.pack_into("<I", raw, 512 + 16, 0)
    struct.pack_into("<I", raw, 512 + 16, zlib.crc32(raw[512:512 + 92]))
    return raw


@pytest.mark.parametrize(("offset", "value"), [
    (72, b"\xff" * 8), (80, b"\xff" * 4), (80, bytes(4)), (84, b"\x7f"), (84, bytes(4)), (8, b"\0\0\2\0"), (24, b"\2"),
    (32, b"\1" + bytes(7)),
], ids=["entries far away", "count huge", "count zero", "entry odd", "entry zero", "revision", "elsewhere",
        "its own backup"])
def test_header_that_makes_no_sense_is_refused(offset: int, value: bytes) -> None:
    with pytest.raises(DocumentError, match="neither"):
        decoded(forged(offset, value))


@pytest.mark.parametrize(("offset", "value", "why"), [
    (512 + 32, struct.pack("<QQ", 4000, 3999), "sectors 4000 to 3999"),
    (512 + 32, struct.pack("<QQ", 1, 4000), "usable are"),
    (512 + 40, b"\xff" * 8, "usable are"),
    (512 + 40, struct.pack("<Q", 5000), "partitions 1 and 2 overlap"),
])
def test_entry_that_makes_no_sense_is_refused(offset: int, value: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        decoded(forged(offset, value))


@given(st.lists(st.tuples(st.sampled_from([*range(1536), *range(-33 * 512, 0)]), st.integers(0, 255)), max_size=6),
       st.integers(0, 8 * MIB))
@settings(max_examples=150, deadline=None)
def test_flipped_and_cut_disks_give_an_answer_or_a_document_error(flips: list[tuple[int, int]], length: int) -> None:
    raw = disk(USUAL)
    for offset, value in flips:
        raw[offset] = value
    for candidate in (raw, raw[:length]):
        try:
            found = decoded(candidate)
        except DocumentError:
            continue
        assert all(item.end <= len(candidate) for item in found.partitions)


@pytest.mark.parametrize(("sector", "entries", "first"), [
    (512, 56, 8192), (512, 4, 1536), (512, 57, 8704), (4096, 56, 16384), (4096, 128, 24576)])
def test_table_of_fewer_entries_leaves_more_room(sector: int, entries: int, first: int) -> None:
    low, high = gpt.usable_extent(8 * MIB, sector, entries)
    assert (low, 8 * MIB - high) == (first, first - sector)
    made = gpt.Table(disk_guid=DISK, partitions=(partition(1, low, high),), disk_size=8 * MIB, sector=sector,
                     entries=entries)
    found = decoded(disk(made))
    assert found == made
    assert found.entries == entries


def test_partition_that_a_small_table_has_no_entry_for_is_refused() -> None:
    with pytest.raises(PlanError, match="the numbers 1 to 4"):
        gpt.encode(gpt.Table(disk_guid=DISK, partitions=(partition(5, MIB, 2 * MIB),), disk_size=8 * MIB, entries=4))


@pytest.mark.parametrize("entries", [0, 3, 129])
def test_number_of_entries_has_limits(entries: int) -> None:
    with pytest.raises(PlanError, match="allowed are 4 to 128"):
        gpt.encode(gpt.Table(disk_guid=DISK, partitions=(), disk_size=8 * MIB, entries=entries))


def test_damaged_copy_is_named() -> None:
    for copy, at in (("primary", 512), ("backup", -512)):
        raw = disk(USUAL)
        raw[at + 20] ^= 1
        found = gpt.decode(io.BytesIO(raw))
        other = next(name for name in gpt.COPIES if name != copy)
        assert (found.problem_of(copy), found.problem_of(other)) == (
            f"{copy} table: its header has the wrong checksum", None)


@pytest.mark.parametrize("sector", [512, 4096])
def test_entries_behind_boot_code_leave_it_alone(sector: int) -> None:
    at = MIB - gpt.array_size(sector=sector)
    made = gpt.Table(disk_guid=DISK, partitions=(partition(1, MIB, 2 * MIB),), disk_size=8 * MIB, sector=sector,
                     entries_at=at)
    assert gpt.usable_extent(8 * MIB, sector, entries_at=at)[0] == MIB
    written = [(offset, offset + len(raw)) for offset, raw in gpt.encode(made)]
    assert written[:3] == [(0, sector), (sector, 2 * sector), (at, MIB)]
    assert decoded(disk(made)) == made


def test_backup_alone_tells_where_the_primary_entries_were() -> None:
    made = gpt.Table(disk_guid=DISK, partitions=(partition(1, MIB, 2 * MIB),), disk_size=8 * MIB,
                     entries_at=MIB - gpt.array_size())
    raw = disk(made)
    raw[512:1024] = bytes(512)
    found = decoded(raw)
    assert found == made
    assert found.problem_of("primary")


@pytest.mark.parametrize("at", [512, 1025])
def test_entries_over_the_header_or_off_a_sector_are_refused(at: int) -> None:
    with pytest.raises(PlanError, match=f"entries at {at}, allowed are multiples of 512 from 1024 on"):
        gpt.encode(gpt.Table(disk_guid=DISK, partitions=(), disk_size=8 * MIB, entries_at=at))


def test_partition_before_the_entries_is_refused() -> None:
    with pytest.raises(PlanError, match="usable is 1048576 to"):
        gpt.encode(gpt.Table(disk_guid=DISK, partitions=(partition(1, 65536, 2 * MIB),), disk_size=8 * MIB,
                             entries_at=MIB - gpt.array_size()))
