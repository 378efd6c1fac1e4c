"""One number in one sector."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest

from imagekit.boot.numbers import LEDGER, NUMBER_SIZE, REPAIR, RESET, Place
from imagekit.boot.slotstate import COPY_OFFSETS, PARTITION_LEAST, RECORD_SIZE

PLACES = (LEDGER, RESET, REPAIR)


@pytest.mark.parametrize("place", PLACES, ids=("ledger", "reset", "repair"))
@pytest.mark.parametrize("number", [0, 1, 255, 2**32 - 1])
def test_number_comes_back_from_its_sector(place: Place, number: int) -> None:
    assert place.decode(place.encode(number)) == number
    assert place.decode_both(place.encode(7, number)) == (7, number)
    assert len(place.encode(number)) == NUMBER_SIZE


def test_one_is_never_taken_for_the_other() -> None:
    assert all(one.decode(other.encode(1)) == 0 for one, other in permutations(PLACES, 2))


def test_every_changed_bit_of_a_mark_is_none() -> None:
    raw = RESET.encode(1)
    for at in range(8 * NUMBER_SIZE):
        changed = bytearray(raw)
        changed[at // 8] ^= 1 << at % 8
        assert RESET.decode(bytes(changed)) == 0


def test_none_lies_in_the_block_of_another() -> None:
    starts = [*COPY_OFFSETS, *(place.offset for place in PLACES), PARTITION_LEAST]
    assert all(after - before >= max(RECORD_SIZE, 4096) for before, after in pairwise(starts))
