"""A fleet's week: each device runs the real schedule (`imagekit.plan.schedule`), moment by moment.

Devices do not touch one another, so each is run by itself, and what reaches the store is added up by the second. The
time between two looks at the schedule is leapt over: `pause` waits for each check to the second, so nothing happens in
it (tests/scale/test_scale.py runs some devices look by look and compares).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from typing import Protocol

from imagekit.plan.rollout import DeviceId
from imagekit.plan.schedule import Checks, at_boot, looked, next_check, phase_of, tried
from tests.scale.world import WEEK_S, Fate, Span, World, covered, fate_of

HALF_HOUR = 1800
REBOOT_S = 60


class Schedule(Protocol):
    """When a device checks next, in seconds since its boot."""

    def next(self, number: int, checks: Checks) -> int: ...


class RealSchedule:
    """The one that devices run."""

    def next(self, number: int, checks: Checks) -> int:
        if number != getattr(self, "_number", None):
            self._number, self._phase = number, phase_of(identity(number))
        return next_check(self._phase, checks)


def identity(number: int) -> DeviceId:
    return DeviceId(brand="acme", model="pc", serial=f"{number:08}")


@dataclass(slots=True)
class Told:
    """What one device did. Moments of the world; `updated[i]` is when it ran release i, or None."""

    checks: list[int] = field(default_factory=list)  # those that reached the store
    failed: int = 0  # those that did not
    updates: list[tuple[int, int]] = field(default_factory=list)  # check, and how many revisions it was behind
    updated: list[int | None] = field(default_factory=list)


@dataclass(slots=True)
class _Device:
    """One device on its way through the week."""

    number: int
    fate: Fate
    world: World
    schedule: Schedule
    boot: int
    checks: Checks
    has: int = 0
    told: Told = field(default_factory=Told)

    def breaks(self) -> list[tuple[Span, bool]]:
        """What interrupts it: a time, and whether the power is off in it."""
        return sorted([(span, True) for span in self.fate.off] + [(span, False) for span in self.fate.sleep])

    def stop(self, span: Span, *, power: bool) -> None:
        start, end = span
        if end <= self.boot:
            return
        if power:
            lost = 0 if self.checks.answered_s is not None else self.checks.lost_boots + 1
            self.boot, self.checks = end, at_boot(lost_boots=lost)
        elif start >= self.boot:
            awake = replace(self.checks, looked_s=start - self.boot)  # it looked until it fell asleep
            self.checks = looked(awake, end - self.boot)

    def check(self, now: int, limit: int) -> None:
        """One check; what it finds is taken unless something comes in between before `limit`."""
        since = now - self.boot
        answered = not self.world.out(now) and self.fate.reachable(now)
        if answered and now >= 0:
            self.told.checks.append(now)
        newest = self.world.newest(now)
        if answered and newest > self.has:
            done = now + self.fate.update_s
            self.told.updates.append((now, newest - self.has))
            if done < limit and not self.world.out(done) and self.fate.reachable(done):
                self.told.updated += [done] * (newest - self.has)
                self.has = newest
                self.boot += REBOOT_S  # in which nothing is counted
                self.checks = at_boot(lost_boots=0, counted_s=done - self.boot)
                return
            answered = False
        self.told.failed += not answered
        self.checks = tried(self.checks, since, answered=answered)


def live(world: World, number: int, schedule: Schedule) -> tuple[Told, Fate]:
    """The week of one device."""
    fate = fate_of(world, number)
    device = _Device(number=number, fate=fate, world=world, schedule=schedule, boot=fate.boot,
                     checks=at_boot(lost_boots=0))
    breaks = device.breaks()
    at = 0
    while True:
        due = device.boot + schedule.next(number, device.checks)
        if at < len(breaks) and breaks[at][0][0] <= due:
            device.stop(breaks[at][0], power=breaks[at][1])
            at += 1
            continue
        if due >= WEEK_S:
            break
        device.check(due, breaks[at][0][0] if at < len(breaks) else WEEK_S + 86400)
    device.told.updated += [None] * (len(world.releases) - len(device.told.updated))
    return device.told, fate


@dataclass(slots=True)
class Sum:
    """What a part of the fleet did, so that parts can be added.

    `checks` and `updates` count by the second. Of each release: `waits` counts devices by the half hour, in which they
    had been able to reach the store since it was published, when they ran it; `never` had 8 such hours and did not;
    `short` had no 8 such hours before the week was over. `plain` are devices that nothing kept from the store in the
    8 h behind a release but the store itself, and `plain_in_time` those of them that ran it by then.
    """

    checks: array[int]
    updates: array[int]
    behind: list[int]
    waits: list[list[int]]
    never: list[int]
    short: list[int]
    plain: list[int]
    plain_in_time: list[int]
    failed: int = 0
    longest_s: int = 0

    def add(self, other: Sum) -> None:
        for mine, theirs in ((self.checks, other.checks), (self.updates, other.updates), (self.behind, other.behind),
                             (self.never, other.never), (self.short, other.short), (self.plain, other.plain),
                             (self.plain_in_time, other.plain_in_time), *zip(self.waits, other.waits, strict=True)):
            for index, value in enumerate(theirs):
                if value:
                    mine[index] += value
        self.failed += other.failed
        self.longest_s = max(self.longest_s, other.longest_s)


PROMISE_S = 8 * 3600
SLOTS = 48  # half hours


def nothing(world: World) -> Sum:
    count = len(world.releases)
    return Sum(checks=array("L", bytes(8 * WEEK_S)), updates=array("L", bytes(8 * WEEK_S)), behind=[0] * (count + 1),
               waits=[[0] * SLOTS for _ in range(count)], never=[0] * count, short=[0] * count, plain=[0] * count,
               plain_in_time=[0] * count)


def run(world: World, numbers: range, schedule: Schedule) -> Sum:
    """The week of some devices."""
    total = nothing(world)
    for number in numbers:
        told, fate = live(world, number, schedule)
        for moment in told.checks:
            total.checks[moment] += 1
        for moment, behind in told.updates:
            if moment >= 0:
                total.updates[moment] += 1
                total.behind[behind] += 1
        total.failed += told.failed
        _judge(world, told, fate, total)
    return total


def _judge(world: World, told: Told, fate: Fate, total: Sum) -> None:
    lost, own = fate.lost(world.outages), fate.lost(())
    for index, (published, done) in enumerate(zip(world.releases, told.updated, strict=True)):
        if not covered(own, published, published + PROMISE_S):
            total.plain[index] += 1
            total.plain_in_time[index] += done is not None and done <= published + PROMISE_S
        end = WEEK_S if done is None else done
        waited = end - published - covered(lost, published, end)
        if done is not None:
            total.waits[index][min(waited // HALF_HOUR, SLOTS - 1)] += 1
            total.longest_s = max(total.longest_s, waited)
        elif waited >= PROMISE_S:
            total.never[index] += 1
        else:
            total.short[index] += 1
