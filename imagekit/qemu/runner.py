"""One QEMU process: started, listened to, and always ended.

The runner moves bytes and events between QEMU and a `Watch`, which decides what they mean. QEMU's sockets are
inherited pairs (see `imagekit.qemu.machine`). QEMU starts paused and runs from `start` on; whatever happens afterwards,
`close` leaves no process behind, and neither does our own death (see `imagekit.host.children`).

QMP: QEMU's docs/interop/qmp-spec, spoken by qemu.qmp.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from qemu.qmp import EventListener, QMPClient, QMPError

from imagekit.boot.piboot import POWER_ON, Reset
from imagekit.errors import HostError, ImagekitError
from imagekit.host.children import Child, start
from imagekit.host.ports import Tools
from imagekit.qemu.machine import Accelerator, HealthWay, Machine, Network, Wiring, command_line
from imagekit.qemu.pifirmware import load, partition_of
from imagekit.qemu.watch import Watch
from imagekit.qemu.workbench import Workbench

GREETING_S = 20.0  # QEMU answers QMP before the guest runs; a busy host may take a while
_RESETS = ("guest-reset", "host-qmp-system-reset")  # reasons of QEMU to stop where it is not to reset by itself
_EVENTS = ("RESET", "SHUTDOWN", "WATCHDOG", "GUEST_PANICKED")


class Runner:
    """A running machine. Use as an asynchronous context: leaving it ends QEMU."""

    def __init__(self, *, tools: Tools, machine: Machine, bench: Workbench, accelerator: Accelerator, watch: Watch,
                 console: BinaryIO | None = None) -> None:
        self._tools = tools
        self._machine = machine
        self._bench = bench
        self._accelerator = accelerator
        self.watch = watch
        self._console = console
        self.stick: Path | None = None  # plugged in from the next power-on
        self.write_log: Path | None = None  # begun anew at each power-on
        self.network: Network | None = None  # likewise
        self._child: Child | None = None
        self._qmp = QMPClient(machine.name)
        self._qmp.logger.setLevel(logging.CRITICAL)  # a connection that ends with QEMU is no news
        self._listener: EventListener | None = None
        self._sockets: list[socket.socket] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._origin_s: float | None = None
        self._starting_over: asyncio.Task[None] | None = None
        self._on = False
        self._trouble: ImagekitError | None = None  # of a start that nobody waited for

    @property
    def now_s(self) -> float:
        """Seconds since the run's first power-on."""
        return 0.0 if self._origin_s is None else asyncio.get_running_loop().time() - self._origin_s

    @property
    def running(self) -> bool:
        return self._starting_over is not None or (self._child is not None and self._child.status is None)

    async def __aenter__(self) -> Runner:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def start(self) -> None:
        """Power on.

        Raises:
            HostError: QEMU is not installed, or ends at once (its words are the details).
        """
        if self._origin_s is None:
            self._origin_s = asyncio.get_running_loop().time()
        self.watch.begin(self.now_s, "power on")
        self._on = True
        if self.write_log is not None:
            self.write_log.write_bytes(b"")
        await self._launch(POWER_ON)

    async def _launch(self, reset: Reset) -> None:
        """Start QEMU; where the firmware is played, with what it loads, if it loads anything."""
        loaded = await self._load(reset)
        if loaded is None:
            return
        names = ("qmp", "serial", *(["health"] if self._machine.health is HealthWay.PORT else []))
        pairs = {name: socket.socketpair() for name in names}
        self._sockets = [end for pair in pairs.values() for end in pair]
        theirs = {name: pair[1].fileno() for name, pair in pairs.items()}
        wiring = Wiring(disk=self._bench.disk, disk_format=self._bench.disk_format,
                        firmware_code=self._bench.firmware_code, firmware_variables=self._bench.firmware_variables,
                        card_files=self._bench.card_files, qmp_fd=theirs["qmp"], serial_fd=theirs["serial"],
                        health_fd=theirs.get("health"), loaded=loaded, stick=self.stick,
                        write_log=self.write_log, network=self.network,
                        log_goes_on=self.write_log is not None and self.write_log.stat().st_size > 0)
        args = command_line(self._machine, wiring, self._accelerator)
        self._child = await start(self._tools, self._machine.emulator, args, pass_fds=tuple(theirs.values()))
        for pair in pairs.values():
            pair[1].close()
        self._listener = EventListener(_EVENTS)
        self._qmp.register_listener(self._listener)
        try:
            await asyncio.wait_for(self._qmp.connect(pairs["qmp"][0]), GREETING_S)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            await self._child.kill()
            raise self._died("did not start") from error
        ends = [(hear, await asyncio.open_unix_connection(sock=pairs[name][0]))
                for name, hear in (("serial", self._hear_serial), ("health", self._hear_health)) if name in pairs]
        self._writers = [writer for _, (_, writer) in ends]
        self._tasks = [asyncio.create_task(task) for task in (
            *(self._converse(hear, *streams) for hear, streams in ends), self._read_events(self._listener),
            self._wait_end(self._child))]
        await self.execute("cont")

    async def _load(self, reset: Reset) -> tuple[str, ...] | None:
        """Options for what a played firmware loads; None: it starts nothing."""
        firmware = self._machine.firmware.pi
        if firmware is None:
            return ()
        found = await asyncio.to_thread(load, self._tools, firmware, self._bench.disk, self._bench.folder,
                                        reset=reset, edits=self._machine.device_tree)
        self.watch.firmware(self.now_s, found.reasons, starts=found.options is not None)
        self._changed.set()
        return found.options

    async def _start_over(self, reason: str, *, guest: bool) -> None:
        """The guest was reset, and QEMU waits: let the played firmware start it again."""
        try:
            assert self._machine.firmware.pi is not None
            shown = await self.execute("human-monitor-command",
                                       **{"command-line": f"xp /1wx {self._machine.firmware.pi.reset_register:#x}"})
            number = partition_of(str(shown))
            assert self._child is not None
            await self._settle_log()
            await self._child.kill()
            await self._let_go()
            self.watch.event(self.now_s, "RESET", guest=guest, reason=reason)
            await self._launch(Reset(partition=number))
        except ImagekitError as error:
            self._trouble = error
        finally:
            self._starting_over = None
            self._changed.set()

    async def execute(self, command: str, **arguments: Any) -> Any:
        """One QMP command. Raises: HostError: QEMU refuses it, or is gone."""
        try:
            return await self._qmp.execute(command, arguments or None)
        except (QMPError, OSError, EOFError) as error:
            raise self._died(f"refused {command}") from error

    async def until(self, predicate: Callable[[], bool], *, deadline_s: float) -> bool:
        """Wait until `predicate` holds; False when time is up or QEMU ended first."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while not predicate():
            left = end - loop.time()
            if left <= 0 or not self.running:
                return predicate()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return True

    def check_alive(self) -> None:
        """Raises: ImagekitError: QEMU ended with an error of its own, which the guest cannot cause in good health."""
        if self._trouble is not None:
            raise self._trouble
        if self._child is not None and self._child.status not in (None, 0):
            raise self._died(f"ended with status {self._child.status}")

    async def power_cut(self) -> None:
        """End QEMU between two instructions; what the disk was given so far stays."""
        if self.running:
            with contextlib.suppress(HostError):  # it has ended meanwhile
                await self._settle_log()
        await self._hang_up("power cut")

    async def _settle_log(self) -> None:
        """Where writes are logged, hold the guest until the disk has what it was given: QEMU puts a write into the log
        after the disk has it, and counts it in the log's head with the next flush, which holding brings."""
        if self.write_log is not None:
            await self.execute("stop")

    async def close(self) -> None:
        """End QEMU if it runs, and let go of everything."""
        await self._hang_up("switched off")

    async def _hang_up(self, how: str) -> None:
        if self._starting_over is not None:
            self._starting_over.cancel()
            await asyncio.gather(self._starting_over, return_exceptions=True)
        if self._child is not None:
            await self._child.kill()
        await self._let_go()
        if self._on:
            self._on = False
            self.watch.end(self.now_s, how)

    async def _let_go(self) -> None:
        """Forget a QEMU that has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(Exception):  # it reports in many ways that the other end is gone, which we know
            await self._qmp.disconnect()
        if self._listener is not None:
            self._qmp.remove_listener(self._listener)
            self._listener = None
        for writer in self._writers:
            writer.close()
        self._writers = []
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.close()
        self._sockets = []
        self._child = None

    async def _converse(self, hear: Callable[[bytes], bytes], reader: asyncio.StreamReader,
                        writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if answer := hear(data):
                    writer.write(answer)
                    await writer.drain()
                self._changed.set()

    def _hear_serial(self, data: bytes) -> bytes:
        if self._console is not None:
            self._console.write(data)
            self._console.flush()
        return self.watch.console(self.now_s, data)

    def _hear_health(self, data: bytes) -> bytes:
        return self.watch.health(self.now_s, data)

    async def _read_events(self, listener: EventListener) -> None:
        async for event in listener:
            told: Any = event.get("data", {})
            if self._machine.firmware.pi is not None and event["event"] == "SHUTDOWN" and not self._starting_over:
                if str(told.get("reason")) in _RESETS:
                    self._starting_over = asyncio.create_task(
                        self._start_over(str(told["reason"]), guest=bool(told.get("guest", False))))
                    continue
                await self.execute("quit")
            self.watch.event(self.now_s, str(event["event"]), guest=bool(told.get("guest", False)),
                             reason=str(told.get("reason", "")))
            self._changed.set()

    async def _wait_end(self, child: Child) -> None:
        await child.wait()
        self._changed.set()

    def _died(self, how: str) -> HostError:
        said = self._child.said if self._child is not None else ()
        return HostError(f"cannot run {self._machine.emulator}: it {how}", details=said,
                         hint="try --accel tcg" if self._accelerator is Accelerator.KVM else None)
