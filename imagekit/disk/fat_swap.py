"""Plan how files on a FAT volume get new content, so that a power cut at any moment finds each old or new, never else.

Pure: a volume that can be read and the new contents come in, writes come out. A file is never overwritten. Its new
content goes into clusters that nothing reaches, its chain into the FAT; when that is on the medium, the 32 bytes of its
directory entry, which never lie across two sectors, are pointed there: first cluster and size, nothing else. That one
sector is the commit. The old clusters stay marked as taken, so that the same sector written back is the way back, until
`plan_sweep` frees whatever nothing reaches any more.

Decides nothing about when: who carries it out flushes between `prepare` and the first switch, and after each switch.
Nobody may have the volume mounted meanwhile. Dates of files stay as they are.

Source: Microsoft FAT specification (August 2005), sections 4 to 6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imagekit.disk.fat_boot import ENTRY
from imagekit.disk.fat_read import FatVolume
from imagekit.errors import PlanError
from imagekit.units import SECTOR, iec

_HIGH, _LOW_AND_SIZE = struct.Struct("<H"), struct.Struct("<HI")
_HIGH_AT, _LOW_AT = 20, 26
_FSINFO_AT, _FREE_AT = SECTOR, SECTOR + 488  # where every maker of a FAT32 puts it, behind the boot sector


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """The directory entry of one file; `at` counts from the volume's start."""

    path: str
    at: int
    old: bytes
    new: bytes

    @property
    def back(self) -> Switch:
        """The way back."""
        return Switch(path=self.path, at=self.at, old=self.new, new=self.old)


@dataclass(frozen=True, slots=True, kw_only=True)
class FatSwap:
    """`prepare` in any order, then, flushed, the switches one by one, in the order of the files given."""

    prepare: tuple[tuple[int, bytes], ...]
    switches: tuple[Switch, ...]


