"""A board with the locked U-Boot in QEMU, its serial line behind a socket: what a USB adapter is to a real one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.build.boards import load_board
from imagekit.flash.console import Console
from imagekit.host.clock import SystemClock
from imagekit.host.serialline import open_line
from imagekit.packages.board import UBoot
from tests.boot.stock import missing_tool
from tests.boot.uboot_rig import ACCEL, Rig

COMES_UP_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Powered:
    """A board that is switched on as soon as somebody opens its line."""

    name: str
    url: str
    uboot: UBoot


@contextmanager
def powered(rig: Rig, disk: Path, *more: str) -> Iterator[Powered]:
    """QEMU with this disk, until the block ends."""
    if shutil.which(rig.emulator[0]) is None:
        missing_tool(f"{rig.emulator[0]} is not installed")
    options = ["chardev:line" if word == "stdio" else word for word in rig.options[:-1]]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = subprocess.Popen(
            [*rig.emulator, "-nodefaults", "-accel", ACCEL, "-display", "none", "-no-reboot", "-chardev",
             f"socket,id=line,fd={listening.fileno()},server=on,wait=on", *(more or ("-nic", "none")), *options,
             f"{rig.options[-1]}format=raw,file={disk}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[listening.fileno()])
        port = listening.getsockname()[1]
    try:
        board = load_board(rig.name).recipe.board
        assert board is not None
        assert board.uboot is not None
        yield Powered(name=rig.name, url=f"socket://127.0.0.1:{port}", uboot=board.uboot)
    finally:
        running.kill()
        running.wait()


@contextmanager
def spoken_with(board: Powered) -> Iterator[Console]:
    """The console of a board, at its prompt."""
    with closing(open_line(board.url, baud=board.uboot.baud)) as line:
        console = Console(line, board.uboot, SystemClock())
        console.catch(COMES_UP_S)
        yield console
