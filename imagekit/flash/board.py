"""Put an image onto a board's disk through its U-Boot: see what differs, send that, see that it is there.

Decides when a piece counts as written: when the board has read it back and its CRC-32 is right. Carries out the order
of `plan.board_flash`. A journal tells what was good already; it is believed only while the disk bears its mark, so it
can never be another disk's.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from imagekit.errors import HostError, TargetError
from imagekit.flash.roads import Road
from imagekit.flash.uboot import UBoot
from imagekit.flash.wanted import Wanted
from imagekit.host.files import write_atomic
from imagekit.plan.board_flash import SentPiece, chunks, differing
from imagekit.plan.flash import Extent, joined, without
from imagekit.units import BLOCK, SECTOR

VERSION = 1
LEVEL = 9
WRITES = 3  # times that a piece is written before the disk is given up
ZEROS = bytes(SECTOR)


def pack(content: bytes) -> bytes:
    """What the board unpacks: gzip, the same bytes for the same content."""
    return gzip.compress(content, LEVEL, mtime=0)


def mark_of(image: str, name: str) -> bytes:
    """The first block of a disk that is being written: `image` is the image's digest, `name` this run's."""
    text = f"imagekit: this disk is being written and not complete\nimage {image}\nrun {name}\n"
    return text.encode().ljust(BLOCK, b"\0")


@dataclass(slots=True, kw_only=True)
class BoardJournal:
    """What is known to be good on a disk that bears the mark `name`."""

    folder: Path
    image: str
    name: str
    good: list[Extent] = field(default_factory=list)

    @property
    def path(self) -> Path:
        key = hashlib.sha256(f"{self.image}\n{self.name}".encode()).hexdigest()[:32]
        return self.folder / f"board-{key}.json"

    @property
    def mark(self) -> bytes:
        return mark_of(self.image, self.name)

    def note(self, *extents: Extent) -> None:
        """These are good. Raises: HostError: it cannot be written."""
        self.good = joined([*self.good, *extents])
        document = {"version": VERSION, "image": self.image, "name": self.name, "good": self.good}
        write_atomic(self.path, (json.dumps(document, sort_keys=True) + "\n").encode())

    def forget(self) -> None:
        """The disk is complete."""
        self.path.unlink(missing_ok=True)


def new_journal(folder: Path, image: str) -> BoardJournal:
    return BoardJournal(folder=folder, image=image, name=secrets.token_hex(16))


class Disk(Protocol):
    """A disk that can be asked what is on it."""

    def disk_holds(self, start: int, content: bytes) -> bool:
        """Whether these bytes are on it. Raises: TargetError: it cannot be read there."""


def find_journal(folder: Path, image: str, disk: Disk) -> BoardJournal | None:
    """The journal whose mark the board's disk bears; None: it bears none."""
    known = []
    for path in sorted(folder.glob("board-*.json")):
        try:
            found = json.loads(path.read_bytes())
            if found["version"] == VERSION and found["image"] == image:
                known.append(BoardJournal(folder=folder, image=image, name=str(found["name"]),
                                          good=[(int(start), int(end)) for start, end in found["good"]]))
        except (OSError, ValueError, KeyError, TypeError):  # a note of convenience: what cannot be read tells nothing
            continue
    return next((item for item in known if disk.disk_holds(0, item.mark)), None)


class Watcher(Protocol):
    """Who is told how far it is."""

    def compared(self, amount: int) -> None:
        """So many bytes more were looked at on the board."""

    def sent(self, amount: int) -> None:
        """So many bytes more have gone over the line; fewer than none, when they must go again."""

    def wrote(self, piece: SentPiece) -> None:
        """A piece is on the disk, and was read back."""


def compare(uboot: UBoot, wanted: Wanted, extents: Sequence[Extent], watcher: Watcher,
            good: Callable[[Extent], None] = lambda _: None) -> tuple[Extent, ...]:
    """Where the board's disk is not as wanted. `good` is told each run that is."""
    found: list[Extent] = []
    for start, end in chunks(extents, uboot.board.room):
        content = wanted.read(start, end)
        wrong = [] if uboot.disk_holds(start, content) else differing(start, end, partial(_wrong_of, uboot, content,
                                                                                        start))
        for run in without([(start, end)], wrong):
            good(run)
        found += wrong
        watcher.compared(end - start)
    return tuple(joined(found))


def _wrong_of(uboot: UBoot, content: bytes, at: int, parts: Sequence[Extent]) -> list[Extent]:
    """The parts of what lies in memory that are not as in `content`; both are the disk from `at` on."""
    found = uboot.crcs([(uboot.board.address + start - at, end - start) for start, end in parts])
    return [(start, end) for (start, end), crc in zip(parts, found, strict=True)
            if crc != zlib.crc32(content[start - at:end - at])]


def write_bytes(uboot: UBoot, road: Road, start: int, content: bytes, sent: Callable[[int], None]) -> None:
    """Bring bytes to a place of the board's disk, and see there that they are.

    Raises:
        TargetError: they do not get through, or something else is read back.
    """
    packed = pack(content)
    for _ in range(WRITES):
        road.bring(packed, sent)
        uboot.write_packed(start, len(content), len(packed))
        if uboot.disk_holds(start, content):
            return
        sent(-len(packed))
    raise TargetError(f"cannot write disk {uboot.board.disk}: bytes {start} to {start + len(content)} are something"
                      f" else when they are read back, after {WRITES} writes", hint="do not use this disk any more")


def begin(uboot: UBoot, road: Road, journal: BoardJournal, size: int) -> None:
    """Mark a disk as one that is being written; its last sector goes, since an older table could come back from it."""
    write_bytes(uboot, road, 0, journal.mark, lambda _: None)
    write_bytes(uboot, road, size - SECTOR, ZEROS, lambda _: None)
    journal.note()


def send_all(uboot: UBoot, road: Road, wanted: Wanted, pieces: Sequence[SentPiece], watcher: Watcher, *,
             journal: BoardJournal | None) -> None:
    """Write every piece, in order. Raises: as `write_bytes`; HostError: the journal cannot be written."""
    for piece in pieces:
        write_bytes(uboot, road, piece.start, wanted.read(piece.start, piece.end), watcher.sent)
        if journal is not None and piece.start >= BLOCK:
            journal.note((piece.start, piece.end))
        watcher.wrote(piece)
    if journal is not None:
        journal.forget()


def left_of(extents: Sequence[Extent], journal: BoardJournal | None, size: int) -> tuple[Extent, ...]:
    """What must be looked at: without a journal, everything; with one, what it does not know, and what comes last."""
    if journal is None:
        return tuple(extents)
    known = without(journal.good, [(0, BLOCK), (size - SECTOR, size)])
    return tuple(without(extents, known))


def check_sectors(uboot: UBoot) -> None:
    """Raises: TargetError: its disk counts in other sectors than the pieces are cut by."""
    if uboot.sector != SECTOR:
        raise TargetError(f"cannot write disk {uboot.board.disk}: its sectors have {uboot.sector} bytes, over U-Boot"
                          f" only disks with {SECTOR} are written",
                          hint="write the image to the disk in a reader: imagekit flash write")


def check_commands(uboot: UBoot, road: Road) -> None:
    """Raises: HostError: its U-Boot lacks what is needed."""
    lacking = [name for name in (*road.commands, "gzwrite", "crc32") if not uboot.has(name)]
    if lacking:
        raise HostError(f"cannot flash this board through its U-Boot: it has no {', '.join(lacking)}",
                        hint="write the image to the card in a reader: imagekit flash write")
