"""What the blocks of a medium that could not be verified tell."""

from __future__ import annotations

import pytest

from imagekit.plan.flash_damage import Damage, Pattern, one_byte, wrap_distance
from imagekit.units import MIB


@pytest.mark.parametrize(("places", "distance"), [
    ({0: [8 * MIB], MIB: [9 * MIB], 2 * MIB: [10 * MIB]}, 8 * MIB),
    ({0: [8 * MIB], MIB: [9 * MIB], 2 * MIB: [18 * MIB]}, 8 * MIB),  # went round twice there
    ({0: [3 * MIB, 8 * MIB], MIB: [9 * MIB, 20 * MIB], 2 * MIB: [10 * MIB]}, 8 * MIB),  # twins elsewhere
    ({0: [8 * MIB], MIB: [9 * MIB]}, None),  # two are not several
    ({0: [8 * MIB], MIB: [3 * MIB + 4096], 2 * MIB: [12 * MIB + 8192]}, None),  # each another distance
    ({0: [8 * MIB], MIB: [9 * MIB], 2 * MIB: [10 * MIB], 3 * MIB: [], 4 * MIB: [], 5 * MIB: []}, None),  # most nowhere
    ({0: [], MIB: []}, None),
])
def test_card_that_begins_again_is_known_by_distances_that_agree(places: dict[int, list[int]],
                                                                 distance: int | None) -> None:
    assert wrap_distance(places) == distance


def test_erased_cells_and_zeros_are_one_byte_and_belong_nowhere() -> None:
    assert one_byte(b"\xff" * 4096)
    assert one_byte(bytes(4096))
    assert not one_byte(b"\xff" * 4095 + b"\xfe")


def test_count_that_was_not_finished_is_told_as_the_least() -> None:
    assert Damage(first=0, blocks=7, pattern=Pattern.ZEROS, least=True).text.startswith("at least 7 blocks of 4096")
