"""The machine's ports, faked: programs that answer from a table, a clock that stands, progress that is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imagekit.errors import HostError
from imagekit.host.ports import Finished

Answer = bytes | HostError | Callable[..., bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run of a program."""

    name: str
    args: tuple[str, ...]
    stdin: bytes | None
    env: Mapping[str, str]


class FakeTools:
    """`Tools` that runs nothing. A program's answer is its standard output, an error to raise, or a function of its
    arguments that gives the output; a program without an answer is not installed."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.calls: list[Call] = []

    def find(self, name: str) -> Sequence[str]:
        if name not in self.answers:
            raise HostError(f"cannot run {name}: it is not installed", hint=f"as root: apt-get install {name}")
        return (name,)

    def run(self, name: str, *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None,
            env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
        words = tuple(str(arg) for arg in args)
        self.calls.append(Call(name=name, args=words, stdin=stdin, env=dict(env or {})))
        argv = (*self.find(name), *words)
        answer = self.answers[name]
        if isinstance(answer, HostError):
            raise answer
        return Finished(argv=argv, stdout=answer if isinstance(answer, bytes) else answer(*words), stderr=b"")


@dataclass(slots=True, kw_only=True)
class FakeClock:
    """`Clock` that moves only when it is told to."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    elapsed_s: float = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.elapsed_s += seconds


@dataclass(slots=True, kw_only=True)
class RecordedProgress:
    """`Progress` that keeps what it was told."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    advanced: int = 0

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        self.steps.append(name)

    def advance(self, amount: int) -> None:
        self.advanced += amount

    def note(self, text: str) -> None:
        self.notes.append(text)
