"""Progress off and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from imagekit.cli.output import talk_of
from imagekit.cli.progress import Lines, progress


def test_each_step_is_one_line_with_its_time_and_amount() -> None:
    lines: list[str] = []
    times = iter([10.0, 12.5, 12.5, 13.0])
    told = Lines(lines.append, now=lambda: next(times))
    told.step("pack kernel", total=2048)
    told.advance(1024)
    told.advance(1024)
    told.step("sign", unit="files")
    told.finish()
    assert lines == ["pack kernel: 2.5 s, 2 KiB", "sign: 0.5 s"]


def test_notes_stand_under_no_step_and_under_a_step() -> None:
    lines: list[str] = []
    told = Lines(lines.append, now=lambda: 0.0)
    told.note("before")
    told.step("a", unit="files")
    told.advance(3)
    told.note("within")
    told.finish()
    told.finish()
    assert lines == ["  before", "  within", "a: 0.0 s, 3 files"]


def test_step_that_raises_is_told_as_failed() -> None:
    @click.command()
    def work() -> None:
        with progress() as told:
            told.step("half")
            raise ValueError

    assert CliRunner().invoke(work).stderr.startswith("half: failed after 0.")


def test_quiet_says_nothing() -> None:
    @click.command()
    def work() -> None:
        talk_of().verbosity = -1
        with progress(click.get_current_context()) as told:
            told.step("a")
            told.note("b")

    assert CliRunner().invoke(work).output == ""


WORK = """
import click
from imagekit.cli.progress import progress
@click.command()
def work():
    with progress() as told:
        told.step("copy base", total=100)
        told.advance(50)
        told.note("[half] of it")
        told.advance(50)
work()
"""


def on_a_terminal(**env: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs, stdout=subprocess.DEVNULL,
                          env={**os.environ, "TERM": "xterm", **env}) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(ours)
    assert child.returncode == 0
    return seen.decode()


def test_terminal_gets_a_bar_and_keeps_the_lines() -> None:
    seen = on_a_terminal()
    assert "\x1b[" in seen
    assert "copy base: 0." in seen and "  [half] of it" in seen


def test_dumb_terminal_gets_lines_only() -> None:
    seen = on_a_terminal(TERM="dumb")
    assert "\x1b" not in seen
    assert [line.partition(":")[0] for line in seen.splitlines()] == ["  [half] of it", "copy base"]


@pytest.mark.parametrize("color", ["NO_COLOR"])
def test_terminal_without_colours_has_none(color: str) -> None:
    seen = on_a_terminal(**{color: "1"})
    assert "\x1b[3" not in seen and "copy base: 0." in seen
