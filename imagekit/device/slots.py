"""What lies in the two slots, for people and programs: name and revision of each package, and what the slot is worth.

Nothing is believed here and nothing is checked: it is what the slots, the loader's entries and the seed say.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from imagekit.boot.slotstate import Slot, SlotState, seen_from
from imagekit.device.anchors import Anchors, load_anchors
from imagekit.device.gadget import gadget_record, held_gadget, proofs_of
from imagekit.device.history import Advisory, History, load_history
from imagekit.device.identity import identity_json, identity_text, read_identity
from imagekit.device.machine import Machine
from imagekit.device.newmodel import model_json, model_text
from imagekit.device.partitions import Partition, find_partitions, partition
from imagekit.device.report import BootReport, load_report
from imagekit.device.rhythm import silence
from imagekit.device.state import StatePartition
from imagekit.device.survey import claimed_root, name_of, slot_proof
from imagekit.device.wishes import held_until, in_force, load_owner, policy_json, told_policy, waiting_text
from imagekit.errors import ImagekitError
from imagekit.plan.update import BASE, KERNEL, PARTS


def collect_slots(machine: Machine) -> dict[str, Any]:
    """The keys that `status --json` has of updates (docs/reference/updates.md); empty where the disk tells nothing."""
    memory = load_history(machine)
    found: dict[str, Any] = {"slots": {}, **remembered(memory), "model": None, "policy": None, "identity": None}
    found["hold_until"] = held_until(load_owner(machine), memory) or None
    with suppress(ImagekitError):
        report = load_report(machine.run)
        partitions = find_partitions(machine, report.disk)
        anchors = load_anchors(machine, partition(partitions, "seed"))
        found["model"] = model_json(anchors, memory)
        state = StatePartition(device=report.state_device).load()
        found["policy"] = policy_json(in_force(machine, anchors.model, memory))
        found["identity"] = identity_json(read_identity(machine, anchors))
        found["gadget"] = _gadget(anchors, report)
        for slot in Slot:
            found["slots"][slot.value] = _slot(anchors, partitions, report, state, memory, slot)
    return found


def remembered(memory: History) -> dict[str, Any]:
    """What the history says of now."""
    pending = memory.pending
    return {
        "pending": None if pending is None else {
            "slot": pending.slot, "packages": _packages(pending.packages), "on_trial": pending.trial,
            "since": pending.time, "reasons": list(pending.reasons)},
        "failed": [{"packages": _packages(item.packages), "reason": item.reason, "time": item.time}
                   for item in memory.failed],
        "hold_until": memory.hold_until or None,
        "store": {"checked": memory.checked, "came": memory.check, "answered": memory.answered or None,
                  "alarm": silence(memory, now=datetime.now(UTC)) or None} if memory.checked else None,
        "waits": asdict(memory.waits) if memory.waits is not None else None,
    }


def _packages(packages: tuple[tuple[str, int], ...]) -> dict[str, int]:
    return dict(packages)


def _slot(anchors: Anchors, partitions: dict[str, Partition], report: BootReport, state: SlotState | None,
          memory: History, slot: Slot) -> dict[str, Any]:
    running = slot is report.slot
    roots = {BASE: report.base_root, KERNEL: report.kernel_root} if running else {}
    told: dict[str, Any] = {"state": _worth(state, report, memory, slot)}
    for part in PARTS:
        device = partition(partitions, f"{part}-{slot.value}")
        root = roots.get(part)
        if root is None and (claimed := claimed_root(device)) is not None:
            root = claimed[1]
        told[part] = None if root is None else _package(anchors, device, part, root)
    return told


def _gadget(anchors: Anchors, report: BootReport) -> dict[str, Any]:
    """Which one is installed, and which is on trial."""
    record = gadget_record(report)
    anchors.hear(proofs_of(record))
    held = held_gadget(anchors, replace(record, trial=None), report)
    return {"name": held.name, "revision": held.revision,
            "on_trial": record.trial.gadget.revision if record.trial is not None else None}


def _worth(state: SlotState | None, report: BootReport, memory: History, slot: Slot) -> str:
    """running, on trial, good (a way back), or idle: nothing leads there."""
    if state is None:
        return "running" if slot is report.slot else "unknown"
    seen = seen_from(state, report.slot)
    if slot is report.slot:
        return "running" if seen.confirmed else "running, on trial"
    if memory.pending is not None and memory.pending.slot == slot.value and memory.pending.trial:
        return "on trial"
    return "good" if seen.other_good else "idle"


def _package(anchors: Anchors, device: Partition, part: str, root: str) -> dict[str, Any]:
    name = name_of(anchors, part)
    with suppress(ImagekitError):
        anchors.add(slot_proof(device))
    revision = next((item.snap_revision for item in anchors.revisions(name) if item.verity_root == root), None)
    return {"name": name, "revision": revision, "root": root}


def text_slots(found: dict[str, Any]) -> dict[str, str]:
    """The lines of `status`."""
    lines = {"model": model_text(found["model"])} if found["model"] else {}
    lines |= {"serial": identity_text(found["identity"])} if found["identity"] else {}
    lines |= {f"slot {name}": f"{slot['state']}: {_text(slot)}" for name, slot in found["slots"].items()}
    if gadget := found.get("gadget"):
        lines["gadget"] = f"{gadget['name']} {gadget['revision'] or 'of unknown revision'}" + (
            f", {gadget['on_trial']} is on trial" if gadget["on_trial"] else "")
    if found["pending"]:
        lines["update"] = (f"{_pair(found['pending']['packages'])} in slot {found['pending']['slot']}, "
                           + ("on trial" if found["pending"]["on_trial"] else "being written"))
    for item in found["failed"]:
        lines[f"failed {len(lines)}"] = f"{_pair(item['packages'])}: {item['reason']}"
    if found["hold_until"]:
        lines["held"] = f"until {found['hold_until']}"
    if found["store"]:
        lines["store"] = f"asked {found['store']['checked']}: {found['store']['came']}"
        if found["store"]["alarm"]:
            lines["ALARM"] = found["store"]["alarm"]
    if found["policy"]:
        lines["updates"] = told_policy(found["policy"])
    if found["waits"]:
        said = [line for item in found["waits"]["advisories"] for line in Advisory(**item).lines]
        lines["waits"] = "\n        ".join((waiting_text(found["waits"]), *said))
    return lines


def _text(slot: dict[str, Any]) -> str:
    told = [f"{item['name']} {item['revision'] or 'of unknown revision'}" for part in PARTS
            if (item := slot[part]) is not None]
    return ", ".join(told) or "empty"


def _pair(packages: dict[str, int]) -> str:
    return " with ".join(f"{name} {number}" for name, number in packages.items())


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
