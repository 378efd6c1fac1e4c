"""Timers of services: on which days, and when on them.

Decides what a timer says; when it fires next is for whoever makes systemd's units of it. Source: snapd
`timeutil/schedule.go`.

    timer = events (",," events)*
    events = days ("," times)? | times                     ; a part with ":" is a time
    days = day ["-" day] ("," ...)*                        ; day = sun mon tue wed thu fri sat, then 1 to 5 or nothing
    times = time [("-" | "~") time] ["/" count] ("," ...)* ; time = 0:00 to 24:00
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagekit.errors import DocumentError

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_TIME = re.compile(r"([0-9]|[01][0-9]|2[0-3]):([0-5][0-9])\Z")
_DAY = re.compile(rf"({'|'.join(WEEKDAYS)})([1-5]?)\Z")
_COUNT = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A weekday; `week` is 1 to 5 for the so-manieth of a month, 5 being the last, and 0 for all."""

    weekday: str
    week: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """From one day to another, both included; `first` and `last` are the same for one day."""

    first: Day
    last: Day


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """From one minute of the day to another, in minutes since midnight.

    `count` parts it into so many spans; `spread` means some time in each instead of its beginning.
    """

    start: int
    end: int
    count: int = 0
    spread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The times of some days; no days are all of them, no times are midnight."""

    days: tuple[Days, ...]
    times: tuple[Times, ...]


def parse_timer(text: str) -> tuple[Events, ...]:
    """Raises: DocumentError: with the part that is not understood."""
    return tuple(_events(part) for part in text.split(",,"))


def _events(text: str) -> Events:
    days: list[Days] = []
    times: list[Times] = []
    for part in text.split(","):
        if ":" in part:
            times.append(_times(part))
        elif times:
            raise DocumentError(f"{part!r} comes after a time: days come first")
        else:
            days.append(_days(part))
    return Events(days=tuple(days), times=tuple(times))


def _days(text: str) -> Days:
    first, _, last = text.partition("-")
    found = Days(first=_day(first, text), last=_day(last if "-" in text else first, text))
    if found.first.week and found.last.week and found.first != found.last:
        if found.last.week < found.first.week:
            raise DocumentError(f"{text!r} ends in an earlier week than it begins")
        return Days(first=found.first, last=Day(weekday=found.last.weekday))  # the first day alone says the week
    return found


def _day(text: str, whole: str) -> Day:
    match = _DAY.match(text)
    if match is None:
        raise DocumentError(f"{whole!r} is neither a time nor days: {', '.join(WEEKDAYS)} are, with 1 to 5 behind")
    return Day(weekday=match[1], week=int(match[2] or 0))


def _times(text: str) -> Times:
    span, slash, count = text.partition("/")
    if slash and not (_COUNT.match(count) and 0 < int(count) < 1 << 32):
        raise DocumentError(f"{text!r} is not parted by a number above 0")
    spread = "~" in span
    start, dash, end = (span.replace("~", "-", 1) if spread else span).partition("-")
    return Times(start=_minute(start, text), end=_minute(end if dash else start, text), count=int(count or 0),
                 spread=spread)


def _minute(text: str, whole: str) -> int:
    match = _TIME.match(text)
    if match is None and text != "24:00":
        raise DocumentError(f"{whole!r} is not a time: 0:00 to 24:00 is, or two of them with - or ~ between")
    return 24 * 60 if match is None else int(match[1]) * 60 + int(match[2])
