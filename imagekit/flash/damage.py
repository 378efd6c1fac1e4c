"""Look closer at what could not be verified: read medium and image once more, side by side.

Decides nothing: which blocks are wrong, and what is on the medium instead, in the words of `plan.flash_damage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imagekit.disk.gpt_move import Pieces
from imagekit.flash.buffers import Buffer
from imagekit.flash.medium import Medium
from imagekit.flash.source import Source
from imagekit.plan.flash import Extent, FlashPlan, cut, joined, patched
from imagekit.plan.flash_damage import Damage, Pattern, differing, first_difference, pattern_of
from imagekit.units import BLOCK, MIB


def find_damage(medium: Medium, wrong: Sequence[Extent], plan: FlashPlan, patches: Pieces,
                reopen: Callable[[], Source]) -> Damage:
    """The damage in these extents of the medium.

    Raises:
        TargetError: the medium cannot be read.
    """
    source, buffer = reopen(), Buffer(MIB)
    first, blocks, found, pattern = -1, 0, b"", Pattern.CHANGED
    try:
        for start, end in joined(wrong):
            for low, high in cut(start, end, MIB):
                expected = memoryview(_expected(source, low, high, plan, patches))
                view = buffer.take(high - low)
                medium.read(low, view)
                for at in differing(expected, view):
                    blocks += 1
                    if first < 0:
                        wanted, found = bytes(expected[at:at + BLOCK]), bytes(view[at:at + BLOCK])
                        first, pattern = low + at + first_difference(wanted, found), pattern_of(wanted, found)
    finally:
        source.close()
    if first < 0:  # the second reading was right: the reader or the cable, not the cells
        return Damage(first=joined(wrong)[0][0], blocks=0, pattern=Pattern.CHANGED)
    distance = None
    if pattern is Pattern.STALE and (place := _belongs(found, plan, reopen)) is not None:
        pattern, distance = Pattern.WRAPPED, abs(place - first // BLOCK * BLOCK)
    return Damage(first=first, blocks=blocks, pattern=pattern, distance=distance)


def _expected(source: Source, start: int, end: int, plan: FlashPlan, patches: Pieces) -> bytearray:
    """What should be on the medium: the image with its patches; behind the image only patches."""
    content = bytearray(end - start)
    if start < plan.image.size:
        source.read_into(start, memoryview(content))
    patched(content, start, patches)
    return content


def _belongs(block: bytes, plan: FlashPlan, reopen: Callable[[], Source]) -> int | None:
    """Where in the image a block lies that was read elsewhere."""
    source = reopen()
    try:
        for piece in plan.pieces:
            content = bytearray(piece.end - piece.start)
            source.read_into(piece.start, memoryview(content))
            at = content.find(block)
            while at >= 0 and (piece.start + at) % BLOCK:
                at = content.find(block, at + 1)
            if at >= 0:
                return piece.start + at
    finally:
        source.close()
    return None
