"""Look closer at what could not be verified: read medium and image once more, side by side.

Decides how much is read: up to the first wrong block and `BEHIND` more, seconds even of a slow card; and the image
once, for where other data belong. What it is then called, `plan.flash_damage` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from imagekit.disk.gpt_move import Pieces
from imagekit.flash.buffers import Buffer
from imagekit.flash.medium import Medium
from imagekit.flash.source import Source
from imagekit.plan.flash import Extent, FlashPlan, cut, joined, patched, without
from imagekit.plan.flash_damage import (
    SEVERAL,
    Damage,
    Pattern,
    differing,
    first_difference,
    one_byte,
    pattern_of,
    wrap_distance,
)
from imagekit.units import BLOCK, MIB

BEHIND = 256 * MIB
SAMPLES = 64  # blocks that are looked for in the image
TWINS = 16  # places of one block that are noted: it may be there often
TRIED = 32  # places at which a distance is put to the test

Told = Callable[[int], None]  # so many more bytes were read; it may raise, and then that is the end


def work(wrong: Sequence[Extent], plan: FlashPlan) -> int:
    """The bytes that `find_damage` reads at most."""
    return sum(end - start for start, end in joined(wrong)) + plan.image.amount


def find_damage(medium: Medium, wrong: Sequence[Extent], plan: FlashPlan, patches: Pieces,
                reopen: Callable[[], Source], told: Told, *, behind: int = BEHIND) -> Damage:
    """The damage in these extents of the medium; `behind` the first wrong block, so much more is read.

    Raises:
        TargetError: the medium cannot be read.
    """
    extents = joined(wrong)
    wanted = _Wanted(plan=plan, source=reopen(), patches=patches)
    try:
        damage, samples = _compare(medium, extents, wanted, told, behind)
        if len(samples) < SEVERAL:
            return damage
        distance = wrap_distance(_places(samples, wanted, told))
        if distance is None or _both_right(distance, extents, wanted):
            return damage
        return replace(damage, pattern=Pattern.WRAPPED, distance=distance)
    finally:
        wanted.source.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What should be on the medium: the image with its patches; behind the image only patches."""

    plan: FlashPlan
    source: Source
    patches: Pieces

    def read(self, start: int, end: int) -> bytearray:
        content = bytearray(end - start)
        if start < self.plan.image.size:
            self.source.read_into(start, memoryview(content))
        patched(content, start, self.patches)
        return content


@dataclass(slots=True, kw_only=True)
class _Samples:
    """Some of the blocks that hold other data, by where they lie, evenly spread however many there are."""

    kept: list[tuple[int, bytes]] = field(default_factory=list)
    seen: int = 0
    step: int = 1

    def add(self, at: int, wanted: bytes, found: bytes) -> None:
        if one_byte(found):
            return
        if self.seen % self.step == 0 and pattern_of(wanted, found) is Pattern.STALE:
            self.kept.append((at, found))
            if len(self.kept) > SAMPLES:
                self.kept, self.step = self.kept[::2], self.step * 2
        self.seen += 1


def _compare(medium: Medium, extents: Sequence[Extent], wanted: _Wanted, told: Told,
             behind: int) -> tuple[Damage, dict[int, bytes]]:
    """The damage as far as the medium alone tells it, and samples of what lies there instead."""
    buffer, samples = Buffer(MIB), _Samples()
    first, blocks, pattern, least = -1, 0, Pattern.CHANGED, False
    runs = [run for extent in extents for run in cut(*extent, MIB)]
    for index, (low, high) in enumerate(runs):
        if behind <= 0:
            least = True
            told(sum(end - start for start, end in runs[index:]))
            break
        expected, view = memoryview(wanted.read(low, high)), buffer.take(high - low)
        medium.read(low, view)
        for at in differing(expected, view):
            blocks += 1
            block, found = bytes(expected[at:at + BLOCK]), bytes(view[at:at + BLOCK])
            if first < 0:
                first, pattern = low + at + first_difference(block, found), pattern_of(block, found)
            samples.add(low + at, block, found)
        behind -= high - low if first >= 0 else 0
        told(high - low)
    if first < 0:  # the second reading was right: the reader or the cable, not the cells
        return Damage(first=extents[0][0], blocks=0, pattern=Pattern.CHANGED), {}
    return Damage(first=first, blocks=blocks, pattern=pattern, least=least), dict(samples.kept)


def _places(samples: Mapping[int, bytes], wanted: _Wanted, told: Told) -> dict[int, list[int]]:
    """Where in the image the samples belong, each by where it lies."""
    found: dict[bytes, list[int]] = {block: [] for block in samples.values()}
    for start, end in (run for item in wanted.plan.image.ranges for run in cut(item.start, item.end)):
        content = wanted.read(start, end)
        for at in range(0, len(content), BLOCK):
            places = found.get(bytes(content[at:at + BLOCK]))
            if places is not None and len(places) < TWINS:
                places.append(start + at)
        told(len(content))
    return {at: found[block] for at, block in samples.items()}


def _both_right(distance: int, wrong: Sequence[Extent], wanted: _Wanted) -> bool:
    """Whether two places at this distance were both read as they should be, and differ: they are no same cells."""
    good = without([(item.start, item.end) for item in wanted.plan.image.ranges], wrong)
    there = [(start - distance, end - distance) for start, end in good]
    both = without(good, without(good, there))
    for start, end in both[::len(both) // TRIED + 1]:
        low = start + -start % BLOCK
        if low + BLOCK <= end and wanted.read(low, low + BLOCK) != wanted.read(low + distance, low + distance + BLOCK):
            return True
    return False
