"""`imagekit board flash --serial`, from the command line to the disk of a pretended board on a pty with two rates."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import tty
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from imagekit.cli.board_serial import profile_of
from imagekit.units import MIB
from tests.patience import patience
from tests.unit.flash.conftest import write_image
from tests.unit.flash.ptys import Far
from tests.unit.flash.test_console import Rates, Switching

SPEEDS = {termios.B115200: 115200, termios.B921600: 921600}


class Wire(Far):
    """The board's end. What passes while the program has set another rate at its own arrives as something else."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.rates = Rates(bad={}, most=0)

    def carried(self, content: bytes) -> bytes:
        self.rates.ours = SPEEDS.get(termios.tcgetattr(self.descriptor)[5], 0)
        return self.rates.carried(content)

    def read(self, timeout_s: float) -> bytes:
        return self.carried(super().read(timeout_s))

    def write(self, content: bytes) -> None:
        super().write(self.carried(content))


class Commands(Mapping[str, str]):
    """What U-Boot's commands say; one that fails is not there. `reading`: the disk was read at the higher rate."""

    def __init__(self, disk: bytearray, rates: Rates) -> None:
        self.disk, self.reading = disk, threading.Event()
        self._rates, self._memory, self._base = rates, b"", profile_of("pi").address

    def __getitem__(self, command: str) -> str:
        said = ""
        for part in command.split(" && "):
            said += self._said(*part.split()) + "\r\n"
        return said.removesuffix("\r\n")

    def _said(self, name: str, *words: str) -> str:
        if name == "help":
            return f"{words[0]}\r\n\r\nUsage:\r\n{words[0]}"
        if name == "crc32":
            start = int(words[0], 16) - self._base
            content = self._memory[start:start + int(words[1], 16)]
            return f"crc32 for {words[0]} ... ==> {zlib.crc32(content):08x}"
        if (name, *words[:1]) == ("mmc", "read"):
            start, end = int(words[2], 16) * 512, (int(words[2], 16) + int(words[3], 16)) * 512
            if end > len(self.disk):
                raise KeyError(name)
            self._memory = bytes(self.disk[start:end])
            if self._rates.boards == 921600:
                self.reading.set()
        return ""

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class Bench:
    """A board that waits at its prompt, and the command."""

    image: Path
    path: str
    rates: Rates
    commands: Commands

    def begin(self) -> subprocess.Popen[str]:
        folder = self.image.parent
        return subprocess.Popen(
            [sys.executable, "-m", "imagekit.cli", "board", "flash", str(self.image), "--foreign", "--board", "pi",
             "--serial", self.path, "--raise-to", "921600", "--dry-run", "--json", "--wait", "40"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {
                "XDG_STATE_HOME": str(folder), "XDG_DATA_HOME": str(folder),
                "PYTHONPATH": str(Path(__file__).parents[3])})

    def plan(self) -> tuple[dict[str, Any], str]:
        """The plan of a dry run, and what else was told."""
        said, told = (running := self.begin()).communicate()
        assert running.returncode == 0, told
        return json.loads(said.splitlines()[-1]), told


@contextmanager
def powered(image: Path) -> Iterator[Bench]:
    far, near = pty.openpty()
    tty.setraw(near)
    wire = Wire(far)
    commands = Commands(bytearray(image.read_bytes()), wire.rates)
    board = Switching(wire, wire.rates, known=(115200, 921600), answers=commands,
                      prompt=profile_of("pi").prompt)
    thread = threading.Thread(target=board.run)
    with patience(waits=True):
        thread.start()
        try:
            yield Bench(image=image, path=os.ttyname(near), rates=wire.rates, commands=commands)
        finally:
            board.end()
            thread.join()
            os.close(near)
            os.close(far)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    write_image(tmp_path / "disk.img")
    with powered(tmp_path / "disk.img") as found:
        yield found


def test_disk_with_another_release_does_not_boot_meanwhile_and_a_damaged_one_is_repaired(bench: Bench) -> None:
    bench.commands.disk[14 * MIB:14 * MIB + 100] = bytes(100)
    plan, told = bench.plan()
    assert (plan["different"], plan["pieces"], plan["bootable_meanwhile"]) == (8192, 1, True)
    assert re.search("goes on at 921600 baud(?s:.*)back to 115200 baud", told)
    assert bench.rates.boards == 115200
    bench.commands.disk[12 * MIB:13 * MIB] = random.Random(9).randbytes(MIB)
    plan, _ = bench.plan()
    assert (plan["different"], plan["bootable_meanwhile"]) == (MIB + 8192, False)


def test_board_is_at_its_rate_again_after_ctrl_c_and_is_found_where_a_killed_run_left_it(bench: Bench) -> None:
    for number, code, left in ((signal.SIGKILL, -signal.SIGKILL, 921600), (signal.SIGINT, 130, 115200)):
        bench.commands.reading.clear()
        running = bench.begin()
        assert bench.commands.reading.wait(60)
        running.send_signal(number)
        running.communicate()
        assert (running.returncode, bench.rates.boards) == (code, left)
