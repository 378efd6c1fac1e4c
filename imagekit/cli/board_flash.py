"""`imagekit board flash`: an image onto a board's disk, through its U-Boot.

Decides the order in which a person is asked and told; what is sent is the plan's, how is `imagekit.flash.board`'s.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from imagekit.cli.board_record import confirm_board, recorded
from imagekit.cli.board_serial import Wiring, catch, connected, raised
from imagekit.cli.flash_run import Looked, Request, looked_into, refuse, told
from imagekit.cli.flash_show import JsonLines
from imagekit.cli.output import say, talk_of, write
from imagekit.cli.progress import progress
from imagekit.flash.board import (
    BoardJournal,
    begin,
    check_commands,
    check_sectors,
    compare,
    find_journal,
    left_of,
    new_journal,
    pack,
    send_all,
)
from imagekit.flash.look import make_plan
from imagekit.flash.roads import NetworkRoad, Road, SerialRoad
from imagekit.flash.tftp import TftpServer
from imagekit.flash.uboot import UBoot
from imagekit.flash.wanted import Wanted
from imagekit.host.clock import SystemClock
from imagekit.host.folders import log_folder
from imagekit.host.ports import Progress
from imagekit.plan.board_flash import SentPiece, duration, in_words, needs_mark, ordered, pieces_of, wanted_extents
from imagekit.plan.flash import Extent, FlashPlan, as_json
from imagekit.plan.flash_device import Allowed, Device, Identity, Kind
from imagekit.units import iec


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRequest:
    """What the command line asks for, beside image and wiring."""

    disk: str | None = None
    raise_to: int | None = None
    tftp: str | None = None  # the address of this machine that the board can reach
    board_address: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was found on the board's disk, and what will be sent."""

    extents: tuple[Extent, ...]
    good: tuple[Extent, ...]
    pieces: tuple[SentPiece, ...]
    marked: bool  # the disk does not boot until the end
    seconds: float

    @property
    def amount(self) -> int:
        return sum(end - start for start, end in self.extents)

    @property
    def packed(self) -> int:
        return sum(item.packed for item in self.pieces)


class Teller:
    """`Watcher` for people and for programs."""

    def __init__(self, shown: Progress, lines: JsonLines | None) -> None:
        self._shown, self._lines = shown, lines

    def compared(self, amount: int) -> None:
        self._shown.advance(amount)

    def sent(self, amount: int) -> None:
        self._shown.advance(amount)

    def wrote(self, piece: SentPiece) -> None:
        if self._lines:
            self._lines.event({"event": "wrote", "start": piece.start, "end": piece.end, "packed": piece.packed})


def flash(request: Request, wiring: Wiring, wish: BoardRequest) -> None:
    """`imagekit board flash`."""
    lines = JsonLines(talk_of())
    with (told(request, lines), _server(wish.tftp) as server, connected(wiring, disk=wish.disk) as uboot,
          looked_into(request) as image):
        catch(uboot, wiring, away=wish.raise_to)
        with raised(uboot, wish.raise_to):
            road: Road = NetworkRoad(uboot, server) if server else SerialRoad(uboot)
            check_commands(uboot, road)
            if isinstance(road, NetworkRoad):
                road.join(wish.board_address)
            _flash(request, wiring, wish, uboot, road, image, lines)


def _flash(request: Request, wiring: Wiring, wish: BoardRequest, uboot: UBoot, road: Road, image: Looked,
           lines: JsonLines) -> None:
    """Look, tell, ask, and write."""
    plan = _planned(image, uboot, wiring)
    refuse(plan)
    check_sectors(uboot)
    with progress() as shown:
        shown.step("read the image", total=image.facts.amount)
        wanted = Wanted(image.facts, image.source, plan.targets[0].patches, seen=shown.advance)
        folder = log_folder().parent / "flash" / "journals"
        size = plan.targets[0].device.identity.size
        journal = find_journal(folder, image.facts.digest, uboot)
        extents = wanted_extents(image.facts, plan.targets[0])
        found = _difference(uboot, road, wanted, extents, journal, size, shown)
    _show(request, plan, found, image.about, journal, lines)
    if wish.dry_run:
        return
    if found.pieces:
        confirm_board(plan, request)
        if found.marked and journal is None:
            journal = new_journal(folder, image.facts.digest)
            journal.good = list(found.good)
    _write(request, uboot, road, wanted, plan, found, journal, lines)


