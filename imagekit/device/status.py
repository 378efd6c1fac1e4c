"""The state of this device, for a person or a program: what runs, what the record says, what the verdict was."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from imagekit.device.esp import tries_left
from imagekit.device.machine import Machine
from imagekit.device.report import SYSTEMD_BOOT, BootReport, load_report
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError

SCHEMA = 1


def collect(machine: Machine) -> dict[str, Any]:
    """The JSON document of `status --json` (docs/reference/slot-state.md).

    Raises:
        TargetError: not a device, or not root's.
    """
    report = load_report(machine.run)
    record = _record(report)
    return {
        "imagekit": SCHEMA,
        "slot": report.slot.value,
        "base_root": _root(machine, machine.base),
        "kernel_root": _root(machine, machine.kernel),
        "tries_left": _tries_left(machine, report, record),
        "record": record,
        "degraded": report.degraded,
        "health": _health(machine),
        **_updates(machine),
    }


def _updates(machine: Machine) -> dict[str, Any]:
    from imagekit.device.slots import collect_slots

    return collect_slots(machine)


def _tries_left(machine: Machine, report: BootReport, record: dict[str, Any] | None) -> int | None:
    if report.loader == SYSTEMD_BOOT:
        return tries_left(report.slot, esp=machine.esp)
    here = record is not None and record["slot"] == report.slot.value  # or it is about a trial that has not begun
    return record["tries"] if record and here and not record["confirmed"] else None


def _root(machine: Machine, mount_point: Path) -> str | None:
    with suppress(TargetError, OSError):
        return machine.verity(mount_point).root
    return None


def _record(report: BootReport) -> dict[str, Any] | None:
    """None: it is lost. Raises: TargetError: this user may not read it, which is another thing."""
    try:
        state = StatePartition(device=report.state_device).load()
    except TargetError as error:
        if isinstance(error.__cause__, PermissionError):
            raise TargetError(error.message, hint="run it as root") from error
        return None
    return None if state is None else {
        "generation": state.generation, "slot": state.slot.value, "tries": state.tries,
        "confirmed": state.confirmed, "unhealthy": state.unhealthy, "other_good": state.other_good,
    }


def _health(machine: Machine) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, KeyError):
        verdict = json.loads((machine.run / "health.json").read_text())
        return {key: verdict[key] for key in ("healthy", "confirmed", "degraded", "reasons", "checks", "phases")}
    return None


def as_json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2) + "\n"


def as_text(found: dict[str, Any]) -> str:
    """A few aligned lines."""
    from imagekit.device.slots import text_slots

    record, health = found["record"], found["health"]
    tries = found["tries_left"]
    verdict = "not judged yet"
    if health:
        verdict = "healthy" if health["healthy"] else "NOT healthy: " + "; ".join(health["reasons"])
    lines = {
        "slot": f"{found['slot']} ({'confirmed' if tries is None else f'on trial, {tries} more boots'})",
        "base": found["base_root"] or "not on verity",
        "kernel": found["kernel_root"] or "not on verity",
        "record": "lost" if record is None else ", ".join(f"{key} {_word(value)}" for key, value in record.items()),
        "data": "degraded" if found["degraded"] or (health and health["degraded"]) else "in use",
        "health": verdict, **text_slots(found),
    }
    return "".join(f"{name + ':':8}{text}\n" for name, text in lines.items())


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
