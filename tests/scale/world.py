"""What a simulated fleet lives in: a week, a store that is out now and then, releases, and devices with bad luck.

Times are whole seconds; 0 is the beginning of the week. Devices boot in the day before it, which is not measured.
Everything is drawn from the seed, so that a run can be repeated to the last request.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

HOUR, DAY = 3600, 86400
WEEK_S = 7 * DAY
WARM_UP_S = DAY

Span = tuple[int, int]  # half-open


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all devices share. Shares are of 1; `releases` ascend, and their number is the revision they bring."""

    devices: int
    seed: int = 1
    outages: tuple[Span, ...] = (
        (1 * DAY + 11 * HOUR, 1 * DAY + 12 * HOUR), (3 * DAY + 10 * HOUR, 3 * DAY + 13 * HOUR),
        (4 * DAY + 14 * HOUR, 4 * DAY + 17 * HOUR), (5 * DAY + 8 * HOUR, 5 * DAY + 10 * HOUR))
    releases: tuple[int, ...] = (
        9 * HOUR, 1 * DAY + 9 * HOUR, 2 * DAY + 12 * HOUR, 3 * DAY + 9 * HOUR, 4 * DAY + 9 * HOUR, 5 * DAY + 9 * HOUR)
    unreachable: float = 0.05  # of all devices, at any moment, without a way to the store
    unreachable_s: int = 6 * HOUR  # how long that takes, on average
    asleep: float = 0.02  # of all devices sleep from 20:00 to 06:00, and wake up in the same second
    reboots_a_day: float = 0.01  # of all devices, for no reason
    blackout: tuple[float, int, int] = (0.1, 2 * DAY + 7 * HOUR, 2 * DAY + 8 * HOUR)  # share without power, from, to
    update_s: Span = (120, 600)  # from a check that finds an update to the healthy boot

    def out(self, moment: int) -> bool:
        return any(start <= moment < end for start, end in self.outages)

    def newest(self, moment: int) -> int:
        """The revision that the store offers."""
        return bisect_right(self.releases, moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one device. `off` are times without power, `sleep` suspended, `cut` without a network."""

    boot: int
    off: tuple[Span, ...]
    sleep: tuple[Span, ...]
    cut: tuple[Span, ...]
    update_s: int

    def reachable(self, moment: int) -> bool:
        return not any(start <= moment < end for start, end in self.cut)

    def lost(self, outages: tuple[Span, ...]) -> tuple[Span, ...]:
        """When the device and the store could not come together, whatever anybody does; ascending, not overlapping."""
        return merged((*self.off, *self.sleep, *self.cut, *outages))


def fate_of(world: World, number: int) -> Fate:
    draw = random.Random(f"{world.seed}/{number}")
    off = [(moment, moment + draw.randint(30, 90)) for moment in _poisson(draw, DAY / world.reboots_a_day)]
    if draw.random() < world.blackout[0]:
        off.append(world.blackout[1:])
    night = draw.random() < world.asleep
    return Fate(
        boot=draw.randint(-WARM_UP_S, -WARM_UP_S // 2), off=merged(off),
        sleep=tuple((day * DAY + 20 * HOUR, day * DAY + 30 * HOUR) for day in range(-1, 7)) if night else (),
        cut=_spells(draw, world), update_s=draw.randint(*world.update_s))


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def covered(spans: tuple[Span, ...], start: int, end: int) -> int:
    """How much of a time lies in `spans`."""
    return sum(max(0, min(end, last) - max(start, first)) for first, last in spans)


def _poisson(draw: random.Random, mean_s: float) -> list[int]:
    found, moment = [], -WARM_UP_S // 2 + int(draw.expovariate(1 / mean_s))
    while moment < WEEK_S:
        found.append(moment)
        moment += int(draw.expovariate(1 / mean_s)) + 1
    return found


def _spells(draw: random.Random, world: World) -> tuple[Span, ...]:
    """Times without a network, each drawn; before the first second the same share is out as later."""
    out_s = world.unreachable_s
    up_s = out_s * (1 - world.unreachable) / world.unreachable
    moment, found = -WARM_UP_S, []
    if draw.random() >= world.unreachable:
        moment += int(draw.expovariate(1 / up_s))
    while moment < WEEK_S:
        end = moment + int(draw.expovariate(1 / out_s)) + 1
        found.append((moment, end))
        moment = end + int(draw.expovariate(1 / up_s)) + 1
    return tuple(found)
