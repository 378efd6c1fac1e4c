"""`imagekit board recover`: from a board that starts nothing of its own to one that is flashed.

Decides the order: find it in its boot ROM, load a boot loader by a program that can, and go on as `flash` does once
fastboot or a USB disk comes up at the same port. How the program is called is the plan's.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagekit.boot.fastboot import UsbAddress
from imagekit.build.boards import board_names, load_board
from imagekit.cli.board_fastboot import LOOK_S, FastbootRequest, check_disk, flash_by_fastboot
from imagekit.cli.flash_run import Request, write
from imagekit.cli.output import emit_json, say
from imagekit.errors import HostError, TargetError, UsageError
from imagekit.host.devices import SystemInventory
from imagekit.host.ports import Inventory, Tools
from imagekit.host.tools import LocalTools
from imagekit.host.usbdevices import DeniedError, UsbDevice, usb_devices
from imagekit.packages.board import Recovery, RecoveryTool
from imagekit.plan.flash_device import Allowed, Device, Kind
from imagekit.plan.recover import INSTALL, RomPlace, choose_tool, plan_command

TOOL_S = 300.0  # in which a program must have loaded what it loads


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverRequest:
    """What the command line asks for; `flash` is None where nothing is to be written afterwards."""

    board: str
    loader: Path | None = None
    tool: str | None = None
    port: str | None = None
    wait_s: float = 0.0
    dry_run: bool = False
    as_json: bool = False
    partition: str | None = None
    flash: Request | None = None


def recovery_of(board: str) -> Recovery:
    """How a board is recovered. Raises: UsageError: nothing is known of it."""
    info = load_board(board).recipe.board
    if info is None or info.recovery is None:
        known = [name for name in board_names() if (found := load_board(name).recipe.board) and found.recovery]
        raise UsageError(f"cannot recover board {board!r}: its recipe.yaml does not say how",
                         hint=f"`recover` of the block `board` says it; boards that have it: {', '.join(known)}")
    return info.recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """This machine, and the two ways to go on, so that tests can hand in their own."""

    usb: Callable[[], Sequence[UsbDevice]] = usb_devices
    tools: Tools = field(default_factory=LocalTools)
    inventory: Inventory = field(default_factory=SystemInventory)
    fastboot: Callable[[Request, FastbootRequest], None] = flash_by_fastboot
    write: Callable[[Request], None] = write
    look_s: float = LOOK_S


def recover(wish: RecoverRequest, around: Around) -> None:
    """`imagekit board recover`."""
    recovery = recovery_of(wish.board)
    if wish.flash is not None and recovery.then == "fastboot":
        check_disk(wish.board, wish.partition)  # now, and not when the board waits in its fastboot
    tool = _tool(recovery, around.tools, wish)
    found, others = _wait_for_rom(recovery, wish, around)
    place = RomPlace(port=found.port, bus=found.bus, device=found.address)
    loader = str(wish.loader.absolute()) if wish.loader is not None else None
    command = plan_command(recovery, tool, place, loader=loader, others=others)
    if not found.permitted:
        raise DeniedError(found)
    say(f"{found}: in its boot ROM; runs {shlex.join(command)}")
    if wish.dry_run:
        if wish.as_json:
            emit_json(_json(wish, found, command, ran=False))
        return
    around.tools.run(command[0], *command[1:], timeout_s=TOOL_S)
    if wish.flash is None:
        say(f"{command[0]} has loaded it; next: imagekit board flash IMAGE {_next(recovery, found, wish)}")
        if wish.as_json:
            emit_json(_json(wish, found, command, ran=True))
        return
    _go_on(recovery, found, wish, wish.flash, around)


def _tool(recovery: Recovery, tools: Tools, wish: RecoverRequest) -> RecoveryTool:
    """The program. Raises: HostError: none is installed, with how each would be."""
    installed = {item.tool: _has(tools, item.tool) for item in recovery.tools}
    found = choose_tool(recovery, installed, wish.tool)
    if found is None:
        names = [wish.tool] if wish.tool else list(installed)
        raise HostError(f"cannot recover board {wish.board}: {' or '.join(names)} is not installed",
                        hint="; or ".join(f"{name}: {INSTALL[name]}" for name in names))
    return found


def _has(tools: Tools, name: str) -> bool:
    try:
        return bool(tools.find(name))
    except HostError:
        return False


def _next(recovery: Recovery, found: UsbDevice, wish: RecoverRequest) -> str:
    return (f"--board {wish.board} --fastboot usb:{found.port}" if recovery.then == "fastboot"
            else f"--ums usb:{found.port}")


def _json(wish: RecoverRequest, found: UsbDevice, command: tuple[str, ...], *, ran: bool) -> dict[str, object]:
    return {"board": wish.board, "port": found.port, "id": found.id, "serial": found.serial or None,
            "command": list(command), "ran": ran}


def _wait_for_rom(recovery: Recovery, wish: RecoverRequest, around: Around) -> tuple[UsbDevice, int]:
    """The board in its boot ROM, and how many others are in the same.

    Raises:
        TargetError: none is there in time, or several are and none is named.
    """
    deadline, told = time.monotonic() + wish.wait_s, False
    while True:
        there = [item for item in around.usb() if item.id in recovery.rom]
        meant = [item for item in there if wish.port in (None, item.port)]
        if len(meant) > 1:
            raise TargetError(f"cannot tell which board is meant: {len(meant)} are in their boot ROM",
                              details=tuple(str(item) for item in meant), hint=f"name one: --port {meant[0].port}")
        if meant:
            return meant[0], len(there) - 1
        if time.monotonic() >= deadline:
            at = f" at port {wish.port}" if wish.port else ""
            raise TargetError(f"cannot find board {wish.board} in its boot ROM{at}: no USB device has id"
                              f" {' or '.join(recovery.rom)}", hint=recovery.enter)
        if not told:
            say(f"waiting for {' or '.join(recovery.rom)} on USB: {recovery.enter}")
            told = True
        time.sleep(around.look_s)


def _go_on(recovery: Recovery, found: UsbDevice, wish: RecoverRequest, request: Request, around: Around) -> None:
    """Flash what has come up at the same port."""
    if recovery.then == "fastboot":
        around.fastboot(request, FastbootRequest(place=f"usb:{found.port}", board=wish.board, wait_s=wish.wait_s,
                                                 partition=wish.partition))
        return
    flash_by_ums(request, UsbAddress(port=found.port), wait_s=wish.wait_s, around=around)


def flash_by_ums(request: Request, place: UsbAddress, *, wait_s: float, around: Around) -> None:
    """Write the USB disk that a board shows itself as, as `imagekit flash write` does. Raises: as `wait_for_disk`."""
    disk = wait_for_disk(around, place, wait_s=wait_s)
    around.write(replace(request, found=(disk,)))


def wait_for_disk(around: Around, place: UsbAddress, *, wait_s: float) -> Device:
    """The USB disk at a port, with a serial number, or both.

    Raises:
        TargetError: none appears in time, or several do.
    """
    deadline, told = time.monotonic() + wait_s, False
    name = " and ".join(f"{what} {value}" for what, value in (("port", place.port), ("serial", place.serial)) if value)
    while True:
        found = [item for item in around.inventory.devices() if item.kind is Kind.DISK and item.bus == "usb"
                 and item.identity.size and place.port in ("", item.port)
                 and place.serial in ("", item.identity.serial)]
        if len(found) > 1:
            raise TargetError(f"cannot tell which disk is meant: {len(found)} have {name}",
                              details=tuple(f"{item.path}: {item.model}" for item in found),
                              hint="a board that shows several: imagekit flash write IMAGE /dev/...")
        if found:
            say(f"{found[0].path}: the board's disk, {name}")
            return found[0]
        if time.monotonic() >= deadline:
            raise TargetError(f"cannot find the board's disk: no USB disk with {name} is there",
                              hint="at the board's prompt: ums 0 mmc 0; imagekit flash list shows what there is")
        if not told:
            say(f"waiting for a USB disk with {name}")
            told = True
        time.sleep(around.look_s)


def allowed_for(port: str | None) -> Allowed:
    """A port that was named is a list: what comes up there needs no question."""
    return Allowed(ports=frozenset({port} if port else ()))
