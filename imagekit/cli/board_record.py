"""What every way to flash a board shares: the question before it, and the record of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagekit import __version__
from imagekit.cli.flash_run import RECORD_VERSION, Request, type_to_go_on
from imagekit.cli.output import warn
from imagekit.errors import UsageError
from imagekit.flash.journal import write_record
from imagekit.host.clock import SystemClock
from imagekit.host.folders import log_folder
from imagekit.plan.flash import FlashPlan, device_json
from imagekit.plan.flash_device import Code, Refusal, RefusedError


def confirm_board(plan: FlashPlan, request: Request) -> None:
    """Ask, unless the plan's word or a list has answered already.

    Raises:
        UsageError: nobody can be asked.
        RefusedError: another plan was confirmed.
    """
    device = plan.targets[0].device
    if request.confirm is None:
        if request.allowed.names(device):
            return
        if not sys.stdin.isatty():
            raise UsageError(f"cannot write {device.path}: there is no terminal to ask on",
                             hint=f"--confirm {plan.token}")
        type_to_go_on(f"erase {device.name}")
    elif request.confirm != plan.token:
        raise RefusedError(device.path, (Refusal(
            code=Code.IDENTITY_CHANGED, reason=f"this plan is {plan.token}, confirmed is {request.confirm}: image or"
            " disk is not what it was", allow="look at the plan again: --dry-run"),))


@dataclass(slots=True, kw_only=True)
class Record:
    """A record that was begun; `values` may be added to until it ends."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took; once it has ended."""
        return float(self.values["seconds"])


def _free(folder: Path, name: str) -> Path:
    """A name that no record has: one process may flash two boards within a second."""
    names = (folder / f"{name}{f'-{number}' if number else ''}.json" for number in itertools.count())
    return next(path for path in names if not path.exists())


@contextlib.contextmanager
def recorded(plan: FlashPlan, *, more: dict[str, Any], unfinished: str) -> Iterator[Record]:
    """Keep a record of what happens inside, from before the first byte; `unfinished` is said where it breaks off.

    Raises:
        HostError: it cannot be written.
    """
    clock, device = SystemClock(), plan.targets[0].device
    began, start = clock.now(), clock.monotonic_s()
    record = Record(path=_free(log_folder().parent / "flash", f"{began:%Y%m%dT%H%M%SZ}-board-{os.getpid()}"), values={
        "version": RECORD_VERSION, "tool": __version__, "began": began.isoformat(timespec="seconds"), "ended": None,
        "image": {"path": str(Path(plan.image.path).absolute()), "size": plan.image.size, "digest": plan.image.digest},
        "device": device_json(device), "result": "begun", **more})
    write_record(record.path, record.values)
    try:
        yield record
        record.values["result"] = "done"
    except BaseException as error:
        record.values["result"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record.values["problem"] = str(error) or None
        warn(f"{device.path} is not complete{unfinished}")
        raise
    finally:
        record.values["ended"] = clock.now().isoformat(timespec="seconds")
        record.values["seconds"] = round(clock.monotonic_s() - start, 2)
        write_record(record.path, record.values)
