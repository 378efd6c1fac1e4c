"""The plan of a flash: pieces, wipes, and the word that confirms it."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.disk import gpt
from imagekit.disk.bmap import MappedRange
from imagekit.plan.flash import (
    HEAD,
    PIECE,
    Extent,
    ImageFacts,
    as_json,
    joined,
    patched,
    plan_flash,
    plan_pieces,
    plan_target,
    plan_wipes,
    without,
)
from imagekit.plan.flash_device import Device, Identity, Kind
from imagekit.testing.blocks import card
from imagekit.units import BLOCK, MIB

SIZE = 64 * MIB
TABLE = gpt.Table(disk_guid=uuid.UUID(int=1), disk_size=SIZE, partitions=(
    gpt.Partition(index=1, name="a", type_guid=gpt.LINUX_DATA, unique_guid=uuid.UUID(int=2), start=2 * MIB,
                  end=32 * MIB),))


def image(*extents: Extent, table: gpt.Table | None = TABLE, size: int = SIZE) -> ImageFacts:
    return ImageFacts(path="disk.img", size=size, digest="d", table=table, ranges=tuple(
        MappedRange(start=start, end=end, sha256="") for start, end in extents))


def test_first_block_head_and_backup_table_are_pieces_of_their_own_and_held() -> None:
    backup = SIZE - 33 * 512
    pieces = list(plan_pieces(image((0, 12 * MIB), (SIZE - MIB, SIZE))))
    assert [(piece.start, piece.end) for piece in pieces if piece.held] == [(0, BLOCK), (BLOCK, HEAD), (backup, SIZE)]
    assert all(piece.end - piece.start <= PIECE for piece in pieces)
    assert [piece.end for piece in pieces[:-1] if piece.range == 0][-1] == 12 * MIB


extents = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=8).map(
    lambda items: joined([(start * 7, (start + length) * 7) for start, length in items]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are busy
@given(extents, extents)
def test_what_is_left_of_extents_is_exactly_what_was_not_taken(ones: list[Extent], taken: list[Extent]) -> None:
    def cells(found: list[Extent]) -> set[int]:
        return {cell for start, end in found for cell in range(start, end)}

    assert cells(without(ones, taken)) == cells(ones) - cells(taken)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(extents)
def test_pieces_cover_every_range_once(ranges: list[Extent]) -> None:
    blocks = [(start * BLOCK, end * BLOCK) for start, end in ranges]
    found = [(piece.start, piece.end) for piece in plan_pieces(image(*blocks))]
    assert joined(found) == joined(blocks)
    assert sum(end - start for start, end in found) == sum(end - start for start, end in blocks)


def test_edges_of_partitions_and_disk_are_wiped_where_nothing_is_written() -> None:
    wipes = plan_wipes(image((0, 20 * BLOCK), (2 * MIB, 2 * MIB + BLOCK)), card(size=SIZE + 8 * MIB))
    assert (0, HEAD) in wipes
    assert (2 * MIB + BLOCK, 3 * MIB) in wipes
    assert (31 * MIB, 32 * MIB) in wipes
    assert wipes[-1] == (SIZE + 7 * MIB, SIZE + 8 * MIB)


def test_backup_table_of_an_older_system_is_wiped_although_the_image_writes_there() -> None:
    wipes = plan_wipes(image((SIZE - 33 * 512 - 512, SIZE)), card(size=SIZE))
    assert wipes[-1][1] == SIZE
    assert wipes[-1][0] <= SIZE - 33 * 512


def test_wipes_begin_and_end_at_sectors_of_the_disk() -> None:
    table = replace(TABLE, partitions=(replace(TABLE.partitions[0], start=34 * 512, end=34 * 512 + 3 * MIB),))
    for sector in (512, 4096):
        wipes = plan_wipes(image(table=table), card(size=SIZE, sector=sector))
        assert all(start % sector == 0 and end % sector == 0 for start, end in wipes)


def test_no_wipe_reaches_into_what_is_written_before_it() -> None:
    facts = image((0, 20 * BLOCK), (2 * MIB, 10 * MIB), (31 * MIB + BLOCK, 32 * MIB))
    for start, end in plan_wipes(facts, card(size=SIZE)):
        for item in facts.ranges[1:]:
            assert end <= item.start or start >= item.end


def test_confirming_word_changes_with_image_and_medium_and_not_with_order() -> None:
    facts, one, other = image((0, BLOCK)), card("/dev/sdx"), card("/dev/sdy")

    def word(facts: ImageFacts, *devices: Device) -> str:
        return plan_flash(facts, [plan_target(facts, device, patches=(), refusals=()) for device in devices]).token

    assert word(facts, one, other) == word(facts, other, one)
    again = replace(one, identity=Identity(size=one.identity.size, serial="0001", diskseq=8))
    assert len({word(facts, one), word(replace(facts, digest="e"), one), word(facts, again), word(facts, other)}) == 4


def test_patches_change_only_the_bytes_they_cover() -> None:
    content = bytearray(b"0123456789")
    patched(content, 100, ((95, b"abcdefg"), (108, b"xyz"), (50, b"q"), (200, b"q")))
    assert bytes(content) == b"fg234567xy"


def test_plan_is_json() -> None:
    facts = image((0, BLOCK))
    file = Device(path="out.img", kind=Kind.FILE, identity=Identity(size=0), exists=False)
    plan = plan_flash(facts, [plan_target(facts, file, patches=((0, b"abc"),), refusals=())])
    found = json.loads(json.dumps(as_json(plan)))
    assert found["targets"][0]["patches"] == [{"offset": 0, "length": 3}]
    assert found["token"] == plan.token
