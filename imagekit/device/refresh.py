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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from tuf.api.metadata import TargetFile

from imagekit.device import history as past
from imagekit.device.asking import Answer, Answers, ask
from imagekit.device.history import folder_of, load_history, save_history
from imagekit.device.identity import identify
from imagekit.device.install import Known, Options, Ready, bring, know, prepare, running, stamp
from imagekit.device.machine import Machine
from imagekit.device.offers import DeltaShelf, FolderShelf, Shelf, collect
from imagekit.errors import DocumentError, HostError, ImagekitError, TargetError, TrustError
from imagekit.packages.delta import read_head
from imagekit.plan.channelmap import Revision
from imagekit.plan.schedule import Policy, believed, may_start, phase_of
from imagekit.plan.schedule import Verdict as Start
from imagekit.plan.storepaths import assertions_path, delta_path, package_path
from imagekit.plan.update import UpdatePlan
from imagekit.plan.update_gadget import GADGET
from imagekit.units import MIB, iec

BIG = ("packages", "deltas")  # of the downloads; the rest is small, and asked for at every check
ROOM = 16 * MIB  # left on the data partition for others


class Came(StrEnum):
    """What came of it."""

    CURRENT = "nothing newer"
    AVAILABLE = "available"  # `check`
    FAILED_BEFORE = "failed before"
    WAITING = "waiting"  # held, or outside of what its owner allows
    PENDING = "waits for its reboot"  # it was installed, and the reboot left to others
    INSTALLED = "installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The end of a refresh. `start` says why an update may begin or not; `fetched` how each part came, by its name."""

    came: Came
    answers: Answers
    start: Start | None = None
    plan: UpdatePlan | None = None
    fetched: tuple[tuple[str, str], ...] = ()
    rebooting: bool = False
    notes: tuple[str, ...] = ()


def refresh(machine: Machine, options: Options, say: Callable[[str], None], *,
            clock: Callable[[], datetime] = lambda: datetime.now(UTC),
            answered: Callable[[], object] = lambda: None) -> Refreshed:
    """Ask, and take what is new. `answered` is called as soon as the store's word is there and believed.

    Raises:
        HostError: the store cannot be reached, or there is no room.
        TrustError, DocumentError, PlanError: what it says or has is not for this device.
        TargetError: the device refuses or fails; the running slot is as it was.
    """
    with past.alone(machine):
        known = know(machine, now=clock())
        try:
            answers = ask(machine, known, say)
            answered()
            came = _weigh(machine, known, answers, options, clock())
            for note in came.notes:
                say(f"update: {note}")
            if came.came is not Came.INSTALLED or options.check:
                return _remembered(machine, known, came)
            known = _checked(machine, known, "an update was begun")
            return _take(machine, known, came, options, say)
        except ImagekitError as error:
            with suppress(TargetError):
                _save(machine, load_history(machine), known, error.message)
            raise


def _weigh(machine: Machine, known: Known, answers: Answers, options: Options, clock: datetime) -> Refreshed:
    """What shall come of it: INSTALLED, if it is to be taken now."""
    notes = tuple(item.note for item in answers.parts if item.note)
    if not answers.news:
        return Refreshed(came=Came.CURRENT, answers=answers, notes=notes)
    pending = known.history.pending
    if pending is not None and pending.trial and pending.packages == answers.pair and not options.again:
        return Refreshed(came=Came.PENDING, answers=answers, notes=notes)
    failed = next((item for item in known.history.failed if item.packages == answers.pair), None)
    if failed is not None and not options.again:
        told = " with ".join(f"{name} {number}" for name, number in answers.pair)
        return Refreshed(came=Came.FAILED_BEFORE, answers=answers,
                         notes=(*notes, f"{told} was tried on {failed.time} and failed: {failed.reason}"))
    start = may_start(Policy(), phase_of(identify(machine, known.anchors.model)), answers.update_class,
                      now=believed(clock, known.now), held_until=_time(known.history.hold_until),
                      asked=not options.unattended, waited_checks=known.history.waiting)
    came = Came.AVAILABLE if options.check else Came.INSTALLED if start.start else Came.WAITING
    return Refreshed(came=came, answers=answers, start=start, notes=notes)


