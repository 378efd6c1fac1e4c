"""Everything that goes wrong with cards, readers and cables: each ends its own medium, and is named."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.flash.journal import Journals
from imagekit.flash.run import Patience
from imagekit.flash.writer import Writer
from imagekit.host.files import no_space
from imagekit.plan.flash import HEAD, PIECE
from imagekit.plan.flash_damage import Pattern
from imagekit.plan.flash_device import Code, Identity
from imagekit.plan.flash_events import Ended, Event, Moved, Phase, Result, Stalled, Started, State
from imagekit.testing.blocks import Heard, MemoryTarget, card
from imagekit.units import MIB

from .conftest import SIZE, USED, Bench


def alone(bench: Bench, target: MemoryTarget, **how: object) -> Ended:
    """Write beside a medium that is well, which must not notice."""
    well = MemoryTarget(size=SIZE)
    failed, other = bench.write(target, well, **how).ended  # type: ignore[arg-type]
    assert (other.result, other.state) == (Result.DONE, State.VERIFIED)
    return failed


def test_medium_pulled_out_in_the_middle_fails_alone_and_is_named(bench: Bench) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, pulled_after=6 * MIB))
    assert (ended.result, ended.state) == (Result.FAILED, State.NOT_BOOTABLE)
    assert ended.problem == "cannot write /dev/sdx: it was pulled out"


def test_block_that_cannot_be_written_is_named_by_its_place(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, bad=frozenset({USED[2][0] + 5000}))
    ended = alone(bench, target)
    assert ended.state is State.NOT_BOOTABLE
    assert ended.problem == f"cannot write /dev/sdx at byte {USED[2][0]} (12 MiB): input/output error"
    assert not any(target.content[:HEAD])


def test_short_writes_go_on_where_they_stopped(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, most=300 * 512)
    assert alone(bench, target).state is State.VERIFIED


def test_write_of_nothing_is_a_failure_and_no_endless_loop(bench: Bench) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, full_at=USED[1][0]))
    assert ended.problem.startswith("cannot write /dev/sdx at byte ")
    assert ended.problem.endswith(": it takes nothing more")


def test_card_that_lies_about_its_size_is_found_out_as_a_fake(bench: Bench) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, real=8 * MIB))
    assert (ended.result, ended.state) == (Result.FAILED, State.WRONG)
    assert ended.damage is not None
    assert ended.damage.pattern is Pattern.WRAPPED
    assert ended.damage.distance
    assert ended.damage.distance % (8 * MIB) == 0
    assert "fake" in ended.problem


def test_zeros_that_are_read_back_are_told_with_place_and_count(bench: Bench) -> None:
    start = USED[2][0]
    target = MemoryTarget(size=SIZE, lost=(start, start + 1))
    target.content[start:start + 4 * MIB] = bytes(4 * MIB)
    ended = alone(bench, target)
    assert ended.damage is not None
    assert (ended.damage.first, ended.damage.pattern) == (start, Pattern.ZEROS)
    assert ended.damage.blocks == -(-(USED[2][1] - start) // 4096)


def test_older_content_that_is_read_back_is_told_as_stale(bench: Bench) -> None:
    start = USED[0][0]
    ended = alone(bench, MemoryTarget(size=SIZE, lost=(start, start + 1)))
    assert ended.damage is not None
    assert (ended.damage.first // 4096 * 4096, ended.damage.pattern) == (start, Pattern.STALE)


def test_one_flipped_bit_is_found_at_its_byte(bench: Bench) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, flipped=frozenset({USED[2][0] + 12345})))
    assert ended.damage is not None
    assert (ended.damage.first, ended.damage.blocks, ended.damage.pattern) == (
        USED[2][0] + 12345, 1, Pattern.CHANGED)


def test_byte_that_is_right_at_the_second_reading_blames_the_reader(bench: Bench) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, flipped=frozenset({USED[2][0] + 12345}), flips=1))
    assert ended.damage is not None
    assert (ended.state, ended.damage.first, ended.damage.blocks) == (State.WRONG, USED[2][0], 0)
    assert "right the second time: the reader or the cable" in ended.problem


@pytest.mark.parametrize("place", [100, 600, SIZE - 100])
def test_damage_in_the_tables_is_found_too(bench: Bench, place: int) -> None:
    ended = alone(bench, MemoryTarget(size=SIZE, flipped=frozenset({place})))
    assert ended.damage is not None
    assert ended.damage.first == place


def test_without_verifying_a_flipped_bit_is_not_seen_and_the_state_says_so(bench: Bench) -> None:
    ended = alone_without_verifying(bench)
    assert (ended.result, ended.state, ended.verified) == (Result.DONE, State.COMPLETE, 0)


def alone_without_verifying(bench: Bench) -> Ended:
    return bench.write(MemoryTarget(size=SIZE, flipped=frozenset({USED[0][0]})), verify=False).ended[0]


def test_stalled_medium_is_named_then_given_up_and_the_others_end(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, hangs_at=USED[2][0])
    try:
        ended = alone(bench, target, patience=Patience(stall_s=0.5, give_up_s=5.0))
    finally:
        target.released.set()
    named = [event for event in bench.heard.events if isinstance(event, Stalled)]
    assert {(event.target, event.phase) for event in named} == {("/dev/sdx", Phase.WRITE)}
    assert ended.problem.startswith("cannot write /dev/sdx: it has not moved for 5 s")
    assert target.abandoned  # its descriptor must not be given to another file while a call hangs in it


def test_medium_that_comes_back_after_a_stall_is_finished(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, hangs_at=USED[2][0])
    bench.heard.also = lambda event: target.released.set() if isinstance(event, Stalled) else None
    ended = alone(bench, target, patience=Patience(stall_s=0.2, give_up_s=600))
    assert ended.state is State.VERIFIED


def test_progress_counts_only_what_was_flushed(bench: Bench) -> None:
    counts: list[tuple[int, bool]] = []
    target = MemoryTarget(size=SIZE)

    def listen(event: Event) -> None:
        if isinstance(event, Moved) and event.phase is Phase.WRITE:
            counts.append((event.durable, target.log[-1][0] == "flush"))

    bench.heard.also = listen
    bench.write(target)
    assert counts
    assert all(flushed for _, flushed in counts)


def test_journal_is_bound_to_image_and_medium(bench: Bench, tmp_path: Path) -> None:
    image = bench.plan().image
    journal = Journals(tmp_path, image, warn=pytest.fail)
    journal.reached(card(), 3)
    assert journal.ranges(card()) == 3
    assert journal.ranges(card(identity=Identity(size=64 << 20, serial="0001", diskseq=99))) == 3
    assert journal.ranges(card(identity=Identity(size=64 << 20, serial="0002"))) == 0
    assert Journals(tmp_path, replace(image, digest="other"), warn=pytest.fail).ranges(card()) == 0
    journal.forget(card())
    assert journal.ranges(card()) == 0


def test_medium_that_nothing_tells_from_others_has_no_journal(bench: Bench, tmp_path: Path) -> None:
    journal = Journals(tmp_path, bench.plan().image, warn=pytest.fail)
    journal.reached(card(identity=Identity(size=64 << 20)), 3)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b"{", b"\xff", b'{"version": 1}', b'{"ranges": 3}'])
def test_journal_that_is_damaged_tells_nothing(bench: Bench, tmp_path: Path, content: bytes) -> None:
    journal = Journals(tmp_path, bench.plan().image, warn=pytest.fail)
    path = journal.name(card())
    assert path is not None
    path.write_bytes(content)
    assert journal.ranges(card()) == 0


def test_journal_that_cannot_be_removed_does_not_spoil_a_complete_medium(bench: Bench, tmp_path: Path) -> None:
    journal = Journals(tmp_path, bench.plan().image, warn=pytest.fail)
    path = journal.name(card())
    assert path is not None
    path.mkdir()
    journal.forget(card())


def test_journal_that_finds_no_space_says_so_once_and_stops_nothing(bench: Bench, tmp_path: Path) -> None:
    def full(path: Path, content: bytes) -> None:
        raise no_space(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    said: list[str] = []
    journal = Journals(tmp_path, bench.plan().image, warn=said.append, write=full)
    outcome = bench.write(MemoryTarget(size=SIZE), reached=lambda _, count: journal.reached(card(), count))
    journal.reached(card(), 9)
    assert outcome.ended[0].state is State.VERIFIED
    assert len(said) == 1
    assert "no space left" in said[0]


def test_ctrl_c_waits_for_the_piece_on_its_way_and_tells_the_state_of_every_medium(bench: Bench) -> None:
    target, sent = MemoryTarget(size=SIZE, hangs_at=USED[2][0]), threading.Event()

    def press() -> None:
        target.hangs.wait()
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()
        time.sleep(0.3)  # the piece is on its way while the end is waited for
        target.released.set()

    threading.Thread(target=press).start()
    outcome = bench.write(target, MemoryTarget(size=SIZE))
    assert sent.is_set()
    assert isinstance(outcome.interrupt, KeyboardInterrupt)
    assert [item.result for item in outcome.ended] == [Result.INTERRUPTED, Result.INTERRUPTED]
    assert outcome.ended[0].state is State.NOT_BOOTABLE


def test_second_ctrl_c_waits_for_nobody_and_leaves_no_descriptor_to_another_file(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, hangs_at=USED[2][0])

    def press() -> None:
        target.hangs.wait()
        os.kill(os.getpid(), signal.SIGINT)
        writer, = (thread for thread in threading.enumerate()
                   if isinstance(thread, Writer) and thread.path == "/dev/sdx")
        writer.stop.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    try:
        outcome = bench.write(target, MemoryTarget(size=SIZE))
        assert target.abandoned
    except KeyboardInterrupt:
        pytest.fail("the state of no medium was told")
    finally:
        target.released.set()
    assert len(outcome.ended) == 2
    assert outcome.ended[0].problem == "cannot stop writing /dev/sdx: it does not answer"


def other_card() -> Identity:
    """Of a reader that kept its serial number when another card of the same size was put in."""
    return replace(card(size=SIZE).identity, diskseq=8)


def changed(ended: Ended) -> str:
    assert (ended.result, [item.code for item in ended.refusals]) == (Result.FAILED, [Code.IDENTITY_CHANGED])
    assert ended.problem == "cannot write /dev/sdx: identity-changed: disk sequence was 7, is 8"
    return ended.state.value


def test_card_that_was_changed_while_the_question_waited_is_not_touched(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, seen=other_card())
    assert changed(alone(bench, target)) == "untouched"
    assert (target.log, target.written) == ([], 0)


def test_card_that_is_changed_while_the_first_one_is_written_gets_nothing(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, changed_after=3 * MIB)
    assert changed(alone(bench, target)) == "not-bootable"
    assert target.written < 3 * MIB + 2 * PIECE  # what was on its way


@pytest.mark.parametrize(("phase", "state"), [
    (Phase.WIPE, "not-bootable"), (Phase.WRITE, "not-bootable"), (Phase.TABLES, "complete"),
    (Phase.VERIFY, "complete")])
def test_card_that_is_changed_at_the_end_of_a_phase_ends_there(bench: Bench, phase: Phase, state: str) -> None:
    target = MemoryTarget(size=SIZE)

    def change(event: Event) -> None:
        if isinstance(event, Moved) and event.durable == event.total and (event.target, event.phase) == (
                "/dev/sdx", phase):
            target.seen = other_card()
            target.content[:] = bytes(SIZE)
            target.log.clear()

    bench.heard.also = change
    assert changed(alone(bench, target)) == state
    assert [what for what, _, _ in target.log if what != "flush"] == []


def test_reader_that_fails_because_its_card_was_changed_is_not_said_to_be_broken(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE, bad=frozenset({USED[2][0]}))
    target.on_write = lambda offset: setattr(target, "seen", other_card()) if offset == USED[2][0] else None
    assert changed(alone(bench, target)) == "not-bootable"


def test_older_image_with_the_same_files_elsewhere_is_no_fake(bench: Bench) -> None:
    """All lies as far from where it now belongs as on a fake, but two places that far apart were both read right."""
    start, moved = USED[2][0], 64 * 1024
    target = MemoryTarget(size=SIZE, lost=(start, start + 4 * MIB))
    target.content[start:start + MIB] = bench.content()[start + moved:start + moved + MIB]
    target.content[start + MIB:start + 4 * MIB] = bench.content()[start + MIB:start + 4 * MIB]
    ended = alone(bench, target)
    assert ended.damage is not None
    assert (ended.damage.blocks, ended.damage.pattern) == (256, Pattern.STALE)


class Slow(MemoryTarget):
    """A reader of 20 MiB/s for what is read after everything was verified."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        time.sleep(len(buffer) / (20 * MIB))
        return MemoryTarget.read_into(self, offset, buffer)


