"""Durations, as Go's time.ParseDuration reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import DocumentError
from imagekit.packages.duration import encode_duration, parse_duration

SECOND = 1_000_000_000


@pytest.mark.parametrize(("text", "expected"), [
    ("0", 0), ("-0", 0), ("+0", 0), ("0s", 0), ("5s", 5 * SECOND), ("1m30s", 90 * SECOND), ("1.5h", 5400 * SECOND),
    ("-1h", -3600 * SECOND), (".5s", SECOND // 2), ("1.s", SECOND), ("10ms", 10_000_000), ("3us", 3000), ("3µs", 3000),
    ("3μs", 3000), ("7ns", 7), ("1s1s", 2 * SECOND), ("0.000000001s", 1), ("9223372036s", 9_223_372_036 * SECOND)])
def test_duration_is_read(text: str, expected: int) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "-", "5", "s", ".s", "5 s", "5S", "1d", "1h5", "--1s", "1m-1s", "0x1s", "1e3s",
                                  "9223372037s", "1" * 300 + "s", "٣s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_duration(text)


@given(st.integers(-(1 << 62), 1 << 62))
def test_written_duration_is_read_back(nanoseconds: int) -> None:
    assert parse_duration(encode_duration(nanoseconds)) == nanoseconds
