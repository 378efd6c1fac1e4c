"""Take an update from this device's store: ask, weigh, fetch, and hand it to the one way of installing.

Decides whether what the store means for this device is taken now, and in which form it is fetched: by a delta out of
what runs, if there is one and it makes the signed package, else whole. Nothing of the store's word is enough to install
anything: what was fetched is offered to `imagekit.device.install` as a stick's files are. What is begun is gone on with
by the next refresh; what failed here is not tried again until something else is meant for this device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from tuf.api.metadata import TargetFile

from imagekit.assertions import decode_stream
from imagekit.device import history as past
from imagekit.device.asking import Answer, Answers, ask, check_past, fetch_small
from imagekit.device.history import Failed, Waiting, edit_history, folder_of, load_history
from imagekit.device.identity import identify
from imagekit.device.install import (
    GadgetRefused,
    Known,
    Options,
    Ready,
    bring,
    know,
    prepare,
    reboot,
    running,
    stamp,
    wants_reboot,
)
from imagekit.device.machine import Machine
from imagekit.device.newmodel import is_settled, meet
from imagekit.device.offers import DeltaShelf, FolderShelf, Offers, Shelf, collect
from imagekit.device.rhythm import silence
from imagekit.device.wishes import InForce, in_force, waiting_text
from imagekit.errors import DocumentError, HostError, TargetError, TrustError, message_of
from imagekit.packages.delta import read_head
from imagekit.plan.channelmap import Revision, UpdateClass
from imagekit.plan.rollout import Why
from imagekit.plan.schedule import Verdict as Start
from imagekit.plan.schedule import believed, may_start, next_begin, phase_of
from imagekit.plan.storepaths import assertions_path, delta_path, package_path
from imagekit.plan.update import UpdatePlan
from imagekit.plan.update_gadget import GADGET
from imagekit.units import MIB, iec

BIG = ("packages", "deltas")  # of the downloads; the rest is small, and asked for at every check
LOCK = "refresh"
ROOM = 16 * MIB  # left on the data partition for others


class Came(StrEnum):
    """What came of it."""

    CURRENT = "nothing newer"
    AVAILABLE = "available"  # `check`
    FAILED_BEFORE = "failed before"
    WAITING = "waiting"  # held, or outside of what its owner allows
    PENDING = "waits for its reboot"  # it was installed, and the reboot left to others, or it did not come
    INSTALLED = "installed"


_OVER = (Came.CURRENT, Came.FAILED_BEFORE, Came.PENDING)  # nothing waits any more for its moment to begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The end of a refresh. `start` says why an update may begin or not; `fetched` how each part came, by its name."""

    came: Came
    answers: Answers
    start: Start | None = None
    waits: Waiting | None = None
    plan: UpdatePlan | None = None
    fetched: tuple[tuple[str, str], ...] = ()
    rebooting: bool = False
    notes: tuple[str, ...] = ()


def refresh(machine: Machine, options: Options, say: Callable[[str], None], *,
            clock: Callable[[], datetime] = lambda: datetime.now(UTC),
            answered: Callable[[], object] = lambda: None) -> Refreshed:
    """Ask, and take what is new. `answered` is called as soon as the store's word is there and believed.

    While it asks and fetches, a stick may be installed: only what is at work on the slots keeps others away.

    Raises:
        HostError: the store cannot be reached, or there is no room.
        TrustError, DocumentError, PlanError: what it says or has is not for this device.
        TargetError: the device refuses or fails; the running slot is as it was.

    Whatever is raised, foreseen or not, is what the check came to, and counts for the alarm.
    """
    with past.alone(machine, name=LOCK):
        known = know(machine, now=clock())
        try:
            waits = _model_waits(machine, known, options, clock())
            answers = ask(machine, known, say, model_waits=waits)
        except TargetError:
            raise
        except Exception as error:
            alarm = _remember(machine, known, Check(text=message_of(error), answered=False))
            if alarm:
                say(f"update: alarm: {alarm}")
            raise
        answered()
        try:
            known = _by_its_model(machine, known, answers, options, say, waits=waits)
            came = _weigh(machine, known, answers, options, clock())
            for note in came.notes:
                say(f"update: {note}")
            if came.waits is not None:
                say(f"update: {waiting_text(asdict(came.waits))}")
            if came.came is not Came.INSTALLED or options.check:
                ended = came.answers.ended
                _remember(machine, known, Check(text="; ".join(filter(None, (came.came.value, ended))),
                                                answered=not ended, waits=came.waits,
                                                looked=came.came is Came.AVAILABLE, over=came.came in _OVER))
                if came.came in (Came.CURRENT, Came.FAILED_BEFORE) and not options.check:
                    answers.client.prune(BIG)  # what was fetched, whole or in part, is for nothing any more
                if came.came is Came.PENDING and options.reboot and not options.check and wants_reboot(machine):
                    reboot(machine, say)
                    return replace(came, rebooting=True)
                return came
            _remember(machine, known, Check(text="an update was begun"))
            return _take(machine, known, came, options, say)
        except Exception as error:
            _remember(machine, known, Check(text=message_of(error)))
            raise