def diagnosing(event: Event) -> bool:
    return isinstance(event, (Started, Moved)) and (event.target, event.phase) == ("/dev/sdx", Phase.DIAGNOSE)


def test_slow_card_that_is_a_fake_gets_its_diagnosis_and_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "large.img"
    path.write_bytes(random.Random(3).randbytes(80 * MIB))
    bench = Bench(path=path, heard=Heard())
    ended, = bench.write(Slow(size=80 * MIB, real=32 * MIB), patience=Patience(stall_s=1.5, give_up_s=2.0)).ended
    assert ended.damage is not None
    assert (ended.damage.pattern, ended.damage.distance) == (Pattern.WRAPPED, 32 * MIB)
    assert not [event for event in bench.heard.events if isinstance(event, Stalled)]
    told = [event for event in bench.heard.events if diagnosing(event)]
    assert isinstance(told[0], Started)
    assert isinstance(told[-1], Moved)
    assert told[-1].durable == told[-1].total == told[0].total


def test_ctrl_c_ends_the_diagnosis_too(bench: Bench) -> None:
    def press(event: Event) -> None:
        if diagnosing(event) and isinstance(event, Started):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    bench.heard.also = press
    outcome = bench.write(MemoryTarget(size=SIZE, real=8 * MIB))
    ended, = outcome.ended
    assert isinstance(outcome.interrupt, KeyboardInterrupt)
    assert (ended.result, ended.state, ended.damage) == (Result.INTERRUPTED, State.WRONG, None)
