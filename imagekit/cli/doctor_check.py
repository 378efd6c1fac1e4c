"""What the doctor says of one thing, and the machine that it looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagekit.host.ports import Tools
from imagekit.host.tools import LocalTools


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. `state` is ok, missing, denied, low, broken, or none (there is none, and none is needed)."""

    name: str
    state: str
    found: str
    needed: bool
    package: str | None = None
    remedy: str | None = None

    @property
    def fatal(self) -> bool:
        return self.needed and self.state not in {"ok", "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where to look: a root folder and an environment, so that tests can hand in a machine of their own."""

    root: Path
    environ: Mapping[str, str]
    uid: int
    python: tuple[int, int]
    access: Callable[[Path, int], bool] = os.access
    groups: frozenset[int] = frozenset()  # of this session
    user: str = ""
    tools: Tools = field(default_factory=LocalTools)  # runs what is tried

    def find(self, program: str) -> str | None:
        """The program on PATH, or where Debian puts what only root has on its PATH."""
        return shutil.which(program, path=f"{self.environ.get('PATH', '')}:{self.root}/usr/sbin:{self.root}/sbin")

    def at(self, path: str) -> Path:
        return self.root / path
