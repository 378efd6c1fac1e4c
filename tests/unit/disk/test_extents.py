from __future__ import annotations

import io

import pytest

from imagekit.disk.extents import Extent, ExtentReader, join
from imagekit.errors import DocumentError

BELOW = bytes(range(100))
RUNS = (Extent(start=10, length=5), Extent(start=None, length=3), Extent(start=90, length=10))
EXPECTED = BELOW[10:15] + bytes(3) + BELOW[90:]


def test_neighbours_are_joined_and_others_are_not() -> None:
    parts = [Extent(start=0, length=4), Extent(start=4, length=4), Extent(start=None, length=1),
             Extent(start=None, length=2), Extent(start=9, length=1), Extent(start=8, length=1)]
    assert join(parts) == (Extent(start=0, length=8), Extent(start=None, length=3), Extent(start=9, length=1),
                           Extent(start=8, length=1))
    assert join([]) == ()


def test_extents_read_as_one_stream() -> None:
    assert io.BufferedReader(ExtentReader(io.BytesIO(BELOW), RUNS)).read() == EXPECTED


@pytest.mark.parametrize("position", range(20))
def test_reading_may_begin_anywhere(position: int) -> None:
    reader = io.BufferedReader(ExtentReader(io.BytesIO(BELOW), RUNS))
    reader.seek(position)
    assert reader.read(4) == EXPECTED[position:position + 4]


def test_no_extents_read_as_nothing() -> None:
    assert ExtentReader(io.BytesIO(BELOW), ()).read() == b""


def test_stream_that_ends_below_an_extent_is_refused() -> None:
    reader = io.BufferedReader(ExtentReader(io.BytesIO(BELOW), [Extent(start=95, length=10)]))
    with pytest.raises(DocumentError, match="ends before byte 105"):
        reader.read()
