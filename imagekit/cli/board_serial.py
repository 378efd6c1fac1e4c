"""Boards over a serial line: `imagekit board console` and `load`, and the way to a prompt that `flash` takes too."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import sys
import termios
import tty
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagekit.build.boards import board_names, load_board
from imagekit.cli.output import emit_json, say, warn, write
from imagekit.cli.progress import progress
from imagekit.errors import TargetError, UsageError
from imagekit.flash.console import Console
from imagekit.flash.uboot import UBoot
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file
from imagekit.host.ports import SerialLine
from imagekit.host.serialline import open_line
from imagekit.packages.board import DISK
from imagekit.packages.board import UBoot as Profile

LOG = logging.getLogger("imagekit.serial")
LEAVE = b"\x1d"  # Ctrl-]
LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Where a board is: its line, its rate (None: as its profile says), how long it may take to come up."""

    serial: str
    board: str
    baud: int | None = None
    wait_s: float = 120.0


def find_profile(board: str) -> Profile | None:
    """How a board's U-Boot is talked to; None: its recipe does not say it. Raises: UsageError: no such board."""
    info = load_board(board).recipe.board
    return info.uboot if info is not None else None


def profile_of(board: str) -> Profile:
    """How a board's U-Boot is talked to. Raises: UsageError: nothing is known of it."""
    found = find_profile(board)
    if found is None:
        known = [name for name in board_names() if find_profile(name) is not None]
        raise UsageError(f"cannot talk to board {board!r}: its recipe.yaml does not say how its U-Boot is reached",
                         hint=f"`u-boot` of the block `board` says it; boards that have it: {', '.join(known)}")
    return found


def checked_disk(disk: str | None) -> str | None:
    """A disk as U-Boot names it. Raises: UsageError: it is none."""
    if disk is not None and not re.fullmatch(DISK, disk):
        raise UsageError(f"cannot use disk {disk!r}: it is named as U-Boot does: 'mmc 1', 'virtio 0', 'usb 0'")
    return disk


@contextlib.contextmanager
def connected(wiring: Wiring, *, disk: str | None = None) -> Iterator[UBoot]:
    """A board's U-Boot, wherever it is now. Raises: HostError, UsageError: there is no such line, board or disk."""
    profile = profile_of(wiring.board)
    profile = replace(profile, baud=wiring.baud or profile.baud, disk=checked_disk(disk) or profile.disk)
    clock = SystemClock()
    with contextlib.closing(open_line(wiring.serial, baud=profile.baud)) as line:
        console = Console(line, profile, clock, heard=lambda got: LOG.debug("%s: %r", wiring.serial, got))
        yield UBoot(console, clock)


def catch(uboot: UBoot, wiring: Wiring, *, away: int | None = None) -> None:
    """Come to its prompt, at the rate `away` if it waits there. Raises: TargetError: it does not appear in time."""
    say(f"{wiring.serial}, {uboot.console.line.baud} baud: waiting for U-Boot; switch the board on, or reset it")
    uboot.console.catch(wiring.wait_s, away=away)


@contextlib.contextmanager
def raised(uboot: UBoot, baud: int | None) -> Iterator[None]:
    """Have a board at a higher rate, where it and the line can. When the block ends, however, it is at its own again.

    Raises:
        TargetError: it has gone over to that rate, and cannot be heard.
    """
    console, line, own = uboot.console, uboot.console.line, uboot.board.baud
    if baud is not None and baud != own:
        if line.baud == baud or console.change_baud(baud):
            say(f"{line.name}: goes on at {baud} baud")
        else:
            warn(f"board, adapter or wire cannot do {baud} baud; stays at {line.baud}")
    try:
        yield
    finally:
        if line.baud != own:
            _lower(console, own)


def _lower(console: Console, baud: int) -> None:
    """Bring the board back to its own rate, or say where it is. A line that is gone has been told of already."""
    away, back = console.line.baud, False
    say(f"{console.line.name}: back to {baud} baud")
    with contextlib.suppress(TargetError):
        back = console.go_back(baud, away=away)
    if not back:
        warn(f"the board may be at {away} baud still: the same line, or one with --baud {away}, finds it there")


@contextlib.contextmanager
def prompted(wiring: Wiring) -> Iterator[UBoot]:
    """A board's U-Boot at its prompt. Raises: as `connected` and `catch`."""
    with connected(wiring) as uboot:
        catch(uboot, wiring)
        yield uboot


def load(path: Path, wiring: Wiring, *, address: int | None, as_json: bool) -> None:
    """`imagekit board load`."""
    profile = profile_of(wiring.board)
    content = read_file(path, limit=profile.room if address is None else 1 << 32)
    if not content:
        raise UsageError(f"cannot load {path}: it is empty")
    where = profile.address if address is None else address
    clock = SystemClock()
    with prompted(wiring) as uboot, progress() as told:
        began = clock.monotonic_s()
        told.step(f"load {path.name} to {where:#x}", total=len(content))
        uboot.load(content, address=where, name="file", sent=told.advance)
        uboot.console.must(f"setenv fileaddr {where:x}; setenv filesize {len(content):x}")
        took = clock.monotonic_s() - began
    checksum = f"{zlib.crc32(content):08x}"
    if as_json:
        emit_json({"board": wiring.board, "file": str(path), "address": where, "size": len(content), "crc32": checksum,
                   "seconds": round(took, 2)})
    else:
        say(f"{len(content)} bytes lie at {where:#x}; the board has read them as CRC-32 {checksum}, as they should be")


def run(commands: Sequence[str], wiring: Wiring, *, as_json: bool) -> None:
    """`imagekit board console --run`. Raises: TargetError: a command failed; those after it were not run."""
    answers = []
    with prompted(wiring) as uboot:
        for command in commands:
            if len(command) > 200 or not command.isascii() or not command.isprintable():
                raise UsageError(f"cannot run {command!r}: a command has at most 200 printable characters")
            answer = uboot.console.run(command, timeout_s=60)
            answers.append({"command": command, "status": answer.status, "text": answer.text})
            if not as_json:
                write(answer.text)
            if answer.status:
                break
    if as_json:
        emit_json({"board": wiring.board, "answers": answers})
    if answers and answers[-1]["status"]:
        raise TargetError(f"cannot run {answers[-1]['command']!r} on the board: it failed with status"
                          f" {answers[-1]['status']}")


def talk(serial: str, baud: int) -> None:
    """`imagekit board console`: a terminal, until Ctrl-] is typed. Raises: UsageError: there is no terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("cannot open a console: this is no terminal", hint="--run COMMAND runs one without")
    with contextlib.closing(open_line(serial, baud=baud)) as line:
        say(f"{serial}, {baud} baud; Ctrl-] leaves")
        before = termios.tcgetattr(sys.stdin)
        tty.setraw(sys.stdin)
        try:
            converse(line, sys.stdin.fileno(), sys.stdout.fileno())
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            write("")


def converse(line: SerialLine, keys: int, screen: int) -> None:
    """Carry bytes between a line and a terminal, both descriptors, until Ctrl-] is typed or the terminal is gone."""
    while True:
        if got := line.read(LOOK_S):
            os.write(screen, got)
        if not select.select([keys], [], [], 0)[0]:
            continue
        typed = os.read(keys, 256)
        before, left, _ = typed.partition(LEAVE)
        if before:
            line.write(before)
        if left or not typed:
            return
