"""The plan of a transfer by fastboot: files that fit, everything in them once, the first block last."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.disk.sparse import encode_sparse
from imagekit.errors import PlanError
from imagekit.plan.fastboot import PART, SMALLEST, block_of, parts_of, whole_blocks
from imagekit.plan.flash import joined
from imagekit.units import BLOCK, KIB, MIB, SECTOR

SIZE = 1 * MIB
NOISE = random.Random(5).randbytes(SIZE)


@given(st.lists(st.tuples(st.integers(0, SIZE // SECTOR - 1), st.integers(1, 900)), min_size=1, max_size=12),
       st.sampled_from([SMALLEST, SMALLEST + 1, 300_000, 1 << 30]))
def test_all_that_is_wanted_is_in_files_that_fit(runs: list[tuple[int, int]], most: int) -> None:
    wanted = joined((start * SECTOR, min((start + length) * SECTOR, SIZE)) for start, length in runs)
    extents = whole_blocks(wanted, SIZE)
    parts = parts_of(extents, size=SIZE, most=most)
    assert joined(run for part in parts for run in part.extents) == list(extents)
    assert sum(part.amount for part in parts) == sum(end - start for start, end in extents)
    for part in parts:
        packed = encode_sparse(SIZE, BLOCK, [(start, NOISE[start:end]) for start, end in part.extents])
        assert len(packed) <= min(most, PART)
    assert [part.start for part in parts if part.start < BLOCK] == [0] * (extents[0][0] == 0)
    if extents[0][0] == 0:
        assert parts[-1].extents == ((0, BLOCK),)


def test_disk_that_is_not_in_whole_blocks_goes_by_sectors() -> None:
    size = 1 * MIB + 3 * SECTOR
    assert (block_of(MIB), block_of(size)) == (BLOCK, SECTOR)
    assert whole_blocks([(0, 10), (MIB, size)], size) == ((0, SECTOR), (MIB, size))
    assert whole_blocks([(SECTOR, 3 * SECTOR), (5 * SECTOR, BLOCK + 1)], MIB) == ((0, 2 * BLOCK),)


def test_boot_loader_that_takes_too_little_is_refused() -> None:
    with pytest.raises(PlanError, match="takes 32 KiB at once, 64 KiB are needed"):
        parts_of(((0, MIB),), size=MIB, most=32 * KIB)
