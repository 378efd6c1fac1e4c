"""Maintenance windows: how they are written, and when they are open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import DocumentError
from imagekit.plan.windows import DAY_MINUTES, LEAST_MINUTES, Window, next_opening, opening, parse_windows, windows_text

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
WINDOWS = st.lists(st.builds(
    Window, days=st.frozensets(st.integers(0, 6), min_size=1), start=st.integers(0, DAY_MINUTES - 1),
    length=st.integers(LEAST_MINUTES, DAY_MINUTES)), max_size=4).map(tuple)


def open_minutes(text: str) -> set[int]:
    """The minutes of the week, from Monday on, in which windows are open."""
    windows = parse_windows(text)
    return {minute for minute in range(7 * DAY_MINUTES) if opening(windows, MONDAY + timedelta(minutes=minute))}


def span(day: int, start: str, minutes: int) -> set[int]:
    hours, rest = map(int, start.split(":"))
    first = day * DAY_MINUTES + hours * 60 + rest
    return {minute % (7 * DAY_MINUTES) for minute in range(first, first + minutes)}


@pytest.mark.parametrize(("text", "expected"), [
    ("Mon 02:00-04:00", span(0, "02:00", 120)),
    ("mon,TUE 02:00-03:00", span(0, "02:00", 60) | span(1, "02:00", 60)),
    ("Sat..Mon 23:00-01:00", span(5, "23:00", 120) | span(6, "23:00", 120) | span(0, "23:00", 120)),
    ("Sun 22:00-24:00", span(6, "22:00", 120)),
    ("Sun 22:00-06:00; Wed 12:00 - 13:30", span(6, "22:00", 480) | span(2, "12:00", 90)),
    ("00:00-24:00", set(range(7 * DAY_MINUTES))),
    ("03:00-03:00", set(range(7 * DAY_MINUTES))),
    ("", set()),
])
def test_open_in_exactly_these_minutes(text: str, expected: set[int]) -> None:
    assert open_minutes(text) == expected


@pytest.mark.parametrize(("text", "match"), [
    ("Mon", "hh:mm-hh:mm is needed"), ("Mon 2:00-4:00", "hh:mm-hh:mm is needed"), ("always", "is needed"),
    ("Mon 02:00-04:00 Tue", "is needed"), ("Mun 02:00-04:00", "'Mun' is no day"), ("Mon.. 02:00-04:00", "is no day"),
    (",Mon 02:00-04:00", "'' is no day"), ("Mon 24:00-02:00", "starts at 23:59"), ("Mon 22:00-00:00", "ends at 24:00"),
    ("Mon 25:00-26:00", "25:00 is no time"), ("Mon 02:00-02:61", "02:61 is no time"),
    ("Mon 02:00-02:29", "it has 29 minutes, the least is 30"), (";".join(["02:00-04:00"] * 21), "there are 21"),
    ("Mon ٠٢:00-04:00", "is no time"),
])
def test_what_is_no_window_is_refused_with_the_reason(text: str, match: str) -> None:
    with pytest.raises(DocumentError, match=match):
        parse_windows(text)


@given(WINDOWS)
def test_what_is_written_is_read_back(windows: tuple[Window, ...]) -> None:
    assert parse_windows(windows_text(windows)) == windows


@given(WINDOWS, st.integers(0, 7 * DAY_MINUTES - 1))
def test_open_just_where_the_text_says_so(windows: tuple[Window, ...], minute: int) -> None:
    """Held against a plain list of all minutes of a week, and one before it."""
    listed = {(day * DAY_MINUTES + window.start + passed) % (7 * DAY_MINUTES)
              for window in windows for day in window.days for passed in range(window.length)}
    found = opening(windows, MONDAY + timedelta(minutes=minute))
    assert (found is not None) == (minute in listed)
    if found is not None:
        assert found.start <= MONDAY + timedelta(minutes=minute) < found.end


def test_window_is_in_local_time_over_a_change_of_the_clocks() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    windows = parse_windows("Sat 22:00-05:00")
    assert opening(windows, datetime(2026, 3, 29, 4, 59, tzinfo=berlin))
    assert not opening(windows, datetime(2026, 3, 29, 5, 0, tzinfo=berlin))


@pytest.mark.parametrize(("text", "now", "expected"), [
    ("02:00-04:00", timedelta(hours=1), timedelta(hours=2)),
    ("02:00-04:00", timedelta(hours=2), timedelta(days=1, hours=2)),  # the one that is open is not the next
    ("Tue 02:00-04:00; Sun 00:00-24:00", timedelta(hours=1), timedelta(days=1, hours=2)),
    ("Mon 02:00-04:00", timedelta(hours=3), timedelta(days=7, hours=2))])
def test_next_opening(text: str, now: timedelta, expected: timedelta) -> None:
    assert next_opening(parse_windows(text), MONDAY + now) == MONDAY + expected


def test_without_windows_none_opens() -> None:
    assert next_opening((), MONDAY) is None


@given(windows=WINDOWS.filter(bool), minutes=st.integers(0, 7 * DAY_MINUTES))
def test_a_window_is_open_when_it_opens_next(windows: tuple[Window, ...], minutes: int) -> None:
    now = MONDAY + timedelta(minutes=minutes)
    found = next_opening(windows, now)
    assert found is not None
    assert found > now
    assert opening(windows, found) is not None
