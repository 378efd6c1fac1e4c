"""What the owner of this device wants of its updates, and what counts of that beside the model's policy.

Decides the file `updates/wishes.json` on the data partition, which is written when a person says something and at no
other time, so that nothing that works meanwhile can undo it. The rules are those of `imagekit.plan.schedule`. A file
that cannot be read says nothing: then the model's policy counts. Grammar: docs/reference/updates.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imagekit.assertions import Model
from imagekit.device import history as past
from imagekit.device.history import History
from imagekit.device.machine import Machine
from imagekit.errors import DocumentError
from imagekit.plan.policy import Policy, Urgent, model_policy, policy_text
from imagekit.plan.schedule import Verdict, Wishes, policy_of
from imagekit.plan.windows import parse_windows, windows_text

WISHES = "wishes.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """`held_until` None: nothing was ever said here of postponing; empty: nothing is postponed."""

    wishes: Wishes = field(default_factory=Wishes)
    held_until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What counts. `fixed`: why the model lets its owner change nothing but `held_until`."""

    policy: Policy
    owner: Owner
    fixed: str
    held_until: datetime | None


def load_owner(machine: Machine) -> Owner:
    """What was said; nothing, where there is no file or it is not one of ours."""
    with suppress(OSError, DocumentError):
        return decode_owner(past.read_kept(machine, WISHES))
    return Owner()


def decode_owner(raw: bytes) -> Owner:
    """What was said, out of its file. Raises: DocumentError."""
    return past.decoded(raw, lambda found: Owner(wishes=_wishes(found), held_until=_optional(found["held_until"])),
                        version=FORMAT)


def _wishes(found: dict[str, Any]) -> Wishes:
    automatic, windows, urgent = found["automatic"], _optional(found["windows"]), _optional(found["urgent"])
    return Wishes(automatic=None if automatic is None else bool(automatic),
                  windows=None if windows is None else parse_windows(windows),
                  urgent=None if urgent is None else Urgent(urgent))


def _optional(found: object) -> str | None:
    return None if found is None else str(found)


def owner_json(owner: Owner) -> dict[str, Any]:
    """The keys that are kept, and printed."""
    wishes = owner.wishes
    return {"automatic": wishes.automatic, "windows": None if wishes.windows is None else windows_text(wishes.windows),
            "urgent": None if wishes.urgent is None else wishes.urgent.value, "held_until": owner.held_until}


def save_owner(machine: Machine, owner: Owner) -> None:
    """Replace the file, whole or not at all. Raises: TargetError: it cannot be written; the old one stays."""
    past.save(machine, WISHES, (json.dumps({"imagekit": FORMAT, **owner_json(owner)}) + "\n").encode())


def held_until(owner: Owner, memory: History) -> str:
    """Until when updates are postponed, empty: they are not. Older bases kept that in the memory of updates."""
    return memory.hold_until if owner.held_until is None else owner.held_until


def in_force(machine: Machine, model: Model, memory: History) -> InForce:
    """What counts on this device. Raises: DocumentError: the model's policy is none."""
    told, owner = model_policy(model), load_owner(machine)
    return InForce(policy=policy_of(told.policy, owner.wishes, fixed=told.fixed), owner=owner, fixed=told.fixed,
                   held_until=past.moment(held_until(owner, memory)))


def policy_json(found: InForce) -> dict[str, Any]:
    """What counts, and who said it: the keys that `windows`, `automatic` and `status` print."""
    policy = found.policy
    return {"automatic": policy.automatic, "windows": windows_text(policy.windows), "urgent": policy.urgent.value,
            "fixed": found.fixed or None, "owner": owner_json(found.owner)}


def told_policy(found: Mapping[str, Any]) -> str:
    """What `policy_json` has, for people."""
    text = policy_text(Policy(automatic=found["automatic"], windows=parse_windows(found["windows"]),
                              urgent=Urgent(found["urgent"])))
    said = (value for key, value in found["owner"].items() if key != "held_until")
    whose = "the model's"
    if found["fixed"]:
        whose = f"the model's, for every owner: {found['fixed']}"
    elif any(value is not None for value in said):
        whose = "as the owner wants it"
    return f"they come {text} ({whose})"


def waiting_text(found: Mapping[str, Any]) -> str:
    """The fields of a `Waiting` for people: what waits, since when, until when, and how to have it otherwise."""
    pair = " with ".join(f"{name} {number}" for name, number in found["packages"])
    until = f" until {found['until']}" if found["until"] else ""
    why = {
        Verdict.HELD: f"updates are held{until}",
        Verdict.OUTSIDE_WINDOW: f"its window is shut{until}",
        Verdict.OPTED_OUT: "updates are not automatic here",
        Verdict.WAITS_FOR_CLOCK: "the time is not known, so that no window is",
    }.get(found["why"], found["why"])
    return (f"{pair} ({found['update_class']}) waits since {found['since']}: {why}; to take it now: imagekit-device"
            " refresh, to postpone it: imagekit-device hold DAYS")
