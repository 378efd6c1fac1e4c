"""A factory's station: waits at its ports, and makes a unit of every medium that is put in.

Each port has a thread of its own: wait, judge, hold, write, read back, give an identity, record, print a label, wait
until it is taken out. Decides the order, which is what makes a power cut harmless: an identity is taken for good before
it is written, and a unit counts only when its record is durable; the label comes after, and what a cut left without one
gets it when the station starts again. A medium that is refused waits until it is acceptable or gone. Whatever goes
wrong with one unit ends that unit; what would lose a record ends the station.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from imagekit.assertions.wire import decode_stream
from imagekit.disk.identity import MOST, decode_identity
from imagekit.errors import DocumentError, ImagekitError, TargetError, TrustError
from imagekit.flash.buffers import Buffer
from imagekit.flash.job import How
from imagekit.flash.labels import Labels
from imagekit.flash.look import make_plan
from imagekit.flash.medium import Medium
from imagekit.flash.personal import write_record
from imagekit.flash.run import Patience, flash
from imagekit.flash.source import Source
from imagekit.host.factorylog import FactoryLog
from imagekit.host.ports import BlockTarget, Clock, Identities, MediaPorts
from imagekit.host.prepared import Prepared
from imagekit.host.serialservice import NotNow, RequestRefused
from imagekit.plan import factory_tiles as tiles
from imagekit.plan.factory_job import Job, Port, in_range
from imagekit.plan.factory_label import Unit, may_lack_label, unit_of
from imagekit.plan.factory_log import Kind, made, named
from imagekit.plan.factory_tiles import State, Tile
from imagekit.plan.flash import ImageFacts, device_json
from imagekit.plan.flash_device import Allowed, Device, RefusedError, judge
from imagekit.plan.flash_events import Ended, Event, Moved, Phase, Result, Stalled, Started, event_json

POLL_S = 0.5
RETRY_S = (1.0, 5.0, 20.0, 60.0)  # pauses before a signing service is asked again; it may count by the minute
RECHECK_S = 2.0  # how often a refused medium is looked at anew

Told = Callable[[str, str, Mapping[str, Any]], None]  # port, event, what more there is to say; from any thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """When the station ends by itself: after so many good units; once every port has been looked at. And its pauses."""

    units: int | None = None
    once: bool = False
    poll_s: float = POLL_S
    retry_s: tuple[float, ...] = RETRY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a station works with. `identity_at` is the byte where identities go; `run` is what the log says of this run.
    """

    job: Job
    image: ImageFacts
    source: Source
    reopen: Callable[[], Source]
    ports: MediaPorts
    log: FactoryLog
    run: Mapping[str, Any]
    clock: Clock
    told: Told
    prepared: Identities | None = None
    identity_at: int = 0
    labels: Labels | None = None
    wishes: Wishes = field(default_factory=Wishes)