def plan_swap(volume: FatVolume, files: Mapping[str, bytes]) -> FatSwap:
    """Plan new contents of files that are there. Those that have that content already are left out.

    Raises:
        PlanError: a file is not there, or there is no room beside the old ones.
        DocumentError: the volume is damaged, or of a kind that is not written.
    """
    table = _Table(volume)
    table.free_all_but(volume.reached())
    prepare: list[tuple[int, bytes]] = []
    switches = []
    for path, content in files.items():
        entry = volume.find(path)
        if entry is None or entry.is_dir:
            raise PlanError(f"cannot replace {path}: there is no such file on the volume",
                            hint="a file that is new on a device comes with a new image only")
        if entry.size == len(content) and volume.read(path, limit=entry.size) == content:
            continue
        clusters = table.take(-(-len(content) // volume.geometry.cluster), path)
        for index, cluster in enumerate(clusters):
            piece = content[index * volume.geometry.cluster:(index + 1) * volume.geometry.cluster]
            prepare.append((volume.geometry.position(cluster), piece.ljust(volume.geometry.cluster, b"\0")))
        old = volume.raw(entry.at, ENTRY)
        switches.append(Switch(path=entry.path, at=entry.at, old=old,
                               new=pointed(old, clusters[0] if clusters else 0, len(content))))
    return FatSwap(prepare=(*_joined(prepare), *table.changes()) if switches else (), switches=tuple(switches))


def plan_sweep(volume: FatVolume) -> tuple[tuple[int, bytes], ...]:
    """The writes, in any order, that free every cluster that nothing reaches. Raises: DocumentError: as `plan_swap`."""
    table = _Table(volume)
    table.free_all_but(volume.reached())
    return table.changes()


def pointed(entry: bytes, cluster: int, size: int) -> bytes:
    """A directory entry with another first cluster and size."""
    raw = bytearray(entry)
    _HIGH.pack_into(raw, _HIGH_AT, cluster >> 16)
    _LOW_AND_SIZE.pack_into(raw, _LOW_AT, cluster & 0xFFFF, size)
    return bytes(raw)


class _Table:
    """The FAT in memory, and what of it changes."""

    def __init__(self, volume: FatVolume) -> None:
        self._volume, self._g = volume, volume.geometry
        if self._g.bits == 12 or self._g.sector != SECTOR:
            raise PlanError(f"cannot replace files on a FAT{self._g.bits} with sectors of {self._g.sector} bytes:"
                            " only FAT16 and FAT32 with sectors of 512 are written")
        self._before = volume.raw(self._g.reserved, self._g.fat_size)
        self._kept: frozenset[int] = frozenset()
        self._width = self._g.bits // 8
        self._mask = 0x0FFFFFFF if self._width == 4 else 0xFFFF
        self._values = list(struct.unpack_from(f"<{self._g.clusters + 2}{'I' if self._width == 4 else 'H'}",
                                               self._before))

    def _set(self, cluster: int, value: int) -> None:
        """The upper four bits of a FAT32's entry are nobody's and stay."""
        self._values[cluster] = self._values[cluster] & ~self._mask | value & self._mask

    def _value(self, cluster: int) -> int:
        return int(self._values[cluster] & self._mask)

    def free_all_but(self, reached: Iterable[int]) -> None:
        """Free what is marked as taken and reached by nothing; a bad cluster stays bad."""
        self._kept = frozenset(reached)
        for cluster in range(2, self._g.clusters + 2):
            if self._value(cluster) not in (0, self._mask - 8) and cluster not in self._kept:
                self._set(cluster, 0)

    def take(self, count: int, what: str) -> list[int]:
        """A chain of so many free clusters. Raises: PlanError: there are not so many."""
        free = [cluster for cluster in range(2, self._g.clusters + 2)
                if not self._value(cluster) and cluster not in self._kept]
        if len(free) < count:
            raise PlanError(f"cannot replace {what}: it needs {iec(count * self._g.cluster)} beside the old one, the"
                            f" volume has {iec(len(free) * self._g.cluster)} free")
        found = free[:count]
        for cluster, following in zip(found, [*found[1:], self._mask][:count], strict=True):
            self._set(cluster, following)
        return found

    def changes(self) -> tuple[tuple[int, bytes], ...]:
        """The sectors of every FAT, and of FAT32's hints, that differ from those on the volume."""
        form = f"<{len(self._values)}{'I' if self._width == 4 else 'H'}"
        after = bytearray(self._before)
        struct.pack_into(form, after, 0, *self._values)
        found = []
        for fat in range(self._g.fats):
            start = self._g.reserved + fat * self._g.fat_size
            before = self._volume.raw(start, self._g.fat_size)
            found += [(start + at, bytes(after[at:at + SECTOR])) for at in range(0, self._g.fat_size, SECTOR)
                      if before[at:at + SECTOR] != after[at:at + SECTOR]]
        return (*found, *self._hints()) if found else ()

    def _hints(self) -> Iterable[tuple[int, bytes]]:
        """FAT32's count of free clusters, where it is in its usual place."""
        head = self._volume.raw(0, _FREE_AT + 8)
        if self._g.bits == 32 and head[_FSINFO_AT:_FSINFO_AT + 4] == b"RRaA":
            sector = bytearray(self._volume.raw(_FSINFO_AT, SECTOR))
            free = sum(1 for cluster in range(2, self._g.clusters + 2) if not self._value(cluster))
            struct.pack_into("<I", sector, _FREE_AT - _FSINFO_AT, free)
            yield _FSINFO_AT, bytes(sector)


def _joined(pieces: Iterable[tuple[int, bytes]]) -> Iterable[tuple[int, bytes]]:
    """Neighbours in one write."""
    found: list[tuple[int, bytearray]] = []
    for offset, piece in pieces:
        if found and found[-1][0] + len(found[-1][1]) == offset:
            found[-1][1].extend(piece)
        else:
            found.append((offset, bytearray(piece)))
    return [(offset, bytes(piece)) for offset, piece in found]


def sector_with(sector: bytes, at: int, entry: bytes) -> tuple[int, bytes]:
    """The sector around a directory entry, with what `entry` points to, and where it lies."""
    start = at // SECTOR * SECTOR
    inside = at - start
    high, (low, size) = _HIGH.unpack_from(entry, _HIGH_AT)[0], _LOW_AND_SIZE.unpack_from(entry, _LOW_AT)
    changed = pointed(sector[inside:inside + ENTRY], high << 16 | low, size)
    return start, sector[:inside] + changed + sector[inside + ENTRY:]


def points_alike(one: bytes, two: bytes) -> bool:
    """Whether two directory entries have one name and lead to one content, whatever their dates."""
    return all(one[part] == two[part] for part in (slice(0, 11), slice(_HIGH_AT, _HIGH_AT + 2), slice(_LOW_AT, ENTRY)))
