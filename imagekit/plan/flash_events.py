"""What happens while media are written, as values: for the terminal, for `--json`, for records.

Decides the words (docs/reference/flash.md). Amounts are bytes; `durable` counts only what the medium has confirmed to
have on it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from imagekit.plan.flash_damage import Damage
from imagekit.plan.flash_device import Refusal


class Phase(StrEnum):
    """What is being done to a medium, in this order."""

    WIPE = "wipe"
    COMPARE = "compare"
    WRITE = "write"
    TABLES = "tables"
    VERIFY = "verify"
    DIAGNOSE = "diagnose"  # only of what could not be verified


class Result(StrEnum):
    """How it ended for one medium."""

    DONE = "done"  # written, and verified unless that was left out
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class State(StrEnum):
    """What one holds in one's hand now."""

    UNTOUCHED = "untouched"
    NOT_BOOTABLE = "not-bootable"  # part of it is written, the tables are not
    COMPLETE = "complete"  # all is written; that it can be read back was not proved
    VERIFIED = "verified"
    WRONG = "wrong"  # all is written, and something else is read back


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A phase begins on a medium; `total` bytes are ahead."""

    event: ClassVar[str] = "phase"
    target: str
    phase: Phase
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """So much of the phase is done; of writing, what is on the medium for good."""

    event: ClassVar[str] = "progress"
    target: str
    phase: Phase
    durable: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """A medium has not moved for so long; what it was doing."""

    event: ClassVar[str] = "stalled"
    target: str
    phase: Phase
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A medium is finished with. `written` counts the bytes that were sent to it.

    `refusals`: it was changed meanwhile; all else is about the one that was there before.
    """

    event: ClassVar[str] = "ended"
    target: str
    result: Result
    state: State
    written: int
    verified: int
    seconds: float
    problem: str = ""
    damage: Damage | None = None
    refusals: tuple[Refusal, ...] = ()


Event = Started | Moved | Stalled | Ended


class Listener(Protocol):
    """Who is told; from any thread."""

    def told(self, event: Event) -> None: ...


def event_json(event: Event) -> dict[str, Any]:
    """One event for programs."""
    values = {name: value.value if isinstance(value, StrEnum) else value for name, value in asdict(event).items()}
    if isinstance(event, Ended):
        values["refusals"] = [item.code.value for item in event.refusals]
    return {"event": event.event, **values}
