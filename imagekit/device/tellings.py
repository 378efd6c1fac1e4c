"""What came of a refresh, for people and for programs (docs/reference/updates.md)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from imagekit.device.asking import Answer
from imagekit.device.refresh import Came, Refreshed
from imagekit.device.wishes import waiting_text
from imagekit.plan.update import as_json as plan_json


def refresh_json(found: Refreshed) -> dict[str, Any]:
    """The keys of `refresh --json`."""
    return {
        "outcome": found.came.value, "store": found.answers.url,
        "class": found.answers.update_class.value if found.answers.news else None,
        "packages": [_part(item, dict(found.fetched)) for item in found.answers.parts],
        "start": found.start.value if found.start is not None else None,
        "waits": asdict(found.waits) if found.waits is not None else None,
        "plan": plan_json(found.plan) if found.plan is not None else None,
        "rebooting": found.rebooting, "notes": list(found.notes), "model": found.answers.model.as_json(),
    }


def _part(item: Answer, fetched: dict[str, str]) -> dict[str, Any]:
    return {
        "name": item.held.name, "running": item.held.revision, "offered": item.wanted, "why": item.choice.why.value,
        "channel": str(item.choice.channel) if item.choice.channel is not None else None,
        "fetched": fetched.get(item.held.name),
        "advisories": [{"revision": number, "class": kind.value, "text": text}
                       for number, kind, text in item.choice.advisories],
    }


def refresh_text(found: Refreshed) -> str:
    """Some lines: what the store means for this device, and what became of it."""
    lines = [f"note: {note}" for note in found.notes]
    lines += [found.answers.model.text] if found.answers.model.text else []
    for item in found.answers.news:
        how = dict(found.fetched).get(item.held.name)
        lines.append(f"{item.held.text} runs, {item.wanted} is meant for this device ({item.choice.why.value},"
                     f" {item.choice.update_class.value})" + (f", fetched {_HOW[how]}" if how else ""))
        lines += [f"  {number}: {text}" for number, _, text in item.choice.advisories]
    end = {
        Came.CURRENT: "nothing newer is meant for this device: what runs stays",
        Came.AVAILABLE: "to take it: imagekit-device refresh",
        Came.FAILED_BEFORE: "not taken: it waits for something newer; to try it once more: --again",
        Came.WAITING: waiting_text(asdict(found.waits)) if found.waits else "",
        Came.PENDING: "it is installed, and the next boot tries it",
        Came.INSTALLED: "",
    }[found.came]
    if found.plan is not None:
        pair = " with ".join(f"{name} {number}" for name, number in found.plan.pair)
        end = f"installed: {pair}, slot {found.plan.slot.value}" + ("" if found.rebooting else
                                                                    "\nthe next boot tries it")
    return "\n".join([*lines, end]) + "\n"


_HOW = {"delta": "as a delta", "whole": "whole"}
