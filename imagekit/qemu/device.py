"""A device for tests: an image in QEMU that is booted, watched, broken and repaired from ordinary, blocking code.

    device.boot()                                   # healthy, or TargetError with phase and last console lines
    device.power_cut()
    device.corrupt("base-a", Spot.USED, seed=7)
    assert device.boot(slot="b").slot == "b"

The disk is a copy of its own (sparse), so everything may be done to it; it lives as long as the device does, over any
number of power cuts. QEMU is talked to by an event loop in a thread, so that the console is read also while the test is
busy with something else.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from imagekit.boot.health import Verdict
from imagekit.errors import TargetError
from imagekit.host.ports import Tools
from imagekit.qemu.judge import Expectation, Package
from imagekit.qemu.machine import Accelerator, HealthWay, Machine, Network
from imagekit.qemu.runner import Runner
from imagekit.qemu.session import SETTLE_S
from imagekit.qemu.surgery import Disk, Spot, Wound
from imagekit.qemu.transcript import Transcript
from imagekit.qemu.watch import Boot, Watch
from imagekit.qemu.workbench import workbench

T = TypeVar("T")
DEADLINE_S = 180.0


class Device:
    """One device with one disk. Use as a context, or call `close`."""

    def __init__(self, image: Path, *, tools: Tools, machine: Machine, accelerator: Accelerator,
                 expectation: Expectation, transcript: Path | None = None, deadline_s: float = DEADLINE_S) -> None:
        self.image = image
        self.machine = machine
        self.deadline_s = deadline_s
        self._tools = tools
        self._accelerator = accelerator
        self._stack = ExitStack()
        self._bench = self._stack.enter_context(workbench(tools, machine, image, copy=True))
        self.transcript = Transcript(transcript)
        self._stack.callback(self.transcript.close)
        self._watch = Watch(expectation=replace(expectation, slot=None), transcript=self.transcript,
                            new_nonce=lambda: secrets.token_hex(32), in_band=machine.health is HealthWay.CONSOLE)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="imagekit-device", daemon=True)
        self._thread.start()
        self._stack.callback(self._stop_loop)
        self._runner = Runner(tools=tools, machine=machine, bench=self._bench, accelerator=accelerator,
                              watch=self._watch)
        self._expected_lines = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Switch off and forget the disk."""
        try:
            self._do(self._runner.close())
        finally:
            self._stack.close()

    # power

    def power_on(self) -> None:
        """Power on, and wait for nothing."""
        if not self._runner.running:
            self._do(self._runner.close())
            self._do(self._runner.start())

    def power_cut(self) -> None:
        """Take the power away between two instructions. What was written to the disk stays."""
        self._do(self._runner.power_cut())

    def boot(self, *, slot: str | None = "a", deadline_s: float | None = None) -> Boot:
        """Power on if it is off, and wait until it is healthy in that slot (None: in either)."""
        first = len(self.boots)
        self.power_on()
        return self.wait_healthy(slot=slot, deadline_s=deadline_s, since=first)

    def reboot(self, *, slot: str | None = "a", deadline_s: float | None = None) -> Boot:
        """Press reset, and wait until it is healthy again."""
        first = len(self.boots)
        self._do(self._runner.execute("system_reset"))
        return self.wait_healthy(slot=slot, deadline_s=deadline_s, since=first)

    def plug(self, stick: Path | None) -> None:
        """Plug a second disk in, read-only, or take it out; as long as the device is off. Raises: TargetError."""
        if self._runner.running:
            raise TargetError("cannot plug a stick in: the device is on", hint="power_cut() first")
        self._runner.stick = stick

    def log_writes(self, log: Path | None) -> None:
        """Log everything that is written to the disk from the next power-on until power is cut, or no more.

        Raises: TargetError: the device is on.
        """
        if self._runner.running:
            raise TargetError("cannot log writes: the device is on", hint="power_cut() first")
        self._runner.write_log = log

    @property
    def disk_path(self) -> Path:
        """The file that is the disk, to be read while the device is off."""
        return self._bench.disk

    def connect(self, network: Network | None) -> None:
        """Plug a network cable in, or take it out; as long as the device is off. Raises: TargetError."""
        if self._runner.running:
            raise TargetError("cannot change the network: the device is on", hint="power_cut() first")
        self._runner.network = network

    # watching

    def expect_packages(self, *, base: Package | None = None, kernel: Package | None = None) -> None:
        """From the next boot on healthy means these packages, as after an update; None: as before."""
        was = self._watch.expectation
        self._watch.expectation = replace(was, base=base or was.base, kernel=kernel or was.kernel)

    @property
    def expectation(self) -> Expectation:
        """What counts as healthy now, in either slot."""
        return self._watch.expectation

    @property
    def seconds(self) -> float:
        """Since the first power-on."""
        return self._do(self._now())

    def idle(self, seconds: float) -> None:
        """Let it run, unwatched but heard."""
        self._do(self._runner.until(lambda: False, deadline_s=seconds))

    @property
    def boots(self) -> list[Boot]:
        """All boots so far."""
        return self._watch.boots

    @property
    def slot(self) -> str | None:
        """The slot of the latest verdict; None before the first."""
        return self.verdict.slot if self.verdict else None

    @property
    def verdict(self) -> Verdict | None:
        """The latest verdict."""
        return next((boot.verdict for boot in reversed(self.boots) if boot.verdict), None)

    def wait_healthy(self, *, slot: str | None = "a", deadline_s: float | None = None,
                     since: int | None = None) -> Boot:
        """Wait until a boot is healthy, through reboots and sick verdicts; it must be in `slot`.

        Raises:
            TargetError: not in time, or healthy in the other slot; with phase, last lines and likely cause.
            HostError: QEMU ended by a fault of its own.
        """
        first = len(self.boots) - 1 if since is None else since
        limit = self.deadline_s if deadline_s is None else deadline_s

        def healthy() -> bool:
            return any(boot.healthy for boot in self.boots[first:])

        found = self._do(self._runner.until(lambda: healthy() or self._watch.is_off, deadline_s=limit)) and healthy()
        self._do(self._runner.until(lambda: False, deadline_s=SETTLE_S))
        self._do(self._check_alive())
        boot = self.boots[-1]
        if not found or not boot.healthy:
            raise self._failed(f"not healthy after {limit:g} s and {len(self.boots) - first} boots")
        assert boot.verdict is not None
        if slot is not None and boot.verdict.slot != slot:
            raise self._failed(f"slot {boot.verdict.slot} is healthy, slot {slot} is expected")
        return boot

    def expect(self, pattern: str, *, timeout_s: float = 60.0) -> re.Match[str]:
        """Wait for a console line; the next call looks behind it. Raises: TargetError: it did not come."""
        compiled = re.compile(pattern)
        lines = self.transcript.lines

        def seen() -> re.Match[str] | None:
            for index in range(self._expected_lines, len(lines)):
                match = compiled.search(lines[index].text)
                if match:
                    self._expected_lines = index + 1
                    return match
            return None

        match: re.Match[str] | None = None

        def found() -> bool:
            nonlocal match
            match = match or seen()
            return match is not None

        self._do(self._runner.until(found, deadline_s=timeout_s))
        if match is None:
            raise self._failed(f"no line {pattern!r} in {timeout_s:g} s")
        return match

    # the disk

    def disk(self) -> Disk:
        """The disk, to be read and changed while the device is off. Use as a context."""
        if self._runner.running:
            raise TargetError("cannot open the disk: the device is on", hint="power_cut() first")
        return Disk(self._bench.disk)

    def corrupt(self, partition: str, where: Spot | int = Spot.USED, *, seed: int = 0, bit: int = 0) -> Wound:
        """Flip one bit: at an offset of a partition, or in a place of its package drawn by `seed`."""
        with self.disk() as disk:
            offset = disk.find_spot(partition, where, seed=seed) if isinstance(where, Spot) else where
            return disk.flip(partition, offset, bit=bit)

    # inside

    def _failed(self, told: str) -> TargetError:
        failure = self._watch.failure()
        history = tuple(f"boot {boot.number} ({boot.cause}): {_outcome(boot)}" for boot in self.boots)
        return TargetError(f"cannot call {self.image.name} on machine {self.machine.name} healthy: {told};"
                           f" {failure.phase.value}: {failure.reasons[0]}", hint=failure.hint,
                           details=(*history, *(f"  | {line}" for line in failure.lines)))

    async def _now(self) -> float:
        return self._runner.now_s

    async def _check_alive(self) -> None:
        self._runner.check_alive()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def _outcome(boot: Boot) -> str:
    if boot.judgement is None:
        return f"no verdict, in {boot.clock.current.value}"
    return "healthy" if boot.healthy else "; ".join(boot.judgement.reasons)
