"""The transcript of a run: every console line with the time it came, over all boots, kept as it comes.

The file is written line by line, so that it is whole even when this program is killed:

    -- boot 1: power on --
    [   3.217] BdsDxe: starting Boot0001 ...

Times are seconds since the run began. Text is cleaned (`imagekit.qemu.console`); a run keeps at most `LINES_MAX` lines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

LINES_MAX = 100_000
KEPT = 50  # transcripts in the state folder; the oldest go first


def new_transcript_path(image: Path, now: datetime, environ: Mapping[str, str] = os.environ) -> Path:
    """A new name in `$XDG_STATE_HOME/imagekit/boots`, whose old files beyond `KEPT` are removed."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    folder = (state if state.is_absolute() else Path.home() / ".local" / "state") / "imagekit" / "boots"
    if folder.is_dir():
        for old in sorted(folder.glob("*.log"))[: -KEPT + 1]:
            old.unlink(missing_ok=True)
    return folder / f"{now:%Y%m%dT%H%M%SZ}-{image.stem[:40]}-{os.getpid()}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the console; `boot` counts from 1."""

    time_s: float
    boot: int
    text: str


class Transcript:
    """Collects lines, and writes them to `path` when there is one (mode 0600)."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, 0o600), "w", buffering=1, encoding="utf-8")

    def mark(self, text: str) -> None:
        """A line of ours between the guest's."""
        self._write(f"-- {text} --")

    def add(self, time_s: float, boot: int, text: str) -> None:
        """One cleaned line of the guest's."""
        if len(self.lines) >= LINES_MAX:
            return
        self.lines.append(Line(time_s=time_s, boot=boot, text=text))
        self._write(f"[{time_s:8.3f}] {text}")
        if len(self.lines) == LINES_MAX:
            self.mark(f"cut after {LINES_MAX} lines")

    def tail(self, count: int, *, boot: int | None = None) -> tuple[str, ...]:
        """The last `count` lines, of one boot if it is given."""
        lines = self.lines if boot is None else [line for line in self.lines if line.boot == boot]
        return tuple(line.text for line in lines[-count:])

    def text(self) -> str:
        """All lines, one below the other."""
        return "".join(f"{line.text}\n" for line in self.lines)

    def close(self) -> None:
        """The file is complete."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: str) -> None:
        if self._file is not None:
            self._file.write(line + "\n")
