"""The words of `imagekit-device` by which an owner decides about updates: windows, automatic, hold.

Each prints what counts afterwards; without anything to set it prints only that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from imagekit.device.anchors import own_anchors
from imagekit.device.history import load_history
from imagekit.device.install import know, stamp
from imagekit.device.machine import Machine
from imagekit.device.wishes import (
    InForce,
    Owner,
    held_until,
    in_force,
    load_owner,
    policy_json,
    save_owner,
    told_policy,
)
from imagekit.errors import DocumentError, TargetError, UsageError
from imagekit.plan.policy import Urgent
from imagekit.plan.schedule import HOLD_MOST_DAYS, Wishes
from imagekit.plan.windows import Window, parse_windows

ALWAYS = "always"  # no windows, whatever the model has

Say = Callable[[str], None]
Told = tuple[dict[str, Any], str]


def add_windows(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("windows", nargs="?")
    parser.add_argument("--urgent", type=Urgent, choices=tuple(Urgent))
    parser.add_argument("--clear", action="store_true")


def add_automatic(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("automatic", nargs="?", choices=("on", "off"))
    parser.add_argument("--clear", action="store_true")


def add_hold(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("days", nargs="?", type=int)
    parser.add_argument("--off", action="store_true")


def windows(told: argparse.Namespace, machine: Machine, _: Say) -> Told:
    """Raises: UsageError: no windows. TargetError: the model lets no owner decide, or the data cannot be written."""
    if told.clear and (told.windows is not None or told.urgent is not None):
        raise UsageError("cannot set windows: --clear takes none")

    wanted = None if told.windows is None else _windows(told.windows)

    def wish(wishes: Wishes) -> Wishes:
        if told.clear:
            return replace(wishes, windows=None, urgent=None)
        return replace(wishes, windows=wishes.windows if wanted is None else wanted,
                       urgent=wishes.urgent if told.urgent is None else told.urgent)

    return _decide(machine, "set windows", wish, clear=told.clear)


def automatic(told: argparse.Namespace, machine: Machine, _: Say) -> Told:
    """Raises: as `windows`."""
    if told.clear and told.automatic is not None:
        raise UsageError("cannot set automatic updates: --clear takes neither on nor off")

    def wish(wishes: Wishes) -> Wishes:
        if told.clear:
            return replace(wishes, automatic=None)
        return wishes if told.automatic is None else replace(wishes, automatic=told.automatic == "on")

    return _decide(machine, "set automatic updates", wish, clear=told.clear)


def hold(told: argparse.Namespace, machine: Machine, _: Say) -> Told:
    """The days begin at what is proven to be past, where the clock is behind that.

    Raises:
        UsageError: too many days.
        TargetError: the data cannot be written, or nothing on this device can be believed.
    """
    if told.off or told.days is not None:
        if told.days is not None and (told.off or not 1 <= told.days <= HOLD_MOST_DAYS):
            raise UsageError(f"cannot hold updates for {told.days} days: 1 to {HOLD_MOST_DAYS} are allowed, or --off")
        until = "" if told.off else stamp(know(machine, now=datetime.now(UTC)).now + timedelta(days=told.days))
        _save(machine, "hold updates", replace(load_owner(machine), held_until=until))
    until = held_until(load_owner(machine), load_history(machine))
    return {"hold_until": until or None}, f"held until {until}\n" if until else "not held\n"


def _windows(text: str) -> tuple[Window, ...]:
    try:
        return () if text == ALWAYS else parse_windows(text)
    except DocumentError as error:
        raise UsageError(error.message, hint="imagekit-device windows 'Mon..Fri 22:00-04:00; Sun 00:00-24:00'"
                         ) from error


def _decide(machine: Machine, what: str, wish: Callable[[Wishes], Wishes], *, clear: bool) -> Told:
    found = _in_force(machine)
    owner = replace(found.owner, wishes=wish(found.owner.wishes))
    if owner != found.owner:
        if found.fixed and not clear:
            raise TargetError(f"cannot {what}: the model of this device lets no owner decide that: {found.fixed}",
                              hint="to postpone: imagekit-device hold DAYS")
        _save(machine, what, owner)
        found = _in_force(machine)
    told = policy_json(found)
    return told, f"updates: {told_policy(told)}\n"


def _in_force(machine: Machine) -> InForce:
    return in_force(machine, own_anchors(machine).model, load_history(machine))


def _save(machine: Machine, what: str, owner: Owner) -> None:
    try:
        save_owner(machine, owner)
    except TargetError as error:
        raise TargetError(f"cannot {what}: {error.message}", hint=error.hint) from error
