"""The words of `imagekit-device` about updates; an owner's are in `imagekit.device.owner_words`.

Loaded only when one is said.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from imagekit.device import owner_words
from imagekit.device.history import as_json, load_history
from imagekit.device.machine import Machine
from imagekit.errors import UsageError

Say = Callable[[str], None]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"cannot run {self.prog}: {message}", hint="imagekit-device --help")


def run_word(words: Sequence[str], machine: Machine, say: Say, out: Callable[[str], object]) -> None:
    """Run one of the words with its arguments; `out` takes what it prints. Raises: ImagekitError."""
    word, *rest = words
    parser = _Parser(prog=f"imagekit-device {word}", add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    if word == "install":
        parser.add_argument("paths", nargs="+", type=Path, metavar="FILE")
        for option in ("--check", "--again", "--no-reboot", "--unattended"):
            parser.add_argument(option, action="store_true")
    elif word == "refresh":
        for option in ("--check", "--again", "--no-reboot", "--unattended", "--scheduled"):
            parser.add_argument(option, action="store_true")
    elif word == "revert":
        parser.add_argument("--no-reboot", action="store_true")
    elif word == "factory-reset":
        for option in ("--yes", "--no-reboot"):
            parser.add_argument(option, action="store_true")
    elif word in _OWNERS:
        _OWNERS[word](parser)
    told = parser.parse_args(rest)
    document, text = _DO[word](told, machine, (lambda _: None) if told.json else say)
    out(json.dumps({"imagekit": 1, **document}, indent=2) + "\n" if told.json else text)


def _install(told: argparse.Namespace, machine: Machine, say: Say) -> tuple[dict[str, Any], str]:
    from imagekit.device.install import Options, install
    from imagekit.device.install_steps import steps_told
    from imagekit.plan.update import as_json as plan_json

    options = Options(check=told.check, again=told.again, reboot=not told.no_reboot, unattended=told.unattended)
    came = install(machine, told.paths, options, say)
    newer = came.plan is not None or came.model.model is not None
    outcome = "nothing newer" if not newer else "checked" if told.check else "installed"
    document = {"outcome": outcome, "plan": plan_json(came.plan) if came.plan else None,
                "rebooting": came.rebooting, "notes": list(came.notes), "model": came.model.as_json()}
    lines = [f"note: {note}" for note in came.notes]
    if came.model.text:
        lines.append(came.model.text)
    elif came.plan is None:
        lines.append("nothing newer was offered: what runs stays")
    if came.plan is not None:
        pair = " with ".join(f"{name} {number}" for name, number in came.plan.pair)
        lines.append(f"{outcome}: {pair}, slot {came.plan.slot.value}")
        lines += [f"  {line}" for line in steps_told(came.plan.steps, came.plan.slot.value)] if told.check else []
        if came.installed and not came.rebooting:
            lines.append("the next boot tries it")
    return document, "\n".join(lines) + "\n"


def _refresh(told: argparse.Namespace, machine: Machine, say: Say) -> tuple[dict[str, Any], str]:
    from imagekit.device.install import Options

    options = Options(check=told.check, again=told.again, reboot=not told.no_reboot,
                      unattended=told.unattended or told.scheduled)
    if told.scheduled:
        from imagekit.device.rhythm import when_due

        came = when_due(machine, options, say)
        if came is None:
            return {"outcome": "not due"}, ""
    else:
        from imagekit.device.refresh import refresh

        came = refresh(machine, options, say)
    from imagekit.device.tellings import refresh_json, refresh_text

    return refresh_json(came), refresh_text(came)


def _model(_: argparse.Namespace, machine: Machine, __: Say) -> tuple[dict[str, Any], str]:
    from imagekit.device.anchors import own_anchors
    from imagekit.device.identity import identity_json, identity_text, read_identity
    from imagekit.device.newmodel import model_json, model_text
    from imagekit.plan.policy import model_policy

    anchors = own_anchors(machine)
    model = anchors.model
    anchors.database.verify(model.assertion, now=max(datetime.now(UTC), model.timestamp))
    roots = [{"account": root.account_id, "key": root.key_id} for root in anchors.database.roots]
    identity = identity_json(read_identity(machine, anchors))
    counts = model_json(anchors, load_history(machine))
    needs_network = model_policy(model).needs_network
    document = {**counts, "grade": str(model.grade),
                "architecture": model.architecture, "roots": roots, "identity": identity,
                "needs_network": needs_network,
                "snaps": [{"name": snap.name, "type": str(snap.type)} for snap in model.snaps]}
    text = (f"{model_text(counts)}, {model.architecture}, grade {model.grade}\n"
            + (f"  serial: {identity_text(identity)}\n" if identity else "")
            + ("  health: an update is kept only with a network\n" if needs_network else "")
            + "".join(f"  {snap.type}: {snap.name}\n" for snap in model.snaps)
            + "".join(f"  believes {root['account']} by key {root['key'][:12]}\n" for root in roots))
    return document, text


def _changes(_: argparse.Namespace, machine: Machine, __: Say) -> tuple[dict[str, Any], str]:
    memory = load_history(machine)
    document = as_json(memory)
    document.pop("imagekit")
    lines = []
    for item in memory.changes:
        pair = " with ".join(f"{name} {number}" for name, number in item.packages)
        what = f"{item.what} {pair}" if pair else item.what
        lines.append(f"{item.time}  {what}: {item.outcome}" + (f": {item.reason}" if item.reason else "")
                     + (f" ({item.update_class})" if item.update_class else ""))
        lines += [f"    {line}" for advisory in item.advisories for line in advisory.lines]
    return document, "\n".join(lines or ["no changes yet"]) + "\n"


def _revert(told: argparse.Namespace, machine: Machine, say: Say) -> tuple[dict[str, Any], str]:
    from imagekit.device.report import load_report
    from imagekit.device.revert import revert
    from imagekit.device.slots import collect_slots, utc_now

    slots = collect_slots(machine)["slots"]
    runs = slots.get(load_report(machine.run).slot.value, {})
    packages = tuple((runs[part]["name"], runs[part]["revision"]) for part in ("base", "kernel")
                     if runs.get(part) and runs[part]["revision"])
    slot = revert(machine, packages, say, now=utc_now(), reboot=not told.no_reboot)
    return ({"slot": slot.value, "rebooting": not told.no_reboot},
            f"slot {slot.value} boots next" + (", rebooting\n" if not told.no_reboot else "\n"))


def _factory_reset(told: argparse.Namespace, machine: Machine, say: Say) -> tuple[dict[str, Any], str]:
    from imagekit.device.factory_reset import factory_reset
    from imagekit.device.slots import utc_now

    if not told.yes:
        raise UsageError("cannot reset this device: all data and settings on it would be lost, and nobody said yes",
                         hint="imagekit-device factory-reset --yes")
    factory_reset(machine, say, now=utc_now(), reboot=not told.no_reboot)
    return ({"rebooting": not told.no_reboot},
            "the next boot empties the data partition" + (", rebooting\n" if not told.no_reboot else "\n"))


_DO: dict[str, Callable[[argparse.Namespace, Machine, Say], tuple[dict[str, Any], str]]] = {
    "install": _install, "refresh": _refresh, "model": _model, "changes": _changes, "revert": _revert,
    "factory-reset": _factory_reset,
    "hold": owner_words.hold, "windows": owner_words.windows, "automatic": owner_words.automatic,
}
_OWNERS = {"hold": owner_words.add_hold, "windows": owner_words.add_windows, "automatic": owner_words.add_automatic}
