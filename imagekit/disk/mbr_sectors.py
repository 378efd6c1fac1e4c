"""Find out what an image's MBR counts in: sectors of 512 bytes, as nearly all do, or of 4096.

It stands nowhere in the table (`mbr`). Decides by whether the partitions lie within the image, and where they do both
ways, by how many begin with something that is known. An image that still leaves both possible gets both.
"""

from __future__ import annotations

from typing import BinaryIO

from imagekit.disk import mbr
from imagekit.disk.describe import HEAD, file_system
from imagekit.errors import DocumentError


def sectors_of(disk: BinaryIO) -> tuple[int, ...]:
    """The sizes of sector that the table of a disk may count in, ascending; none where there is no such table."""
    possible = tuple(sector for sector in mbr.SECTORS if _fits(disk, sector))
    if len(possible) < 2:
        return possible
    begun = {sector: _begun(disk, sector) for sector in possible}
    return tuple(sector for sector in possible if begun[sector] == max(begun.values()))


def _fits(disk: BinaryIO, sector: int) -> bool:
    """Whether it is a table, and its partitions lie on the disk, counted so."""
    try:
        return bool(mbr.decode(disk, sector=sector).partitions)
    except DocumentError:
        return False


def _begun(disk: BinaryIO, sector: int) -> int:
    """How many partitions begin, counted so, with something that is known."""
    found = 0
    for item in mbr.decode(disk, sector=sector).partitions:
        disk.seek(item.start)
        found += bool(file_system(disk.read(HEAD)))
    return found
