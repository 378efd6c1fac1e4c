"""`imagekit board`: the boards there are, what each is, a new one made after another, and one at the end of a cable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from imagekit.build.boards import Board, board_names, called_after, load_board, new_board
from imagekit.build.project import PROJECT
from imagekit.cli.gadget_layout import picture_of, show_volume
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import emit_json, say, table, write
from imagekit.host.files import write_atomic
from imagekit.packages.board import RECOVERY_TOOLS, Recovery, UBoot
from imagekit.plan.gadget_show import as_json as volume_json
from imagekit.qemu.machine import Machine, load_machine, machine_folders, machine_names

F = TypeVar("F", bound=Callable[..., Any])


class Number(click.ParamType[int]):
    """A number that is not negative, decimal or with 0x."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            found = value if isinstance(value, int) else int(value, 0)
        except ValueError:
            found = -1
        if found < 0:
            self.fail(f"{value!r} is no number: 0x82000000, or decimal", param, ctx)
        return found


def complete_board(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The boards there are, for the shell."""
    return [name for name in board_names() if name.startswith(incomplete)]


@click.group(no_args_is_help=True)
def board() -> None:
    """List, show and make boards; talk to one over its serial line, and put an image onto its disk."""


@board.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the boards: what each is, which loader chooses the slot, where QEMU boots it."""
    boards = [load_board(name) for name in board_names()]
    if as_json:
        emit_json({"boards": [_json(item) for item in boards]})
        return
    table(("board", "architecture", "loader", "machines", "models", "title"), [
        (item.name, item.recipe.architecture, item.bootloader, ", ".join(machine.name for machine in machines_of(item))
         or "-", ", ".join(item.models) or "-", item.title) for item in boards])


@board.command()
@click.argument("name", metavar="NAME", shell_complete=complete_board)
@output_option
@json_option
def show(name: str, output: Path | None, as_json: bool) -> None:
    """Show a board: its disk, how it boots, where QEMU runs it, how to flash it, and what its hardware does not verify.

    NAME is a board of the project, or the path of a gadget's folder. With -o, a picture of the disk (SVG) too.
    """
    found = load_board(name)
    if output is not None:
        write_atomic(output, picture_of(f"board {found.name}", found.volumes))
    if as_json:
        emit_json({**_json(found), "volumes": [volume_json(item) for item in found.volumes],
                   "picture": str(output) if output is not None else None})
        return
    _show(found)
    if output is not None:
        say(f"picture in {output}")


def _show(found: Board) -> None:
    info = found.recipe.board
    write(f"board:        {found.name}, {found.recipe.architecture}: {found.title}")
    for text in info.covers if info else (found.recipe.description or found.recipe.summary,):
        write(f"for:          {text}")
    write(f"models:       {', '.join(found.models) or 'none'}")
    for machine in machines_of(found):
        write(f"QEMU:         {machine.name}: {machine.summary}")
    if info:
        write(f"boots:        {info.boot_path[0]}")
        for stage in info.boot_path[1:]:
            write(f"              -> {stage}")
        for way in info.flash:
            write(f"flash:        {way}")
        if info.uboot:
            write(f"serial:       {info.uboot.baud} baud, prompt {info.uboot.prompt!r}, disk {info.uboot.disk}")
        if info.recovery:
            tools = ", ".join(item.tool for item in info.recovery.tools)
            write(f"recover:      {info.recovery.enter}")
            write(f"              by {tools}, then {info.recovery.then}; USB ids {', '.join(info.recovery.rom)}")
            if info.recovery.loader:
                write(f"              loader: {info.recovery.loader}")
        for text in info.updated:
            write(f"updated:      {text}")
        for text in info.unverified or ("nothing",):
            write(f"not verified: {text}")
    else:
        write(f"boots:        by {found.bootloader}")
    for volume in found.volumes:
        write("")
        show_volume(volume)


def machines_of(found: Board) -> tuple[Machine, ...]:
    """The machine that is called as the board, and those that are called after it."""
    folders = machine_folders()
    names = called_after(found.name, machine_names(folders), boards=board_names())
    machines = [load_machine(name, folders) for name in names]
    return tuple(item for item in machines if item.architecture == found.recipe.architecture)


def _json(found: Board) -> dict[str, Any]:
    """One board (docs/reference/boards.md)."""
    info = found.recipe.board
    return {
        "name": found.name, "title": found.title, "architecture": found.recipe.architecture,
        "bootloader": found.bootloader, "folder": str(found.folder), "models": list(found.models),
        "machines": [{"name": machine.name, "summary": machine.summary} for machine in machines_of(found)],
        "covers": list(info.covers) if info else [], "boot_path": list(info.boot_path) if info else [],
        "uboot": _uboot_json(info.uboot) if info and info.uboot else None,
        "flash": list(info.flash) if info else [], "unverified": list(info.unverified) if info else None,
        "recover": _recovery_json(info.recovery) if info and info.recovery else None,
        "updated": list(info.updated) if info else [],
    }


def _uboot_json(found: UBoot) -> dict[str, Any]:
    return {"prompt": found.prompt, "interrupt": found.interrupt, "key": found.key, "baud": found.baud,
            "memory": {"address": found.address, "size": found.room}, "disk": found.disk}


def _recovery_json(found: Recovery) -> dict[str, Any]:
    return {"rom": list(found.rom), "enter": found.enter, "loader": found.loader or None, "then": found.then,
            "tools": [item.tool for item in found.tools]}


@board.command()
@click.argument("name", metavar="NAME")
@click.option("--like", metavar="OTHER", required=True, shell_complete=complete_board,
              help="The board to begin with, or the path of a gadget's folder.")
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Write below DIR.  [default: the project]")
@json_option
def new(name: str, like: str, output: Path | None, as_json: bool) -> None:
    """Make the data of a new board after another: gadgets/NAME, models/NAME.yaml and qemu/NAME.yaml.

    Names are changed, comments kept; what is there already is never overwritten.
    """
    written = new_board(name, like=load_board(like), target=output or PROJECT)
    if as_json:
        emit_json({"name": name, "like": like, "files": [str(path) for path in written]})
        return
    for path in written:
        write(str(path))
    folder = written[0].parent
    say(f"change what differs, then: imagekit gadget check {folder}, imagekit lock --update {folder},"
        f" imagekit pack {folder} -o packages-out")


SERIAL_HELP = "The line: /dev/ttyUSB0, socket://HOST:PORT, rfc2217://HOST:PORT."


WAIT = click.option("--wait", "wait_s", metavar="SECONDS", type=click.FloatRange(min=0), default=120.0,
                    show_default=True, help="How long the board may take to come up.")
BAUD = click.option("--baud", metavar="BAUD", type=click.IntRange(300, 12_000_000),
                    help="The rate.  [default: the board's]")


def serial_options(function: F) -> F:
    """`--board`, `--serial`, `--baud` and `--wait`: which board, and where it is."""
    function = click.option("--serial", metavar="LINE", required=True, help=SERIAL_HELP)(BAUD(WAIT(function)))
    return click.option("--board", "name", metavar="NAME", required=True, shell_complete=complete_board,
                        help="Which board it is: imagekit board list.")(function)


def way_options(function: F) -> F:
    """The same, with `--fastboot` and `--ums`: one of the three ways, and of a serial line which board."""
    function = click.option("--ums", metavar="PLACE", help="Write the USB disk that the board shows itself as:"
                            " usb:SERIAL, usb:1-1.4 (a port), usb:1-1.4:SERIAL (both).")(BAUD(WAIT(function)))
    function = click.option("--fastboot", metavar="PLACE", help="Send by fastboot: tcp:HOST[:PORT], usb, usb:SERIAL,"
                            " usb:1-1.4 (a port), usb:1-1.4:SERIAL (both).")(function)
    function = click.option("--serial", metavar="LINE", help=SERIAL_HELP)(function)
    return click.option("--board", "name", metavar="NAME", shell_complete=complete_board,
                        help="Which board it is: imagekit board list. Over a serial line it must be named.")(function)


@board.command()
@click.option("--serial", metavar="LINE", required=True, help=SERIAL_HELP)
@click.option("--board", "name", metavar="NAME", shell_complete=complete_board,
              help="Which board it is; needed for --run.")
@click.option("--baud", metavar="BAUD", type=click.IntRange(300, 12_000_000),
              help="The rate.  [default: the board's, or 115200]")
@click.option("--run", "commands", metavar="COMMAND", multiple=True,
              help="Stop at U-Boot's prompt, run this, print the answer, and end.")
@click.option("--wait", "wait_s", metavar="SECONDS", type=click.FloatRange(min=0), default=120.0, show_default=True,
              help="With --run: how long the board may take to come up.")
@json_option
def console(serial: str, name: str | None, baud: int | None, commands: tuple[str, ...], wait_s: float,
            as_json: bool) -> None:
    """Open a board's serial line as a terminal; Ctrl-] leaves it.

    With --run no terminal is needed: the board is stopped at U-Boot's prompt, and the answers come out. A command that
    is not understood because of noise is run again.
    """
    from imagekit.cli.board_serial import Wiring, profile_of, run, talk

    if not commands:
        if as_json:
            raise click.UsageError("--json goes with --run")
        talk(serial, baud or (profile_of(name).baud if name else 115200))
        return
    if name is None:
        raise click.UsageError("--run needs --board: its prompt is the board's")
    run(commands, Wiring(serial=serial, board=name, baud=baud, wait_s=wait_s), as_json=as_json)


@board.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@serial_options
@click.option("--address", metavar="NUMBER", type=Number(), help="Where to: 0x82000000.  [default: the board's]")
@json_option
def load(file: Path, name: str, serial: str, baud: int | None, wait_s: float, address: int | None,
         as_json: bool) -> None:
    """Put FILE into a board's memory, by YMODEM over its serial line, and check it there.

    U-Boot is stopped at its prompt, takes the file, and tells its CRC-32. Afterwards `fileaddr` and `filesize` are set,
    and the board waits at its prompt: see `board console`.
    """
    from imagekit.cli.board_serial import Wiring
    from imagekit.cli.board_serial import load as load_file

    load_file(file, Wiring(serial=serial, board=name, baud=baud, wait_s=wait_s), address=address, as_json=as_json)


def an_address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """An IPv4 address: U-Boot's TFTP knows no other, and no names."""
    import ipaddress

    try:
        return None if value is None else str(ipaddress.IPv4Address(value))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no IPv4 address") from error


@board.command()
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@way_options
@click.option("--disk", metavar="DISK", type=click.STRING,
              help="The board's disk, as its U-Boot calls it: 'mmc 1'.  [default: the board's]")
@click.option("--raise-to", metavar="BAUD", type=click.IntRange(300, 12_000_000),
              help="Go over to this rate until the end, where board, adapter and wire can.")
@click.option("--tftp", metavar="ADDRESS", callback=an_address,
              help="Send over the network: the address of this machine that the board reaches. Needs UDP port 69.")
@click.option("--board-address", metavar="ADDRESS", callback=an_address,
              help="With --tftp: the board's own address, where no DHCP server gives it one.")
@click.option("--partition", metavar="NAME",
              help="With --fastboot: the partition that is the whole disk.  [default: one is made by `oem run`]")
@click.option("--reboot", is_flag=True, help="With --fastboot: have the board start again at the end.")
@click.option("--dry-run", is_flag=True, help="Look at the disk, tell what would be sent and how long; no more.")
@click.option("--confirm", metavar="WORD", help="The word of a plan that --dry-run has shown.")
@click.option("--foreign", is_flag=True, help="It is no image of imagekit: nothing in it can be checked.")
@trust_option
@json_option
def flash(image: Path, name: str | None, serial: str | None, fastboot: str | None, ums: str | None, baud: int | None,
          wait_s: float, confirm: str | None, foreign: bool, trust: tuple[Path, ...], as_json: bool,
          **wish: Any) -> None:
    """Write IMAGE to a board's own disk: through its U-Boot, by fastboot, or as a USB disk.

    Over a serial line the board reads its disk and tells checksums; only what differs is sent, packed, and read back by
    the board. By fastboot all that is used of the image is sent, and read back where the board can. A board that shows
    itself as a USB disk (ums) is written as by `flash write`. Before anything is sent you see what will be, and are
    asked. What was interrupted goes on by the same line.
    """
    from imagekit.cli.flash_run import Request
    from imagekit.plan.flash_device import Allowed

    request = Request(image=image, targets=(), allowed=Allowed(), trust=trust, foreign=foreign, confirm=confirm,
                      as_json=as_json)
    _check_way(name, {"--serial": serial, "--fastboot": fastboot, "--ums": ums}, baud, wish)
    partition, reboot = wish.pop("partition"), wish.pop("reboot")
    if fastboot is not None:
        from imagekit.cli.board_fastboot import FastbootRequest, flash_by_fastboot

        flash_by_fastboot(request, FastbootRequest(place=fastboot, board=name, disk=wish["disk"], wait_s=wait_s,
                                                   partition=partition, reboot=reboot, dry_run=wish["dry_run"]))
        return
    if ums is not None:
        from imagekit.boot.fastboot import UsbAddress, parse_address
        from imagekit.cli.board_recover import Around, flash_by_ums

        place = parse_address(ums)
        if not isinstance(place, UsbAddress) or place == UsbAddress():
            raise click.UsageError(f"--ums {ums}: usb:SERIAL, usb:1-1.4 (a port) or usb:1-1.4:SERIAL (both) says which"
                                   " disk is the board's")
        flash_by_ums(request, place, wait_s=wait_s, around=Around())
        return
    from imagekit.cli.board_flash import BoardRequest
    from imagekit.cli.board_flash import flash as flash_board
    from imagekit.cli.board_serial import Wiring

    flash_board(request, Wiring(serial=serial or "", board=name or "", baud=baud, wait_s=wait_s), BoardRequest(**wish))


OF_A_WAY = {"raise_to": "--serial", "tftp": "--serial", "board_address": "--serial", "partition": "--fastboot",
            "reboot": "--fastboot"}


def _check_way(name: str | None, ways: dict[str, str | None], baud: int | None, wish: dict[str, Any]) -> None:
    """Raises: click.UsageError: no way is named, or two, or something of another one."""
    named = [way for way, place in ways.items() if place is not None]
    if len(named) != 1:
        raise click.UsageError("one of --serial, --fastboot and --ums says where the board is")
    if named == ["--serial"] and name is None:
        raise click.UsageError("--serial needs --board: how its U-Boot is talked to is the board's")
    if wish["raise_to"] and str(ways["--serial"]).startswith("socket:"):
        raise click.UsageError("--raise-to: not over socket://, whose adapter keeps its rate; rfc2217:// sets it")
    if named == ["--fastboot"] and wish["disk"] and name is None:
        raise click.UsageError("--disk needs --board: it is found by the U-Boot of that board")
    wrong = [f"--{key.replace('_', '-')}" for key, way in OF_A_WAY.items() if wish[key] and way != named[0]]
    if baud is not None and named[0] != "--serial":
        wrong.append("--baud")
    if named[0] == "--ums":
        wrong += [f"--{key.replace('_', '-')}" for key in ("disk", "dry_run") if wish[key]]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)}: not with {named[0]}")


