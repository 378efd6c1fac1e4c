"""How far the work is: `imagekit.host.ports.Progress` for people.

On a terminal the running step has a bar and each step that ended leaves one line; elsewhere only those lines appear;
with --quiet nothing does. The log gets every step and note in each case.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from imagekit.cli.output import drawn, talk_of
from imagekit.units import iec

if TYPE_CHECKING:
    from imagekit.host.ports import Progress

LOG = logging.getLogger("imagekit.cli.progress")


class Lines:
    """One line for each step, written when the step is over. With no `write`, only the log is told."""

    def __init__(self, write: Callable[[str], None] | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._now = now
        self._name: str | None = None
        self._unit = "B"
        self._done = 0
        self._began = 0.0

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        self.finish()
        LOG.debug("step %s (total %s %s)", name, total, unit)
        self._name, self._unit, self._done, self._began = name, unit, 0, self._now()

    def advance(self, amount: int) -> None:
        self._done += amount

    def note(self, text: str) -> None:
        LOG.info("note: %s", text)
        if self._write:
            self._write(f"  {text}")

    def finish(self, *, failed: bool = False) -> None:
        """End the running step, if there is one, and write its line."""
        if self._name is None:
            return
        took = self._now() - self._began
        amount = iec(self._done) if self._unit == "B" else f"{self._done} {self._unit}"
        line = f"{self._name}: {'failed after ' if failed else ''}{took:.1f} s" + (f", {amount}" if self._done else "")
        LOG.info("%s", line)
        if self._write:
            self._write(line)
        self._name = None


class Bars(Lines):
    """The same lines, and under them a bar for the running step."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        from imagekit.cli.output import console

        self._screen = console(stderr=True)
        self._bars = Progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
                              TaskProgressColumn(show_speed=False), TextColumn("{task.fields[amount]}", markup=False),
                              TimeElapsedColumn(), console=self._screen, transient=True)
        self._task = self._bars.add_task("", visible=False, amount="")
        super().__init__(self._above)

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _above(self, text: str) -> None:
        self._bars.console.print(text, markup=False, soft_wrap=True)

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        super().step(name, total=total, unit=unit)
        self._bars.reset(self._task, total=total, description=name, visible=True, amount="")

    def advance(self, amount: int) -> None:
        super().advance(amount)
        shown = iec(self._done) if self._unit == "B" else f"{self._done} {self._unit}"
        self._bars.update(self._task, advance=amount, amount=shown)

    def finish(self, *, failed: bool = False) -> None:
        super().finish(failed=failed)
        self._bars.update(self._task, visible=False)


@contextlib.contextmanager
def progress(ctx: click.Context | None = None) -> Iterator[Progress]:
    """The progress of one command; its last step ends with the block, as failed if the block raises."""
    talk = talk_of(ctx)
    with contextlib.ExitStack() as stack:
        told: Lines
        if talk.verbosity < 0:
            told = Lines(None)
        elif drawn(sys.stderr):
            told = stack.enter_context(Bars())
        else:
            told = Lines(lambda text: click.echo(text, err=True))
        try:
            yield told
        except BaseException:
            told.finish(failed=True)
            raise
        told.finish()
