"""Where the structures of a volume may lie on a device, when the gadget leaves room for more than one answer.

An offset left out is known only behind a structure of fixed size. Behind one whose size is a range, or left to the
device, a start is an interval: at least all least sizes since the last known offset, at most all largest ones, and
never so far that the next known offset could not be kept. Pure; what an image gets is `imagekit.plan.layout`'s.

Source: snapd gadget/gadget.go (minStructureOffset, maxStructureOffset, setVolumeStructureOffset).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.gadget import Role, Schema, Structure, Volume
from imagekit.units import GIB, KIB, MIB

FIRST_IMPLIED = 1 * MIB  # an offset left out never falls below this (gadget.yaml rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """All values from `least` to `most`, both among them; no `most` where only the device can know."""

    least: int
    most: int | None

    @property
    def fixed(self) -> bool:
        return self.least == self.most

    def meets(self, other: Span) -> bool:
        """Whether a value is in both."""
        return ((other.most is None or self.least <= other.most) and (self.most is None or other.least <= self.most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where one structure may begin, and how large it may be; no `start` for a boot area of an eMMC."""

    structure: Structure
    start: Span | None
    size: Span

    @property
    def end(self) -> Span | None:
        """Where it may end."""
        if self.start is None:
            return None
        known = self.start.most is not None and self.size.most is not None
        return Span(least=self.start.least + self.size.least,
                    most=(self.start.most or 0) + (self.size.most or 0) if known else None)


def size_span(structure: Structure) -> Span:
    """The sizes that a structure may have."""
    return Span(least=structure.min_size or 0, most=structure.size)


def known_offsets(volume: Volume) -> Mapping[int, int | None]:
    """The offset of each structure by its index in the document; None behind one whose end is not fixed."""
    result: dict[int, int | None] = {}
    following: int | None = 0
    for structure in sorted(volume.structures, key=lambda item: item.index):
        start = structure.offset
        if start is None and following is not None:
            start = following if structure.role is Role.MBR else max(following, FIRST_IMPLIED)
        size = size_span(structure)
        following = start + size.least if start is not None and size.fixed else None
        result[structure.index] = start
    return result


def rooms(volume: Volume) -> tuple[Room, ...]:
    """Every structure with its room, in the order of the disk."""
    if volume.schema is Schema.EMMC:
        return tuple(Room(structure=item, start=None, size=size_span(item)) for item in volume.structures)
    offsets = known_offsets(volume)
    starts = [offsets[item.index] for item in volume.structures]
    sizes = [size_span(item) for item in volume.structures]
    return tuple(Room(structure=item, start=_start_span(starts, sizes, position), size=sizes[position])
                 for position, item in enumerate(volume.structures))


def _start_span(starts: list[int | None], sizes: list[Span], position: int) -> Span:
    known = starts[position]
    if known is not None:
        return Span(least=known, most=known)
    least, most = 0, 0 if position else None
    for before in range(position - 1, -1, -1):
        least += sizes[before].least
        size, start = sizes[before].most, starts[before]
        most = None if most is None or size is None else most + size
        if start is not None:
            least += start
            most = None if most is None else most + start
            break
    behind = 0
    for after in range(position, len(starts)):
        start = starts[after]
        if start is not None:
            return Span(least=least, most=start - behind if most is None else min(most, start - behind))
        behind += sizes[after].least
    return Span(least=least, most=most)


def exact(size: int) -> str:
    """`size` in the largest unit that says it exactly: `1200 MiB`, `33 KiB`, `440 B`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B" if size else "0"


def span_text(span: Span) -> str:
    """A span of bytes in words."""
    if span.fixed:
        return exact(span.least)
    if span.most is None:
        return f"{exact(span.least)} or more" if span.least else "any"
    return f"{exact(span.least)} to {exact(span.most)}"
