"""What flashing says: the plan, how far each medium is, how it ended. For people, and as JSON lines for programs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.failure import interruption
from imagekit.cli.output import LOG, drawn, say, table, talk_of, write
from imagekit.disk.ext_csd import BootArea
from imagekit.errors import ImagekitError
from imagekit.plan.flash import FlashPlan, encode_line
from imagekit.plan.flash_device import Device, Kind, Refusal
from imagekit.plan.flash_events import Ended, Event, Moved, Phase, Stalled, Started, State, event_json
from imagekit.units import SECTOR, iec

if TYPE_CHECKING:
    from imagekit.cli.output import Talk

IN_HAND = {
    State.UNTOUCHED: "it is as it was",
    State.NOT_BOOTABLE: "it does not boot: it has no partition table; write it again, or go on with --resume",
    State.COMPLETE: "it is written whole; that it can be read back was not proved",
    State.VERIFIED: "written and verified",
    State.WRONG: "do not use it",
}


def show_devices(devices: Sequence[tuple[Device, tuple[Refusal, ...]]]) -> None:
    """A table of devices, and below it why some are refused, and what an eMMC boots from."""
    table(("device", "size", "model", "serial", "bus", "port", "on it now", "refused"), [
        (item.path, iec(item.identity.size), item.model or "-", item.identity.serial or "-",
         item.bus or item.kind.value, item.port or "-",
         item.content or ("not readable" if item.exists else "to be made"),
         ", ".join(dict.fromkeys(one.code.value for one in refusals)) or "-") for item, refusals in devices],
        right=("size",))
    lines = [f"{item.path}: {one.code}: {one.reason}{f'; {one.allow}' if one.allow else ''}"
             for item, refusals in devices for one in refusals]
    lines += [f"{item.path}: {_boots_from(item)}" for item, _ in devices if item.kind is Kind.EMMC_BOOT]
    if lines:
        write("\n" + "\n".join(lines))


def _boots_from(device: Device) -> str:
    """Of a boot partition: what its eMMC boots from."""
    area = device.boots_from
    if area is None:
        return "what its eMMC boots from is not known; only root may ask"
    if area is BootArea.NONE:
        return "its eMMC is not set to boot from any part"
    if device.name.endswith(area):
        return "its eMMC boots from it"
    return f"its eMMC boots from {'the user area' if area is BootArea.USER else area}, not from it"


def show_plan(plan: FlashPlan, *, about: str, update: bool = False) -> None:
    """What will be written where, and what is lost."""
    image = plan.image
    write(f"image:  {image.path}: {iec(image.size)}, {iec(image.amount)} to write; {about}")
    if not image.mapped:
        write("        it has no block map: all of it is written, empty space too")
    if len(image.mbr_sectors) > 1 and any(item.device.sector != SECTOR for item in plan.targets):
        counts = " or ".join(map(str, image.mbr_sectors))
        write(f"        its MBR counts in sectors of {counts} bytes, which of them does not show; on a disk with others"
              " no partition is found")
    show_devices([(item.device, item.refusals) for item in plan.targets])
    where = "it" if len(plan.targets) == 1 else "them"
    lost = f"what differs on {where} will be written over" if update else f"all that is on {where} will be erased"
    write(f"\n{lost}; this plan is {plan.token}")


class Painter:
    """`Listener` for people: a line for each phase that ended; on a terminal, a bar for each medium too."""

    def __init__(self, say_line: Callable[[str], None] | None, bars: Any = None) -> None:
        self._say, self._bars = say_line, bars
        self._lock = threading.Lock()
        self._began: dict[str, tuple[Phase, float, int]] = {}
        self._tasks: dict[str, Any] = {}

    def told(self, event: Event) -> None:
        with self._lock:
            LOG.debug("flash: %s", encode_line(event_json(event)))
            if isinstance(event, Stalled):
                self._line(f"warning: {event.target}: nothing has moved for {event.seconds:.0f} s while it was told to"
                           f" {event.phase}: the medium, its reader or the cable hangs")
            elif isinstance(event, Ended):
                self._ended(event)
            elif isinstance(event, (Started, Moved)):
                self._moved(event)

    def _moved(self, event: Started | Moved) -> None:
        if isinstance(event, Started) and event.phase is Phase.DIAGNOSE:
            self._line(f"{event.target}: something else is read back; looking for what is wrong")
        if self._bars is None:
            return
        if isinstance(event, Started):
            if event.target in self._tasks:
                self._bars.remove_task(self._tasks[event.target])
            self._tasks[event.target] = self._bars.add_task(f"{event.target} {event.phase}", total=event.total)
        else:
            self._bars.update(self._tasks[event.target], completed=event.durable)

    def _ended(self, event: Ended) -> None:
        if event.target in self._tasks:
            self._bars.remove_task(self._tasks.pop(event.target))
        only_read = event.state is State.VERIFIED and not event.written
        moved = event.verified if only_read else event.written
        speed = f", {iec(int(moved / event.seconds))}/s" if event.seconds and moved else ""
        amount = f"{iec(moved)} in {event.seconds:.1f} s{speed}"
        words = "it holds the image: all was read and compared" if only_read else IN_HAND[event.state]
        words = f"of the one that was there before: {words}" if event.refusals else words
        self._line(f"{event.target}: {f'{event.problem}: ' if event.problem else ''}{words} ({amount})")

    def _line(self, text: str) -> None:
        LOG.info("%s", text)
        if self._say:
            with contextlib.suppress(OSError):  # a medium is written to its end, whoever still listens
                self._say(text)


class JsonLines:
    """`Listener` for programs: one JSON document on a line for each event.

    A medium is written to its end, wherever the lines go: that an event was lost is told by the next `line`.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk, self._lock = talk, threading.Lock()
        self._lost: OSError | None = None

    def told(self, event: Event) -> None:
        self.event(event_json(event))

    def event(self, value: dict[str, Any]) -> None:
        """A line that nothing waits for; from any thread."""
        try:
            self._print(value)
        except OSError as error:
            self._lost = self._lost or error

    @contextlib.contextmanager
    def ended(self, *, wanted: bool) -> Iterator[None]:
        """What ends by an error, Ctrl-C or SIGTERM says so in its last line, if lines are `wanted`."""
        try:
            yield
        except (ImagekitError, click.Abort, KeyboardInterrupt) as error:
            if wanted:
                self.event(_error_json(error))
            raise

    def line(self, value: dict[str, Any]) -> None:
        """Raises: OSError: it cannot be printed, or an event before it could not."""
        self._print(value)
        if self._lost is not None:
            raise self._lost

    def _print(self, value: dict[str, Any]) -> None:
        with self._lock:
            text = encode_line(value)
            LOG.debug("out: %s", text)
            self._talk.emitted = True
            with contextlib.suppress(BrokenPipeError):  # who does not listen any more misses nothing
                click.echo(text)
                sys.stdout.flush()


def _error_json(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, ImagekitError):
        code, word = interruption(error)
        return {"event": "error", "exit_code": code, "kind": word, "message": word, "details": [], "hint": None,
                "refusals": []}
    return {"event": "error", "exit_code": int(error.exit_code), "kind": error.exit_code.name.lower(),
            "message": error.message, "details": list(error.details), "hint": error.hint,
            "refusals": [item.code.value for item in getattr(error, "refusals", ())]}


@contextlib.contextmanager
def painter() -> Iterator[Painter]:
    """The listener for people, as the terminal and --quiet want it."""
    if talk_of().verbosity < 0:
        yield Painter(None)
    elif not drawn(sys.stderr):
        yield Painter(lambda text: click.echo(text, err=True))
    else:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        from imagekit.cli.output import console

        bars = Progress(TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True),
                        TransferSpeedColumn(), TimeRemainingColumn(), console=console(stderr=True), transient=True)
        with bars:
            yield Painter(lambda text: bars.console.print(text, markup=False, soft_wrap=True), bars)


def show_outcome(ended: Sequence[Ended]) -> None:
    """One line of summary for several media."""
    good = sum(1 for item in ended if not item.problem)
    if len(ended) > 1:
        say(f"{good} of {len(ended)} media are good")
