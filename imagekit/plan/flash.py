"""Plan how an image comes onto media: which bytes, in which order, and what is cleared between them.

Nothing here touches a medium: facts of an image and devices go in, a `FlashPlan` comes out that leaves nothing to
decide. The order makes an interrupted medium one that does not boot:

1. wipe: the head (first MiB) and the places outside the image's data where an older system left its signatures
2. data: every mapped range but the head and the backup table, in ascending order
3. tail: the backup partition table, at the real end of the medium
4. head: the first MiB with the partition table and boot code, its first block last of all

Offsets are bytes, extents half-open.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from imagekit.disk.bmap import MappedRange
from imagekit.disk.gpt import Table, array_size
from imagekit.disk.gpt_move import Pieces
from imagekit.plan.flash_device import Demand, Device, Kind, Refusal
from imagekit.units import BLOCK, MIB, align_up

PIECE = 4 * MIB  # what is read and written at once
HEAD = 1 * MIB
EDGE = 1 * MIB  # where superblocks lie, at both ends of disks and partitions
SECOND_BTRFS = (64 * MIB, 64 * MIB + 64 * 1024)  # the copy of btrfs's superblock that is furthest from the edges
TOKEN = 12

Extent = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What is written. `ranges` cover all that means something; a digest is empty where nobody stated one.

    `digest` names the image: that of the ranges, as a manifest has it; of an image without a block map, a name for
    these very bytes that its reader makes. `mbr_sectors`: what an MBR may count in, where there is no other table.
    """

    path: str
    size: int
    ranges: tuple[MappedRange, ...]
    digest: str
    table: Table | None = None
    mapped: bool = True  # by a block map; otherwise everything is written
    mbr_sectors: tuple[int, ...] = ()

    @property
    def amount(self) -> int:
        """Bytes to write."""
        return sum(item.end - item.start for item in self.ranges)

    @property
    def sector(self) -> int:
        """What the image's partition table counts in; 0 where there is none, or it does not tell."""
        if self.table is not None:
            return self.table.sector
        return self.mbr_sectors[0] if len(self.mbr_sectors) == 1 else 0

    @property
    def demand(self) -> Demand:
        return Demand(size=self.size, sector=self.sector)

    @property
    def backup(self) -> Extent:
        """Where the image has its backup table; empty without one."""
        if self.table is None or self.table.disk_size > self.size:
            return (self.size, self.size)
        return (self.table.disk_size - array_size(self.table.entries, self.table.sector) - self.table.sector,
                self.table.disk_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A run of an image that is read at once. `range` is the index of its mapped range; `held` until the end."""

    start: int
    end: int
    range: int
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """One medium. `patches` replace bytes of the image; `wipes` become zeros before anything is written."""

    device: Device
    patches: Pieces
    wipes: tuple[Extent, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashPlan:
    """Everything that will be done."""

    image: ImageFacts
    pieces: tuple[Piece, ...]
    targets: tuple[TargetPlan, ...]

    @property
    def token(self) -> str:
        """A short name for this image on these very media; another medium under the same name gives another one."""
        parts = [self.image.digest, *sorted(repr((item.device.path, item.device.identity)) for item in self.targets)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:TOKEN]


def plan_target(image: ImageFacts, device: Device, *, patches: Pieces, refusals: tuple[Refusal, ...]) -> TargetPlan:
    """What is done to one medium."""
    return TargetPlan(device=device, patches=patches, refusals=refusals, wipes=plan_wipes(image, device))


def plan_flash(image: ImageFacts, targets: Iterable[TargetPlan]) -> FlashPlan:
    return FlashPlan(image=image, pieces=tuple(plan_pieces(image)), targets=tuple(targets))


def plan_pieces(image: ImageFacts) -> Iterator[Piece]:
    """The mapped ranges cut so that first block, head and backup table are pieces of their own, ascending."""
    low, high = image.backup
    for index, item in enumerate(image.ranges):
        start = item.start
        for border in sorted({BLOCK, HEAD, low, high, item.end}):
            stop = min(border, item.end)
            while start < stop:
                end = min(start + PIECE, stop)
                yield Piece(start=start, end=end, range=index, held=end <= HEAD or low <= start < high)
                start = end


def cut(start: int, end: int, size: int = PIECE) -> Iterator[Extent]:
    """An extent in runs of at most `size` bytes."""
    while start < end:
        stop = min(start + size, end)
        yield start, stop
        start = stop


def plan_wipes(image: ImageFacts, device: Device) -> tuple[Extent, ...]:
    """Where old signatures could show through: the edges of disk and partitions, where the image writes nothing.

    The head is among them in any case, and so is the end of the disk: both tables are written last.
    """
    size = image.size if device.kind is Kind.FILE else device.identity.size
    if size < image.size:
        return ()  # refused as too small
    wanted = [(0, HEAD), *_edges(0, size)]
    for item in image.table.partitions if image.table else ():
        wanted += _edges(item.start, item.end)
    late = [(0, HEAD), image.backup]
    written = without([(item.start, item.end) for item in image.ranges], [extent for extent in late if any(extent)])
    cleared = without(joined((start, min(end, size)) for start, end in wanted), written)
    return tuple((start - start % device.sector, min(align_up(end, device.sector), size)) for start, end in cleared)


def _edges(start: int, end: int) -> list[Extent]:
    """The places of a disk or partition where superblocks lie."""
    far = [(start + SECOND_BTRFS[0], start + SECOND_BTRFS[1])] if end - start > SECOND_BTRFS[1] else []
    return [(start, min(start + EDGE, end)), *far, (max(end - EDGE, start), end)]


def joined(extents: Iterable[Extent]) -> list[Extent]:
    """Extents in any order as ascending ones that do not touch."""
    result: list[Extent] = []
    for start, end in sorted(extents):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        elif start < end:
            result.append((start, end))
    return result


def without(extents: Sequence[Extent], taken: Sequence[Extent]) -> list[Extent]:
    """What of ascending `extents` is not in the ascending `taken`."""
    result, index = [], 0
    for start, end in extents:
        while start < end:
            while index < len(taken) and taken[index][1] <= start:
                index += 1
            stop = min(end, taken[index][0]) if index < len(taken) else end
            if start < stop:
                result.append((start, stop))
            start = max(stop, min(end, taken[index][1]) if index < len(taken) else end)
    return result


def patched(content: bytearray | memoryview, start: int, patches: Pieces) -> None:
    """Put the patches into bytes of the image that lie at `start`; those elsewhere are left alone."""
    for offset, piece in patches:
        low, high = max(offset, start), min(offset + len(piece), start + len(content))
        if low < high:
            content[low - start:high - start] = piece[low - offset:high - offset]


def as_json(plan: FlashPlan) -> dict[str, Any]:
    """The plan for programs (docs/reference/flash.md)."""
    image = plan.image
    return {
        "image": {"path": image.path, "size": image.size, "mapped": image.amount, "digest": image.digest,
                  "block_map": image.mapped, "sector": image.sector or None},
        "token": plan.token,
        "targets": [{**device_json(item.device), "refusals": refusals_json(item.refusals),
                     "patches": [{"offset": offset, "length": len(content)} for offset, content in item.patches],
                     "wipes": [{"start": start, "end": end} for start, end in item.wipes]} for item in plan.targets],
    }


def refusals_json(refusals: Iterable[Refusal]) -> list[dict[str, Any]]:
    return [{"code": item.code.value, "reason": item.reason, "allow": item.allow or None} for item in refusals]


def device_json(device: Device) -> dict[str, Any]:
    """A device for programs (docs/reference/flash.md)."""
    identity = device.identity
    return {
        "path": device.path, "kind": device.kind.value, "size": identity.size, "sector": device.sector,
        "model": device.model or None, "serial": identity.serial or None, "bus": device.bus or None,
        "port": device.port or None, "diskseq": identity.diskseq or None, "backing": identity.backing or None,
        "removable": device.removable, "read_only": device.read_only, "content": device.content or None,
        "boots_from": device.boots_from and device.boots_from.value,
        "uses": [{"device": use.device, "how": use.how} for use in device.uses], "system": list(device.system),
    }


def encode_line(value: dict[str, Any]) -> str:
    """One JSON document on one line, keys sorted; a byte in a name that is no UTF-8 as `\\udc..`."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()
