"""When a device asks its store, and when it may change itself. Shared by device and simulation; pure, without a clock.

**Asking.** Moments are whole seconds since the device booted, time asleep included (Linux's CLOCK_BOOTTIME). That
clock never jumps, so a wrong time of day can neither stop checks nor bring them all at once. Over a reboot into an
update the count goes on where it was, by one number that is kept; after any other boot it begins at 0. A device asks
at the points of a grid of 6 h whose phase is its own. One that is behind (it has just booted, its last check came to
no answer, or it slept through a point) takes the points of a narrower grid of 105 minutes, whose phase is its own
too. Both phases come from a stable hash of the device, so they are spread evenly, and not alike:

    phase = 1 + floor(grid * h / 2^64), where h is bytes 0 to 7 (6 h) or 8 to 15 (narrow), big-endian, of
            SHA-256("imagekit-check-1" LF brand LF model LF serial)

What that gives: two checks of a device that is awake, with a store that answers, are at most 6 h apart, and at most
7 h 45 min where an outage or a boot came between. While everybody is behind, after an outage of any length, the rate
is 6 h / 105 min = 3.43 times the usual one and no more; after one of D <= 3 h it is 1 + D / 105 min at most, which is
2.71 times.
There is no exponential back-off: a device never tries more often than the narrow grid, however long nobody answers.
One that has found an update which waits for a window asks once more when that opens for it: the period divides the day,
so that its points come at the same four times of each, and may all lie beside the window.
A device that is switched on for short times only would never reach a point: each boot in a row that ended without
an answer halves the narrow grid, down to about three minutes.

**Changing itself.** `may_start` weighs the class of an update against windows, postponement and opt-out. It needs the
time of day, for windows alone; where that is not believed, `UNKNOWN_CLOCK_CHECKS` checks (a week awake) are waited and
no more, because a device with a dead clock would keep its holes for ever otherwise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from imagekit.plan.channelmap import UpdateClass
from imagekit.plan.policy import Policy, Urgent
from imagekit.plan.rollout import DeviceId
from imagekit.plan.windows import Opening, Window, next_opening, opening

PERIOD_S = 6 * 3600
NARROW_S = 105 * 60
TICK_S = 5 * 60  # while it is awake, a device looks at its schedule at least this often
ASLEEP_S = 3 * TICK_S  # nobody looked for so long: it slept
MOST_HALVINGS = 5
HOLD_MOST_DAYS = 90
UNKNOWN_CLOCK_CHECKS = 28
ALARM_CHECKS = 3 * 24 * 3600 // NARROW_S  # in vain, in a row: three days awake
ALARM_DAYS, ALARM_FEW_CHECKS = 7, 3  # of a device that is seldom switched on

_LABEL = "imagekit-check-1"


# ---- asking

@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Where a device stands in the two grids and in a window, each from 0 to 2^64 - 1."""

    regular: int
    narrow: int
    window: int


