"""The GUID partition table: a protective MBR, a header with its entries, and a backup of both at the disk's end.

The MBR may be hybrid: it lists up to three of the partitions too, before the entry that protects the table, for boot
code that knows no GPT. To everybody else the GPT is the table.

Decides the geometry that every imagekit disk has (128 entries of 128 bytes, tables as close to the ends as they go;
where a board's boot code lies in the way, fewer entries, or the primary ones behind that code) and reads any other
legal one. Where partitions lie is `imagekit.plan`'s business; here they are bytes, half-open, and the format's
inclusive last LBA stays inside. A reader learns about damage that the other copy made good from `Table.problems`; what
cannot be read at all, or contradicts itself, is a `DocumentError`.

Source: UEFI specification 2.10, sections 5.2 and 5.3; attribute bits 59 to 63: Discoverable Partitions Specification.
Integers are little-endian, GUIDs in the mixed order of EFI:

    header  = "EFI PART" 0x00010000:u32 size:u32=92 crc:u32 0:u32 here:u64 other:u64 first_usable:u64 last_usable:u64
              disk_guid:16 entries_lba:u64 count:u32 entry_size:u32 entries_crc:u32, then zeros to the sector's end
    entry   = type_guid:16 unique_guid:16 first:u64 last:u64 attributes:u64 name:72 (UTF-16, 36 units)
"""

from __future__ import annotations

import io
import struct
import uuid
import zlib
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import BinaryIO

from imagekit.disk import mbr
from imagekit.errors import DocumentError, PlanError
from imagekit.units import SECTOR, align_up

HYBRID_MOST = 3  # partitions that an MBR has room for beside the entry that protects the GPT
NAME_UNITS = 36
ENTRIES = 128
COPIES = ("primary", "backup")
LEAST_ENTRIES = 4  # a sector of 512 bytes of them
SECTORS = (512, 4096)

ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")

REQUIRED = 1 << 0  # the platform needs it
LEGACY_BOOT = 1 << 2
NO_AUTO = 1 << 63

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MAGIC = b"EFI PART"
_REVISION = 0x00010000
_ARRAY_MAX = 1 << 20
_EMPTY = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One entry. `index` is the partition's number, from 1; `start` and `end` are bytes, half-open."""

    index: int
    name: str
    type_guid: uuid.UUID
    unique_guid: uuid.UUID
    start: int
    end: int
    attributes: int = 0

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A whole partition table, partitions by ascending index. `disk_size` is what the table is for.

    `entries_at` is the byte where the primary copy's entries begin, None right behind its header. `hybrid` are the
    entries of the MBR but for the one that protects the GPT; their numbers are the MBR's own.
    """

    disk_guid: uuid.UUID
    partitions: tuple[Partition, ...]
    disk_size: int
    sector: int = SECTOR
    entries: int = ENTRIES
    entries_at: int | None = None
    hybrid: tuple[mbr.Partition, ...] = ()
    problems: tuple[str, ...] = field(default=(), compare=False)

    def problem_of(self, copy: str) -> str | None:
        """What is wrong with one of the `COPIES`; None: it is whole."""
        return next((problem for problem in self.problems if problem.startswith(f"{copy} table: ")), None)

    def find(self, name: str) -> Partition | None:
        """The first partition with this name."""
        return next((partition for partition in self.partitions if partition.name == name), None)


def array_size(entries: int = ENTRIES, sector: int = SECTOR) -> int:
    """The bytes that this many entries take, in whole sectors."""
    return align_up(entries * _ENTRY.size, sector)


def entries_extent(sector: int = SECTOR, entries: int = ENTRIES, entries_at: int | None = None) -> tuple[int, int]:
    """The bytes of a disk where the primary copy's entries lie."""
    start = 2 * sector if entries_at is None else entries_at
    return start, start + array_size(entries, sector)


def usable_extent(disk_size: int, sector: int = SECTOR, entries: int = ENTRIES,
                  entries_at: int | None = None) -> tuple[int, int]:
    """The bytes of a disk that partitions may take: between the two tables."""
    return entries_extent(sector, entries, entries_at)[1], disk_size - sector - array_size(entries, sector)


