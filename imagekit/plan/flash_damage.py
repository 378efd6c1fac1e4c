"""Say what kind of wrong a medium is, from the blocks that were read back.

Nearly every failed verification is a bad or fake card, and the pattern of what is read tells which: zeros where
nothing arrived, bytes of another place of the image where a card of less room than it claims began again at its start
(wrapped), a few changed bytes, or something older (stale).

One block that belongs elsewhere is no proof of a fake: erased cells read as 0xff, older images have the same files. A
card that begins again holds at every wrong place what belongs whole turns of its real size away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import gcd

from imagekit.units import BLOCK, iec


class Pattern(StrEnum):
    """What was found instead."""

    ZEROS = "zeros"
    CHANGED = "changed"
    WRAPPED = "wrapped"
    STALE = "stale"


CHANGED_MOST = BLOCK // 8  # bytes of a block: more of them are other data, not damage
SEVERAL = 3  # blocks that belong elsewhere, and how far away agrees
TURNS = 16  # how often a card may begin again


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """`first` is the first wrong byte, `blocks` how many blocks of 4096 are wrong; `least`: no more were counted.

    `distance`: of a wrapped card, how far away in the image the bytes belong that lie there: its real size, or a
    multiple of it.
    """

    first: int
    blocks: int
    pattern: Pattern
    distance: int | None = None
    least: bool = False

    @property
    def text(self) -> str:
        """For people."""
        if not self.blocks:
            return (f"what lies from byte {self.first} ({iec(self.first)}) on was read wrong once and right the second"
                    " time: the reader or the cable")
        words = {Pattern.ZEROS: "zeros are read", Pattern.CHANGED: "single bytes differ",
                 Pattern.STALE: "something else is read, older data perhaps",
                 Pattern.WRAPPED: f"what belongs {iec(self.distance or 0)} away is read: the card has less room than it"
                                  " says, it is a fake"}
        count = f"{'at least ' if self.least else ''}{self.blocks} block{'s' if self.blocks != 1 else ''}"
        return (f"{count} of {BLOCK} bytes wrong, the first at byte {self.first} ({iec(self.first)}):"
                f" {words[self.pattern]}")


def differing(expected: memoryview, found: memoryview) -> Iterable[int]:
    """Offsets of the blocks that differ."""
    for at in range(0, len(expected), BLOCK):
        if bytes(expected[at:at + BLOCK]) != bytes(found[at:at + BLOCK]):
            yield at


def pattern_of(expected: bytes, found: bytes) -> Pattern:
    """What one wrong block looks like; whether it belongs elsewhere only a search of the image can tell."""
    if not any(found):
        return Pattern.ZEROS
    wrong = sum(one != other for one, other in zip(expected, found, strict=True))
    return Pattern.CHANGED if wrong <= CHANGED_MOST else Pattern.STALE


def one_byte(block: bytes) -> bool:
    """Whether a block is one byte again and again, as erased cells are: that tells nothing of where it belongs."""
    return block.count(block[:1]) == len(block)


def wrap_distance(places: Mapping[int, Sequence[int]]) -> int | None:
    """How far apart addresses are that are the same cells; None: nothing shows that there are such.

    `places` has wrong blocks that are not `one_byte`, by their offsets, and the offsets in the image of the same bytes.
    Two must be at one distance, and several, more than half, at distances that are whole turns of the same.
    """
    distances = [{abs(place - at) for place in found if place != at} for at, found in places.items()]
    counted = Counter(distance for found in distances for distance in sorted(found))
    if not counted:
        return None
    likely, count = counted.most_common(1)[0]
    fitting = sum(any(gcd(distance, likely) * TURNS >= likely for distance in found) for found in distances)
    return likely if count > 1 and fitting >= max(SEVERAL, len(distances) // 2 + 1) else None


def first_difference(expected: bytes, found: bytes) -> int:
    """The index of the first byte that differs."""
    return next(index for index, (one, other) in enumerate(zip(expected, found, strict=True)) if one != other)
