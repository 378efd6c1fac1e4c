"""The machine, as small Protocols. Executors get these handed in; each has a fake in `imagekit.testing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A program that ended with status 0."""

    argv: tuple[str, ...]
    stdout: bytes
    stderr: bytes


class Tools(Protocol):
    """Programs of the host and of the locked tool parts, by name (`mke2fs`, `mkfs.erofs`)."""

    def run(self, name: str, *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None,
            env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
        """Run to the end; the environment is fixed (LC_ALL=C.UTF-8, TZ=UTC, the given `env`), never the caller's.

        Raises:
            HostError: the program is missing, fails (its last 20 stderr lines as details) or runs out of time.
        """

    def find(self, name: str) -> Sequence[str]:
        """The argv prefix that starts `name`. Raises: HostError: with the package that brings it as hint."""


class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """The current time, always with a time zone (UTC)."""

    def monotonic_s(self) -> float:
        """Seconds that only ever grow; for durations."""


class Progress(Protocol):
    """Where executors tell how far they are. The command line draws it, tests record it."""

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        """A new step begins; the one before it is over."""

    def advance(self, amount: int) -> None:
        """So much more of the step is done."""

    def note(self, text: str) -> None:
        """One line of talk that belongs to the running step."""