def phase_of(device: DeviceId) -> Phase:
    digest = hashlib.sha256("\n".join((_LABEL, device.brand, device.model, device.serial)).encode()).digest()
    regular, narrow, window = (int.from_bytes(digest[at:at + 8], "big") for at in (0, 8, 16))
    return Phase(regular=regular, narrow=narrow, window=window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What is known of a device's checks. Moments are seconds since the boot began, and what was counted before it.

    `answered_s`: the last check that came to an answer, whatever it was. `tried_s`: the last one of any kind.
    `looked_s`: when the schedule was last looked at. `awake_s`: since when it has been awake without a gap.
    `lost_boots`: boots in a row before this one that ended without an answer. Only it, and the count at which a
    device reboots into an update, have to survive a boot.
    """

    answered_s: int | None = None
    tried_s: int = 0
    looked_s: int = 0
    awake_s: int = 0
    lost_boots: int = 0


def at_boot(*, lost_boots: int, counted_s: int = 0) -> Checks:
    """The beginning of a boot. `counted_s`: where the count was when the device rebooted into an update; it goes on.

    Such a boot is not behind, and keeps its grid, so that a release to the whole fleet brings no checks of its own.
    """
    answered = counted_s or None
    return Checks(answered_s=answered, tried_s=counted_s, looked_s=counted_s, awake_s=counted_s, lost_boots=lost_boots)


def looked(checks: Checks, now_s: int) -> Checks:
    """Somebody looks at the schedule now; to be kept, and to be called before `next_check`."""
    slept = now_s - checks.looked_s > ASLEEP_S
    return replace(checks, looked_s=now_s, awake_s=now_s if slept else checks.awake_s)


def tried(checks: Checks, now_s: int, *, answered: bool) -> Checks:
    """A check ended. An answer is the store's verified word, be it that there is nothing new."""
    if answered:
        return replace(checks, answered_s=now_s, tried_s=now_s, looked_s=now_s, lost_boots=0)
    return replace(checks, tried_s=now_s, looked_s=now_s)


def next_check(phase: Phase, checks: Checks) -> int:
    """The moment of the next check, which may be over. Whoever looks every `TICK_S` waits for it by `pause`."""
    if checks.answered_s is not None and checks.answered_s >= checks.tried_s:
        regular = point_after(phase.regular, PERIOD_S, checks.answered_s)
        if regular >= checks.awake_s:
            return regular
    grid = NARROW_S >> min(checks.lost_boots, MOST_HALVINGS)
    return point_after(phase.narrow, grid, max(checks.tried_s, checks.awake_s))


def pause(phase: Phase, checks: Checks, now_s: int) -> int | None:
    """Seconds to wait for a check that is due before the next look; None: none is.

    Who checks when he looks, instead, brings together what booted together: all who look at one moment come at one.
    """
    left = next_check(phase, checks) - now_s
    return max(0, left) if left < TICK_S else None


def point_after(fraction: int, grid_s: int, moment_s: int) -> int:
    """The first point of a grid after a moment; `fraction` of 2^64 is its phase."""
    first = 1 + (grid_s * fraction >> 64)
    return first + max(0, (moment_s - first) // grid_s + 1) * grid_s


def is_silent(*, failed: int, answered: datetime | None, now: datetime | None) -> bool:
    """Whether a device should raise an alarm: its store has given no believed answer for days.

    `failed` checks in a row came to none since `answered`. The count needs no clock; the days do, and tell where a
    device is awake for a few checks only.
    """
    if failed >= ALARM_CHECKS:
        return True
    return (failed >= ALARM_FEW_CHECKS and answered is not None and now is not None
            and now - answered >= timedelta(days=ALARM_DAYS))


# ---- changing itself

@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the owner of one device wants otherwise; None: as the model has it."""

    automatic: bool | None = None
    windows: tuple[Window, ...] | None = None
    urgent: Urgent | None = None


def policy_of(model: Policy, owner: Wishes, *, fixed: str = "") -> Policy:
    """The policy that counts: the owner's wishes over the model's. `fixed`: why the model lets no owner change it."""
    if fixed:
        return model
    return Policy(automatic=model.automatic if owner.automatic is None else owner.automatic,
                  windows=model.windows if owner.windows is None else owner.windows,
                  urgent=model.urgent if owner.urgent is None else owner.urgent)


class Verdict(StrEnum):
    """Whether an update may start, and why; the first five say that it may."""

    ASKED = "asked"  # a person said so, now
    ANY_TIME = "any-time"  # there are no windows
    IN_WINDOW = "in-window"
    URGENT = "urgent"  # it waits for no window
    CLOCK_UNKNOWN = "clock-unknown"  # no window can be told, and it waited long enough
    OPTED_OUT = "opted-out"  # it is told, and a person has to start it
    HELD = "held"  # postponed by a person
    OUTSIDE_WINDOW = "outside-window"
    WAITS_FOR_CLOCK = "waits-for-clock"

    @property
    def start(self) -> bool:
        return self in (Verdict.ASKED, Verdict.ANY_TIME, Verdict.IN_WINDOW, Verdict.URGENT, Verdict.CLOCK_UNKNOWN)


def may_start(policy: Policy, phase: Phase, update_class: UpdateClass, *, now: datetime | None,
              held_until: datetime | None = None, asked: bool = False, waited_checks: int = 0) -> Verdict:
    """Whether an update may start now. It may end later than its window: what was begun is not cut off.

    `now` is the device's local time, aware of its zone; None where it is not believed (`believed`). `waited_checks`:
    how many checks have found this update waiting. Postponing and opting out count for every class, as the owner chose
    them; `held_until` beyond `HOLD_MOST_DAYS` was set by another clock than this one and does not count.
    """
    if asked:
        return Verdict.ASKED
    if not policy.automatic:
        return Verdict.OPTED_OUT
    if held_until is not None and is_held(held_until, now, waited_checks):
        return Verdict.HELD
    if not policy.windows:
        return Verdict.ANY_TIME
    if update_class is UpdateClass.URGENT and policy.urgent is Urgent.AT_ONCE:
        return Verdict.URGENT
    if now is None:
        return Verdict.CLOCK_UNKNOWN if waited_checks >= UNKNOWN_CLOCK_CHECKS else Verdict.WAITS_FOR_CLOCK
    return Verdict.IN_WINDOW if in_window(policy.windows, phase, now) else Verdict.OUTSIDE_WINDOW


def is_held(until: datetime, now: datetime | None, waited_checks: int = 0) -> bool:
    """Whether a postponement counts still; `now` and `waited_checks` as of `may_start`."""
    if now is None:
        return waited_checks < UNKNOWN_CLOCK_CHECKS
    return timedelta() < until - now <= timedelta(days=HOLD_MOST_DAYS)


def in_window(windows: tuple[Window, ...], phase: Phase, now: datetime) -> bool:
    """Whether a device may begin: a window is open, and the device's own part of its first half is over.

    So a fleet whose windows open at two o'clock does not come at two o'clock.
    """
    found = opening(windows, now)
    return found is not None and now >= _own_moment(found, phase)


def next_begin(windows: tuple[Window, ...], phase: Phase, now: datetime) -> datetime | None:
    """When a device that may not begin now may: in the opening that is, or in the next. None: there are no windows."""
    for moment in (now, next_opening(windows, now)):
        found = opening(windows, moment) if moment is not None else None
        if moment is not None and found is not None:
            return max(moment, _own_moment(found, phase))
    return None


def _own_moment(found: Opening, phase: Phase) -> datetime:
    half_s = int((found.end - found.start).total_seconds()) // 2
    return found.start + timedelta(seconds=half_s * phase.window >> 64)


def believed(clock: datetime, proven: datetime) -> datetime | None:
    """The time of day, if it is not before what something signed proves to be past; no clock proves more than that."""
    return clock if clock >= proven else None