class Station:
    """All ports of a job. `why` it ended; `error` if something ended it that must not pass; `interrupt`: Ctrl-C."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.why, self.error, self.bug = "", None, None
        self._lock = threading.Lock()
        self._tiles = {port.name: Tile(port=port) for port in bench.job.ports}
        self._running, self._made, self._claimed = 0, set(made(bench.log.found)), set(named(bench.log.found))
        if bench.prepared is not None:
            bench.prepared.forget_made(self._made)
        self.ending, self.abort = threading.Event(), threading.Event()
        self._unlabelled: set[int] = set()

    error: ImagekitError | None
    bug: Exception | None
    interrupt: KeyboardInterrupt | None = None

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """What happens at each port now, in the job's order."""
        with self._lock:
            return tuple(self._tiles.values())

    @property
    def unlabelled(self) -> tuple[int, ...]:
        """The records of good units whose label is not printed."""
        with self._lock:
            return tuple(sorted(self._unlabelled))

    def change(self, port: Port, how: Callable[[Tile], Tile]) -> Tile:
        with self._lock:
            self._tiles[port.name] = how(self._tiles[port.name])
            return self._tiles[port.name]

    def run(self) -> None:
        """Work until it ends by itself, or Ctrl-C: the first lets the units in work be finished, the second does not.

        What a unit makes known comes by `told`.
        """
        self._label_again()
        lanes = [Lane(self, port) for port in self.bench.job.ports]
        for lane in lanes:
            lane.start()
        came = known = 0
        while not all(lane.over.is_set() for lane in lanes):
            try:
                if came > known:  # not where it is caught: a further one may come at any time
                    known = came
                    self._interrupted(at_once=came > 1)
                for lane in lanes:  # not joined: Python 3.11 takes a thread for ended whose join Ctrl-C broke off
                    lane.over.wait(0.1 / len(lanes))
            except KeyboardInterrupt as interrupt:
                came, self.interrupt = came + 1, self.interrupt or interrupt
        if self.bug is not None:
            raise self.bug

    def _label_again(self) -> None:
        """Make the labels that runs before this one left, until one cannot be printed: the others would fare the same.
        """
        if self.bench.labels is None:
            return
        lacking = [unit for unit in may_lack_label(self.bench.log.found) if not self.bench.labels.has(unit)]
        self._unlabelled = {unit.number for unit in lacking}
        for unit in lacking:
            problem = self.label(unit)
            self.bench.told("", "label-again", {"number": unit.number, "serial": unit.serial or None,
                                                "problem": problem or None})
            if problem:
                return

    def label(self, unit: Unit) -> str:
        """Make and print a unit's label; what went wrong, or nothing."""
        assert self.bench.labels is not None
        with self._lock:
            self._unlabelled.add(unit.number)
        problem = self.bench.labels(unit)
        if not problem:
            with self._lock:
                self._unlabelled.remove(unit.number)
        return problem

    def _interrupted(self, *, at_once: bool) -> None:
        self.leave("interrupted")
        if at_once:
            self.abort.set()
        self.bench.told("", "ending", {"at_once": at_once, "running": self._running})

    def leave(self, why: str, error: ImagekitError | None = None) -> None:
        """Take no further unit."""
        with self._lock:
            self.why, self.error = self.why or why, self.error or error
        self.ending.set()

    def may_begin(self) -> bool:
        """Whether one more unit is wanted now, and can be given an identity; counts it as running."""
        wanted, prepared = self.bench.wishes.units, self.bench.prepared
        if self._over():
            return False
        with self._lock:
            good = tiles.counted(self._tiles.values())[0]
            if (wanted is not None and good + self._running >= wanted) or (
                    prepared is not None and self._running >= prepared.left):
                return False  # those in work may yet fail
            self._running += 1
            return True

    def _over(self) -> bool:
        """Whether there is nothing more to do; the station ends then."""
        with self._lock:
            good, running = tiles.counted(self._tiles.values())[0], self._running
        if self.bench.wishes.units is not None and good >= self.bench.wishes.units:
            self.leave("all units are made")
        elif self.bench.prepared is not None and not self.bench.prepared.left and not running:
            self.leave("no identity is left")
        elif self.bench.log.full:
            self.leave("the disk of the log is full", self.bench.log.full)
        return self.ending.is_set()

    def claim(self, serial: str) -> None:
        """Take a serial for one unit. Raises: TrustError: another one has it, in work, finished or failed."""
        with self._lock:
            if serial in self._claimed:
                raise TrustError(f"cannot give it serial {serial}: a unit of this log has it already",
                                 hint="whoever gives serials gave this one twice")
            self._claimed.add(serial)

    def made(self, serial: str) -> None:
        """A unit has this serial from now on."""
        with self._lock:
            self._made.add(serial)

    def is_made(self, serial: str) -> bool:
        with self._lock:
            return serial in self._made

    def let_go(self) -> None:
        """A unit that was begun is finished with."""
        with self._lock:
            self._running -= 1
        self._over()


class MadeBefore(TargetError):
    """A medium is a finished unit already."""


