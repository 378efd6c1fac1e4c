"""`imagekit board flash --fastboot`: an image onto a board's disk, by fastboot.

Decides the order in which a person is asked and told; what is sent is the plan's, how is `imagekit.flash.fastboot`'s.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from imagekit.boot.fastboot import TcpAddress, UsbAddress, check_partition, parse_address, parse_size
from imagekit.cli.board_record import confirm_board, recorded
from imagekit.cli.board_serial import checked_disk, find_profile
from imagekit.cli.flash_run import Looked, Request, looked_into, refuse, told
from imagekit.cli.flash_show import JsonLines
from imagekit.cli.output import detail, say, talk_of, warn, write
from imagekit.cli.progress import progress
from imagekit.errors import HostError, TargetError, UsageError
from imagekit.flash.board import BoardJournal, find_journal, left_of, new_journal
from imagekit.flash.fastboot import Fastboot, Shell, find_shell
from imagekit.flash.fastboot_write import Place, begin, send_parts
from imagekit.flash.look import make_plan
from imagekit.flash.wanted import Wanted
from imagekit.host.fastboot_tcp import connect
from imagekit.host.fastboot_usb import find_fastboot, open_usb
from imagekit.host.folders import log_folder
from imagekit.host.ports import PacketLink, Progress
from imagekit.host.usbdevices import LastingError, usb_devices
from imagekit.plan.board_flash import in_words, wanted_extents
from imagekit.plan.fastboot import PART, FilePart, parts_of, whole_blocks
from imagekit.plan.flash import FlashPlan, as_json
from imagekit.plan.flash_device import Allowed, Device, Identity, Kind
from imagekit.units import SECTOR, align_up, iec

LOG = logging.getLogger("imagekit.fastboot")
RAW = "imagekit"  # what a partition that is made for this is called
READS, BLIND = "it can be read back", "it cannot be read back"  # of the plan's word too: no other one is carried out
LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FastbootRequest:
    """What the command line asks for, beside the image."""

    place: str
    board: str | None = None
    disk: str | None = None
    partition: str | None = None
    wait_s: float = 0.0
    reboot: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The boot loader, and what it says of itself. `blind` is why nothing can be read back; empty where it can."""

    fastboot: Fastboot
    shell: Shell | None
    blind: str
    product: str
    serial: str
    most: int


class Teller:
    """`Watcher` for people and for programs."""

    def __init__(self, shown: Progress, lines: JsonLines | None) -> None:
        self._shown, self._lines, self._gone = shown, lines, 0

    def sent(self, amount: int) -> None:
        self._gone += amount
        self._shown.advance(amount)

    def wrote(self, part: FilePart) -> None:
        self._shown.advance(part.amount - self._gone)  # what repeats was told once
        self._gone = 0
        if self._lines:
            self._lines.event({"event": "wrote", "start": part.start, "end": part.end, "bytes": part.amount})


def open_place(address: TcpAddress | UsbAddress) -> PacketLink:
    """The line to a boot loader. Raises: as `connect`, `find_fastboot` and `open_usb`."""
    if isinstance(address, TcpAddress):
        return connect(address)
    return open_usb(find_fastboot(address, usb_devices()))


Opener = Callable[[TcpAddress | UsbAddress], PacketLink]


def flash_by_fastboot(request: Request, wish: FastbootRequest, *, opener: Opener = open_place) -> None:
    """`imagekit board flash --fastboot`."""
    lines = JsonLines(talk_of())
    with told(request, lines), waited_for(wish, opener) as link, looked_into(request) as image:
        found = _found(link, wish)
        size = _size(found, image, wish)
        plan = _planned(found, image, size, wish, request.allowed)
        refuse(plan)
        place = Place(fastboot=found.fastboot, size=plan.targets[0].device.identity.size,
                      partition=wish.partition or RAW, shell=None if found.blind else found.shell)
        folder = log_folder().parent / "flash" / "journals"
        journal = find_journal(folder, image.facts.digest, place.shell) if place.shell else None
        extents = whole_blocks(left_of(wanted_extents(image.facts, plan.targets[0]), journal, place.size), place.size)
        parts = parts_of(extents, size=place.size, most=found.most)
        _show(request, plan, found, parts, image.about, journal, lines)
        if wish.dry_run:
            return
        confirm_board(plan, request)
        with progress() as shown:
            shown.step("read the image", total=image.facts.amount)
            wanted = Wanted(image.facts, image.source, plan.targets[0].patches, seen=shown.advance)
        _write(request, place, wanted, plan, parts, journal, lines)
        if wish.reboot:
            found.fastboot.command("reboot")
            say(f"{link.name}: starts again")


