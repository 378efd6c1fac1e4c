"""Plan how an image comes onto a board's disk over a narrow line: what differs, in which pieces and order, how long.

Nothing here touches a board. What matters on the disk is the same as on a card (`plan.flash`): the image's ranges, the
table moved to the disk's end, and zeros where older signatures could show through. Of that only what differs is sent.

A disk that holds something else gets a mark in the place of its first block before anything is written, and loses the
last sector, with which an older table could come back; both come last. So an interrupted disk is known again, and does
not boot half of this and half of that. The first block does not tell whether it is something else: two releases of a
model have the same. That little differs does: of a newer kernel or base at least the hash tree is another everywhere,
since its salt is, and that is a 128th of what it covers. A disk of which little differs holds this image with some
damage. Each piece makes it better, and a mark could only make it worse: it is repaired without.

Offsets are bytes, extents half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from imagekit.plan.flash import Extent, ImageFacts, TargetPlan, cut, joined, without
from imagekit.units import BLOCK, KIB, MIB, SECTOR, align_up

CHUNK = 4 * MIB  # what is read on the board at once
GRAIN = 8 * KIB  # the smallest run that is looked at by itself
FAN = 8  # parts that a run which differs is looked at in
PACKED = 512 * KIB  # a piece is halved while it packs to more: what is lost when the line breaks
SMALLEST = 64 * KIB  # and while it is larger than this
REPAIR = 256 * KIB  # most that differs of a disk that is only damaged: the hash tree of 32 MiB
SHARE = 8  # and of an image that is small itself, this part of it
DISK = 2 * MIB  # bytes a second that a board's disk is thought to write and read
COMMANDS = 6  # for each piece


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPiece:
    """A run of the disk that is sent at once; `packed` bytes of gzip."""

    start: int
    end: int
    packed: int


def wanted_extents(image: ImageFacts, target: TargetPlan) -> tuple[Extent, ...]:
    """Everything that must be as planned on the disk, in whole sectors, ascending."""
    runs = [(item.start, item.end) for item in image.ranges]
    runs += [(offset, offset + len(content)) for offset, content in target.patches]
    aligned = [(start - start % SECTOR, align_up(end, SECTOR)) for start, end in [*runs, *target.wipes]]
    return tuple(joined(aligned))


def chunks(extents: Iterable[Extent], room: int) -> tuple[Extent, ...]:
    """Extents in runs that a board can hold in `room` bytes of memory."""
    most = min(CHUNK, room - room % GRAIN)
    return tuple(run for start, end in extents for run in cut(start, end, most))


def parts_of(start: int, end: int) -> tuple[Extent, ...]:
    """A run in at most `FAN` parts of whole grains, but for the last; one that is not larger than a grain is whole."""
    return tuple(cut(start, end, align_up(-(-(end - start) // FAN), GRAIN)))


def differing(start: int, end: int, wrong_of: Callable[[Sequence[Extent]], Sequence[Extent]]) -> list[Extent]:
    """Where a run that differs does so, found by asking which of ever smaller parts are wrong.

    A run of which every part differs is taken whole: asking on would cost more than it saves.
    """
    parts = parts_of(start, end)
    if len(parts) == 1:
        return [(start, end)]
    wrong = wrong_of(parts)
    if len(wrong) == len(parts):
        return [(start, end)]
    return joined(extent for part in wrong for extent in differing(*part, wrong_of))


def needs_mark(different: Sequence[Extent], wanted: Sequence[Extent]) -> bool:
    """Whether the disk must be kept from booting until all is written."""
    if not any(end > BLOCK for _, end in different):
        return False
    return different[0][0] < BLOCK or _amount(different) > min(REPAIR, _amount(wanted) // SHARE)


def _amount(extents: Iterable[Extent]) -> int:
    return sum(end - start for start, end in extents)


def ordered(different: Sequence[Extent], wanted: Sequence[Extent], size: int, *, marking: bool) -> tuple[Extent, ...]:
    """What is written, in that order: the first block last of all, where it is written.

    Of a disk that is marked first, both places of the mark are written too, where something is wanted of them.
    """
    runs = list(different)
    if marking:
        runs += [(max(start, low), min(end, high)) for start, end in wanted for low, high in (
            (0, BLOCK), (size - SECTOR, size)) if start < high and low < end]
    runs = joined(runs)
    return (*without(runs, [(0, BLOCK)]), *((start, min(end, BLOCK)) for start, end in runs if start < BLOCK))


def pieces_of(extents: Iterable[Extent], room: int, packed: Callable[[int, int], int]) -> tuple[SentPiece, ...]:
    """Extents in pieces that are sent at once; `packed` tells what a run is packed to."""
    made: list[SentPiece] = []
    for run in chunks(extents, room):
        stack = [run]
        while stack:
            start, end = stack.pop()
            size = packed(start, end)
            if size > PACKED and end - start > SMALLEST:
                middle = start + align_up((end - start) // 2, SECTOR)
                stack += [(middle, end), (start, middle)]
            else:
                made.append(SentPiece(start=start, end=end, packed=size))
    return tuple(made)


def duration(pieces: Iterable[SentPiece], *, takes_s: Callable[[int], float], command_s: float) -> float:
    """How long it takes to send and write them, in seconds: what the road needs, and a guess of the rest.

    `takes_s` says how long so many bytes are on their way, `command_s` is what a command that does nothing takes.
    """
    return sum(takes_s(item.packed) + COMMANDS * command_s
               + 2 * (item.end - item.start) / DISK for item in pieces)


def in_words(amount: float) -> str:
    """Seconds for people: `40 s`, `12 min`, `3 h 20 min`."""
    if amount < 90:
        return f"{amount:.0f} s"
    minutes = round(amount / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
