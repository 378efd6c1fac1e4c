"""When a device asks its store, and when it may change itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.plan.channelmap import UpdateClass
from imagekit.plan.policy import Policy, Urgent
from imagekit.plan.rollout import DeviceId
from imagekit.plan.schedule import (
    ALARM_CHECKS,
    ALARM_DAYS,
    ALARM_FEW_CHECKS,
    ASLEEP_S,
    MOST_HALVINGS,
    NARROW_S,
    PERIOD_S,
    TICK_S,
    UNKNOWN_CLOCK_CHECKS,
    Checks,
    Phase,
    Verdict,
    Wishes,
    at_boot,
    believed,
    in_window,
    is_held,
    is_silent,
    looked,
    may_start,
    next_begin,
    next_check,
    pause,
    phase_of,
    point_after,
    policy_of,
    tried,
)
from imagekit.plan.windows import opening, parse_windows

FRACTION = st.integers(0, (1 << 64) - 1)
PHASE = st.builds(Phase, regular=FRACTION, narrow=FRACTION, window=FRACTION)
WEEK_S = 7 * 86400


def device(number: int) -> Phase:
    return phase_of(DeviceId(brand="acme", model="pc", serial=f"{number:07}"))


def run(phase: Phase, checks: Checks, *, until_s: int, answers: object = None, asleep: tuple[int, int] = (0, 0),
        tick_s: int = TICK_S) -> list[int]:
    """The checks of a device that looks every `tick_s`, but not while it is `asleep`."""
    found = []
    for now in range(0, until_s, tick_s):
        if asleep[0] <= now < asleep[1]:
            continue
        checks = looked(checks, now)
        if next_check(phase, checks) <= now:
            found.append(now)
            checks = tried(checks, now, answered=answers(now) if callable(answers) else True)
    return found


# ---- asking

@given(FRACTION, st.integers(1, PERIOD_S), st.integers(0, 1 << 40))
def test_point_is_the_first_of_its_grid_after_the_moment(fraction: int, grid: int, moment: int) -> None:
    point = point_after(fraction, grid, moment)
    first = 1 + (grid * fraction >> 64)
    assert point > moment and (point - first) % grid == 0 and point >= first
    assert point - grid <= moment or point == first


@given(PHASE)
def test_awake_device_asks_within_105_minutes_of_its_boot_and_then_every_6_hours(phase: Phase) -> None:
    found = run(phase, at_boot(lost_boots=0), until_s=2 * 86400)
    assert 0 < found[0] <= NARROW_S + TICK_S
    assert found[1] - found[0] <= PERIOD_S + TICK_S
    assert all(abs(later - earlier - PERIOD_S) <= TICK_S for earlier, later in pairwise(found[1:]))


@given(PHASE, st.integers(0, 86400), st.integers(1, 12 * 3600))
def test_outage_costs_105_minutes_at_most(phase: Phase, begin: int, length: int) -> None:
    """Between two answers lie 6 h and 105 minutes of a store that answers, at most."""
    found = run(phase, at_boot(lost_boots=0), until_s=3 * 86400,
                answers=lambda now: not begin <= now < begin + length)
    answered = [now for now in found if not begin <= now < begin + length]
    for earlier, later in pairwise([0, *answered]):
        out = max(0, min(later, begin + length) - max(earlier, begin))
        assert later - earlier - out <= PERIOD_S + NARROW_S + 2 * TICK_S
    assert len(found) <= 3 * 86400 // PERIOD_S + length // NARROW_S + 4, "it hammers"


@given(PHASE, st.integers(3600, 86400), st.integers(ASLEEP_S + TICK_S, 2 * 86400))
def test_device_that_wakes_up_late_asks_soon_but_not_at_once_with_all_others(phase: Phase, begin: int,
                                                                             length: int) -> None:
    wake = begin + length
    found = run(phase, at_boot(lost_boots=0), until_s=wake + 86400, asleep=(begin, wake))
    missed = [now for now in run(phase, at_boot(lost_boots=0), until_s=wake) if now >= begin]
    after = [now for now in found if now >= wake]
    assert after[0] - wake <= (NARROW_S + 2 * TICK_S if missed else PERIOD_S + TICK_S)


def test_a_fleet_that_wakes_or_boots_at_once_comes_spread_out() -> None:
    fleet = [device(number) for number in range(4000)]
    firsts = Counter(next_check(phase, at_boot(lost_boots=0)) * 10 // (NARROW_S + 1)
                     for phase in fleet)
    woken = Counter((next_check(phase, looked(Checks(answered_s=1, tried_s=1), WEEK_S)) - WEEK_S) * 10 // (NARROW_S + 1)
                    for phase in fleet)
    for tenths in (firsts, woken):
        assert sorted(tenths) == list(range(10)) and min(tenths.values()) > 320 and max(tenths.values()) < 480


def test_the_two_phases_of_a_device_have_nothing_to_do_with_each_other() -> None:
    """Who fails in a short outage has like phases; when they come again is spread over all of the narrow grid."""
    alike = [phase for phase in map(device, range(40_000)) if phase.regular >> 60 == 3]
    tenths = Counter(phase.narrow * 10 >> 64 for phase in alike)
    assert 2300 < len(alike) < 2700 and min(tenths.values()) > 190 and max(tenths.values()) < 310


@given(PHASE, st.integers(0, 20))
def test_device_that_is_on_for_short_times_asks_sooner_with_every_boot(phase: Phase, lost: int) -> None:
    first = next_check(phase, at_boot(lost_boots=lost))
    assert 0 < first <= max(NARROW_S >> lost, NARROW_S >> MOST_HALVINGS)


def test_device_that_is_on_for_four_minutes_a_day_asks_in_the_end() -> None:
    on_s = 240
    for phase in map(device, range(200)):
        boots = [next_check(phase, at_boot(lost_boots=lost)) <= on_s for lost in range(7)]
        assert boots[MOST_HALVINGS]


@given(PHASE, st.integers(1, 1 << 30))
def test_reboot_into_an_update_changes_nothing_about_the_next_check(phase: Phase, counted: int) -> None:
    before = tried(Checks(awake_s=counted, looked_s=counted), counted, answered=True)
    assert next_check(phase, at_boot(lost_boots=0, counted_s=counted)) == next_check(phase, before)


@given(PHASE, st.lists(st.tuples(st.integers(1, 90_000), st.booleans()), max_size=40))
def test_next_check_is_never_before_the_last_one(phase: Phase, events: list[tuple[int, bool]]) -> None:
    checks, now = at_boot(lost_boots=0), 0
    for step, answered in events:
        now += step
        checks = tried(looked(checks, now), now, answered=answered)
        assert now < next_check(phase, checks) <= now + PERIOD_S


@given(PHASE, st.integers(0, 3600))
def test_check_is_waited_for_to_the_second(phase: Phase, offset: int) -> None:
    checks = at_boot(lost_boots=0)
    looks = range(offset % TICK_S, NARROW_S + TICK_S + 1, TICK_S)
    waits = [(now, wait) for now in looks if (wait := pause(phase, checks, now)) is not None]
    now, wait = waits[0]
    assert 0 <= wait < TICK_S and now + wait == max(now, next_check(phase, checks))


def test_phase_is_the_documented_hash() -> None:
    """Written out, so that a change of it, which would move a whole fleet, is noticed."""
    assert phase_of(DeviceId(brand="acme", model="pc", serial="0001")) == Phase(
        regular=3779766115935860319, narrow=9648114081882323720, window=13956575398895292667)


# ---- changing itself

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)  # a Friday
PHASE0 = Phase(regular=0, narrow=0, window=0)
NIGHT = Policy(windows=parse_windows("02:00-04:00"))
FEATURE, SECURITY, URGENT = UpdateClass.FEATURE, UpdateClass.SECURITY, UpdateClass.URGENT


def verdict(policy: Policy = NIGHT, update_class: UpdateClass = FEATURE, **more: object) -> Verdict:
    return may_start(policy, PHASE0, update_class, **{"now": NOON, **more})  # type: ignore[arg-type]


def test_by_itself_and_at_any_time_by_default() -> None:
    assert verdict(Policy()) is Verdict.ANY_TIME and Verdict.ANY_TIME.start


@pytest.mark.parametrize(("update_class", "urgent", "expected"), [
    (FEATURE, Urgent.AT_ONCE, Verdict.OUTSIDE_WINDOW), (SECURITY, Urgent.AT_ONCE, Verdict.OUTSIDE_WINDOW),
    (URGENT, Urgent.AT_ONCE, Verdict.URGENT), (URGENT, Urgent.WAIT, Verdict.OUTSIDE_WINDOW)])
def test_only_what_is_urgent_waits_for_no_window(update_class: UpdateClass, urgent: Urgent, expected: Verdict) -> None:
    assert verdict(replace(NIGHT, urgent=urgent), update_class) is expected


@pytest.mark.parametrize("update_class", UpdateClass)
def test_owner_may_postpone_and_opt_out_of_everything(update_class: UpdateClass) -> None:
    assert verdict(Policy(), update_class, held_until=NOON + timedelta(days=1)) is Verdict.HELD
    assert verdict(Policy(automatic=False), update_class) is Verdict.OPTED_OUT
    assert not Verdict.HELD.start and not Verdict.OPTED_OUT.start


def test_a_person_who_asks_gets_it_now() -> None:
    assert verdict(Policy(automatic=False), held_until=NOON + timedelta(days=1), asked=True) is Verdict.ASKED


def test_postponement_ends() -> None:
    assert verdict(Policy(), held_until=NOON) is Verdict.ANY_TIME


def test_postponement_set_by_a_clock_that_ran_ahead_does_not_hold_for_ever() -> None:
    assert verdict(Policy(), held_until=NOON + timedelta(days=91)) is Verdict.ANY_TIME


def test_dead_clock_waits_a_week_of_checks_and_no_longer() -> None:
    assert verdict(now=None) is Verdict.WAITS_FOR_CLOCK
    assert verdict(now=None, waited_checks=UNKNOWN_CLOCK_CHECKS) is Verdict.CLOCK_UNKNOWN
    assert verdict(now=None, update_class=URGENT) is Verdict.URGENT
    held = NOON + timedelta(days=1)
    assert verdict(Policy(), now=None, held_until=held) is Verdict.HELD
    assert verdict(Policy(), now=None, held_until=held, waited_checks=UNKNOWN_CLOCK_CHECKS) is Verdict.ANY_TIME


def test_clock_is_believed_unless_something_signed_is_newer() -> None:
    assert believed(NOON, NOON) == NOON
    assert believed(datetime(1970, 1, 1, tzinfo=UTC), NOON) is None


@pytest.mark.parametrize(("fixed", "expected"), [("", False), ("a machine that nobody stands beside", True)])
def test_owner_goes_before_the_model_unless_that_says_why_not(fixed: str, expected: bool) -> None:
    owner = Wishes(automatic=False, windows=(), urgent=Urgent.WAIT)
    found = policy_of(NIGHT, owner, fixed=fixed)
    assert found == (NIGHT if expected else Policy(automatic=False, urgent=Urgent.WAIT))
    assert policy_of(NIGHT, Wishes()) == NIGHT


@given(st.sampled_from(["02:00-04:00", "Sat..Mon 22:00-06:00", "Wed 12:00-12:30"]), PHASE)
def test_every_device_may_begin_in_the_second_half_of_every_window(text: str, phase: Phase) -> None:
    windows = parse_windows(text)
    for minute in range(0, 7 * 1440, 15):
        now = NOON + timedelta(minutes=minute)
        found = opening(windows, now)
        if found is None:
            assert not in_window(windows, phase, now)
        elif now >= found.start + (found.end - found.start) / 2:
            assert in_window(windows, phase, now)


@given(st.sampled_from(["02:00-04:00", "Sat..Mon 22:00-06:00", "Wed 12:00-12:30", "01:00-05:00; 02:00-03:00",
                        "Mon..Fri 22:00-04:00; Sun 00:00-24:00"]), PHASE, st.integers(0, 7 * 1440 - 1))
def test_device_knows_when_it_may_begin_next(text: str, phase: Phase, minute: int) -> None:
    windows, now = parse_windows(text), NOON + timedelta(minutes=minute)
    begin = next_begin(windows, phase, now)
    assert begin is not None and in_window(windows, phase, begin)
    moment = now
    while moment < begin:
        assert in_window(windows, phase, now) or not in_window(windows, phase, moment)
        moment += timedelta(minutes=15)


def test_fleet_does_not_begin_at_the_stroke_of_its_window() -> None:
    windows = parse_windows("02:00-04:00")
    began = [sum(in_window(windows, device(number), NOON.replace(hour=2, minute=minute)) for number in range(1000))
             for minute in (0, 15, 30, 45, 59)]
    assert began[0] < 10 and 200 < began[1] < 300 and 440 < began[2] < 560 and began[4] > 960


@pytest.mark.parametrize(("failed", "days", "expected"), [
    (ALARM_CHECKS, None, True), (ALARM_CHECKS - 1, None, False),  # without a clock the count alone tells
    (ALARM_FEW_CHECKS, ALARM_DAYS, True), (ALARM_FEW_CHECKS - 1, 300, False),
    (ALARM_FEW_CHECKS, ALARM_DAYS - 1, False)])
def test_silent_store_is_an_alarm_after_days(failed: int, days: int | None, expected: bool) -> None:
    now = None if days is None else NOON + timedelta(days=days)
    assert is_silent(failed=failed, answered=NOON, now=now) is expected


def test_device_that_is_always_awake_is_alarmed_on_the_third_day() -> None:
    assert 2.9 * 24 * 3600 < ALARM_CHECKS * NARROW_S <= 3 * 24 * 3600


def test_hold_can_be_told_at_the_end_of_time() -> None:
    """A device believes what something signed proves to be past, however late that is."""
    now = datetime.max.replace(tzinfo=UTC)
    assert not is_held(now - timedelta(days=1), now)
    assert is_held(now, now - timedelta(days=1))
