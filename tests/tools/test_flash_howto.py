"""docs/how-to/flash-a-card.md, followed to the letter: every line of its code blocks does what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.loops import looped, need_loops
from tests.pages import desk, page_lines, ran, typed
from tests.tools.conftest import Built

LINES = page_lines("flash-a-card.md")


@pytest.fixture
def env(tmp_path: Path, built: Built) -> dict[str, str]:
    """A folder with `out/pc-demo.img`, and an environment in which `imagekit` is a program."""
    (tmp_path / "out").mkdir()
    for suffix in ("", ".bmap"):
        shutil.copyfile(f"{built.image}{suffix}", tmp_path / "out" / f"pc-demo.img{suffix}")
    return desk(tmp_path, trust=built.workshop.trust)


def test_page_is_followed_from_its_first_line_to_its_last(env: dict[str, str], tmp_path: Path) -> None:
    need_loops()
    word = ""
    with looped(tmp_path / "card", size=(tmp_path / "out/pc-demo.img").stat().st_size + (1 << 20)) as loop:
        for line in LINES:
            command = line.replace("/dev/sdb", str(loop.path)).replace("WORD", word)
            if "/dev/sdb" in line:
                status, said = typed(command, ("to go on", f"erase {loop.path.name}\n"), env=env, cwd=tmp_path)
                assert "written and verified" in said, said
            else:
                status, said = ran(command, env=env, cwd=tmp_path)
            if "--port" in line:
                assert (status, "nothing on the list is plugged in" in said) == (7, True), said
            else:
                assert status == 0, f"{line}: {said}"
            found = re.search(r"this plan is ([0-9a-f]+)", said)
            word = found[1] if found else word
    assert (tmp_path / "three.img").read_bytes() == (tmp_path / "out/pc-demo.img").read_bytes()


def test_wrong_answer_erases_nothing(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "card.img").write_bytes(b"precious")
    status, said = typed("imagekit flash write out/pc-demo.img card.img", ("to go on", "yes\n"), env=env, cwd=tmp_path)
    assert status == 2, said
    assert "it was not confirmed" in said
    assert (tmp_path / "card.img").read_bytes() == b"precious"
