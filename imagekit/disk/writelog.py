"""The log of everything that was written to a disk, in order: dm-log-writes of Linux, blklogwrites of QEMU.

Decides what a log says and refuses one that contradicts itself; which states a power cut may leave behind is
`imagekit.powercut`'s. Data stay where they lie in the log: an entry names the place.

Source: Linux Documentation/admin-guide/device-mapper/log-writes.rst and `struct log_write_super`, `log_write_entry` of
drivers/md/dm-log-writes.c. Little-endian; a sector is what the superblock says, here always given in 512 bytes:

    log        = superblock entry*                                       ; each padded to a sector
    superblock = magic:u64=0x6a736677736872 version:u64=1 entries:u64 sector_size:u32
    entry      = sector:u64 sectors:u64 flags:u64 data_length:u64 padding data   ; no data after a flush or a discard
    flags      = 1 flush, 2 FUA, 4 discard, 8 mark (data_length bytes of text follow, in the same sector)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from mmap import mmap

from imagekit.errors import DocumentError
from imagekit.units import SECTOR

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

_SUPER = struct.Struct("<3QI")
_ENTRY = struct.Struct("<4Q")
_VERSION = 1
_SECTOR_MOST = 4096


class Kind(StrEnum):
    """What was asked of the disk."""

    WRITE = "write"
    FLUSH = "flush"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One request: `count` sectors of the disk from `first` on; the data of a write begin at sector `at` of the log."""

    kind: Kind
    first: int = 0
    count: int = 0
    at: int = 0

    def meets(self, first: int, last: int) -> bool:
        """Whether it changes one of the disk's sectors from `first` to before `last`."""
        return self.count > 0 and self.first < last and self.first + self.count > first


def decode_log(raw: bytes | mmap, *, disk_size: int, name: str = "the log of writes") -> tuple[LogEntry, ...]:
    """All requests in their order, marks left out. A FUA flag is not believed: the write counts as unflushed.

    Raises:
        DocumentError: no such log, one that is cut short, or a request that leaves the disk.
    """
    if len(raw) < _SUPER.size:
        raise _broken(name, f"it has {len(raw)} bytes")
    magic, version, entries, sector = _SUPER.unpack_from(raw)
    if magic != MAGIC or version != _VERSION:
        raise _broken(name, f"magic {magic:#x} and version {version}, expected {MAGIC:#x} and {_VERSION}")
    if not SECTOR <= sector <= _SECTOR_MOST or sector & (sector - 1):
        raise _broken(name, f"its sectors have {sector} bytes")
    found: list[LogEntry] = []
    position, scale = sector, sector // SECTOR
    for number in range(entries):
        if position + sector > len(raw):
            raise _broken(name, f"it ends before entry {number + 1} of {entries}")
        first, count, flags, length = _ENTRY.unpack_from(raw, position)
        position += sector
        if flags & ~(FLUSH | FUA | DISCARD | MARK) or length > (sector if flags & MARK else 0):
            raise _broken(name, f"entry {number + 1} has flags {flags:#x} and a length of {length}")
        if flags & MARK:
            continue
        first, count = first * scale, count * scale
        if (first + count) * SECTOR > disk_size:
            raise _broken(name, f"entry {number + 1} reaches to byte {(first + count) * SECTOR}, the disk has"
                                f" {disk_size}")
        if flags & FLUSH:
            found.append(LogEntry(kind=Kind.FLUSH))
        if count and flags & DISCARD:
            found.append(LogEntry(kind=Kind.DISCARD, first=first, count=count))
        elif count:
            if position + count * SECTOR > len(raw):
                raise _broken(name, f"it ends within entry {number + 1} of {entries}")
            found.append(LogEntry(kind=Kind.WRITE, first=first, count=count, at=position // SECTOR))
            position += count * SECTOR
    return tuple(found)


def _broken(name: str, why: str) -> DocumentError:
    return DocumentError(f"cannot read {name}: {why}", hint="record it again")


def encode_entry(entry: LogEntry, data: bytes = b"") -> bytes:
    """One entry in sectors of 512 bytes, as a recorder writes it."""
    flags = {Kind.WRITE: 0, Kind.FLUSH: FLUSH, Kind.DISCARD: DISCARD}[entry.kind]
    return _ENTRY.pack(entry.first, entry.count, flags, 0).ljust(SECTOR, b"\0") + data


def encode_super(entries: int) -> bytes:
    """The first sector of a log with this many entries."""
    return _SUPER.pack(MAGIC, _VERSION, entries, SECTOR).ljust(SECTOR, b"\0")
