"""Media that hang: whichever, in whatever they were doing. The others end well, and so does the run."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagekit.flash.buffers import BUFFERS
from imagekit.flash.run import Outcome, Patience
from imagekit.flash.writer import Writer
from imagekit.plan.flash import HEAD
from imagekit.plan.flash_events import Ended, Event, Phase, Result, Started, State
from imagekit.testing.blocks import Heard, MemoryTarget
from imagekit.units import MIB

from .conftest import Bench, write_image

SMALL = 6 * MIB
MANY = tuple((HEAD + index * 64 * 1024, HEAD + index * 64 * 1024 + 8192) for index in range(4 * BUFFERS))
MEDIA = 12
PATIENCE = Patience(stall_s=1.0, give_up_s=2.5)
KINDS = (  # what a medium does in each phase, and whether only an update does it
    (Phase.WIPE, "write", False), (Phase.WIPE, "flush", False), (Phase.WIPE, "read", True),
    (Phase.COMPARE, "read", True), (Phase.WRITE, "write", False), (Phase.WRITE, "flush", False),
    (Phase.WRITE, "read", True), (Phase.TABLES, "write", False), (Phase.TABLES, "flush", False),
    (Phase.VERIFY, "read", False))


@dataclass(slots=True, kw_only=True)
class Hung(MemoryTarget):
    """Does not answer to such a call in such a phase, once it has answered to `calls` of them."""

    phase: Phase
    call: str
    calls: int = 0
    now: Phase | None = None
    counting: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, call: str) -> None:
        with self.counting:
            if self.now is not self.phase or call != self.call:
                return
            self.calls -= 1
            hangs = self.calls < 0
        if hangs:
            self.hangs.set()
            self.released.wait()

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.answer("read")
        return MemoryTarget.read_into(self, offset, buffer)

    def write(self, offset: int, content: memoryview) -> int:
        self.answer("write")
        return MemoryTarget.write(self, offset, content)

    def flush(self) -> None:
        self.answer("flush")
        MemoryTarget.flush(self)


@dataclass(slots=True, kw_only=True)
class Run:
    """A run beside the test, since it must not hang with it."""

    bench: Bench
    targets: Sequence[MemoryTarget]
    outcome: Outcome | None = None

    def write(self, **how: object) -> Outcome:
        self.bench.heard.also = self.listen
        thread = threading.Thread(target=self._write, kwargs=how, daemon=True)
        thread.start()
        thread.join(90)
        assert self.outcome is not None, "the run has not ended"
        return self.outcome

    def _write(self, **how: object) -> None:
        self.outcome = self.bench.write(*self.targets, patience=PATIENCE, **how)  # type: ignore[arg-type]

    def listen(self, event: Event) -> None:
        if isinstance(event, Started):
            target = self.targets["xyzabcdefghijkl".index(event.target[-1])]
            if isinstance(target, Hung):
                target.now = event.phase


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Bench]:
    """An image of many more pieces than there are buffers."""
    path = tmp_path / "disk.img"
    write_image(path, size=SMALL, parts=((HEAD, SMALL - MIB),), used=MANY)
    yield Bench(path=path, heard=Heard())


def hold(bench: Bench, hung: Sequence[Hung], *, update: bool) -> None:
    """These hang, among others: each fails alone, where it hangs, and the others are whole."""
    generator = random.Random(repr([(item.phase, item.call, item.calls) for item in hung]))
    targets: list[MemoryTarget] = [*hung, *(MemoryTarget(size=SMALL) for _ in range(MEDIA - len(hung)))]
    generator.shuffle(targets)
    try:
        outcome = Run(bench=bench, targets=targets).write(update=update)
        for ended, target in zip(outcome.ended, targets, strict=True):
            if isinstance(target, Hung):
                assert target.hangs.is_set(), (target.phase, target.call)
                assert ended.result is Result.FAILED
                assert ended.problem.startswith(f"cannot {target.phase.value} {ended.target}: it has not moved for")
                assert target.abandoned
            else:
                assert (ended.result, ended.state, ended.problem) == (Result.DONE, State.VERIFIED, "")
                assert all(target.content[start:end] == bench.content()[start:end] for start, end in MANY)
        assert sum(isinstance(event, Ended) for event in bench.heard.events) == MEDIA
        assert not [thread for thread in threading.enumerate() if thread.name == "feed" and thread.is_alive()]
    finally:
        for item in hung:
            item.released.set()


@pytest.mark.parametrize(("count", "phase", "call", "update"), [
    (1, *KINDS[0]), (1, *KINDS[3]), (1, *KINDS[6]), *((10, *kind) for kind in KINDS)])
def test_medium_that_hangs_in_any_phase_ends_alone(many: Bench, count: int, phase: Phase, call: str,
                                                   update: bool) -> None:
    hung = [Hung(size=SMALL, phase=phase, call=call, calls=index if call == "write" and phase is Phase.WRITE else 0)
            for index in range(count)]
    hold(many, hung, update=update)


@pytest.mark.parametrize("seed", range(4))
def test_any_of_the_media_hang_anywhere_and_the_others_end_well(many: Bench, seed: int) -> None:
    generator, update = random.Random(seed), bool(seed % 2)
    hung = []
    for phase, call, _ in generator.choices([kind for kind in KINDS if update or not kind[2]],
                                            k=generator.randint(2, MEDIA - 1)):
        most = len(MANY) if (phase, call) == (Phase.WRITE, "read" if update else "write") else 1
        hung.append(Hung(size=SMALL, phase=phase, call=call, calls=generator.randrange(most)))
    hold(many, hung, update=update)


def test_medium_that_answers_after_it_was_given_up_is_not_finished(many: Bench) -> None:
    hung = Hung(size=SMALL, phase=Phase.TABLES, call="write")
    outcome = Run(bench=many, targets=[hung]).write()
    assert outcome.ended[0].state is State.NOT_BOOTABLE
    writer, = (item for item in threading.enumerate() if isinstance(item, Writer) and item.medium.target is hung)
    hung.released.set()
    writer.join(30)
    assert not writer.is_alive()
    assert not any(hung.content[:HEAD])


def test_ctrl_c_ends_a_medium_at_once_that_waits_for_what_others_hold(many: Bench) -> None:
    """As many hang while they are read back as there are buffers: one more waits, and never gets one."""
    hung = [Hung(size=SMALL, phase=Phase.VERIFY, call="read") for _ in range(BUFFERS)]
    held, told = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        run.listen(event)
        if event.target == "/dev/sdx" and isinstance(event, Started) and event.phase is Phase.VERIFY:
            held.wait()
        if event.target == "/dev/sdx" and isinstance(event, Ended):
            told.set()

    def press() -> None:
        for item in hung:
            item.hangs.wait()
        held.set()
        time.sleep(0.5)  # it comes to wait
        os.kill(os.getpid(), signal.SIGINT)
        told.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    run = Run(bench=many, targets=[MemoryTarget(size=SMALL), *hung])
    many.heard.also = listen
    threading.Thread(target=press, daemon=True).start()
    try:
        outcome = many.write(*run.targets)
        assert outcome.ended[0].problem == "interrupted"
        assert {item.problem[:19] for item in outcome.ended[1:]} == {"cannot stop writing"}
    except KeyboardInterrupt:
        pytest.fail("the state of no medium was told")
    finally:
        for item in hung:
            item.released.set()


@dataclass(slots=True, kw_only=True)
class Slow(MemoryTarget):
    """Reads as slowly as a card."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        time.sleep(1.0 if len(buffer) > MIB else 0)
        return MemoryTarget.read_into(self, offset, buffer)


def test_long_range_that_a_slow_medium_is_compared_by_is_no_stall(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    write_image(path, size=22 * MIB, parts=((HEAD, 21 * MIB),), used=((HEAD, 20 * MIB),))
    target = Slow(size=22 * MIB)
    outcome = Run(bench=Bench(path=path, heard=Heard()), targets=[target]).write(update=True, verify=False)
    assert outcome.ended[0].state is State.COMPLETE
