"""How-to pages that are followed to the letter: their lines, `imagekit` as a program, a terminal that is typed at."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.patience import WALL_S

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"


def page_blocks(page: str, language: str = "") -> list[str]:
    """A how-to page's code blocks of a language; without one they are for a shell."""
    found = re.findall(r"^```([a-z]*)\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def page_lines(page: str) -> list[str]:
    """What is for a shell, line by line."""
    return [line for block in page_blocks(page) for line in block.splitlines()]


def desk(folder: Path, *, trust: Path) -> dict[str, str]:
    """An environment in which `imagekit` is a program whose files are all below a folder."""
    program = folder / "bin" / "imagekit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imagekit.cli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "XDG_STATE_HOME": str(folder / "state"),
            "IMAGEKIT_CACHE": str(folder / "cache"), "IMAGEKIT_TRUST": str(trust), "PYTHONPATH": str(ROOT),
            "TERM": "dumb"}


def ended(line: str, *, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line where nobody can be asked."""
    return subprocess.run(["sh", "-c", line], env=env, cwd=cwd, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=WALL_S)


def ran(line: str, *, env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """The same: its status, and what it said."""
    done = ended(line, env=env, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def typed(line: str, *dialogue: tuple[str, str | Callable[[], str]], env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """Run a line on a terminal of its own: when it has said the one, the other is typed, pair by pair.

    A callable does something meanwhile, and what it gives is typed.
    """
    ours, theirs = pty.openpty()
    child = subprocess.Popen(["sh", "-c", line], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd,
                             start_new_session=True)
    os.close(theirs)
    said, heard, ahead, deadline = "", 0, list(dialogue), time.monotonic() + WALL_S
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the last one has closed it
                break
        if ahead and (at := said.find(ahead[0][0], heard)) >= 0:
            heard = at + len(ahead[0][0])
            answer = ahead.pop(0)[1]
            os.write(ours, (answer if isinstance(answer, str) else answer()).encode())
    os.close(ours)
    return child.wait(10), said
