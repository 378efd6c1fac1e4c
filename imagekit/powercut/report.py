"""A sweep's outcome as the document that is printed and kept.

Decides only the keys; they are described in docs/reference/powercut.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imagekit.powercut.examine import Verdict
from imagekit.powercut.sweep import Found, Limits, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """One state that was booted for real: what the oracle said of it, the slot that got healthy (empty: none did), and
    after how many boots."""

    state: State
    verdict: Verdict
    drawn: bool
    slot: str
    boots: int

    @property
    def agrees(self) -> bool:
        """Slot and number of boots are the oracle's."""
        return self.slot == self.verdict.slot and (not self.slot or self.boots == len(self.verdict.way))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """States whose data partition was looked into: how many, and those in which it is not what it has to be."""

    states: int = 0
    problems: tuple[tuple[State, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that came of one recording."""

    found: Found
    checked: Checked = Checked()
    booted: tuple[Booted, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Nothing is unbootable, no data are lost, and no boot contradicts its oracle."""
        return not self.found.unbootable and not self.checked.problems and all(item.agrees for item in self.booted)


def document(outcome: Outcome, limits: Limits) -> dict[str, Any]:
    """Counts, classes, problems and boots."""
    found, booted = outcome.found, outcome.booted
    number, shards = limits.shard
    return {
        "medium": limits.medium.value, "shard": f"{number + 1}/{shards}", "seed": limits.seed,
        "requests": found.entries, "sectors": found.written, "flushes": found.flushes, "epochs": found.epochs,
        "sampled": found.sampled, "prefixes": found.prefixes, "torn": found.torn, "reorderings": found.reorderings,
        "judged": found.judged, "unbootable": found.unbootable, "stopped": found.stopped,
        "classes": [{"states": item.count, "first": item.first.told, **_verdict(item.verdict)}
                    for item in found.classes],
        "problems": [{"state": state.told, "problem": problem} for state, problem in found.problems],
        "booted": [{"state": item.state.told, "drawn": item.drawn, "problem": item.verdict.problem or None,
                    "way": list(item.verdict.way), "expected": item.verdict.slot or None, "came": item.slot or None,
                    "boots": item.boots, "agrees": item.agrees} for item in booted],
        "checked": outcome.checked.states,
        "lost": [{"state": state.told, "problem": problem} for state, problem in outcome.checked.problems],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"slot": verdict.slot or None, "roots": list(verdict.roots), "menu": list(verdict.menu),
            "way": list(verdict.way), "record": verdict.record, "data": verdict.data or None,
            "problem": verdict.problem or None}
