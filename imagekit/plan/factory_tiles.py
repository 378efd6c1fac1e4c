"""What a station shows of each of its ports: a tile, for the terminal, the page in the browser and programs.

Decides the words for what happens at a port, how far a unit is, how fast it gets there and how long it still takes.
Writing and reading back are each half of the way. Nothing here asks a clock: seconds that only grow come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from imagekit.plan.factory_job import Port
from imagekit.plan.flash_events import Phase

WINDOW_S = 8.0  # over which a speed is told
SLOWLY_S = 1.0  # before this a speed is no more than a guess


class State(StrEnum):
    """What happens at a port. The order is that of a unit."""

    EMPTY = "empty"
    REFUSED = "refused"
    WRITING = "writing"
    VERIFYING = "verifying"
    PERSONALISING = "personalising"
    RECORDING = "recording"
    DONE = "done"
    FAILED = "failed"


WORDS = {State.EMPTY: "put one in", State.REFUSED: "refused", State.WRITING: "writing", State.VERIFYING: "verifying",
         State.PERSONALISING: "identity", State.RECORDING: "recording", State.DONE: "done: take it out",
         State.FAILED: "failed: take it out"}
BUSY = (State.WRITING, State.VERIFYING, State.PERSONALISING, State.RECORDING)
PHASES = {Phase.VERIFY: State.VERIFYING, Phase.DIAGNOSE: State.VERIFYING}  # all others are writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One port. `done` of `total` bytes of this phase; `speed` bytes a second; `left_s` until the unit is finished.

    `serial` is the last one given here, `good` and `bad` count this run's units. `marks` are points in time and
    amounts, for the speed.
    """

    port: Port
    state: State = State.EMPTY
    device: str = ""
    serial: str = ""
    done: int = 0
    total: int = 0
    amount: int = 0
    speed: float = 0.0
    left_s: float | None = None
    good: int = 0
    bad: int = 0
    problem: str = ""
    note: str = ""  # what does not keep the unit from being good: a label that was not printed
    marks: tuple[tuple[float, int], ...] = ()

    @property
    def share(self) -> float:
        """How far the unit is, from 0 to 1."""
        if self.state in (State.PERSONALISING, State.RECORDING, State.DONE):
            return 1.0
        if self.state not in BUSY:
            return 0.0
        part = min(self.done / self.total, 1.0) if self.total else 0.0
        return (part + (self.state is State.VERIFYING)) / 2


def begun(tile: Tile, *, device: str, amount: int) -> Tile:
    """A unit is taken: `amount` bytes will be written, and then read back."""
    return replace(tile, state=State.WRITING, device=device, amount=amount, total=amount, done=0, speed=0.0,
                   left_s=None, problem="", note="", marks=())


def moved(tile: Tile, phase: Phase, done: int, total: int, *, now_s: float) -> Tile:
    """So much of a phase is done."""
    state = PHASES.get(phase, State.WRITING)
    if phase not in (Phase.WRITE, Phase.VERIFY):
        return replace(tile, state=state, speed=0.0, left_s=None)  # too short to count
    fresh = state is not tile.state or done < tile.done
    kept = () if fresh else tile.marks
    marks = (*(mark for mark in kept if mark[0] >= now_s - WINDOW_S), (now_s, done))
    took, gained = now_s - marks[0][0], done - marks[0][1]
    speed = gained / took if took >= SLOWLY_S else tile.speed
    ahead = total - done + (tile.amount if state is State.WRITING else 0)
    return replace(tile, state=state, done=done, total=total, marks=marks, speed=speed,
                   left_s=ahead / speed if speed > 0 else None)


def ended(tile: Tile, *, problem: str, serial: str) -> Tile:
    """A unit is finished with, and recorded."""
    return replace(tile, state=State.FAILED if problem else State.DONE, problem=problem, speed=0.0, left_s=None,
                   serial=serial or tile.serial, good=tile.good + (not problem), bad=tile.bad + bool(problem), marks=())


def emptied(tile: Tile) -> Tile:
    """The medium was taken out."""
    return replace(tile, state=State.EMPTY, device="", problem="", note="", done=0, total=0)


def tile_json(tile: Tile) -> dict[str, Any]:
    """A tile for programs and for the page (docs/reference/factory.md)."""
    return {"port": tile.port.name, "place": tile.port.place, "state": tile.state.value, "word": WORDS[tile.state],
            "device": tile.device or None, "serial": tile.serial or None, "share": round(tile.share, 4),
            "speed": round(tile.speed) or None, "left_s": None if tile.left_s is None else round(tile.left_s, 1),
            "good": tile.good, "bad": tile.bad, "problem": tile.problem or None, "note": tile.note or None}


def clock_text(seconds: float) -> str:
    """`0:42`, `12:05`, `1:02:03`."""
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(tiles: Iterable[Tile]) -> tuple[int, int]:
    """The good and the failed units of all ports."""
    found = list(tiles)
    return sum(tile.good for tile in found), sum(tile.bad for tile in found)
