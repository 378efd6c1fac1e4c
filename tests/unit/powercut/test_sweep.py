"""The sweep finds what counting all states out would find, with far fewer verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.disk.writelog import Kind, LogEntry
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.examine import Verdict
from imagekit.powercut.sweep import Cut, Found, Limits, Medium, State, Sweep, drawn_losses, epochs_of

SECTORS = 6
LOG_SECTORS = 40


def made() -> CutDisk:
    image = bytes(SECTORS * 512)
    log = b"".join(bytes([number]) * 256 + bytes([number % 3]) * 256 for number in range(LOG_SECTORS))
    return CutDisk(image, log, size=SECTORS * 512)


def judged(disk: CutDisk) -> Verdict:
    """A device with a pointer in sector 0: odd, it reads 1 and 2; even, it reads 3, and if that is 0 also 4."""
    disk.forget_seen()

    def byte(sector: int) -> tuple[int, int]:
        raw = disk.read(sector * 512, 512)
        return raw[0], raw[511]

    seen = [byte(0)]
    if seen[0][0] % 2:
        seen += [byte(1), byte(2)]
    else:
        seen.append(byte(3))
        if seen[1] == (0, 0):
            seen.append(byte(4))
    torn = len(seen) > 1 and seen[1][0] % 3 != seen[1][1]
    return Verdict(way=(str(seen),), menu=(), record="", problem="torn" if torn else "")


def entry(first: int, count: int, at: int) -> LogEntry:
    return LogEntry(kind=Kind.WRITE, first=first, count=count, at=at)


FLUSH = LogEntry(kind=Kind.FLUSH)
WRITES = st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 2), st.integers(1, LOG_SECTORS - 3)).map(
    lambda drawn: entry(drawn[0], min(drawn[1], SECTORS - drawn[0]), drawn[2]))
LOGS = st.lists(st.one_of(WRITES, st.just(FLUSH)), min_size=1, max_size=9)


def counted_out(log: list[LogEntry], *, subsets: bool) -> set[Verdict]:
    """The verdicts of all states, one by one."""
    found = set()
    for state in states(log, subsets=subsets):
        disk = made()
        for sector, version in state(disk).items():
            disk.versions[sector] = version
        found.add(judged(disk))
    return found


def states(log: list[LogEntry], *, subsets: bool) -> Iterator:  # type: ignore[type-arg]
    for start, end in epochs_of(log):
        before: dict[int, int] = {}
        for item in log[:start]:
            before |= {item.first + at: item.at + at for at in range(item.count)}
        steps = [(item.first + at, item.at + at) for item in log[start:end] if item.kind is Kind.WRITE
                 for at in range(item.count)]
        for done in range(len(steps) + 1):
            so_far = before | dict(steps[:done])
            yield lambda _, so_far=so_far: so_far
            if done < len(steps):
                sector, version = steps[done]
                yield lambda disk, so_far=so_far, sector=sector, version=version: so_far | {
                    sector: disk.torn(version, so_far.get(sector, 0))}
        if not subsets:
            continue
        pending: dict[int, list[int]] = {}
        for sector, version in steps:
            pending.setdefault(sector, [before.get(sector, 0)]).append(version)
        for choice in itertools.product(*pending.values()):
            chosen = before | dict(zip(pending, choice, strict=True))
            yield lambda _, chosen=chosen: chosen
            for sector, versions in pending.items():
                for old, new in itertools.pairwise(versions):
                    yield lambda disk, chosen=chosen, sector=sector, old=old, new=new: chosen | {
                        sector: disk.torn(new, old)}


@settings(max_examples=60, deadline=None)
@given(log=LOGS)
def test_every_verdict_that_counting_out_finds_is_found_and_no_other(log: list[LogEntry]) -> None:
    for medium in Medium:
        disk = made()
        found = Sweep(disk, log, lambda disk=disk: judged(disk), Limits(medium=medium, lost=10**9)).run()
        wanted = counted_out(log, subsets=medium is Medium.EPOCHS) | {judged(made())}
        assert {item.verdict for item in found.classes} == wanted
        assert found.prefixes == 1 + sum(item.count for item in log)
        assert found.torn == found.prefixes - 1
        assert found.sampled == 0
        assert sum(item.count for item in found.classes) == found.states
        assert found.unbootable == sum(item.count for item in found.classes if item.verdict.problem)


def test_shares_together_judge_what_one_pass_judges() -> None:
    log = [entry(0, 1, 3), FLUSH, entry(1, 2, 5), FLUSH, entry(3, 2, 8), FLUSH, entry(0, 1, 2), entry(3, 1, 4)]
    whole = swept(log, Limits())
    shards = [swept(log, Limits(shard=(number, 3))) for number in range(3)]
    for count in ("prefixes", "torn", "reorderings"):
        assert sum(getattr(item, count) for item in shards) == getattr(whole, count)
    assert {item.verdict for shard in shards for item in shard.classes} == {item.verdict for item in whole.classes}


def test_epoch_that_costs_too_much_is_sampled_and_says_so() -> None:
    log = [entry(0, 2, 1), entry(2, 2, 5), entry(4, 2, 9)]
    found = swept(log, Limits(tree=2, drawn=30))
    assert found.sampled == 1
    assert found.reorderings > 2


def test_sweep_stops_when_enough_is_lost() -> None:
    log = [entry(3, 1, 4), FLUSH, entry(3, 1, 7), FLUSH, entry(5, 1, 1), FLUSH, entry(5, 1, 2)]
    assert swept(log, Limits(lost=1)).stopped
    assert swept(log, Limits(lost=1)).prefixes < swept(log, Limits()).prefixes
    assert not swept([entry(5, 1, 1)], Limits(lost=1)).stopped


@settings(max_examples=60, deadline=None)
@given(log=LOGS, medium=st.sampled_from(Medium), seed=st.integers(0, 9))
def test_drawn_states_are_of_their_class(log: list[LogEntry], medium: Medium, seed: int) -> None:
    disk = made()
    found = Sweep(disk, log, lambda: judged(disk), Limits(medium=medium, seed=seed, keeps=6)).run()
    for item in found.classes:
        assert 1 <= len(item.drawn) <= min(item.count, 6)
        for state in item.drawn:
            with disk.as_written(log, state.entries, state.sectors, state.chosen):
                assert judged(disk) == item.verdict
    assert found.spread(len(found.classes)) == [item.drawn[0] for item in reversed(found.classes)]


def test_classes_and_kinds_of_cuts_take_turns_however_many_states_are_of_each() -> None:
    unread = [entry(5, 1, at) for at in range(1, 30)]
    found = swept([*unread, FLUSH, entry(0, 1, 3), FLUSH, entry(1, 1, 6)], Limits(keeps=6))
    most, *others = found.classes
    assert most.count > sum(item.count for item in others)
    assert sum(state in most.drawn for state in found.spread(2 * len(found.classes))) == 2
    assert {kind_of(state) for state in most.drawn[:3]} == {*Cut}


def kind_of(state: State) -> Cut:
    if any(CutDisk.is_torn(version) for _, version in state.chosen):
        return Cut.TORN
    return Cut.REORDERING if state.told.endswith("matter there: none") else Cut.PREFIX


def test_epochs_are_what_lies_between_flushes() -> None:
    write = entry(0, 1, 1)
    assert list(epochs_of([FLUSH, write, write, FLUSH, FLUSH, write])) == [(1, 4), (5, 6)]


def swept(log: list[LogEntry], limits: Limits) -> Found:
    disk = made()
    return Sweep(disk, log, lambda: judged(disk), limits).run()


@given(log=LOGS.filter(lambda log: any(item.meets(0, 3) for item in log)), seed=st.text(max_size=3))
def test_what_is_lost_of_a_prefix_is_as_the_image_has_it_and_belongs_to_a_span(log: list[LogEntry], seed: str) -> None:
    for state in itertools.islice(drawn_losses(log, [(0, 3)], seed=seed), 5):
        written = {item.first + at for item in log[:state.entries] if item.meets(0, 3) for at in range(item.count)}
        lost = dict(state.chosen)
        assert lost
        assert set(lost) <= written
        assert set(lost.values()) == {0}


def test_few_requests_after_many_are_where_a_prefix_ends_as_often_as_in_the_many() -> None:
    few = [entry(0, 1, 1), entry(2, 1, 1), entry(5, 1, 1)]
    many = [LogEntry(kind=Kind.WRITE, first=at, count=1, at=1) for at in range(1000)]
    ends = [state.entries for state in itertools.islice(drawn_losses([*many, *few], [(0, 2000)], seed="x"), 200)]
    assert 60 < sum(end > len(many) for end in ends) < 180
