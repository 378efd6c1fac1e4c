"""YMODEM against lrzsz: our sender and its `rb`, our receiver (the tests' own) and its `sb`."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.boot.ymodem import Header
from imagekit.flash.ymodem import send
from imagekit.host.clock import SystemClock
from imagekit.testing.ymodem import Manner, Receiver
from tests.patience import patience
from tests.unit.flash.ptys import line_of_its_own

pytestmark = pytest.mark.tools

CONTENT = random.Random(3).randbytes(70_000) + b"\x1a" * 5


def test_rb_receives_what_we_send(program: Callable[[str], str], tmp_path: Path) -> None:
    rb = program("rb")
    with patience(waits=True), line_of_its_own() as (near, far):
        receiver = subprocess.Popen([rb, "--quiet"], stdin=far.descriptor, stdout=far.descriptor,
                                    stderr=subprocess.DEVNULL, cwd=tmp_path)
        try:
            send(near, "u-boot.bin", CONTENT, SystemClock())
            assert receiver.wait() == 0
        finally:
            receiver.kill()
            receiver.wait()
    assert (tmp_path / "u-boot.bin").read_bytes() == CONTENT


def test_our_receiver_takes_what_sb_sends(program: Callable[[str], str], tmp_path: Path) -> None:
    sb = program("sb")
    (tmp_path / "u-boot.bin").write_bytes(CONTENT)
    with patience(waits=True), line_of_its_own() as (near, far), Path(near.name).open("r+b", buffering=0) as line:
        sender = subprocess.Popen([sb, "--quiet", "u-boot.bin"], stdin=line, stdout=line, stderr=subprocess.DEVNULL,
                                  cwd=tmp_path)
        try:
            assert Receiver(far, Manner(byte_s=1.0, asks_again=True)).receive() == (
                Header(name="u-boot.bin", size=len(CONTENT)), CONTENT)
        finally:
            sender.kill()
            sender.wait()