@board.command()
@click.argument("image", metavar="[IMAGE]", required=False,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--board", "name", metavar="NAME", required=True, shell_complete=complete_board,
              help="Which board it is: imagekit board list.")
@click.option("--loader", metavar="FILE", type=click.Path(path_type=Path, exists=True),
              help="What is loaded into it; board show says what that is.")
@click.option("--tool", type=click.Choice(RECOVERY_TOOLS), help="By this program.  [default: the first installed]")
@click.option("--port", metavar="PORT", help="The board at this USB port: 1-1.4. Then no question is asked.")
@click.option("--partition", metavar="NAME", help="With IMAGE, by fastboot: the partition that is the whole disk.")
@WAIT
@click.option("--dry-run", is_flag=True, help="Find the board, tell what would be run; no more.")
@click.option("--confirm", metavar="WORD", help="With IMAGE: the word of a plan that was shown.")
@click.option("--foreign", is_flag=True, help="IMAGE is none of imagekit: nothing in it can be checked.")
@trust_option
@json_option
def recover(image: Path | None, name: str, loader: Path | None, tool: str | None, port: str | None,
            confirm: str | None, foreign: bool, trust: tuple[Path, ...], as_json: bool, **wish: Any) -> None:
    """Bring a board back that starts nothing of its own: load a boot loader into it over USB, from its boot ROM.

    The program that does it (rpiboot, uuu, snagrecover, sunxi-fel, dfu-util) must be installed; which one a board takes
    is its recipe's. With IMAGE, what comes up at the same USB port, fastboot or a disk, is then flashed as by `board
    flash`.
    """
    lost = [option for option, value in (("--confirm", confirm), ("--foreign", foreign),
                                         ("--partition", wish["partition"])) if value and image is None]
    if lost:
        raise click.UsageError(f"{', '.join(lost)}: only with IMAGE")
    from imagekit.cli.board_recover import Around, RecoverRequest, allowed_for
    from imagekit.cli.board_recover import recover as recover_board
    from imagekit.cli.flash_run import Request

    request = None if image is None else Request(
        image=image, targets=(), allowed=allowed_for(port), trust=trust, foreign=foreign, confirm=confirm,
        as_json=as_json)
    recover_board(RecoverRequest(board=name, loader=loader, tool=tool, port=port, as_json=as_json, flash=request,
                                 **wish), Around())