class Lane(threading.Thread):
    """One port's thread."""

    def __init__(self, station: Station, port: Port) -> None:
        super().__init__(name=f"port {port.name}", daemon=True)
        self.station, self.bench, self.port = station, station.bench, port
        self.over = threading.Event()
        self._handled = self._before = ""
        self._refused, self._recheck_s = "", 0.0

    def tell(self, event: str, **more: Any) -> None:
        self.bench.told(self.port.name, event, more)

    def run(self) -> None:
        try:
            while not self.station.ending.is_set():
                if self._look() and self.bench.wishes.once:
                    break
                self.station.ending.wait(self.bench.wishes.poll_s)
        except ImagekitError as error:
            problem = error.message
            self.station.change(self.port, lambda tile: replace(tile, state=State.FAILED, problem=problem))
            self.station.leave(problem, error)
        except Exception as bug:  # a mistake of ours ends the station; it is raised where all ports have ended
            self.station.bug = bug
            self.station.leave(f"a mistake in imagekit itself: {bug!r}")
        finally:
            self.over.set()

    def _look(self) -> bool:
        """Look at the port, and make a unit of what is new there; whether this port has had its turn."""
        seen, before = self.bench.ports.seen(self.port), self._before
        self._before = seen
        if not seen:
            if self._handled or self._refused:
                self.station.change(self.port, tiles.emptied)
                self.tell("gone")
                self._handled = self._refused = ""
            return before == "" and self.bench.wishes.once
        if seen == self._handled or seen != before:  # a medium is taken when it was there twice
            return False
        if self._refused and self.bench.clock.monotonic_s() < self._recheck_s and not self.bench.wishes.once:
            return False
        if not self.station.may_begin():
            return False
        try:
            return self._take(seen)
        finally:
            self.station.let_go()

    def _take(self, seen: str) -> bool:
        self.bench.log.make_room()
        try:
            device = self.bench.ports.device(self.port)
            self._check(device)
            held = self.bench.ports.open(device)
        except ImagekitError as error:
            self._refuse(error)
            return True
        try:
            self._check_new(device, held)
            self._refused, self._handled = "", seen
            self._unit(device, held)
        except MadeBefore as error:
            self._refuse(error)
        finally:
            held.close()
        return True

    def _check_new(self, device: Device, held: BlockTarget) -> None:
        """Raises: MadeBefore: it is a unit of this log, in the port since before the station was started again."""
        if self.bench.prepared is None:
            return
        view = Buffer(MOST).take(MOST)
        try:
            Medium(device, held).read(self.bench.identity_at, view)
            found = decode_identity(bytes(view))
            serial = decode_stream(found.assertions, name=device.path)[0].text("serial") if found else ""
        except (TargetError, DocumentError):
            return  # another system's, or none's
        if serial and self.station.is_made(serial):
            raise MadeBefore(f"cannot take {device.path}: it is unit {serial} of this log, and done",
                             hint="take it out; to make it anew, write the image onto it with imagekit flash write")

    def _check(self, device: Device) -> None:
        """Raises: RefusedError: it may not be written. TargetError: it is none of the job's."""
        allowed = Allowed(ports=frozenset({device.port})) if device.port else Allowed()
        refusals = judge(device, self.bench.image.demand, allowed)
        if refusals:
            raise RefusedError(device.path, refusals)
        wrong = in_range(device.identity.size, self.bench.job) if device.exists else ""
        if wrong:
            raise TargetError(f"cannot use {device.path}: {wrong}")

    def _refuse(self, error: ImagekitError) -> None:
        self._recheck_s = self.bench.clock.monotonic_s() + RECHECK_S
        if error.message == self._refused:
            return
        self._refused = error.message
        self.station.change(self.port, lambda tile: replace(tile, state=State.REFUSED, problem=error.message))
        self.tell("refused", problem=error.message, hint=error.hint,
                  refusals=[item.code.value for item in getattr(error, "refusals", ())])

    def _unit(self, device: Device, held: BlockTarget) -> None:
        began = self.bench.clock.now()
        what = " ".join(word for word in (device.model, device.identity.serial) if word) or device.path
        self.station.change(self.port, lambda tile: tiles.begun(tile, device=what, amount=self.bench.image.amount))
        self.tell("begun", device=device_json(device))
        ended = self._write(device, held)
        problem, item = ended.problem, None
        if ended.result is Result.DONE and self.bench.prepared is not None:
            item, problem = self._personalise(device, held)
        said = {"port": self.port.name, "place": self.port.place, "device": device_json(device),
                "image": self.bench.image.digest, "began": began.isoformat(timespec="seconds"),
                "result": (Result.FAILED if problem and ended.result is Result.DONE else ended.result).value,
                "state": ended.state.value, "written": ended.written, "verified": ended.verified,
                "seconds": round(ended.seconds, 2), "problem": problem or None,
                "identity": item and {"serial": item.serial.serial, "device_key": item.serial.device_key.key_id,
                                      "brand": item.serial.brand_id, "model": item.serial.model}}
        self._record(said, item if not problem else None)

    def _write(self, device: Device, held: BlockTarget) -> Ended:
        known = device if device.exists else replace(device, identity=held.identity())
        plan = make_plan(self.bench.image, self.bench.source, [known], Allowed())
        outcome = flash(plan, self.bench.source, [held], how=How(), clock=self.bench.clock, listener=self,
                        reopen=self.bench.reopen, patience=Patience(stop=self.station.abort))
        if outcome.source_error is not None:  # no medium's fault, and the next one would fare the same
            self.station.leave(outcome.source_error.message, outcome.source_error)
        return outcome.ended[0]

    def told(self, event: Event) -> None:
        """`Listener` of the writing."""
        if isinstance(event, Moved):
            now_s = self.bench.clock.monotonic_s()
            self.station.change(self.port, lambda tile: tiles.moved(tile, event.phase, event.durable, event.total,
                                                                    now_s=now_s))
        if isinstance(event, Stalled):
            self._note(f"nothing has moved for {event.seconds:.0f} s")
        if isinstance(event, Started) and event.phase is Phase.DIAGNOSE:
            self._note("something else is read back; looking for what is wrong")
        if isinstance(event, Ended):
            self._note("")
        said = event_json(event)
        self.tell(said.pop("event"), **said)

    def _personalise(self, device: Device, held: BlockTarget) -> tuple[Prepared | None, str]:
        """The identity that was taken for this unit, and what went wrong."""
        assert self.bench.prepared is not None
        self.station.change(self.port, lambda tile: replace(tile, state=State.PERSONALISING))
        medium, item = Medium(device, held), None
        try:
            medium.check()
        except TargetError as error:  # no identity is used up for what is not the unit
            return None, error.message
        try:
            item = self._identity(self.bench.prepared)
            if item is None:
                return None, "cannot give it an identity: none is left"
            self.station.claim(item.serial.serial)
            self.tell("identity-taken", serial=item.serial.serial)
            medium.check()
            write_record(medium, self.bench.identity_at, item.record)
        except ImagekitError as error:
            alone = isinstance(error, RequestRefused) or self.station.abort.is_set()  # no reason to make no other unit
            if isinstance(error, TrustError) or (item is None and not alone):
                self.station.leave(error.message, error)
            return None if isinstance(error, TrustError) else item, error.message
        self.tell("identity-written", serial=item.serial.serial)
        return item, ""

    def _identity(self, identities: Identities) -> Prepared | None:
        """The next one; who does not answer now is asked again. Raises: as `Identities.take`."""
        for pause_s in self.bench.wishes.retry_s:
            try:
                return identities.take()
            except NotNow as error:
                self._wait(error.message, pause_s)
                if self.station.abort.is_set():
                    raise
        return identities.take()

    def _wait(self, problem: str, pause_s: float) -> None:
        self.tell("identity-delayed", problem=problem, seconds=pause_s)
        self._note(f"{problem}; asked again in {pause_s:g} s")
        self.station.abort.wait(pause_s)
        self._note("")

    def _note(self, note: str) -> None:
        self.station.change(self.port, lambda tile: replace(tile, note=note))

    def _record(self, said: dict[str, Any], item: Prepared | None) -> None:
        """Make the unit count.

        Raises:
            HostError, TrustError: the record cannot be written: the unit does not count, and the station ends.
        """
        self.station.change(self.port, lambda tile: replace(tile, state=State.RECORDING))
        number, digest = self.bench.log.append(Kind.UNIT, said)
        serial = (said["identity"] or {}).get("serial", "")
        problem = said["problem"] or ""
        self.station.change(self.port, lambda tile: tiles.ended(tile, problem=problem, serial=serial))
        self.tell("recorded", result=said["result"], number=number, record=digest, serial=serial or None,
                  problem=problem or None)
        try:
            if item is not None and self.bench.prepared is not None:
                self.station.made(serial)
                self.bench.prepared.forget_key(item)
        finally:  # the unit is good, whatever is with the station
            if self.bench.labels is not None and not problem:
                self._label(unit_of(said, self.bench.run, number=number, record=digest,
                                    station=self.bench.job.station))

    def _label(self, unit: Unit) -> None:
        wrong = self.station.label(unit)
        self.tell("label", problem=wrong or None)
        if wrong:
            self._note(wrong)
