"""Where structures may lie: known behind fixed sizes, an interval behind others, open where the device decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import PlanError
from imagekit.gadget import Role, Schema, Structure, StructureType, Update, Volume
from imagekit.plan.layout import lay_out
from imagekit.plan.spans import Span, rooms
from imagekit.units import MIB


def structure(index: int, *, size: int | None = MIB, least: int | None = None, offset: int | None = None,
              role: Role | None = None) -> Structure:
    return Structure(name=f"s{index}", index=index, type=StructureType(mbr=0x83), role=role, size=size,
                     min_size=size if least is None else least, offset=offset, offset_write=None, filesystem=None,
                     label=None, id=None, content=(), update=Update())


def volume(*structures: Structure) -> Volume:
    return Volume(name="pc", schema=Schema.GPT, bootloader=None, id=None, partial=frozenset(), structures=structures)


def starts(*structures: Structure) -> list[tuple[int, int | None]]:
    return [(room.start.least, room.start.most) for room in rooms(volume(*structures)) if room.start]


def test_fixed_structures_have_one_start_each() -> None:
    assert starts(structure(0, size=440, role=Role.MBR), structure(1), structure(2, offset=8 * MIB), structure(3)) == [
        (0, 0), (MIB, MIB), (8 * MIB, 8 * MIB), (9 * MIB, 9 * MIB)]


def test_start_behind_a_range_of_sizes_is_an_interval() -> None:
    assert starts(structure(0, size=4 * MIB, least=MIB), structure(1, size=8 * MIB, least=2 * MIB), structure(2)) == [
        (MIB, MIB), (2 * MIB, 5 * MIB), (4 * MIB, 13 * MIB)]


def test_next_known_offset_bounds_the_interval() -> None:
    last = structure(3, offset=10 * MIB)
    assert starts(structure(0, size=64 * MIB, least=MIB), structure(1), structure(2), last) == [
        (MIB, MIB), (2 * MIB, 8 * MIB), (3 * MIB, 9 * MIB), (10 * MIB, 10 * MIB)]


def test_start_behind_a_size_of_the_device_is_open() -> None:
    assert starts(structure(0, size=None, least=2 * MIB), structure(1)) == [(MIB, MIB), (3 * MIB, None)]
    assert starts(structure(0, size=None), structure(1), structure(2, offset=9 * MIB)) == [
        (MIB, MIB), (MIB, 8 * MIB), (9 * MIB, 9 * MIB)]


def test_ends_follow_from_starts_and_sizes() -> None:
    first, second = rooms(volume(structure(0, size=4 * MIB, least=MIB), structure(1, size=None)))
    assert first.end == Span(least=2 * MIB, most=5 * MIB)
    assert second.end == Span(least=2 * MIB, most=None)


def test_boot_area_of_an_emmc_has_no_start() -> None:
    area = replace(structure(0, size=None), name="boot0", type=StructureType())
    (room,) = rooms(replace(volume(area), schema=Schema.EMMC))
    assert (room.start, room.end, room.size) == (None, None, Span(least=0, most=None))


@pytest.mark.parametrize(("one", "two", "meet"), [
    ((1, 5), (5, 9), True), ((1, 4), (5, 9), False), ((6, 6), (5, 9), True), ((1, None), (9, 9), True),
    ((10, None), (5, 9), False), ((1, None), (7, None), True)])
def test_spans_meet_where_they_share_a_value(one: tuple[int, int | None], two: tuple[int, int | None],
                                             meet: bool) -> None:
    a, b = (Span(least=least, most=most) for least, most in (one, two))
    assert a.meets(b) is b.meets(a) is meet


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, 15), st.none() | st.integers(1, 200)), min_size=1,
                max_size=8))
def test_place_in_an_image_is_always_a_start_that_a_device_may_have(drawn: list[tuple[int, int, int | None]]) -> None:
    made = volume(*(structure(index, size=size * MIB, least=max(size - less, 1) * MIB,
                              offset=None if offset is None else offset * MIB)
                    for index, (size, less, offset) in enumerate(drawn)))
    try:
        layout = lay_out(made)
    except PlanError:
        return
    for placement, room in zip(layout.placements, rooms(made), strict=True):
        assert room.start and room.start.meets(Span(least=placement.start, most=placement.start))
