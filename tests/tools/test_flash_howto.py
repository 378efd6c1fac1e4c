"""docs/how-to/flash-a-card.md, followed to the letter: every line of its code blocks does what the page says."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.loops import looped, need_loops
from tests.tools.conftest import Built

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "flash-a-card.md"
LINES = [line for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
         for line in block.splitlines()]


@pytest.fixture
def desk(tmp_path: Path, built: Built) -> dict[str, str]:
    """A folder with `out/pc-demo.img`, and an environment in which `imagekit` is a program."""
    (tmp_path / "out").mkdir()
    for suffix in ("", ".bmap"):
        shutil.copyfile(f"{built.image}{suffix}", tmp_path / "out" / f"pc-demo.img{suffix}")
    program = tmp_path / "bin" / "imagekit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m imagekit.cli "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path / "state"),
            "IMAGEKIT_CACHE": str(tmp_path / "cache"), "IMAGEKIT_TRUST": str(built.workshop.trust),
            "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "dumb"}


def typed(line: str, answer: str, *, env: dict[str, str], cwd: Path) -> tuple[int, str]:
    """Run a line on a terminal of its own, and type the answer when it asks."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(["sh", "-c", line], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd,
                             start_new_session=True)
    os.close(theirs)
    said, asked, deadline = "", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the last one has closed it
                break
        if "to go on" in said and not asked:
            os.write(ours, f"{answer}\n".encode())
            asked = True
    os.close(ours)
    return child.wait(10), said


def test_page_is_followed_from_its_first_line_to_its_last(desk: dict[str, str], tmp_path: Path) -> None:
    need_loops()
    word = ""
    with looped(tmp_path / "card", size=(tmp_path / "out/pc-demo.img").stat().st_size + (1 << 20)) as loop:
        for line in LINES:
            command = line.replace("/dev/sdb", str(loop.path)).replace("WORD", word)
            if "/dev/sdb" in line:
                status, said = typed(command, f"erase {loop.path.name}", env=desk, cwd=tmp_path)
                assert "written and verified" in said, said
            else:
                done = subprocess.run(["sh", "-c", command], env=desk, cwd=tmp_path, capture_output=True, text=True,
                                      check=False, stdin=subprocess.DEVNULL, timeout=120)
                status, said = done.returncode, done.stdout + done.stderr
            if "--port" in line:
                assert (status, "nothing on the list is plugged in" in said) == (7, True), said
            else:
                assert status == 0, f"{line}: {said}"
            found = re.search(r"this plan is ([0-9a-f]+)", said)
            word = found[1] if found else word
    assert (tmp_path / "three.img").read_bytes() == (tmp_path / "out/pc-demo.img").read_bytes()


def test_wrong_answer_erases_nothing(desk: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "card.img").write_bytes(b"precious")
    status, said = typed("imagekit flash write out/pc-demo.img card.img", "yes", env=desk, cwd=tmp_path)
    assert status == 2, said
    assert "it was not confirmed" in said
    assert (tmp_path / "card.img").read_bytes() == b"precious"
