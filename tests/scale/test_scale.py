"""A small fleet's week: the promise is kept, and would not be with other schedules. Counts; nothing is timed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from imagekit.plan.schedule import PERIOD_S, TICK_S, Checks, at_boot, looked, pause, phase_of, point_after, tried
from tests.scale.fleet import PROMISE_S, RealSchedule, Sum, identity, live, run
from tests.scale.page import PAGE, load, with_parts
from tests.scale.run import DELTA, MOST_PEAK, PROMISED, WEEK_S, WHOLE, behind_a_release, kept, report
from tests.scale.world import World, covered, fate_of, merged

DEVICES = 3000
QUARTER_S = 900  # checks of few devices, counted by the minute, would have peaks by chance
COST = {"idle": {"requests": 2, "bytes": 600}, "update": {"requests": 7, "bytes_without_package": 40_000}}


class RandomInWindows:
    """Four checks a day, each at a random moment of its six hours."""

    def next(self, number: int, checks: Checks) -> int:
        window = max(checks.tried_s, checks.awake_s) // PERIOD_S + 1
        return window * PERIOD_S + random.Random(f"{number}/{window}").randrange(PERIOD_S)


class Impatient:
    """Every six hours, and after a check without an answer once more every minute."""

    def next(self, number: int, checks: Checks) -> int:
        phase = phase_of(identity(number))
        if checks.answered_s is not None and checks.answered_s >= checks.tried_s:
            return point_after(phase.regular, PERIOD_S, checks.answered_s)
        return max(checks.tried_s, checks.awake_s) + 60


@pytest.fixture(scope="module")
def week() -> tuple[World, Sum]:
    world = World(devices=DEVICES)
    return world, run(world, range(DEVICES), RealSchedule())


def peak(total: Sum) -> float:
    """The highest quarter of an hour against the mean."""
    quarters = [sum(total.checks[start:start + QUARTER_S]) for start in range(0, WEEK_S, QUARTER_S)]
    return max(quarters) * len(quarters) / sum(quarters)


def share(world: World, total: Sum) -> float:
    found = report(world, total, COST)
    return float(found["in_time"] / found["counted"])


def test_every_device_runs_a_release_within_eight_hours_in_which_it_could_be_had(week: tuple[World, Sum]) -> None:
    world, total = week
    assert share(world, total) >= PROMISED
    assert sum(map(sum, total.waits)) > 0.99 * DEVICES * len(world.releases)


def test_store_is_never_asked_by_all_at_once(week: tuple[World, Sum]) -> None:
    assert peak(week[1]) <= MOST_PEAK


def test_random_moments_in_six_hours_break_the_promise() -> None:
    world = World(devices=500)
    assert share(world, run(world, range(500), RandomInWindows())) < 0.95


def test_devices_that_ask_again_every_minute_break_the_peak() -> None:
    world = World(devices=500)
    assert peak(run(world, range(500), Impatient())) > 2 * MOST_PEAK


def test_without_bad_luck_everybody_is_in_time_by_the_clock() -> None:
    world = World(devices=300, outages=(), unreachable=1e-9, asleep=0, reboots_a_day=1e-9, blackout=(0, 0, 0))
    total = run(world, range(300), RealSchedule())
    assert total.plain_in_time == total.plain == [300] * len(world.releases)
    assert total.failed == 0 and total.longest_s <= PERIOD_S + world.update_s[1] + 60
    assert peak(total) < 2


@pytest.mark.parametrize("number", range(0, 3000, 150))
def test_leaping_from_check_to_check_is_what_looking_every_five_minutes_comes_to(number: int) -> None:
    world = World(devices=3000, releases=())
    told, fate = live(world, number, RealSchedule())
    looked_at = list(by_looks(world, number))
    leapt = [moment for moment in told.checks if moment >= 0]
    assert len(leapt) > 20 or fate.sleep
    assert [moment for moment in looked_at if moment >= 0] == leapt


def by_looks(world: World, number: int) -> Iterator[int]:
    """The checks that reach the store, of a device that looks at its schedule every `TICK_S`, as its timer does."""
    fate, phase = fate_of(world, number), phase_of(identity(number))
    off = dict(fate.off)
    boot, checks, lost, now = fate.boot, at_boot(lost_boots=0), 0, fate.boot
    while now < WEEK_S:
        ended = next((end for start, end in off.items() if start <= now < end or boot < start <= now), None)
        if ended is not None and ended > boot:
            lost = 0 if checks.answered_s is not None else checks.lost_boots + 1
            boot = now = ended
            checks = at_boot(lost_boots=lost)
        now = next((end for start, end in fate.sleep if start <= now < end), now)
        checks = looked(checks, now - boot)
        wait = pause(phase, checks, now - boot)
        breaks = [start for start, _ in (*fate.off, *fate.sleep) if now < start]
        if wait is not None and now + wait < min([*breaks, WEEK_S]):
            now += wait
            answered = not world.out(now) and fate.reachable(now)
            checks = tried(checks, now - boot, answered=answered)
            if answered:
                yield now
        following = now + TICK_S
        now = min([following, *(start for start, _ in fate.off if now < start)])


# ---- the parts it is made of

def test_times_that_touch_are_one() -> None:
    assert merged([(5, 8), (1, 3), (3, 4), (7, 9)]) == ((1, 4), (5, 9))
    assert covered(((1, 4), (5, 9)), 2, 7) == 4


def test_shares_of_the_world_are_what_it_says() -> None:
    world = World(devices=4000)
    fates = [fate_of(world, number) for number in range(4000)]
    for moment in (0, 86400, 500_000):
        assert 0.04 < sum(not fate.reachable(moment) for fate in fates) / 4000 < 0.06
    assert 0.012 < sum(bool(fate.sleep) for fate in fates) / 4000 < 0.028
    assert 0.08 < sum(world.blackout[1:] in fate.off for fate in fates) / 4000 < 0.12
    assert fates[7] == fate_of(world, 7) != fate_of(replace(world, seed=2), 7)


def test_mean_of_a_release_leaves_the_outage_out() -> None:
    world = World(devices=1, releases=(0,), outages=((3600, 2 * 3600),))
    found = behind_a_release(world, [60.0] * 480)
    assert found == {"peak": 1.0, "bytes": 480 * 60.0, "mean": 480 * 60.0 / (PROMISE_S - 3600)}


# ---- what is on record

def test_record_kept_the_promise_and_is_of_a_million() -> None:
    record = load("scale")
    assert kept(record)
    assert record["world"] == json.loads(json.dumps(asdict(World(devices=1_000_000))))


def test_record_has_the_sizes_of_the_larger_delta_that_was_measured_of_a_base() -> None:
    rows = json.loads((PAGE.parent / "benchmarks/deltas.json").read_text())["rows"]
    measured = max((row["rounds"][0]["delta"], row["new"]["whole"]) for row in rows if row["type"] == "base")
    record = load("scale")
    assert (record["delta_bytes"], record["whole_bytes"]) == (DELTA, WHOLE) == measured


def test_page_says_what_the_records_say() -> None:
    assert with_parts(PAGE.read_text()) == PAGE.read_text()


def test_outages_of_the_world_are_as_long_as_they_are_said_to_be() -> None:
    assert {end - start for start, end in World(devices=1).outages} == {3600, 2 * 3600, 3 * 3600}
