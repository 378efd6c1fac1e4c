"""Put an image onto a board's disk by fastboot: files that hold what is wanted, each read back where the board can.

Decides when a file counts as written: when the board has read its runs back and their CRC-32 is right, or, where it can
read nothing back, when it says that it has written them. Carries out the order of `plan.fastboot`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from imagekit.disk.sparse import encode_sparse
from imagekit.errors import TargetError
from imagekit.flash.board import WRITES, BoardJournal
from imagekit.flash.fastboot import Fastboot, Shell
from imagekit.flash.wanted import Wanted
from imagekit.plan.board_flash import chunks
from imagekit.plan.fastboot import FilePart, block_of
from imagekit.plan.flash import Extent
from imagekit.units import BLOCK

ASIDE = BLOCK  # memory behind what is read, for its checksum

Runs = Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it goes: a partition that is the whole disk. Without a `shell` nothing can be read back."""

    fastboot: Fastboot
    partition: str
    size: int
    shell: Shell | None

    @property
    def block(self) -> int:
        return block_of(self.size)

    def write(self, runs: Runs, sent: Callable[[int], None]) -> None:
        """Have runs written, and read back where that can be.

        Raises:
            TargetError: the board refuses, is gone, or reads something else.
        """
        packed, wrong = encode_sparse(self.size, self.block, runs), (0, 0)
        for _ in range(WRITES):
            self.fastboot.download(packed, sent)
            self.fastboot.flash(self.partition, sum(len(content) for _, content in runs))
            found = self._wrong(runs)
            if found is None:
                return
            wrong = found
            sent(-len(packed))
        raise TargetError(
            f"cannot write partition {self.partition} of {self.fastboot.link.name}: bytes {wrong[0]} to {wrong[1]} are"
            f" something else when they are read back, after {WRITES} writes",
            hint=f"is {self.partition} all of disk {self.shell.board.disk}? if it is, do not use this disk any more"
            if self.shell else None)

    def _wrong(self, runs: Runs) -> Extent | None:
        """The first run that is not as it was sent; None where all are, or nothing can be read."""
        if self.shell is None:
            return None
        for start, content in runs:
            for low, high in chunks([(start, start + len(content))], self.shell.board.room - ASIDE):
                if not self.shell.disk_holds(low, content[low - start:high - start]):
                    return low, high
        return None


class Watcher(Protocol):
    """Who is told how far it is."""

    def sent(self, amount: int) -> None:
        """So many bytes more have gone over; fewer than none, when they must go again."""

    def wrote(self, part: FilePart) -> None:
        """A file is on the disk."""


def begin(place: Place, journal: BoardJournal) -> None:
    """Mark a disk as one that is being written; its last block goes, since an older table could come back from it."""
    last = place.size - place.block
    place.write([(0, journal.mark), *([(last, bytes(place.block))] if last >= BLOCK else [])], lambda _: None)
    if place.shell is not None:
        journal.note()


def send_parts(place: Place, wanted: Wanted, parts: Sequence[FilePart], watcher: Watcher, *,
               journal: BoardJournal) -> None:
    """Write every file, in order.

    Raises:
        TargetError: as `Place.write`.
        HostError: the journal cannot be written.
    """
    for part in parts:
        place.write([(start, wanted.read(start, end)) for start, end in part.extents], watcher.sent)
        if place.shell is not None and part.start >= BLOCK:
            journal.note(*part.extents)
        watcher.wrote(part)
    journal.forget()
