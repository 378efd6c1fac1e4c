"""Every state that a power cut may leave, of a recorded sequence of writes, each judged by what would boot.

Decides which states there are, by a model of the medium:

- **epochs** (virtio, NVMe, SATA, eMMC): what was written before a flush is on the medium; of what was written since,
  any part may be, sector by sector, in any order.
- **in order** (SD cards, which QEMU shows without flushes): what was written is there up to some sector, nothing after.

In both one sector may be torn: its first half new, the rest old. Three kinds of states are judged: every prefix, sector
by sector; every prefix with its last sector torn; and in epochs every subset, one of its sectors torn or none.

A verdict holds for all states that agree in the sectors it was read from. So a prefix is judged anew only when such a
sector changes, and subsets are not counted out: the verdict is asked once with nothing of the epoch there, then once
more for each way in which a sector that it read could have been different, and so on to the end of that tree. What no
verdict reads needs no state of its own. An epoch whose tree is larger than a limit is sampled instead, and counted so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from itertools import pairwise

from imagekit.disk.writelog import Kind, LogEntry
from imagekit.powercut.disk import DISCARDED, CutDisk, Span
from imagekit.powercut.draws import Reservoir, in_turn
from imagekit.powercut.examine import Verdict

TREE_MOST = 4096  # verdicts that one epoch's subsets may cost
DRAWN = 256  # subsets of an epoch that is sampled
LOST_MOST = 1000  # unbootable states after which a sweep stops
PROBLEMS_MOST = 20  # of which a report shows the state


class Medium(StrEnum):
    """What a cut may do to writes that were not flushed."""

    EPOCHS = "epochs"
    IN_ORDER = "in-order"


class Cut(StrEnum):
    """What a state is like."""

    PREFIX = "prefix"
    TORN = "torn"
    REORDERING = "reordering"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state, so that it can be made again: the first `entries` of the log, then `sectors` of the next one, and on
    top these sectors in these versions. `told` says it in words."""

    entries: int
    sectors: int = 0
    chosen: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateClass:
    """States with one verdict: how many, the first of them, and drawn ones, of each kind of cut in turn."""

    verdict: Verdict
    count: int
    first: State
    drawn: tuple[State, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a sweep found.

    `reorderings` were judged one by one and stand for every subset of the epochs that are not
    `sampled`; `judged` verdicts were worked out, the others followed from those. `stopped`: it did not go to the end.
    """

    entries: int
    written: int  # sectors
    flushes: int
    epochs: int  # with a write in them
    sampled: int
    prefixes: int
    torn: int
    reorderings: int
    judged: int
    unbootable: int
    stopped: bool
    classes: tuple[StateClass, ...]
    problems: tuple[tuple[State, str], ...]

    @property
    def states(self) -> int:
        return self.prefixes + self.torn + self.reorderings

    def spread(self, count: int) -> list[State]:
        """So many drawn states, the rarest class first, of each class as many as of any other that has them."""
        return in_turn([item.drawn for item in reversed(self.classes)], count)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What was counted so far."""

    draw: random.Random
    keeps: int  # states of each class
    classes: dict[Verdict, StateClass] = field(default_factory=dict)
    kept: dict[Verdict, dict[Cut, Reservoir[State]]] = field(default_factory=dict)
    problems: list[tuple[State, str]] = field(default_factory=list)
    states: dict[Cut, int] = field(default_factory=lambda: dict.fromkeys(Cut, 0))
    judged: int = 0
    unbootable: int = 0
    sampled: int = 0

    def add(self, cut: Cut, verdict: Verdict, state: State, count: int = 1, *,
            pick: Callable[[], State] | None = None) -> None:
        """So many states more; `pick` makes one of them, drawn."""
        if not count:
            return
        self.states[cut] += count
        kinds = self.kept.setdefault(verdict, {kind: Reservoir(self.keeps, self.draw) for kind in Cut})
        kinds[cut].show(count, pick or (lambda: state))
        known = self.classes.get(verdict)
        self.classes[verdict] = (StateClass(verdict=verdict, count=count, first=state) if known is None
                                 else replace(known, count=known.count + count))
        if verdict.problem:
            self.unbootable += count
            if len(self.problems) < PROBLEMS_MOST and (known is None or len(self.problems) < PROBLEMS_MOST // 2):
                self.problems.append((state, verdict.problem))

    def found(self) -> tuple[StateClass, ...]:
        """The classes, the largest first."""
        return tuple(replace(item, drawn=tuple(in_turn([kind.kept() for kind in self.kept[item.verdict].values()],
                                                       self.keeps)))
                     for item in sorted(self.classes.values(), key=lambda item: -item.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is done. `shard` is (number from 0, of how many): only these epochs are judged, the others applied.

    After `lost` unbootable states a sweep stops: there is no need to count how bad it is. Of each class `keeps` states
    are drawn.
    """

    medium: Medium = Medium.EPOCHS
    torn: bool = True
    tree: int = TREE_MOST
    drawn: int = DRAWN
    seed: int = 0
    shard: tuple[int, int] = (0, 1)
    lost: int = LOST_MOST
    keeps: int = 0


class Sweep:
    """One pass over a log. `disk` is changed: it ends in the state after the last write."""

    def __init__(self, disk: CutDisk, log: Sequence[LogEntry], judge: Callable[[], Verdict], limits: Limits) -> None:
        self._disk, self._log, self._ask, self._limits = disk, log, judge, limits
        self._draw = random.Random(f"states {limits.seed}")
        self._tally = _Tally(draw=self._draw, keeps=limits.keeps)

    def run(self, told: Callable[[int], None] = lambda _: None) -> Found:
        """Judge every state; `told` hears how many requests are done."""
        epochs = list(epochs_of(self._log))
        number, shards = self._limits.shard
        if number == 0:
            self._tally.add(Cut.PREFIX, self._judge(), State(entries=0, told="nothing is written yet"))
        for index, (start, end) in enumerate(epochs):
            if index % shards == number:
                if self._limits.medium is Medium.EPOCHS:
                    self._subsets(start, end)
                self._prefixes(start, end)
            else:
                for entry in self._log[start:end]:
                    self._disk.apply(entry)
            told(end - start)
            if self._lost:
                break
        tally = self._tally
        writes = [entry for entry in self._log if entry.kind is not Kind.FLUSH]
        return Found(
            entries=len(self._log), written=sum(entry.count for entry in writes), epochs=len(epochs),
            flushes=len(self._log) - len(writes), sampled=tally.sampled, prefixes=tally.states[Cut.PREFIX],
            torn=tally.states[Cut.TORN], reorderings=tally.states[Cut.REORDERING], judged=tally.judged,
            unbootable=tally.unbootable, stopped=self._lost,
            classes=tally.found(),
            problems=tuple(tally.problems))

    @property
    def _lost(self) -> bool:
        return self._tally.unbootable >= self._limits.lost

    def _judge(self) -> Verdict:
        self._tally.judged += 1
        return self._ask()

    # prefixes

    def _prefixes(self, start: int, end: int) -> None:
        verdict = self._judge()
        for number in range(start, end):
            entry = self._log[number]
            if entry.kind is not Kind.FLUSH and not self._lost:
                verdict = self._sectors(number, entry, verdict)

    def _sectors(self, number: int, entry: LogEntry, verdict: Verdict) -> Verdict:
        """One request, sector by sector: those that the verdict was not read from in one go."""
        done = 0
        while done < entry.count and not self._lost:
            at = self._disk.seen.find(1, entry.first + done, entry.first + entry.count)
            free = (at - entry.first if at >= 0 else entry.count) - done
            if free:
                self._count(verdict, number, done, free)
                self._disk.apply(entry, start=done, stop=done + free)
                done += free
                continue
            verdict = self._one(number, entry, done, verdict)
            done += 1
            self._tally.add(Cut.PREFIX, verdict, self._told(number, done))
        return verdict

    def _one(self, number: int, entry: LogEntry, done: int, before: Verdict) -> Verdict:
        """One sector that the verdict was read from, torn and whole; the same bytes once more change nothing."""
        sector, torn = entry.first + done, self._limits.torn and entry.kind is Kind.WRITE
        old = self._disk.versions[sector]
        version = DISCARDED if entry.kind is Kind.DISCARD else entry.at + done
        contents = [self._disk.content(sector, item) for item in (old, version, self._disk.torn(version, old))]
        is_mixed = torn and contents[2] not in contents[:2]
        if is_mixed:
            self._tear(number, done)
        self._disk.apply(entry, start=done, stop=done + 1)
        after = self._judge() if is_mixed or contents[1] != contents[0] else before
        if torn and not is_mixed:
            self._tally.add(Cut.TORN, before if contents[2] == contents[0] else after, self._told(number, done + 1))
        return after

    def _count(self, verdict: Verdict, number: int, done: int, sectors: int) -> None:
        """The next sectors, which change nothing: whole, and torn."""
        last = self._told(number, done + sectors)
        self._tally.add(Cut.PREFIX, verdict, last, sectors,
                        pick=lambda: self._told(number, done + 1 + self._draw.randrange(sectors)))
        self._tally.add(Cut.TORN, verdict, last, sectors if self._limits.torn else 0,
                        pick=lambda: self._torn(number, done + self._draw.randrange(sectors)))

    def _tear(self, number: int, done: int) -> None:
        """The next sector torn. Whoever calls asks for a verdict afterwards: this one was read from another state."""
        state = self._torn(number, done)
        with self._disk.with_versions(state.chosen):
            found = self._judge()
        self._tally.add(Cut.TORN, found, state)

    def _torn(self, number: int, done: int) -> State:
        """One sector of a request torn, those before it whole; none of it is on the disk yet."""
        entry = self._log[number]
        if entry.kind is Kind.DISCARD:
            return self._told(number, done + 1)
        sector = entry.first + done
        version = self._disk.torn(entry.at + done, self._disk.versions[sector])
        return replace(self._told(number, done), chosen=((sector, version),),
                       told=f"{self._words(number, done + 1)}, which is torn")

    def _told(self, number: int, sectors: int) -> State:
        return State(entries=number, sectors=sectors, told=self._words(number, sectors))

    def _words(self, number: int, sectors: int) -> str:
        return f"request {number + 1} of {len(self._log)}, after sector {sectors} of {self._log[number].count}"

    # subsets

    def _subsets(self, start: int, end: int) -> None:
        """Every subset of one epoch, by way of the sectors that verdicts are read from."""
        pending = self._pending(start, end)
        tree: list[dict[int, int]] = [{}]
        asked = 0
        found: list[tuple[Verdict, dict[int, int]]] = []
        whole = True
        lost = self._tally.unbootable
        while tree and whole and lost < self._limits.lost:
            fixed = tree.pop()
            with self._disk.with_versions(fixed.items()):
                found.append((self._judge(), fixed))
            asked += 1
            lost += bool(found[-1][0].problem)
            open_ = [sector for sector in self._seen_of(pending) if sector not in fixed]
            whole = asked + len(tree) + len(open_) <= self._limits.tree
            for sector in open_ if whole else ():
                for version in self._others(sector, pending[sector], fixed):
                    tree.append({**fixed, sector: version})
                fixed = {**fixed, sector: self._disk.versions[sector]}
        for verdict, fixed in found:
            self._tally.add(Cut.REORDERING, verdict, self._subset(start, end, fixed))
        if not whole and not self._lost:
            self._sample(start, end)

    def _pending(self, start: int, end: int) -> dict[int, list[int]]:
        """The sectors that an epoch writes, each with its versions in their order."""
        found: dict[int, list[int]] = {}
        for entry in self._log[start:end]:
            if entry.kind is Kind.DISCARD:
                for sector in range(entry.first, entry.first + entry.count):
                    found.setdefault(sector, []).append(DISCARDED)
            elif entry.kind is Kind.WRITE:
                for offset in range(entry.count):
                    found.setdefault(entry.first + offset, []).append(entry.at + offset)
        return found

    def _seen_of(self, pending: dict[int, list[int]]) -> list[int]:
        seen = self._disk.seen
        return [sector for sector in pending if seen[sector]]

    def _others(self, sector: int, versions: list[int], fixed: dict[int, int]) -> Iterator[int]:
        """What else the sector may hold: any version, or one torn over the version before, if nothing else is torn."""
        there = self._disk.versions[sector]
        known = {self._disk.content(sector, there)}
        for version in self._versions(there, versions, fixed):
            content = self._disk.content(sector, version)
            if content not in known:
                known.add(content)
                yield version

    def _versions(self, before: int, versions: list[int], fixed: dict[int, int]) -> Iterator[int]:
        yield from versions
        if self._limits.torn and not any(self._disk.is_torn(version) for version in fixed.values()):
            for version in versions:
                if version != DISCARDED:
                    yield self._disk.torn(version, before)
                before = version

    def _subset(self, start: int, end: int, fixed: dict[int, int]) -> State:
        there = {sector: version for sector, version in fixed.items() if version != self._disk.versions[sector]}
        told = ", ".join(str(sector) for sector in sorted(there)[:8]) or "none"
        return State(entries=start, chosen=tuple(sorted(there.items())),
                     told=f"requests {start + 1} to {end} unflushed, of the sectors that matter there: {told}")

    def _sample(self, start: int, end: int) -> None:
        """Subsets of whole requests: each left out alone, each there alone, and drawn ones, up to the limit."""
        self._tally.sampled += 1
        draw = random.Random(f"{self._limits.seed}/{start}")
        writes = [number for number in range(start, end) if self._log[number].kind is not Kind.FLUSH]
        for numbers in _drawn(writes, draw, self._limits.drawn):
            chosen: dict[int, int] = {}
            for number in numbers:
                entry = self._log[number]
                for offset in range(entry.count):
                    chosen[entry.first + offset] = DISCARDED if entry.kind is Kind.DISCARD else entry.at + offset
            if self._lost:
                return
            with self._disk.with_versions(chosen.items()):
                verdict = self._judge()
            state = State(entries=start, told=f"requests {start + 1} to {end} unflushed, {len(numbers)} of"
                          f" {len(writes)} of them there")
            whole = partial(self._chosen, state, chosen)
            keep = verdict.problem or verdict not in self._tally.classes
            self._tally.add(Cut.REORDERING, verdict, whole() if keep else state, pick=whole)

    @staticmethod
    def _chosen(state: State, chosen: dict[int, int]) -> State:
        return replace(state, chosen=tuple(sorted(chosen.items())))


def epochs_of(log: Sequence[LogEntry]) -> Iterator[tuple[int, int]]:
    """The requests between flushes, as half-open ranges; those without a write are left out, flushes end one."""
    start, writes = 0, False
    for number, entry in enumerate(log):
        if entry.kind is not Kind.FLUSH:
            writes = True
        elif writes:
            yield start, number + 1
            start, writes = number + 1, False
        else:
            start = number + 1
    if writes:
        yield start, len(log)


def _drawn(writes: Sequence[int], draw: random.Random, most: int) -> Iterator[list[int]]:
    third = max(most // 3, 1)
    for number in draw.sample(writes, min(third, len(writes))):
        yield [other for other in writes if other != number]
    for number in draw.sample(writes, min(third, len(writes))):
        yield [number]
    for _ in range(most - 2 * third):
        yield [number for number in writes if draw.random() < 0.5]


def drawn_losses(log: Sequence[LogEntry], spans: Sequence[Span], *, seed: str) -> Iterator[State]:
    """Without end, states that only a disk leaves which never flushes: a drawn prefix, without the half of the requests
    that it has to one of the spans. It ends in one of the log's runs, each as likely as any other, however long."""
    draw = random.Random(seed)
    runs = list(_runs(log))
    while True:
        start, end = draw.choice(runs)
        entries = draw.randint(start + 1, end)
        first, last = draw.choice(spans)
        there = [entry for entry in log[:entries] if entry.meets(first, last)]
        stays = [draw.random() < 0.5 for _ in there]
        kept, gone = (_written(entry for entry, stay in zip(there, stays, strict=True) if stay is wanted)
                      for wanted in (True, False))
        chosen = tuple((sector, 0) for sector in sorted(gone - kept))
        if chosen:
            yield State(entries=entries, chosen=chosen,
                        told=f"{entries} of {len(log)} requests, without {stays.count(False)} of the {len(there)} to"
                        f" sectors {first} to {last}, never flushed")


def _runs(log: Sequence[LogEntry]) -> Iterator[tuple[int, int]]:
    """Requests of which each begins where the one before ended, as half-open ranges: a card is written in hundreds of
    thousands of them, and nearly all are of a few files."""
    start = 0
    for number, (one, next_) in enumerate(pairwise(log), 1):
        if next_.kind is not one.kind or next_.first != one.first + one.count:
            yield start, number
            start = number
    if log:
        yield start, len(log)


def _written(entries: Iterable[LogEntry]) -> set[int]:
    return {sector for entry in entries for sector in range(entry.first, entry.first + entry.count)}