def encode(table: Table) -> tuple[tuple[int, bytes], ...]:
    """What to write and where: protective MBR, primary header, its entries, backup entries and header, ascending.

    Raises:
        PlanError: with every partition that overlaps, leaves the disk, is unaligned, or has a name or number too long.
    """
    _check(table)
    sector, sectors = table.sector, table.disk_size // table.sector
    array = bytearray(table.entries * _ENTRY.size)
    for partition in table.partitions:
        _ENTRY.pack_into(array, (partition.index - 1) * _ENTRY.size, partition.type_guid.bytes_le,
                         partition.unique_guid.bytes_le, partition.start // sector, partition.end // sector - 1,
                         partition.attributes, partition.name.encode("utf-16-le"))
    whole = bytes(array).ljust(array_size(table.entries, sector), b"\0")
    backup_entries = sectors - 1 - len(whole) // sector
    at = entries_extent(sector, table.entries, table.entries_at)[0]
    primary = _header(table, here=1, other=sectors - 1, entries=at // sector, array=bytes(array))
    backup = _header(table, here=sectors - 1, other=1, entries=backup_entries, array=bytes(array))
    return ((0, _protective_mbr(table).ljust(sector, b"\0")),
            *(((sector, primary + whole),) if at == 2 * sector else ((sector, primary), (at, whole))),
            (backup_entries * sector, whole + backup))


def _check(table: Table) -> None:
    problems = []
    if not LEAST_ENTRIES <= table.entries <= ENTRIES:
        raise PlanError(f"cannot encode partition table: {table.entries} entries, allowed are {LEAST_ENTRIES} to"
                        f" {ENTRIES}")
    low, high = usable_extent(table.disk_size, table.sector, table.entries, table.entries_at)
    at = table.entries_at
    if at is not None and (at % table.sector or at < 2 * table.sector):
        raise PlanError(f"cannot encode partition table: entries at {at}, allowed are multiples of {table.sector} from"
                        f" {2 * table.sector} on")
    if table.sector not in SECTORS or table.disk_size % table.sector or high <= low:
        raise PlanError(f"cannot encode partition table: a disk of {table.disk_size} bytes in sectors of"
                        f" {table.sector} cannot hold one")
    last = None
    for partition in sorted(table.partitions, key=lambda item: item.start):
        what = f"partition {partition.index} ({partition.name!r})"
        if not low <= partition.start < partition.end <= high:
            problems.append(f"{what} is at {partition.start} to {partition.end}, usable is {low} to {high}")
        if partition.start % table.sector or partition.end % table.sector:
            problems.append(f"{what} does not begin and end at multiples of {table.sector}")
        if last and partition.start < last.end:
            problems.append(f"{what} begins at {partition.start}, before {last.name!r} ends at {last.end}")
        if len(partition.name.encode("utf-16-le")) > 2 * NAME_UNITS or "\0" in partition.name:
            problems.append(f"{what}: its name takes more than {NAME_UNITS} UTF-16 units, or has a NUL")
        if not partition.type_guid.int:
            problems.append(f"{what} has the type {partition.type_guid}: an entry of this type is not in use")
        if not 1 <= partition.index <= table.entries:
            problems.append(f"{what}: allowed are the numbers 1 to {table.entries}")
        last = partition
    for kind, values in (("number", [item.index for item in table.partitions]),
                         ("unique GUID", [item.unique_guid.int for item in table.partitions])):
        if len(set(values)) < len(values):
            problems.append(f"two partitions have the same {kind}")
    problems += [problem for _, problem in _strangers(table)]
    if len(table.hybrid) > HYBRID_MOST:
        problems.append(f"{len(table.hybrid)} partitions in the MBR, it has room for {HYBRID_MOST} beside the GPT's")
    if problems:
        raise PlanError(f"cannot encode partition table: {problems[0]}", details=tuple(problems[1:]))


def _strangers(table: Table) -> list[tuple[mbr.Partition, str]]:
    """Partitions of the MBR that are none of the GPT's."""
    known = {(item.start, item.end) for item in table.partitions}
    return [(item, f"partition {item.index} of the MBR, at {item.start} to {item.end}, is none of the GPT's")
            for item in table.hybrid if (item.start, item.end) not in known]


def _protective_mbr(table: Table) -> bytes:
    """One partition of type 0xee over the whole disk, so that old tools see it as taken (UEFI 5.2.3).

    In a hybrid MBR it comes last, and ends where the first of the others begins. Linux and U-Boot take the GPT if it
    begins at sector 1.
    """
    sector = table.sector
    if not table.hybrid:
        count = min(table.disk_size // sector - 1, mbr.MAX_LBA)
        entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", mbr.PROTECTIVE, b"\xff\xff\xff", 1, count)
        return bytes(mbr.TABLE_OFFSET) + entry + bytes(48) + b"\x55\xaa"
    shield = mbr.Partition(index=max(item.index for item in table.hybrid) + 1, type=mbr.PROTECTIVE, start=sector,
                           end=min(item.start for item in table.hybrid))
    told = mbr.Table(signature=0, partitions=(*table.hybrid, shield), disk_size=table.disk_size, sector=sector)
    ((offset, raw),) = mbr.encode(told)
    return bytes(offset) + raw


def _header(table: Table, *, here: int, other: int, entries: int, array: bytes) -> bytes:
    low, high = usable_extent(table.disk_size, table.sector, table.entries, table.entries_at)
    fields = [_MAGIC, _REVISION, _HEADER.size, 0, 0, here, other, low // table.sector, high // table.sector - 1,
              table.disk_guid.bytes_le, entries, table.entries, _ENTRY.size, zlib.crc32(array)]
    fields[3] = zlib.crc32(_HEADER.pack(*fields))
    return _HEADER.pack(*fields).ljust(table.sector, b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """One of the two copies, its checksums right."""

    here: int
    other: int
    first_usable: int
    last_usable: int
    disk_guid: uuid.UUID
    entries: int
    entry_size: int
    array: bytes


class _Unreadable(Exception):
    """One copy is not there or damaged; the other may do."""


def decode(stream: BinaryIO, *, sector: int | None = None) -> Table:
    """Read the table of a disk; without `sector`, both sizes are tried.

    Raises:
        DocumentError: neither copy is there and whole, or the table contradicts itself or the disk's size.
    """
    size = stream.seek(0, io.SEEK_END)
    sizes = SECTORS if sector is None else (sector,)
    reasons: list[str] = []
    for trial in sizes:
        copies: list[_Copy] = []
        problems, hybrid = _read_mbr(stream, size, trial)
        for name, lba in zip(COPIES, (1, size // trial - 1), strict=True):
            try:
                if name == "backup" and copies:
                    lba = copies[0].other
                copies.append(_read_copy(stream, size, trial, lba))
            except _Unreadable as error:
                problems.append(f"{name} table: {error}")
        if copies:
            return _table(copies, trial, size, problems, hybrid)
        reasons += [f"{trial}-byte sectors: {problem}" for problem in problems]
    raise DocumentError("cannot read partition table: neither the primary nor the backup copy is there and whole",
                        details=tuple(reasons))


def _read_mbr(stream: BinaryIO, size: int, sector: int) -> tuple[list[str], tuple[mbr.Partition, ...]]:
    """What is wrong with the MBR, and what it lists beside the entry that protects the GPT."""
    raw = _at(stream, 0, 512) if size >= 512 else b""
    if raw[510:] != b"\x55\xaa":
        return ["protective MBR: there is none"], ()
    entries = mbr.decode_entries(raw, sector=sector)
    shields = [item for item in entries if item.type == mbr.PROTECTIVE]
    problems = [] if any(item.start == sector for item in shields) else [
        "protective MBR: its partition of type 0xee does not begin at sector 1, so Linux and firmware do not take the"
        " GPT" if shields else "protective MBR: it has no partition of type 0xee"]
    return problems, tuple(item for item in entries if shields and item.type != mbr.PROTECTIVE)


def _at(stream: BinaryIO, offset: int, length: int) -> bytes:
    stream.seek(offset)
    return stream.read(length)


def _read_copy(stream: BinaryIO, size: int, sector: int, lba: int) -> _Copy:
    if lba < 1 or (lba + 1) * sector > size:
        raise _Unreadable(f"sector {lba} is not on this disk of {size} bytes")
    raw = _at(stream, lba * sector, sector)
    if not raw.startswith(_MAGIC):
        raise _Unreadable(f"sector {lba} does not begin with 'EFI PART'")
    (_, revision, header_size, crc, _, here, other, first, last, guid, entries, count, entry_size,
     array_crc) = _HEADER.unpack_from(raw)
    if not _HEADER.size <= header_size <= sector:
        raise _Unreadable(f"its header says it has {header_size} bytes")
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:header_size]) != crc:
        raise _Unreadable("its header has the wrong checksum")
    length = count * entry_size
    whole = entry_size >= _ENTRY.size and entry_size % _ENTRY.size == 0 and 0 < length <= _ARRAY_MAX
    if revision >> 16 != 1 or here != lba or other == here or not whole or entries * sector + length > size:
        raise _Unreadable(f"its header makes no sense: revision {revision:#x}, sector {here}, {count} entries of"
                          f" {entry_size} bytes at sector {entries}")
    array = _at(stream, entries * sector, length)
    if zlib.crc32(array) != array_crc:
        raise _Unreadable("its entries have the wrong checksum")
    return _Copy(here=here, other=other, first_usable=first, last_usable=last, disk_guid=uuid.UUID(bytes_le=guid),
                 entries=entries, entry_size=entry_size, array=array)


def _table(copies: list[_Copy], sector: int, size: int, problems: list[str],
           hybrid: tuple[mbr.Partition, ...]) -> Table:
    chosen = copies[0]
    disk_size = (max(chosen.here, chosen.other) + 1) * sector
    if len(copies) == 2 and (chosen.array, chosen.disk_guid) != (copies[1].array, copies[1].disk_guid):
        problems.append("backup table: it differs from the primary")
    if disk_size != size:
        problems.append(f"the table is for a disk of {disk_size} bytes, this one has {size}")
    partitions = _partitions(chosen, sector)
    ends = max((partition.end for partition in partitions), default=0)
    if ends > size:
        raise DocumentError(f"cannot read partition table: partitions reach up to byte {ends}, the disk has {size}",
                            hint="the image was cut short: make or fetch it again")
    table = Table(disk_guid=chosen.disk_guid, partitions=partitions, disk_size=disk_size, sector=sector,
                  entries=len(chosen.array) // chosen.entry_size, entries_at=_entries_at(chosen, sector), hybrid=hybrid)
    return replace(table, problems=(*problems, *(f"hybrid MBR: {problem}" for _, problem in _strangers(table))))


def _entries_at(copy: _Copy, sector: int) -> int | None:
    """Where the primary copy's entries are, in the words of `Table`.

    The backup does not say it; they end where the room for partitions begins, at the latest, and nothing is lost there.
    """
    primary = copy.here < copy.other
    at = copy.entries * sector if primary else copy.first_usable * sector - align_up(len(copy.array), sector)
    return at if at > 2 * sector else None


def _partitions(copy: _Copy, sector: int) -> tuple[Partition, ...]:
    found = []
    for index in range(len(copy.array) // copy.entry_size):
        kind, unique, first, last, attributes, name = _ENTRY.unpack_from(copy.array, index * copy.entry_size)
        if kind == _EMPTY:
            continue
        if not copy.first_usable <= first <= last <= copy.last_usable:
            raise DocumentError(f"cannot read partition table: partition {index + 1} has sectors {first} to {last},"
                                f" usable are {copy.first_usable} to {copy.last_usable}")
        found.append(Partition(index=index + 1, name=name.decode("utf-16-le", "replace").split("\0")[0],
                               type_guid=uuid.UUID(bytes_le=kind), unique_guid=uuid.UUID(bytes_le=unique),
                               start=first * sector, end=(last + 1) * sector, attributes=attributes))
    ordered = sorted(found, key=lambda partition: partition.start)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise DocumentError(f"cannot read partition table: partitions {before.index} and {after.index} overlap")
    return tuple(found)
