"""Carry an image's partition table to a disk of another size: the backup copy belongs at the disk's very end.

Decides only what has to differ: three fields of the headers and their checksum, and the length in the protective MBR.
The entries are copied as they are, and so is everything that somebody else keeps in the first sectors.

Source: UEFI specification 2.10, sections 5.2.3 and 5.3.2.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from imagekit.disk.gpt import Table, array_size

_ALTERNATE, _CRC, _LAST_USABLE, _HERE, _ENTRIES = 32, 16, 48, 24, 72
_LENGTH = 92  # of the header, with what is checked
_MBR_TYPES = range(450, 512 - 2, 16)
_PROTECTIVE = 0xEE

Pieces = tuple[tuple[int, bytes], ...]


def move_table(image: BinaryIO, table: Table, disk_size: int) -> Pieces:
    """What to write instead of what the image has, on a disk of `disk_size` bytes; nothing where it fits as it is.

    Nothing too where the primary copy is damaged, or lies where no tool of today puts it.
    """
    sector = table.sector
    if disk_size == table.disk_size or disk_size % sector or table.problem_of("primary"):
        return ()
    image.seek(0)
    head = image.read(2 * sector)
    header = bytearray(head[sector:])
    length, first = struct.unpack_from("<I", header, 12)[0], struct.unpack_from("<Q", header, _ENTRIES)[0]
    entry_size = struct.unpack_from("<I", header, 84)[0]
    if length != _LENGTH or entry_size != 128:
        return ()
    taken = array_size(table.entries, sector)
    image.seek(first * sector)
    entries = image.read(taken)
    last = disk_size // sector - 1
    struct.pack_into("<Q", header, _ALTERNATE, last)
    struct.pack_into("<Q", header, _LAST_USABLE, last - taken // sector - 1)
    backup = bytearray(header)
    struct.pack_into("<QQ", backup, _HERE, last, 1)
    struct.pack_into("<Q", backup, _ENTRIES, last - taken // sector)
    return ((0, protective(head[:sector], table.disk_size // sector, disk_size // sector)), (sector, _sealed(header)),
            ((last * sector) - taken, entries + _sealed(backup)))


def protective(mbr: bytes, old: int, new: int) -> bytes:
    """A first sector whose protective partition covered a disk of `old` sectors, and now covers one of `new`."""
    changed = bytearray(mbr)
    for at in _MBR_TYPES:
        start, count = struct.unpack_from("<II", mbr, at + 4)
        if mbr[at] == _PROTECTIVE and start == 1 and count == min(old - 1, 0xFFFFFFFF):
            struct.pack_into("<I", changed, at + 8, min(new - 1, 0xFFFFFFFF))
    return bytes(changed)


def _sealed(header: bytearray) -> bytes:
    struct.pack_into("<I", header, _CRC, 0)
    struct.pack_into("<I", header, _CRC, zlib.crc32(header[:_LENGTH]))
    return bytes(header)