def _model_waits(machine: Machine, known: Known, options: Options, clock: datetime) -> str:
    """Why a newer model is not taken now; empty: it may be. It restarts nothing, so that it needs no window."""
    start = start_of(machine, known, options, UpdateClass.FEATURE, clock)[0]
    return {Start.HELD: "updates are held", Start.OPTED_OUT: "updates are not automatic here"}.get(start, "")


def start_of(machine: Machine, known: Known, options: Options, update_class: UpdateClass, clock: datetime
           ) -> tuple[Start, InForce, datetime | None]:
    """Whether an update may begin, by what counts here, and the time of day, if it is known."""
    force = in_force(machine, known.anchors.model, known.history)
    now = believed(clock.astimezone(), known.now)  # windows are in local time
    return may_start(force.policy, phase_of(identify(machine, known.anchors)), update_class, now=now,
                     held_until=force.held_until, asked=not options.unattended, waited_checks=known.history.waiting
                     ), force, now


def _by_its_model(machine: Machine, known: Known, answers: Answers, options: Options, say: Callable[[str], None], *,
                  waits: str) -> Known:
    """Keep the newer model that the store has, if there is one and it may be taken; the device by that."""
    if is_settled(known, answers.model):
        return known
    if options.check:
        return meet(machine, known, answers.assertions, write=False, waits=waits)[0]
    with past.alone(machine):
        known, new = meet(machine, know(machine, now=known.now), answers.assertions, write=True, waits=waits)
    if new.text:
        say(f"update: {new.text}")
    return known


def _weigh(machine: Machine, known: Known, answers: Answers, options: Options, clock: datetime) -> Refreshed:
    """What shall come of it: INSTALLED, if it is to be taken now."""
    notes = (*answers.model.notes, *(item.note for item in answers.parts if item.note))
    if not answers.news:
        return Refreshed(came=Came.CURRENT, answers=answers, notes=notes)
    failures = {} if options.again else {item.packages: item for item in known.history.failed}
    failed, gadget = failures.get(answers.gadget_alone), answers.gadget
    if failed is not None and gadget is not None and len(answers.news) > 1 and gadget.choice.why is not Why.PINNED:
        notes = (*notes, f"left out: {_tried(failed)}")
        answers = answers.without(GADGET)  # which keeps nothing else away, where no validation set wants it
    pending = known.history.pending
    if pending is not None and pending.trial and pending.packages == answers.pair and not options.again:
        return Refreshed(came=Came.PENDING, answers=answers, notes=notes)
    failed = failures.get(answers.pair)
    if failed is not None:
        return Refreshed(came=Came.FAILED_BEFORE, answers=answers, notes=(*notes, _tried(failed)))
    start, force, now = start_of(machine, known, options, answers.update_class, clock)
    if options.check:
        return Refreshed(came=Came.AVAILABLE, answers=answers, start=start, notes=notes)
    if start.start:
        return Refreshed(came=Came.INSTALLED, answers=answers, start=start, notes=notes)
    return Refreshed(came=Came.WAITING, answers=answers, start=start, notes=notes,
                     waits=_waits(known, answers, start, until=_until(machine, known, start, force, now)))


def _tried(failed: Failed) -> str:
    pair = " with ".join(f"{name} {number}" for name, number in failed.packages)
    return f"{pair} was tried on {failed.time} and failed: {failed.reason}"


