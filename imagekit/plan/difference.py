"""Find the first byte in which two disk images differ, and say what that byte is: partition, file, field.

A pure function over two streams, for `imagekit build --twice` and whoever compares images. The structure is read from
the first image; what a damaged structure no longer tells is left out, never guessed. Field tables are those of the
formats named in `imagekit.disk`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from imagekit.digests import CHUNK
from imagekit.disk import gpt
from imagekit.disk.probe import Content, DiskPartition, probe
from imagekit.errors import DocumentError
from imagekit.plan import difference_fields as fields
from imagekit.units import SECTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first differing byte; a value is None where one image has ended. `where` goes from large to small."""

    offset: int
    one: int | None
    two: int | None
    where: tuple[str, ...]

    def __str__(self) -> str:
        values = " and ".join("nothing" if value is None else f"{value:#04x}" for value in (self.one, self.two))
        return f"byte {self.offset} is {values}: {', '.join(self.where) or 'outside of any partition'}"


def first_difference(one: BinaryIO, two: BinaryIO, ranges: Iterable[tuple[int, int]] | None = None) -> int | None:
    """The position of the first differing byte, None if there is none; only `ranges` are looked at, if given."""
    sizes = [stream.seek(0, io.SEEK_END) for stream in (one, two)]
    shorter = min(sizes)
    for start, end in ranges if ranges is not None else [(0, shorter)]:
        position = start
        while position < min(end, shorter):
            length = min(CHUNK, end - position, shorter - position)
            pair = [_read(stream, position, length) for stream in (one, two)]
            if pair[0] != pair[1]:
                return position + next(index for index in range(length) if pair[0][index] != pair[1][index])
            position += length
    return shorter if sizes[0] != sizes[1] else None


def explain(one: BinaryIO, two: BinaryIO, offset: int) -> Difference:
    """Say what the byte at `offset` is, by the first image."""
    values = [_read(stream, offset, 1) for stream in (one, two)]
    return Difference(offset=offset, one=values[0][0] if values[0] else None, two=values[1][0] if values[1] else None,
                      where=locate(one, offset))


def locate(image: BinaryIO, offset: int) -> tuple[str, ...]:
    """What lies at `offset` of an image, from large to small."""
    try:
        table = gpt.decode(image)
    except DocumentError:
        return ("a disk without a readable partition table",)
    at = gpt.entries_extent(table.sector, table.entries, table.entries_at)[0]
    for name, first, entries in (("primary", table.sector, at),
                                 ("backup", table.disk_size - table.sector,
                                  gpt.usable_extent(table.disk_size, table.sector, table.entries)[1])):
        if first <= offset < first + table.sector:
            return (f"{name} GPT header", *_field(fields.GPT_HEADER, offset - first))
        if entries <= offset < entries + table.entries * fields.GPT_ENTRY_SIZE:
            index, within = divmod(offset - entries, fields.GPT_ENTRY_SIZE)
            named = next((f" ({item.name!r})" for item in table.partitions if item.index == index + 1), "")
            return (f"{name} GPT entry {index + 1}{named}", *_field(fields.GPT_ENTRY, within))
    if offset < SECTOR:
        return ("protective MBR", *_field(fields.MBR, offset))
    for partition in table.partitions:
        if partition.start <= offset < partition.end:
            return (f"partition {partition.index} {partition.name!r}", *_inside(image, partition, offset))
    return ()


def _inside(image: BinaryIO, partition: gpt.Partition, offset: int) -> Sequence[str]:
    """What lies at `offset`, inside a partition."""
    relative = offset - partition.start
    try:
        found = next(item for item in probe(image).partitions if item.partition.index == partition.index)
        known = {Content.FAT: fields.in_fat, Content.EROFS: fields.in_package, Content.EXT4: fields.in_ext4}
        if found.content is Content.SLOT_STATE:
            return _slot_state(relative)
        if found.content in known:
            return known[found.content](image, _start(found), relative)
    except (DocumentError, StopIteration):
        pass
    return (f"byte {relative} of it",)


def _start(found: DiskPartition) -> int:
    return found.partition.start


def _slot_state(relative: int) -> Sequence[str]:
    copy, within = divmod(relative, 4096)
    if copy > 1 or within >= SECTOR:
        return (f"byte {relative} of it",)
    return (f"copy {copy + 1} of the slot-state record", *_field(fields.SLOT_STATE, within))


def _field(table: fields.Table, position: int) -> Sequence[str]:
    name = fields.name_at(table, position)
    return (f"field {name}",) if name else (f"byte {position} of it",)


def _read(stream: BinaryIO, offset: int, length: int) -> bytes:
    stream.seek(offset)
    raw = stream.read(length)
    while len(raw) < length and (more := stream.read(length - len(raw))):
        raw += more
    return raw