def _server(address: str | None) -> contextlib.AbstractContextManager[TftpServer | None]:
    """What the board fetches from, if it shall. Raises: HostError: it cannot serve there."""
    return contextlib.nullcontext() if address is None else TftpServer(address)


def _planned(image: Looked, uboot: UBoot, wiring: Wiring) -> FlashPlan:
    about = uboot.find_disk()
    name = f"{wiring.serial}:{uboot.board.disk}"
    device = Device(path=name, kind=Kind.DISK, removable=True, bus="serial", model=f"board {wiring.board}",
                    content=about, sector=uboot.sector,
                    identity=Identity(size=uboot.disk_size(image.facts.size), backing=about))
    return make_plan(image.facts, image.source, [device], Allowed())


def _difference(uboot: UBoot, road: Road, wanted: Wanted, extents: tuple[Extent, ...],
                journal: BoardJournal | None, size: int, shown: Progress) -> Difference:
    """Look at the disk, on the board."""
    good: list[Extent] = []
    todo = left_of(extents, journal, size)
    shown.step("compare on the board", total=sum(end - start for start, end in todo))
    different = compare(uboot, wanted, todo, Teller(shown, None), good.append)
    shown.step("pack what differs", total=sum(end - start for start, end in different))
    marking = journal is None and needs_mark(different, extents)
    runs = ordered(different, extents, size, marking=marking)

    def packed(start: int, end: int) -> int:
        return len(pack(wanted.read(start, end)))

    pieces = pieces_of(runs, uboot.board.room, packed)
    shown.advance(sum(end - start for start, end in different))
    return Difference(extents=different, good=tuple(good), pieces=pieces,
                      marked=marking or journal is not None,
                      seconds=duration(pieces, takes_s=road.takes_s, command_s=_turn(uboot)))


def _turn(uboot: UBoot) -> float:
    """How long a command takes that does nothing, in seconds."""
    clock = SystemClock()
    began = clock.monotonic_s()
    uboot.console.run("true")
    return clock.monotonic_s() - began


def _show(request: Request, plan: FlashPlan, found: Difference, about: str, journal: BoardJournal | None,
          lines: JsonLines) -> None:
    device = plan.targets[0].device
    if request.as_json:
        lines.line({"event": "plan", **as_json(plan), "about": about, "different": found.amount, "packed": found.packed,
                    "pieces": len(found.pieces), "seconds": round(found.seconds), "resumed": journal is not None,
                    "bootable_meanwhile": not found.marked})
        return
    write(f"image:  {plan.image.path}: {iec(plan.image.size)}, {iec(plan.image.amount)} of it used; {about}")
    write(f"disk:   {device.path}: {iec(device.identity.size)}; {device.content}")
    if journal is not None:
        write("        it was begun before: what was good then is not looked at again")
    write(f"sent:   {iec(found.amount)} differ, {iec(found.packed)} packed, in {len(found.pieces)} pieces")
    if found.pieces:
        write(f"time:   about {in_words(found.seconds)}")
        if found.marked:
            write("        until its end the board does not start from this disk: do not switch it off")
        else:
            write("        the disk is only repaired: meanwhile the board starts as well as it does now")
        write(f"\nwhat differs on it is overwritten; this plan is {plan.token}")


def _write(request: Request, uboot: UBoot, road: Road, wanted: Wanted, plan: FlashPlan, found: Difference,
           journal: BoardJournal | None, lines: JsonLines) -> None:
    """Send, and keep a record."""
    device = plan.targets[0].device
    unfinished = (", and does not boot" if found.marked else "") + ": the same line goes on where it was"
    more = {"different": found.amount, "packed": found.packed}
    with recorded(plan, more=more, unfinished=unfinished) as record, progress() as shown:
        if found.marked and journal is not None and not journal.path.exists():
            shown.step("mark the disk as not complete")
            begin(uboot, road, journal, device.identity.size)
        if found.pieces:
            shown.step("send and write", total=found.packed)
        send_all(uboot, road, wanted, found.pieces, Teller(shown, lines if request.as_json else None),
                 journal=journal)
    if request.as_json:
        lines.line({"event": "result", "ok": True, "records": [str(record.path)]})
    elif found.pieces:
        say(f"{device.path}: written, read back by the board, right ({iec(found.packed)} in"
            f" {in_words(record.seconds)})")
    else:
        say(f"{device.path}: it is as it should be; nothing was sent")
