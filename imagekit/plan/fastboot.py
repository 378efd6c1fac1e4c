"""Plan how an image goes to a boot loader by fastboot: in which parts, and in which order.

Nothing here touches a board. What must be on the disk is the same as over a serial line (`plan.board_flash`); it goes
in sparse files, none larger than the boot loader takes. The first block comes last, in a file of its own, and until
then a mark stands in its place: an interrupted disk does not boot, and is known again where it can be read.

Offsets are bytes, extents half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imagekit.disk.sparse import CHUNK, OVERHEAD, most_content
from imagekit.errors import PlanError
from imagekit.plan.flash import Extent, cut, joined, without
from imagekit.units import BLOCK, KIB, MIB, SECTOR, align_up, iec

PART = 16 * MIB  # of a file, even where the boot loader takes more: what is sent again when it fails
SMALLEST = 64 * KIB  # that a boot loader must take


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """What goes in one sparse file."""

    extents: tuple[Extent, ...]

    @property
    def start(self) -> int:
        return self.extents[0][0]

    @property
    def end(self) -> int:
        return self.extents[-1][1]

    @property
    def amount(self) -> int:
        return sum(end - start for start, end in self.extents)


def block_of(size: int) -> int:
    """The block size of sparse files for a disk of `size` bytes: what everybody takes, where it divides the disk."""
    return BLOCK if size % BLOCK == 0 else SECTOR


def whole_blocks(extents: Iterable[Extent], size: int) -> tuple[Extent, ...]:
    """Extents in whole blocks of a disk's sparse files; what is added lies in no range, and becomes zeros."""
    block = block_of(size)
    return tuple(joined((start - start % block, min(align_up(end, block), size)) for start, end in extents))


def parts_of(extents: Sequence[Extent], *, size: int, most: int) -> tuple[FilePart, ...]:
    """Extents in whole blocks as files of at most `most` bytes, the first block in a file of its own at the end.

    Raises:
        PlanError: the boot loader takes too little at once.
    """
    if most < SMALLEST:
        raise PlanError(f"cannot send anything: the boot loader takes {iec(most)} at once, {iec(SMALLEST)} are needed",
                        hint="max-download-size is what it says of itself: fastboot_buf_size of its U-Boot")
    block, room = block_of(size), min(most, PART)
    content = most_content(room) // block * block
    made: list[FilePart] = []
    taken: list[Extent] = []
    used = OVERHEAD
    for start, end in (run for extent in without(extents, [(0, BLOCK)]) for run in cut(*extent, content)):
        cost = 2 * CHUNK.size + end - start
        if taken and used + cost > room:
            made.append(FilePart(extents=tuple(taken)))
            taken, used = [], OVERHEAD
        taken.append((start, end))
        used += cost
    if taken:
        made.append(FilePart(extents=tuple(taken)))
    first = [(start, min(end, BLOCK)) for start, end in extents if start < BLOCK]
    return (*made, *([FilePart(extents=tuple(first))] if first else []))