def check_disk(board: str | None, partition: str | None) -> None:
    """Something says which disk is meant. Raises: UsageError: nothing does, or it is no name."""
    if partition is not None:
        check_partition(partition)
    elif board is None:
        raise UsageError("cannot tell which disk is meant: neither --board nor --partition says it",
                         hint="--board NAME: its disk, through its U-Boot; --partition NAME: what is the whole disk")
    elif find_profile(board) is None:
        raise UsageError(f"cannot tell which disk of board {board!r} is meant: its recipe.yaml does not say how its"
                         " U-Boot is reached", hint="--partition NAME: what is the whole disk")


@contextlib.contextmanager
def waited_for(wish: FastbootRequest, opener: Opener) -> Iterator[PacketLink]:
    """The line to the boot loader, as soon as it is there.

    Raises:
        HostError: it is not, in time, or may not be used.
    """
    address = parse_address(wish.place)
    check_disk(wish.board, wish.partition)
    deadline, waits = time.monotonic() + wish.wait_s, False
    while True:
        try:
            link = opener(address)
            break
        except HostError as error:
            if isinstance(error, LastingError) or time.monotonic() >= deadline:
                raise
            if not waits:
                say(f"{address}: waiting for fastboot ({error.message})")
                waits = True
            time.sleep(LOOK_S)
    with contextlib.closing(link):
        yield link


def _found(link: PacketLink, wish: FastbootRequest) -> Found:
    """Ask the boot loader who it is, and what it can."""
    def heard(text: str) -> None:
        LOG.debug("%s: %s", link.name, text)
        detail(f"{link.name}: {text}")

    fastboot = Fastboot(link, told=heard)
    most = fastboot.number("max-download-size")
    if most is None:
        warn(f"{link.name} does not say how much it takes at once: sends at most {iec(PART)}")
    shell, blind = _shell(fastboot, wish)
    return Found(fastboot=fastboot, shell=shell, blind=blind, product=fastboot.getvar("product") or "",
                 serial=fastboot.getvar("serialno") or "", most=PART if most is None else most)


def _shell(fastboot: Fastboot, wish: FastbootRequest) -> tuple[Shell | None, str]:
    """Its U-Boot, where there is one, and why it can read nothing back."""
    profile = find_profile(wish.board) if wish.board is not None else None
    if profile is None:
        return None, (f"the recipe of board {wish.board} does not say which memory is free" if wish.board is not None
                      else "no --board says which memory is free")
    shell = find_shell(fastboot, replace(profile, disk=checked_disk(wish.disk) or profile.disk))
    if shell is None:
        return None, "it runs no commands (`oem run`)"
    if not shell.find_disk():
        raise TargetError(f"cannot find disk {shell.board.disk} on the board: U-Boot sees none",
                          hint="is the card in? another disk is named with --disk")
    return shell, "" if shell.compares else "its U-Boot cannot compare a crc32"


def _size(found: Found, image: Looked, wish: FastbootRequest) -> int | None:
    """The size of the disk; None where nobody tells it."""
    least = align_up(image.facts.size, SECTOR)
    if wish.partition is not None:
        told_size = parse_size(found.fastboot.getvar(f"partition-size:{wish.partition}") or "")
        if told_size and told_size % SECTOR:
            raise TargetError(f"cannot write partition {wish.partition} of {found.fastboot.link.name}: it says that it"
                              f" has {told_size} bytes, which are no whole sectors of {SECTOR}")
        if told_size:
            return told_size
    return found.shell.disk_size(least) if found.shell else None


