"""One boot of an image from power-on to a judgement: what `imagekit boot` does.

Decides which accelerator is used and when enough has been seen. A run ends with the first verdict (after a moment in
which a second one would be heard, which would spoil it), when the guest switches itself off, when it has begun
`BOOTS_MAX` times without a verdict, or at the deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from imagekit.errors import HostError
from imagekit.host.ports import Tools
from imagekit.qemu.machine import Accelerator, Machine
from imagekit.qemu.phases import Phase
from imagekit.qemu.probe import probe_kvm
from imagekit.qemu.runner import Runner
from imagekit.qemu.watch import LATE, Watch
from imagekit.qemu.workbench import Workbench

BOOTS_MAX = 8  # three tries of one slot, three of the other, and a hand-over
SETTLE_S = 0.5


class Wish(StrEnum):
    """What the user says about acceleration."""

    AUTO = "auto"
    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """What is used, and why."""

    accelerator: Accelerator
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. `timed_out`: the deadline came first."""

    healthy: bool
    timed_out: bool
    seconds: float


def choose(tools: Tools, machine: Machine, wish: Wish, *, cache: Path) -> Acceleration:
    """KVM where it proved itself, else TCG; or what the user insists on.

    Raises:
        HostError: KVM is insisted on and did not prove itself.
    """
    if wish is Wish.TCG:
        return Acceleration(accelerator=Accelerator.TCG, reason="asked for")
    if machine.cpu_kvm is None:
        answer_reason = f"machine {machine.name} has no processor for KVM"
    else:
        answer = probe_kvm(tools, machine.emulator, cache=cache)
        if answer.usable:
            return Acceleration(accelerator=Accelerator.KVM, reason=answer.reason)
        answer_reason = answer.reason
    if wish is Wish.KVM:
        raise HostError(f"cannot use KVM: {answer_reason}", hint="leave --accel out: TCG works everywhere, more slowly")
    return Acceleration(accelerator=Accelerator.TCG, reason=answer_reason)


async def run_boot(*, tools: Tools, machine: Machine, bench: Workbench, accelerator: Accelerator, watch: Watch,
                   deadline_s: float, console: BinaryIO | None = None,
                   on_phase: Callable[[int, Phase], None] = lambda _boot, _phase: None) -> Outcome:
    """Power on, watch until there is something to say, switch off.

    Raises:
        HostError: QEMU is missing, or ended by a fault of its own.
    """
    told: tuple[int, Phase] | None = None

    def over() -> bool:
        nonlocal told
        boot = watch.boot
        if told != (boot.number, boot.clock.current):
            told = (boot.number, boot.clock.current)
            on_phase(*told)
        return boot.judgement is not None or boot.number > BOOTS_MAX or watch.is_off

    async with Runner(tools=tools, machine=machine, bench=bench, accelerator=accelerator, watch=watch,
                      console=console) as runner:
        await runner.start()
        ended = await runner.until(over, deadline_s=deadline_s)
        seconds = runner.now_s
        if watch.boot.judgement is not None:
            await runner.until(lambda: False, deadline_s=SETTLE_S)
        timed_out = not ended and runner.running
        if not ended:
            runner.check_alive()
        if timed_out:
            watch.boot.ended = f"{LATE} {deadline_s:g} s"
    return Outcome(healthy=watch.boot.healthy, timed_out=timed_out, seconds=round(seconds, 3))
