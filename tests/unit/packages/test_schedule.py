"""Timers of services."""

from __future__ import annotations

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.schedule import Day, Days, Events, Times, parse_timer


def days(first: str, last: str | None = None, *, week: int = 0, last_week: int = 0) -> Days:
    one = Day(weekday=first, week=week)
    return Days(first=one, last=one if last is None else Day(weekday=last, week=last_week))


@pytest.mark.parametrize(("text", "expected"), [
    ("mon,10:00,,fri,15:00", (Events(days=(days("mon"),), times=(Times(start=600, end=600),)),
                              Events(days=(days("fri"),), times=(Times(start=900, end=900),)))),
    ("mon-wed,fri,9:00-11:00/2", (Events(days=(days("mon", "wed"), days("fri")),
                                         times=(Times(start=540, end=660, count=2),)),)),
    ("23:00~1:00", (Events(days=(), times=(Times(start=1380, end=60, spread=True),)),)),
    ("0:00-24:00", (Events(days=(), times=(Times(start=0, end=1440),)),)),
    ("mon5", (Events(days=(days("mon", week=5),), times=()),)),
    ("mon1-fri", (Events(days=(days("mon", "fri", week=1),), times=()),)),
    ("mon1-tue2", (Events(days=(days("mon", "tue", week=1),), times=()),)),
    ("mon-fri1", (Events(days=(days("mon", "fri", last_week=1),), times=()),)),
])
def test_timer_is_read(text: str, expected: tuple[Events, ...]) -> None:
    assert parse_timer(text) == expected


@pytest.mark.parametrize("text", [
    "", ",", "mon,", "mon,,", ",,mon", "mon-", "-", "~", "mon-tue-wed", "Mon", "monday", "mon0", "mon6", "mon22",
    "10:00,mon", "24:01", "25:00", "9:60", "9", "009:00", "9:00-", "9:00-10:00-11:00", "9:00~10:00~11:00",
    "9:00-11:00/", "9:00-11:00/0", "9:00-11:00/-1", "9:00-11:00/4294967296", "9:00/2/2", "mon4-mon1", "10:00\n"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_timer(text)