def _planned(found: Found, image: Looked, size: int | None, wish: FastbootRequest, allowed: Allowed) -> FlashPlan:
    """The plan for the disk; where it is reached through U-Boot, a partition is made of all of it."""
    if wish.partition is None and found.shell is None:
        raise TargetError(f"cannot write the disk of {found.fastboot.link.name}: {found.blind}, so no partition can be"
                          " made of it", hint="--partition NAME: one that is the whole disk")
    disk = wish.partition or (found.shell.board.disk if found.shell else "")
    about = f"product {found.product}" if found.product else "it does not say what it is"
    address = parse_address(wish.place)
    port = address.port if isinstance(address, UsbAddress) else ""
    device = Device(path=f"{found.fastboot.link.name}:{disk}", kind=Kind.DISK, removable=True, bus="fastboot",
                    port=port, content=about, sector=SECTOR,
                    model=f"board {wish.board}" if wish.board else found.product,
                    identity=Identity(size=align_up(image.facts.size, SECTOR) if size is None else size,
                                      serial=found.serial, backing=f"{about}; {READS if not found.blind else BLIND}"))
    if size is None:
        warn(f"{device.path} does not tell its size: the image's partition table is written as it is")
    if wish.partition is None and found.shell and not found.shell.run(
            f"setenv fastboot_raw_partition_{RAW} 0 {device.identity.size // SECTOR:#x}"):
        raise TargetError(f"cannot write disk {disk} of {found.fastboot.link.name}: its U-Boot lets no partition be"
                          " made of it", hint="--partition NAME: one that is the whole disk")
    return make_plan(image.facts, image.source, [device], allowed)


def _show(request: Request, plan: FlashPlan, found: Found, parts: tuple[FilePart, ...], about: str,
          journal: BoardJournal | None, lines: JsonLines) -> None:
    device, amount = plan.targets[0].device, sum(part.amount for part in parts)
    if request.as_json:
        lines.line({"event": "plan", **as_json(plan), "about": about, "bytes": amount, "files": len(parts),
                    "max_download_size": found.most, "reads_back": not found.blind, "blind": found.blind or None,
                    "resumed": journal is not None, "bootable_meanwhile": False})
        return
    write(f"image:  {plan.image.path}: {iec(plan.image.size)}, {iec(plan.image.amount)} of it used; {about}")
    serial = f", serial {device.identity.serial}" if device.identity.serial else ""
    write(f"disk:   {device.path}: {iec(device.identity.size)}; {device.content}{serial}")
    if journal is not None:
        write("        it was begun before: what was good then is not sent again")
    write(f"sent:   {iec(amount)}, in {len(parts)} files; the board takes {iec(found.most)} at once")
    write("check:  " + (f"nothing can be read back: {found.blind}" if found.blind
                        else "the board reads each file back from its disk, by CRC-32"))
    write("        until its end the board does not start from this disk: do not switch it off")
    write(f"\nall that is on it will be erased; this plan is {plan.token}")


def _write(request: Request, place: Place, wanted: Wanted, plan: FlashPlan, parts: tuple[FilePart, ...],
           journal: BoardJournal | None, lines: JsonLines) -> None:
    """Send, and keep a record."""
    device, amount = plan.targets[0].device, sum(part.amount for part in parts)
    reads_back = place.shell is not None
    unfinished = ", and does not boot: the same line " + ("goes on where it was" if reads_back else "begins again")
    more = {"bytes": amount, "reads_back": reads_back}
    with recorded(plan, more=more, unfinished=unfinished) as record, progress() as shown:
        if journal is None:
            shown.step("mark the disk as not complete")
            journal = new_journal(log_folder().parent / "flash" / "journals", plan.image.digest)
            begin(place, journal)
        shown.step("send and write", total=amount)
        send_parts(place, wanted, parts, Teller(shown, lines if request.as_json else None), journal=journal)
    if request.as_json:
        lines.line({"event": "result", "ok": True, "reads_back": reads_back, "records": [str(record.path)]})
        return
    how = ("written, read back by the board, right" if reads_back
           else "the board says that it is written; nothing was read back")
    say(f"{device.path}: {how} ({iec(amount)} in {in_words(record.seconds)})")
