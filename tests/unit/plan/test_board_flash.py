"""What is sent to a board's disk, in which pieces, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.ymodem import seconds
from imagekit.plan.board_flash import (
    CHUNK,
    FAN,
    GRAIN,
    PACKED,
    REPAIR,
    SHARE,
    SMALLEST,
    SentPiece,
    chunks,
    differing,
    duration,
    in_words,
    needs_mark,
    ordered,
    pieces_of,
)
from imagekit.plan.flash import Extent, joined
from imagekit.units import BLOCK, MIB, SECTOR

SIZE = 64 * MIB
DAMAGE = st.lists(st.integers(0, CHUNK // SECTOR - 1), min_size=1, max_size=5, unique=True)


@given(DAMAGE, st.integers(1, CHUNK // SECTOR))
def test_damage_is_found_and_little_else_is_sent(sectors: list[int], length: int) -> None:
    end = length * SECTOR
    wounds = sorted(sector * SECTOR for sector in sectors if sector < length) or [0]
    asked = 0

    def wrong_of(parts: Sequence[Extent]) -> list[Extent]:
        nonlocal asked
        asked += 1
        return [(start, stop) for start, stop in parts if any(start <= wound < stop for wound in wounds)]

    found = differing(0, end, wrong_of)
    assert all(any(start <= wound < stop for start, stop in found) for wound in wounds)
    assert found == joined(found)
    assert all(start % GRAIN == 0 and (stop % GRAIN == 0 or stop == end) for start, stop in found)
    assert asked <= 3 * len(wounds)


def test_run_of_which_all_differs_is_taken_whole_at_once() -> None:
    asked: list[Extent] = []

    def all_of(parts: Sequence[Extent]) -> Sequence[Extent]:
        asked.extend(parts)
        return parts

    assert differing(0, CHUNK, all_of) == [(0, CHUNK)]
    assert len(asked) == FAN


def test_first_block_comes_last_and_the_last_sector_before_it() -> None:
    wanted = [(0, MIB), (SIZE - MIB, SIZE)]
    different = [(0, BLOCK * 2), (MIB, MIB + BLOCK)]
    assert needs_mark(different, wanted)
    assert ordered(different, wanted, SIZE, marking=True) == (
        (BLOCK, BLOCK * 2), (MIB, MIB + BLOCK), (SIZE - SECTOR, SIZE), (0, BLOCK))


def test_first_block_and_last_sector_come_last_of_a_marked_disk_that_had_them_right() -> None:
    """Two releases of one model have the same table."""
    different = [(8 * MIB, 16 * MIB)]
    assert needs_mark(different, [(0, SIZE)])
    assert ordered(different, [(0, SIZE)], SIZE, marking=True) == (
        (8 * MIB, 16 * MIB), (SIZE - SECTOR, SIZE), (0, BLOCK))
    assert ordered(different, [(0, 16 * MIB)], SIZE, marking=True) == ((8 * MIB, 16 * MIB), (0, BLOCK))


def test_disk_of_which_little_differs_is_repaired_without_a_mark() -> None:
    different = [(MIB, MIB + BLOCK), (8 * MIB, 8 * MIB + REPAIR - BLOCK)]
    assert not needs_mark(different, [(0, SIZE)])
    assert ordered(different, [(0, SIZE)], SIZE, marking=False) == tuple(different)
    assert needs_mark([(MIB, MIB + BLOCK), (8 * MIB, 8 * MIB + REPAIR)], [(0, SIZE)])


def test_little_is_measured_by_an_image_that_is_small_itself() -> None:
    assert not needs_mark([(BLOCK, 2 * BLOCK)], [(0, SHARE * BLOCK)])
    assert needs_mark([(BLOCK, 2 * BLOCK + SECTOR)], [(0, SHARE * BLOCK)])


def test_disk_of_which_only_the_first_block_differs_needs_no_mark() -> None:
    assert not needs_mark([(0, BLOCK)], [(0, SIZE)])
    assert ordered([(0, BLOCK)], [(0, SIZE)], SIZE, marking=False) == ((0, BLOCK),)


def test_nothing_is_sent_where_nothing_differs() -> None:
    assert not needs_mark([], [(0, SIZE)])
    assert ordered([], [(0, SIZE)], SIZE, marking=False) == ()


@given(st.integers(SECTOR, 3 * CHUNK // SECTOR), st.integers(1, 100))
def test_pieces_cover_all_in_order_and_lose_little(sectors: int, percent: int) -> None:
    end = sectors * SECTOR
    pieces = pieces_of([(SECTOR, end)], 64 * MIB, lambda low, high: (high - low) * percent // 100)
    assert joined((item.start, item.end) for item in pieces) == [(SECTOR, end)]
    assert [item.start for item in pieces[1:]] == [item.end for item in pieces[:-1]]
    assert all(item.packed <= PACKED or item.end - item.start <= SMALLEST for item in pieces)
    assert all(item.start % SECTOR == item.end % SECTOR == 0 for item in pieces)


def test_chunk_fits_the_memory_that_is_free() -> None:
    assert chunks([(0, 3 * MIB)], MIB + 100) == ((0, MIB), (MIB, 2 * MIB), (2 * MIB, 3 * MIB))


def test_time_is_that_of_the_line() -> None:
    """A mebibyte is 1024 blocks of 1029 bytes, ten bits each: 91 s at 115200 baud, and 16 s of waiting for answers."""
    assert 107 < duration([SentPiece(start=0, end=MIB, packed=MIB)], command_s=0,
                          takes_s=lambda size: seconds(size, baud=115200, turn_s=0.016)) < 110
    assert [in_words(value) for value in (7.4, 300, 12_000)] == ["7 s", "5 min", "3 h 20 min"]
