"""What an MBR counts in."""

from __future__ import annotations

import io

import pytest

from imagekit.disk import mbr
from imagekit.disk.mbr_sectors import sectors_of
from imagekit.units import MIB

EXT4 = (1024 + 56, b"\x53\xef")


def image(size: int, *partitions: tuple[int, int], sector: int, begun: tuple[int, ...] = ()) -> io.BytesIO:
    """An image with an MBR; at these bytes an ext4 begins."""
    content = bytearray(size)
    table = mbr.Table(signature=7, disk_size=size, sector=sector, partitions=tuple(
        mbr.Partition(index=index, type=0x83, start=start, end=end)
        for index, (start, end) in enumerate(partitions, 1)))
    for offset, piece in (*mbr.encode(table), *((start + EXT4[0], EXT4[1]) for start in begun)):
        content[offset:offset + len(piece)] = piece
    return io.BytesIO(content)


@pytest.mark.parametrize(("disk", "sectors"), [
    (image(16 * MIB, (MIB, 15 * MIB), sector=512), (512,)),  # eight times as much does not fit
    (image(64 * MIB, (MIB, 3 * MIB), sector=512), (512, 4096)),  # nothing tells
    (image(64 * MIB, (MIB, 3 * MIB), sector=512, begun=(MIB,)), (512,)),
    (image(64 * MIB, (MIB, 63 * MIB), sector=4096, begun=(MIB,)), (4096,)),
    (image(64 * MIB, (MIB, 2 * MIB), (8 * MIB, 8 * MIB + 4096), sector=512, begun=(MIB, 8 * MIB)), (512,)),
    (image(64 * MIB, sector=512), ()),
    (io.BytesIO(bytes(MIB)), ()),
    (io.BytesIO(b"short"), ()),
])
def test_sector_of_an_mbr_is_told_by_what_fits_and_by_what_begins_there(disk: io.BytesIO,
                                                                       sectors: tuple[int, ...]) -> None:
    assert sectors_of(disk) == sectors
