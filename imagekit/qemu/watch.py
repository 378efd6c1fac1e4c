"""Everything that is heard from a guest, put together: boots, their phases, their verdicts. No clock and no sockets.

The runner feeds it (console bytes, health-port bytes, QMP events, each with the second of the run it came) and asks it
how things stand; tests feed it by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from imagekit.boot.health import Verdict
from imagekit.qemu.console import LineSplitter, clean, clean_line
from imagekit.qemu.inband import InBand
from imagekit.qemu.judge import Dialogue, Expectation, Judgement
from imagekit.qemu.phases import ORDER, Phase, PhaseClock, PhaseTime, hint
from imagekit.qemu.transcript import Transcript

LAST_LINES = 15
WATCHDOG = "the watchdog's reset"
LATE = "no verdict after"
GUEST_OFF = "the guest switched itself off"
NOTHING_STARTED = "the firmware starts nothing"
_HALTED = re.compile(r"reboot: (System halted|Power down)$")  # Linux's last line; not every board can end QEMU


@dataclass(slots=True, kw_only=True)
class Boot:
    """One boot, from power-on or reset to the next."""

    number: int  # from 1
    cause: str  # what began it: power on, the guest's reset, its watchdog, ours
    start_s: float
    clock: PhaseClock
    dialogue: Dialogue
    in_band: InBand | None  # the dialogue over the console, where there is no port
    judged_s: float | None = None
    ended: str | None = field(default=None)

    @property
    def judgement(self) -> Judgement | None:
        return self.dialogue.judgement

    @property
    def verdict(self) -> Verdict | None:
        return self.judgement.verdict if self.judgement else None

    @property
    def healthy(self) -> bool:
        return self.judgement is not None and self.judgement.healthy

    @property
    def phases(self) -> tuple[PhaseTime, ...]:
        return self.clock.times(self.verdict.phases if self.verdict else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run is not healthy, for people and for `--json`."""

    phase: Phase
    reasons: tuple[str, ...]
    lines: tuple[str, ...]
    hint: str | None


