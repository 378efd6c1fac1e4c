"""When this device asks its store: `imagekit.plan.schedule` with the clock and the memory that it needs.

Decides what is kept, and where: in this boot `checks.json` in /run/imagekit, beyond it `rhythm.json` beside the memory
of updates. Somebody has to look every few minutes (a timer does); whoever looks while a check comes due waits for it.
Losing either file costs no more than a check too early or too late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imagekit.device import history as past
from imagekit.device.machine import Machine
from imagekit.errors import DocumentError, ImagekitError, TargetError
from imagekit.plan.channelmap import UpdateClass
from imagekit.plan.schedule import Checks, Phase, Verdict, at_boot, is_silent, looked, pause, phase_of, tried

if TYPE_CHECKING:
    from imagekit.device.install import Options
    from imagekit.device.refresh import Refreshed

IN_BOOT, BEYOND = "checks.json", "rhythm.json"
FORMAT = 1
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """`counted_s` is what was counted before this boot began; moments of `checks` are that and this boot's seconds.

    `asks`: the model names a store.
    """

    phase: Phase
    checks: Checks
    counted_s: int
    asks: bool


def boot_seconds() -> int:
    """Since this boot began, time asleep included."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def when_due(machine: Machine, options: Options, say: Callable[[str], None], *,
             seconds: Callable[[], int] = boot_seconds, sleep: Callable[[float], object] = time.sleep,
             clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Refreshed | None:
    """Look at the schedule, wait if a check comes due before the next look, and refresh; None: none does.

    One is due, too, when the window opens for which an update waits: the points of the grid may all lie beside it.

    Raises: as `refresh`; TargetError: where this boot's files lie cannot be written.
    """
    rhythm = load_rhythm(machine)
    now_s = rhythm.counted_s + seconds()
    rhythm = replace(rhythm, checks=looked(rhythm.checks, now_s))
    _keep(machine, rhythm)
    if not rhythm.asks:
        return None
    wait = pause(rhythm.phase, rhythm.checks, now_s)
    if wait is None:
        if not _opened(machine, options, clock):
            return None
        wait = 0
    sleep(wait)
    return _refresh(machine, rhythm, options, say, seconds, clock)


def _opened(machine: Machine, options: Options, clock: Callable[[], datetime]) -> bool:
    """Whether an update waits for its window, which is open by now and has come to this device's part of it.

    What follows is one check: whatever comes of it, nothing is said to wait for that opening any more.
    """
    waits, now = past.load_history(machine).waits, clock()
    if waits is None or waits.why != Verdict.OUTSIDE_WINDOW or (past.moment(waits.until) or NEVER) > now:
        return False
    from imagekit.device.install import know
    from imagekit.device.refresh import start_of

    with suppress(ImagekitError, ValueError):  # the next point of the grid tells
        return start_of(machine, know(machine, now=now), options, UpdateClass(waits.update_class), now)[0].start
    return False


def _refresh(machine: Machine, rhythm: Rhythm, options: Options, say: Callable[[str], None],
             seconds: Callable[[], int], clock: Callable[[], datetime]) -> Refreshed:
    from imagekit.device.refresh import refresh

    was_answered = False

    def answered() -> None:
        nonlocal was_answered
        was_answered = True
        _save_beyond(machine, lost_boots=0, counted_s=0)

    try:
        came = refresh(machine, options, say, answered=answered, clock=clock)
        if came.rebooting:
            _save_beyond(machine, lost_boots=0, counted_s=rhythm.counted_s + seconds())
        return came
    finally:
        now_s = rhythm.counted_s + seconds()
        _keep(machine, replace(rhythm, checks=tried(rhythm.checks, now_s, answered=was_answered)))


def load_rhythm(machine: Machine) -> Rhythm:
    """What is known in this boot; at the first look of a boot, which counts as one without an answer from then on.

    Raises: TargetError: the seed cannot be read, or nothing be written.
    """
    with suppress(OSError, DocumentError):
        return past.decoded((machine.run / IN_BOOT).read_bytes(), lambda found: Rhythm(
            phase=Phase(**found["phase"]), checks=Checks(**found["checks"]), counted_s=int(found["counted_s"]),
            asks=bool(found["asks"])), version=FORMAT)
    from imagekit.device.anchors import own_anchors
    from imagekit.device.identity import identify

    anchors = own_anchors(machine)
    lost, counted_s = _load_beyond(machine)
    rhythm = Rhythm(phase=phase_of(identify(machine, anchors)), counted_s=counted_s,
                    asks=bool(anchors.model.store), checks=at_boot(lost_boots=lost, counted_s=counted_s))
    _save_beyond(machine, lost_boots=lost + 1, counted_s=0)
    return rhythm


def silence(history: past.History, *, now: datetime | None = None) -> str:
    """The alarm of a device whose store has not been believed for days; empty: there is none to raise."""
    if not is_silent(failed=history.unanswered, answered=past.moment(history.answered), now=now):
        return ""
    since = f"since {history.answered}" if history.answered else "so far"
    return f"no believed answer of the store {since}, {history.unanswered} checks in a row came to none"


def _keep(machine: Machine, rhythm: Rhythm) -> None:
    path = machine.run / IN_BOOT
    fresh = path.with_suffix(".new")
    try:
        fresh.write_text(json.dumps({"imagekit": FORMAT, **asdict(rhythm)}) + "\n")
        fresh.rename(path)
    except OSError as error:
        raise TargetError(f"cannot write {path}: {error.strerror}") from error


def _load_beyond(machine: Machine) -> tuple[int, int]:
    """Boots in a row that ended without an answer, and where the count goes on."""
    with suppress(OSError, DocumentError):
        return decode_beyond(past.read_kept(machine, BEYOND))
    return 0, 0


def decode_beyond(raw: bytes) -> tuple[int, int]:
    """Both, out of their file. Raises: DocumentError."""
    return past.decoded(raw, lambda found: (max(int(found["lost_boots"]), 0), max(int(found["counted_s"]), 0)),
                        version=FORMAT)


def _save_beyond(machine: Machine, *, lost_boots: int, counted_s: int) -> None:
    with suppress(TargetError):  # a full data partition forgets
        past.save(machine, BEYOND, (json.dumps({"imagekit": FORMAT, "lost_boots": lost_boots, "counted_s": counted_s})
                                    + "\n").encode())
