"""The MBR partition table: four primary entries and a disk signature in the first sector.

Decides what such a table can hold (four partitions that begin and end below sector 2^32) and reads any other legal
one; extended partitions are told as entries of their type, and what lies inside them is not followed. Boot code, the
first 440 bytes, belongs to the gadget and is neither written nor judged here. Where partitions lie is
`imagekit.plan`'s business; here they are bytes, half-open.

Source: UEFI specification 2.10, section 5.2.1 (legacy MBR). Integers are little-endian:

    sector = boot_code:440 signature:u32 0:u16 entry*4 0xAA55:u16
    entry  = status:u8 (0x80 active, else 0) first_chs:3 type:u8 last_chs:3 first:u32 count:u32, both in sectors

The cylinder fields say "beyond" (fe ff ff), as today's tools write them for a disk that has no cylinders.
"""

from __future__ import annotations

import io
import struct
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

from imagekit.errors import DocumentError, PlanError
from imagekit.units import SECTOR

ENTRIES = 4
SIGNATURE_OFFSET = 440  # boot code comes before it
TABLE_OFFSET = 446
SECTORS = (512, 4096)
PROTECTIVE = 0xEE
EXTENDED = (0x05, 0x0F, 0x85)
MAX_LBA = 0xFFFFFFFF

_ENTRY = struct.Struct("<B3sB3sII")
_BEYOND = b"\xfe\xff\xff"
_MAGIC = b"\x55\xaa"
_ACTIVE = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One entry. `index` is the partition's number, 1 to 4; `start` and `end` are bytes, half-open."""

    index: int
    type: int
    start: int
    end: int
    active: bool = False

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A whole partition table, partitions by ascending index; `signature` has 32 bits."""

    signature: int
    partitions: tuple[Partition, ...]
    disk_size: int
    sector: int = SECTOR
    problems: tuple[str, ...] = field(default=(), compare=False)

    def partuuid(self, index: int) -> str:
        """What Linux calls the PARTUUID of partition `index`: signature and number in hexadecimal."""
        return f"{self.signature:08x}-{index:02x}"


def signature_from(identifier: uuid.UUID) -> int:
    """The disk signature that derives from an identifier: its first 32 bits, and never 0, which means none."""
    return int.from_bytes(identifier.bytes[:4], "big") or 1


def encode(table: Table) -> tuple[tuple[int, bytes], ...]:
    """What to write and where: everything of the first sector that is not boot code.

    Raises:
        PlanError: with every partition that overlaps, leaves the disk, is unaligned, or is beyond what 32 bits say.
    """
    _check(table)
    entries = bytearray(ENTRIES * _ENTRY.size)
    for item in table.partitions:
        _ENTRY.pack_into(entries, (item.index - 1) * _ENTRY.size, _ACTIVE if item.active else 0, _BEYOND, item.type,
                         _BEYOND, item.start // table.sector, item.size // table.sector)
    return ((SIGNATURE_OFFSET, table.signature.to_bytes(4, "little") + bytes(2) + bytes(entries) + _MAGIC),)


def _check(table: Table) -> None:
    if table.sector not in SECTORS or table.disk_size < table.sector or not 0 <= table.signature <= MAX_LBA:
        raise PlanError(f"cannot encode MBR partition table: a disk of {table.disk_size} bytes in sectors of"
                        f" {table.sector} with the signature {table.signature:#x} cannot have one")
    if len(table.partitions) > ENTRIES:
        raise PlanError(f"cannot encode MBR partition table: {len(table.partitions)} partitions, it has room for"
                        f" {ENTRIES}", hint="use schema gpt; extended partitions are not written")
    problems = []
    last: Partition | None = None
    for item in sorted(table.partitions, key=lambda item: item.start):
        what = f"partition {item.index}"
        if not table.sector <= item.start < item.end <= table.disk_size:
            problems.append(f"{what} is at {item.start} to {item.end}, usable is {table.sector} to {table.disk_size}")
        if item.start % table.sector or item.end % table.sector:
            problems.append(f"{what} does not begin and end at multiples of {table.sector}")
        if item.start // table.sector > MAX_LBA or item.size // table.sector > MAX_LBA:
            problems.append(f"{what} is at {item.start} to {item.end}, beyond what 32 bits count in sectors of"
                            f" {table.sector}")
        if last and item.start < last.end:
            problems.append(f"{what} begins at {item.start}, before partition {last.index} ends at {last.end}")
        if not 1 <= item.index <= ENTRIES or not 1 <= item.type <= 0xFF:
            problems.append(f"{what} has type {item.type:#04x}: allowed are the numbers 1 to {ENTRIES} and the types"
                            " 0x01 to 0xff")
        last = item
    if len({item.index for item in table.partitions}) < len(table.partitions):
        problems.append("two partitions have the same number")
    if problems:
        raise PlanError(f"cannot encode MBR partition table: {problems[0]}", details=tuple(problems[1:]))


def decode(stream: BinaryIO, *, sector: int = SECTOR) -> Table:
    """Read the table of a disk; which sector size it counts in stands nowhere in it.

    Raises:
        DocumentError: there is none, it belongs to a GPT, or it contradicts itself or the disk's size.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    raw = stream.read(512)
    if len(raw) < 512 or raw[510:] != _MAGIC:
        raise DocumentError("cannot read MBR partition table: the first sector does not end with 55 aa")
    found: list[Partition] = []
    problems: list[str] = []
    for index in range(1, ENTRIES + 1):
        status, _, kind, _, first, count = _ENTRY.unpack_from(raw, TABLE_OFFSET + (index - 1) * _ENTRY.size)
        if kind == 0 and not count:
            continue
        if kind == PROTECTIVE:
            raise DocumentError("cannot read MBR partition table: it only protects a GPT",
                                hint="read the disk as GPT")
        if status not in (0, _ACTIVE) or not first or not count or not kind:
            raise DocumentError(f"cannot read MBR partition table: entry {index} makes no sense: status {status:#04x},"
                                f" type {kind:#04x}, {count} sectors from {first}")
        if kind in EXTENDED:
            problems.append(f"partition {index} is extended: what lies inside it is not read")
        found.append(Partition(index=index, type=kind, start=first * sector, end=(first + count) * sector,
                               active=status == _ACTIVE))
    _refuse_contradictions(found, size)
    return Table(signature=int.from_bytes(raw[SIGNATURE_OFFSET:SIGNATURE_OFFSET + 4], "little"),
                 partitions=tuple(found), disk_size=size, sector=sector, problems=tuple(problems))


def decode_entries(raw: bytes, *, sector: int = SECTOR) -> tuple[Partition, ...]:
    """The entries in use of a first sector, as they stand there; a GPT's protection is one of them."""
    found = []
    for index in range(1, ENTRIES + 1):
        status, _, kind, _, first, count = _ENTRY.unpack_from(raw, TABLE_OFFSET + (index - 1) * _ENTRY.size)
        if kind:
            found.append(Partition(index=index, type=kind, start=first * sector, end=(first + count) * sector,
                                   active=status == _ACTIVE))
    return tuple(found)


def _refuse_contradictions(found: list[Partition], size: int) -> None:
    ends = max((item.end for item in found), default=0)
    if ends > size:
        raise DocumentError(f"cannot read MBR partition table: partitions reach up to byte {ends}, the disk has {size}",
                            hint="the image was cut short: make or fetch it again")
    for before, after in pairwise(sorted(found, key=lambda item: item.start)):
        if after.start < before.end:
            raise DocumentError(f"cannot read MBR partition table: partitions {before.index} and {after.index} overlap")
