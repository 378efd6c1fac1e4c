"""Maintenance windows: the hours of the week in which a device may change itself, as its owner writes them.

    windows = window *( ";" window )
    window  = [ days SP ] start "-" end        Mon..Fri 22:00-04:00
    days    = range *( "," range )             every day where none are given
    range   = day [ ".." day ]                 Sat..Mon is three days
    day     = "Mon" / "Tue" / "Wed" / "Thu" / "Fri" / "Sat" / "Sun"     in any case
    start   = hh ":" mm                        00:00 to 23:59
    end     = hh ":" mm                        00:01 to 24:00

The days are written as systemd.time(7) writes them. An end that is not after its start is on the next day, and the
window belongs to the day on which it begins. Times are the device's local time. No window at all: always.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagekit.errors import DocumentError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
LEAST_MINUTES = 30  # shorter, and a device that asks every few minutes could miss it, or not get done
MOST_WINDOWS = 20
_WINDOW = re.compile(r"(?:(?P<days>[A-Za-z.,]+) +)?(?P<start>\d\d:\d\d) *- *(?P<end>\d\d:\d\d)\Z")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """On each of `days` (0 is Monday), from minute `start` of that day for `length` minutes, at most a whole day."""

    days: frozenset[int]
    start: int
    length: int

    def __str__(self) -> str:
        end = self.start + self.length
        days = "" if len(self.days) == len(DAYS) else ",".join(DAYS[day] for day in sorted(self.days)) + " "
        return f"{days}{_clock(self.start)}-{_clock(end if end <= DAY_MINUTES else end - DAY_MINUTES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One time that a window is open: half-open, in the time zone that was asked in."""

    start: datetime
    end: datetime


def parse_windows(text: str) -> tuple[Window, ...]:
    """Read windows; an empty text has none.

    Raises:
        DocumentError: a window is not written as above, or shorter than `LEAST_MINUTES`; names it and says why.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if len(parts) > MOST_WINDOWS:
        raise DocumentError(f"cannot read windows: there are {len(parts)}, at most {MOST_WINDOWS} are allowed")
    return tuple(map(_window, parts))


def windows_text(windows: tuple[Window, ...]) -> str:
    """The text that `parse_windows` reads as these windows."""
    return "; ".join(map(str, windows))


def opening(windows: tuple[Window, ...], now: datetime) -> Opening | None:
    """The opening that `now` lies in, the one that ends last if there are several; `now` is the device's local time."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for window in windows:
        for day in (midnight, midnight - timedelta(days=1)):
            start = day + timedelta(minutes=window.start)
            end = start + timedelta(minutes=window.length)
            if day.weekday() in window.days and start <= now < end:
                found.append(Opening(start=start, end=end))
    return max(found, key=lambda item: item.end, default=None)


def next_opening(windows: tuple[Window, ...], now: datetime) -> datetime | None:
    """When a window opens next, after `now`; None where there are no windows."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = (midnight + timedelta(days=ahead, minutes=window.start) for window in windows for ahead in range(8)
              if (midnight + timedelta(days=ahead)).weekday() in window.days)
    return min((start for start in starts if start > now), default=None)


def _window(text: str) -> Window:
    found = _WINDOW.match(text)
    if not found:
        raise DocumentError(f"cannot read window {text!r}: DAYS hh:mm-hh:mm is needed, for example"
                            " 'Mon..Fri 22:00-04:00'")
    start, end = _minute(text, found["start"]), _minute(text, found["end"])
    if start == DAY_MINUTES or end == 0:
        raise DocumentError(f"cannot read window {text!r}: it starts at 23:59 at the latest, ends at 24:00, not 00:00")
    length = end - start if end > start else end - start + DAY_MINUTES
    if length < LEAST_MINUTES:
        raise DocumentError(f"cannot read window {text!r}: it has {length} minutes, the least is {LEAST_MINUTES}")
    return Window(days=_days(text, found["days"]), start=start, length=length)


def _minute(window: str, text: str) -> int:
    if text == "24:00":
        return DAY_MINUTES
    found = _TIME.match(text)
    if not found:
        raise DocumentError(f"cannot read window {window!r}: {text} is no time of a day, 00:00 to 24:00 are")
    return int(found[1]) * 60 + int(found[2])


def _days(window: str, text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(len(DAYS)))
    days: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.partition("..")
        names = [first, last] if dots else [first]
        if not all(name.capitalize() in DAYS for name in names):
            raise DocumentError(f"cannot read window {window!r}: {part!r} is no day, {' '.join(DAYS)} are,"
                                " and ranges of them like Mon..Fri")
        low, high = DAYS.index(first.capitalize()), DAYS.index(names[-1].capitalize())
        days |= {day % len(DAYS) for day in range(low, high + 1 if high >= low else high + 1 + len(DAYS))}
    return frozenset(days)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