class Watch:
    """What is known about a guest so far. `in_band`: its verdict comes framed on the console."""

    def __init__(self, *, expectation: Expectation, transcript: Transcript, new_nonce: Callable[[], str],
                 in_band: bool = False) -> None:
        self.expectation = expectation
        self.transcript = transcript
        self._in_band = in_band
        self._new_nonce = new_nonce
        self._lines = LineSplitter()
        self._next_cause = ""
        self.boots: list[Boot] = []

    @property
    def boot(self) -> Boot:
        """The latest boot."""
        return self.boots[-1]

    @property
    def reboots(self) -> int:
        """How often the guest started again without being asked to."""
        return sum(boot.cause not in ("power on", "our reset") for boot in self.boots)

    @property
    def is_off(self) -> bool:
        """Whether the guest has said its last word in this boot."""
        return self.boot.ended in (GUEST_OFF, NOTHING_STARTED)

    def firmware(self, time_s: float, reasons: Sequence[str], *, starts: bool) -> None:
        """What a played firmware did in this boot, and why; lines as if it had said them."""
        for reason in reasons:
            self.transcript.add(time_s, self.boot.number, clean(f"firmware: {reason}"))
        if not starts:
            self.boot.ended = NOTHING_STARTED
            self.transcript.mark(NOTHING_STARTED)

    def begin(self, time_s: float, cause: str) -> None:
        """A boot begins: power on, or a reset."""
        self._flush(time_s)
        if self.boots:
            self.boot.ended = self.boot.ended or cause
        number = len(self.boots) + 1
        dialogue = Dialogue(self.expectation, self._new_nonce)
        self.boots.append(Boot(number=number, cause=cause, start_s=time_s, clock=PhaseClock(time_s), dialogue=dialogue,
                               in_band=InBand(dialogue) if self._in_band else None))
        self.transcript.mark(f"boot {number}: {cause}")

    def console(self, time_s: float, data: bytes) -> bytes:
        """Bytes of the serial line; the answer, if any, is to be sent there."""
        answers = []
        for raw in self._lines.feed(data):
            answer = self.boot.in_band.hear(raw) if self.boot.in_band else None
            if answer is None:
                self._line(time_s, raw)
            else:
                answers.append(answer)
                self._heard(time_s, answer)
        return b"".join(answers)

    def health(self, time_s: float, data: bytes) -> bytes:
        """Bytes of the health port; the answer is to be sent there."""
        answer = self.boot.dialogue.hear(data)
        self._heard(time_s, answer)
        return answer

    def _heard(self, time_s: float, answer: bytes) -> None:
        boot = self.boot
        if answer:
            boot.clock.enter(time_s, Phase.HEALTH)
        if boot.judgement is not None and boot.judged_s is None:
            boot.judged_s = time_s
            boot.clock.end(time_s)
            outcome = "healthy" if boot.healthy else "; ".join(boot.judgement.reasons)
            self.transcript.mark(f"verdict of boot {boot.number}: {outcome}")

    def event(self, time_s: float, name: str, *, guest: bool, reason: str) -> None:
        """A QMP event (QEMU's qapi/run-state.json)."""
        if name == "WATCHDOG":
            self._next_cause = WATCHDOG
            self.transcript.mark("the watchdog expired")
        elif name == "RESET":
            self.begin(time_s, self._next_cause or (f"the guest's reset ({reason})" if guest else "our reset"))
            self._next_cause = ""
        elif name == "SHUTDOWN":
            self._flush(time_s)
            self.boot.ended = GUEST_OFF if guest else "switched off"
            self.transcript.mark(self.boot.ended)
        elif name == "GUEST_PANICKED":
            self.transcript.mark("the kernel panicked")

    def end(self, time_s: float, how: str) -> None:
        """QEMU is gone, or nobody listens any longer."""
        self._flush(time_s)
        if self.boots:
            self.boot.ended = self.boot.ended or how
        self.transcript.mark(how)

    def failure(self) -> Failure:
        """Name what went wrong: the refusal of a verdict, or the phase that a boot did not leave."""
        boot = self._telling()
        lines = self.transcript.tail(LAST_LINES, boot=boot.number) or self.transcript.tail(LAST_LINES)
        if boot.judgement is not None:
            return Failure(phase=Phase.HEALTH, reasons=boot.judgement.reasons, lines=lines, hint=None)
        phase = boot.clock.current
        told = f"boot {boot.number} did not get past {phase}"
        if boot.ended:
            told += f" ({boot.ended})"
        likely = hint(phase, lines)
        if boot.ended == NOTHING_STARTED:
            likely = "the model of the board's firmware finds nothing to start on the card: `imagekit inspect` says why"
        if boot.ended == WATCHDOG:
            likely = "the guest hung and its watchdog reset it"
        elif boot.ended and boot.ended.startswith(LATE):
            likely += "; a slow host may need a longer --deadline"
        return Failure(phase=phase, reasons=(told,), lines=lines, hint=likely)

    def _telling(self) -> Boot:
        """The latest boot; or the one before, where the deadline found the latest less far than that one came."""
        boot = self.boot
        if boot.judgement is None and boot.ended != GUEST_OFF and len(self.boots) > 1:
            before = self.boots[-2]
            if before.judgement is None and ORDER.index(before.clock.current) > ORDER.index(boot.clock.current):
                return before
        return boot

    def _flush(self, time_s: float) -> None:
        for raw in self._lines.flush():
            self._line(time_s, raw)

    def _line(self, time_s: float, raw: bytes) -> None:
        for text in clean_line(raw):
            self.transcript.add(time_s, self.boot.number, text)
            self.boot.clock.line(time_s, text)
            if _HALTED.search(text):
                self.boot.ended = GUEST_OFF