def _time(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


def _remembered(machine: Machine, known: Known, came: Refreshed) -> Refreshed:
    with suppress(TargetError):  # a full data partition forgets
        _checked(machine, known, came.came.value, waiting=came.came is Came.WAITING)
    return came


def _checked(machine: Machine, known: Known, text: str, *, waiting: bool = False) -> Known:
    memory = replace(known.history, waiting=known.history.waiting + 1 if waiting else 0)
    with suppress(TargetError):
        memory = _save(machine, memory, known, text)
    return replace(known, history=memory)


def _save(machine: Machine, memory: past.History, known: Known, text: str) -> past.History:
    memory = replace(memory, checked=stamp(known.now), check=text)
    save_history(machine, memory)
    return memory


# ---- fetching

def _take(machine: Machine, known: Known, came: Refreshed, options: Options, say: Callable[[str], None]) -> Refreshed:
    ready, fetched = _fetched(machine, known, came.answers, options, say)
    outcome = bring(machine, ready, options, say)
    if outcome.plan is None:  # the assertions at hand mean what runs already
        return replace(came, came=Came.CURRENT, notes=(*came.notes, *outcome.notes))
    came.answers.client.prune(BIG)
    return replace(came, plan=outcome.plan, fetched=fetched, rebooting=outcome.rebooting,
                   notes=(*came.notes, *outcome.notes))


def _fetched(machine: Machine, known: Known, answers: Answers, options: Options, say: Callable[[str], None]
             ) -> tuple[Ready, tuple[tuple[str, str], ...]]:
    """What was fetched, looked through by the one way of installing. A delta that is of no use costs a second round."""
    deltas = {item.part: target for item in answers.news if (target := _find_delta(answers, item)) is not None}
    whole = {item.part: _find(answers, _package_path(item)) for item in answers.news}
    answers.client.prune(BIG, but=(*deltas.values(), *whole.values()))
    while True:
        shelves: list[Shelf] = []
        for item in answers.news:
            shelf = _by_delta(machine, answers, item, deltas, say)
            shelves += [shelf or _whole(machine, answers, whole[item.part], say), _proof(answers, item)]
        offers = replace(found := collect(shelves), assertions=(*answers.assertions, *found.assertions))
        try:
            ready = prepare(machine, known, offers, again=options.again)
        except (TrustError, DocumentError) as error:
            if not deltas:
                raise
            say(f"update: {error.message}: taking whole packages instead of deltas")
            deltas = {}
            continue
        return ready, tuple((item.held.name, "delta" if item.part in deltas else "whole") for item in answers.news)


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


def _find_delta(answers: Answers, item: Answer) -> TargetFile | None:
    if item.held.revision is None or item.part == GADGET:  # of a gadget nothing is kept that a delta could start from
        return None
    return answers.client.find(delta_path(item.held.name, item.held.revision, _revision(item).revision))


def _proof(answers: Answers, item: Answer) -> Shelf:
    path = answers.client.fetch(_find(answers, assertions_path(item.held.name, _revision(item).revision)))
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
    room = _room(folder_of(machine))
    if missing + ROOM > room:
        raise HostError(f"cannot fetch {target.path}: {iec(missing)} are to come, {iec(max(room - ROOM, 0))} are free"
                        " on the data partition", hint="make room there, or update from a stick")
    if missing:
        came = target.length - missing
        say(f"update: fetching {target.path}, {iec(missing)}" + (f", {iec(came)} are here already" if came else ""))
    return answers.client.fetch(target)


def _room(folder: Path) -> int:
    volume = os.statvfs(folder)
    return volume.f_bavail * volume.f_frsize