def _until(machine: Machine, known: Known, start: Start, force: InForce, now: datetime | None) -> datetime | None:
    if start is Start.OUTSIDE_WINDOW and now is not None:
        return next_begin(force.policy.windows, phase_of(identify(machine, known.anchors)), now)
    return force.held_until if start is Start.HELD else None


def _waits(known: Known, answers: Answers, start: Start, *, until: datetime | None) -> Waiting:
    before = known.history.waits
    return Waiting(packages=answers.pair, update_class=answers.update_class.value, why=start.value,
                   since=before.since if before is not None and before.packages == answers.pair else stamp(known.now),
                   until=stamp(until) if until is not None else "", advisories=answers.advisories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a check came to. `answered`: the store's word was believed, all of it, whatever became of it.

    `looked`: somebody only looked, and what waits still does. `over`: nothing is to be taken, and the count of checks
    that found something to wait ends; one that came to no answer, or to no end, is no reason to wait all over again.
    """

    text: str
    answered: bool = True
    waits: Waiting | None = None
    looked: bool = False
    over: bool = False


def _remember(machine: Machine, known: Known, check: Check) -> str:
    """Keep it; the alarm, if the store has been silent for too long. A full data partition forgets."""
    def told(memory: past.History) -> past.History:
        return replace(memory, checked=stamp(known.now), check=check.text,
                       waits=memory.waits if check.looked else check.waits,
                       waiting=0 if check.over else memory.waiting + (check.waits is not None),
                       answered=stamp(known.now) if check.answered else memory.answered,
                       unanswered=0 if check.answered else memory.unanswered + 1)

    with suppress(TargetError):
        edit_history(machine, told)
    return silence(load_history(machine), now=known.now)


# ---- fetching

def _take(machine: Machine, known: Known, came: Refreshed, options: Options, say: Callable[[str], None]) -> Refreshed:
    """Fetch, look through by the one way of installing, install. A delta that is of no use costs a second round."""
    answers = came.answers
    whole = {item.part: _find(answers, _package_path(item)) for item in answers.news}
    deltas = {item.part: target for item in answers.news
              if (target := _find_delta(answers, item, whole[item.part])) is not None}
    answers.client.prune(BIG, but=(*deltas.values(), *whole.values()))
    while True:
        offers = _fetched(machine, answers, deltas, whole, say)
        with past.alone(machine):
            again = know(machine, now=known.now)  # a stick may have been installed meanwhile
            if again.history.pending != known.history.pending and again.history.pending is not None:
                return replace(came, came=Came.PENDING, notes=(*came.notes, "another update was installed meanwhile"))
            try:
                ready = prepare(machine, again, offers, again=options.again)
            except GadgetRefused as error:
                _refused(machine, known, answers, answers.pair, "; ".join((error.message, *error.details)))
                raise
            except (TrustError, DocumentError) as error:
                if not deltas:
                    raise
                say(f"update: {error.message}: taking whole packages instead of deltas")
                deltas = {}
                continue
            ready = replace(ready, update_class=answers.update_class.value, advisories=answers.advisories)
            return _brought(machine, ready, came, options, say, by_delta=frozenset(deltas))


def _refused(machine: Machine, known: Known, answers: Answers, packages: past.Packages, reason: str) -> None:
    """Remember a gadget that cannot come, as what failed is: beside what runs, for another base may take it."""
    failed = Failed(packages=packages, reason=reason, time=stamp(known.now))
    change = past.Change(time=failed.time, what="install", packages=packages, outcome="refused", reason=reason,
                         update_class=answers.update_class.value, advisories=answers.advisories)
    with suppress(TargetError):
        edit_history(machine, lambda memory: memory.with_failed(failed).with_change(change))


def _brought(machine: Machine, ready: Ready, came: Refreshed, options: Options, say: Callable[[str], None], *,
             by_delta: frozenset[str]) -> Refreshed:
    outcome = bring(machine, ready, options, say)
    if ready.refused:
        _refused(machine, ready.known, came.answers, came.answers.gadget_alone, ready.refused)
    notes = (*came.notes, *outcome.notes)
    if outcome.plan is None:  # the assertions at hand mean what runs already
        return replace(came, came=Came.CURRENT, notes=notes)
    came.answers.client.prune(BIG)
    fetched = tuple((item.held.name, "delta" if item.part in by_delta else "whole") for item in came.answers.news)
    return replace(came, plan=outcome.plan, fetched=fetched, rebooting=outcome.rebooting, notes=notes)


def _fetched(machine: Machine, answers: Answers, deltas: dict[str, TargetFile], whole: dict[str, TargetFile],
             say: Callable[[str], None]) -> Offers:
    """What there is now to be installed."""
    shelves: list[Shelf] = []
    for item in answers.news:
        proof = _proof(answers, item)
        shelf = _by_delta(machine, answers, item, deltas, say)
        shelves += [shelf or _whole(machine, answers, whole[item.part], say), proof]
    return replace(found := collect(shelves), assertions=(*answers.assertions, *found.assertions))


def _revision(item: Answer) -> Revision:
    assert item.choice.revision is not None  # it is news
    return item.choice.revision


def _package_path(item: Answer) -> str:
    found = _revision(item)
    return package_path(item.held.name, found.revision, found.compression)


def _find(answers: Answers, path: str) -> TargetFile:
    """Raises: TrustError: the store's channel map promises what nobody signs for."""
    found = answers.client.find(path)
    if found is None:
        raise TrustError(f"cannot fetch {path}: the store says that it is for this device, and does not have it")
    return found


def _find_delta(answers: Answers, item: Answer, whole: TargetFile) -> TargetFile | None:
    """The one by which less is still to come than without."""
    if item.held.revision is None or item.part == GADGET:  # of a gadget nothing is kept that a delta could start from
        return None
    found = answers.client.find(delta_path(item.held.name, item.held.revision, _revision(item).revision))
    return found if found is not None and answers.client.missing(found) < answers.client.missing(whole) else None


def _proof(answers: Answers, item: Answer) -> Shelf:
    path = fetch_small(answers.client, _find(answers, assertions_path(item.held.name, _revision(item).revision)))
    for assertion in decode_stream(path.read_bytes(), name=path.name):
        check_past(answers.client, assertion)
    return FolderShelf(folder=path.parent, only=(path.name,))


def _by_delta(machine: Machine, answers: Answers, item: Answer, deltas: dict[str, TargetFile],
              say: Callable[[str], None]) -> Shelf | None:
    """The package out of what runs; without the delta's place in `deltas` from now on, if it is of no use."""
    target = deltas.get(item.part)
    if target is None:
        return None
    found = _revision(item)
    try:
        path = _fetch(machine, answers, target, say)
        with path.open("rb") as stream:
            head = read_head(stream, name=path.name)
        if (head.new_size, head.new_sha3_384) != (found.size, found.sha3_384):
            raise DocumentError(f"cannot use {path.name}: it makes another package than the one that is wanted")
    except (HostError, TrustError, DocumentError) as error:
        say(f"update: {error.message}: taking the whole package")
        del deltas[item.part]
        return None
    return DeltaShelf(file=f"{item.held.name}_{found.revision}.snap", delta=path, made=found.size,
                      open_old=lambda: running(machine, item.part, root=item.held.root))


def _whole(machine: Machine, answers: Answers, target: TargetFile, say: Callable[[str], None]) -> Shelf:
    path = _fetch(machine, answers, target, say)
    return FolderShelf(folder=path.parent, only=(path.name,))


def _fetch(machine: Machine, answers: Answers, target: TargetFile, say: Callable[[str], None]) -> Path:
    missing = answers.client.missing(target)
    room = room_in(folder_of(machine))
    if missing + ROOM > room:
        raise HostError(f"cannot fetch {target.path}: {iec(missing)} are to come, {iec(max(room - ROOM, 0))} are free"
                        " on the data partition", hint="make room there, or update from a stick")
    if missing:
        came = target.length - missing
        say(f"update: fetching {target.path}, {iec(missing)}" + (f", {iec(came)} are here already" if came else ""))
    return answers.client.fetch(target)


def room_in(folder: Path) -> int:
    """What root may still write, which is more than what others may (ext4's reserved blocks)."""
    volume = os.statvfs(folder)
    return volume.f_bfree * volume.f_frsize
