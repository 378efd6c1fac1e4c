"""The head of a FAT volume: its geometry, boot sector and FSInfo sector.

Decides how large clusters are and which of FAT16 and FAT32 a volume becomes; reads the geometry of FAT12 too. What lies
in the clusters is for `fat_write` and `fat_read`.

Source: Microsoft FAT specification (August 2005), sections 3 to 5. Little-endian; sectors of 512 bytes are written:

    volume = reserved sectors (boot sector; FAT32: FSInfo in 1, copies of both in 6 and 7), FAT, FAT,
             FAT12 and FAT16: root directory, then clusters numbered from 2
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from imagekit.errors import DocumentError, PlanError
from imagekit.units import BLOCK, GIB, KIB, MIB, SECTOR, iec

FAT32_LEAST = 65525  # clusters; the count alone decides the type (section 3.5)
FAT16_LEAST = 4085
ROOT_CLUSTER = 2
BACKUP_BOOT = 6
ROOT_ENTRIES = 512  # FAT16's root directory has a fixed length
ENTRY = 32

_BPB = struct.Struct("<3s8sHBHBHHBHHHII")
_TAIL16 = struct.Struct("<BBBI11s8s")
_TAIL32 = struct.Struct("<IHHIHH12xBBBI11s8s")
_HALT = b"\xf4\xeb\xfd"  # hlt, and again: nobody boots from here
_MEDIA = 0xF8
_EIGHT = 8 * GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where everything is, in bytes from the volume's start. `bits` is 12, 16 or 32."""

    bits: int
    size: int
    sector: int
    cluster: int  # bytes in one
    clusters: int  # data clusters, numbered 2 to clusters + 1
    reserved: int  # where the first FAT begins
    fats: int
    fat_size: int
    root_size: int  # of the fixed root directory; 0 for FAT32
    root_cluster: int = 0

    @property
    def root_start(self) -> int:
        return self.reserved + self.fats * self.fat_size

    @property
    def data_start(self) -> int:
        return self.root_start + self.root_size

    def position(self, cluster: int) -> int:
        """Where a data cluster begins."""
        return self.data_start + (cluster - 2) * self.cluster


def fat_type(size: int, *, wide: bool) -> int:
    """32 or 16: what a volume becomes that shall be FAT32, or shall not.

    Below about 33 MiB there are too few clusters for FAT32, however small they are. mkfs.vfat -F 32 writes one all the
    same, and who counts clusters, as the specification says, reads it as FAT16; so it is FAT16.
    """
    return 32 if wide and _geometry(size, 32, SECTOR).clusters >= FAT32_LEAST else 16


def plan_geometry(size: int, *, bits: int | None = None) -> Geometry:
    """The geometry of a new volume; data begins at a multiple of 4096 so that files are aligned in the image.

    Without `bits`, 512 MiB and more become FAT32, as with mkfs.vfat. FAT32 clusters are as large as mkfs.vfat's
    largest for the size, or the largest that still gives the 65525 that FAT32 demands.

    Raises:
        PlanError: no such volume has that size.
    """
    wanted = bits or (32 if size >= 512 * MIB else 16)
    if size % BLOCK or wanted not in (16, 32):
        raise PlanError(f"cannot lay out a FAT{wanted} volume of {size} bytes: the size must be a multiple of {BLOCK},"
                        " the type 16 or 32")
    if wanted == 32:
        largest = 4 * KIB if size <= _EIGHT else 8 * KIB if size <= 2 * _EIGHT else 16 * KIB
        trials = [step for step in (16 * KIB, 8 * KIB, 4 * KIB, 2 * KIB, KIB, SECTOR) if step <= largest]
    else:
        trials = [2 * KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, KIB, SECTOR]
    for cluster in trials:
        geometry = _geometry(size, wanted, cluster)
        least, most = (FAT32_LEAST, 0x0FFFFFF0) if wanted == 32 else (FAT16_LEAST, FAT32_LEAST - 1)
        if least <= geometry.clusters <= most and size // SECTOR <= 0xFFFFFFFF:
            return geometry
    raise PlanError(f"cannot lay out a FAT{wanted} volume of {iec(size)}: that is too "
                    + ("small" if geometry.clusters < least else "large"),
                    hint="FAT32 takes 33 MiB and more, FAT16 from 3 MiB to 2 GiB")


def _geometry(size: int, bits: int, cluster: int) -> Geometry:
    """Geometry for one cluster size; each FAT sector stands for so many clusters, and is there twice."""
    sectors, per_cluster = size // SECTOR, cluster // SECTOR
    root = 0 if bits == 32 else ROOT_ENTRIES * ENTRY // SECTOR
    reserved = 32 if bits == 32 else 1
    per_fat_sector = SECTOR * 8 // bits
    fat = -(-(sectors - reserved - root + 2 * per_cluster) // (per_fat_sector * per_cluster + 2))
    reserved += -(reserved + 2 * fat + root) % (BLOCK // SECTOR)
    clusters = max(sectors - reserved - 2 * fat - root, 0) // per_cluster
    return Geometry(bits=bits, size=size, sector=SECTOR, cluster=cluster, clusters=clusters, fats=2,
                    reserved=reserved * SECTOR, fat_size=fat * SECTOR, root_size=root * SECTOR,
                    root_cluster=ROOT_CLUSTER if bits == 32 else 0)


def encode_boot_sector(geometry: Geometry, *, label: bytes, volume_id: int) -> bytes:
    """The first 512 bytes; `label` has 11 bytes."""
    wide = geometry.bits == 32
    sectors, fat = geometry.size // SECTOR, geometry.fat_size // SECTOR
    small = 0 if wide or sectors > 0xFFFF else sectors
    head = _BPB.pack(b"\xeb\x58\x90" if wide else b"\xeb\x3c\x90", b"IMAGEKIT", SECTOR, geometry.cluster // SECTOR,
                     geometry.reserved // SECTOR, 2, geometry.root_size // ENTRY, small, _MEDIA, 0 if wide else fat,
                     math.gcd(sectors, 32), 64, 0, 0 if small else sectors)  # mtools wants whole tracks
    if wide:
        head += _TAIL32.pack(fat, 0, 0, geometry.root_cluster, 1, BACKUP_BOOT, 0x80, 0, 0x29, volume_id, label,
                             b"FAT32   ")
    else:
        head += _TAIL16.pack(0x80, 0, 0x29, volume_id, label, b"FAT16   ")
    return (head + _HALT).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def encode_fsinfo(*, free: int, next_free: int) -> bytes:
    """FAT32's hints: how many clusters are free, and where to look first."""
    return b"RRaA" + bytes(480) + b"rrAa" + struct.pack("<II", free, next_free) + bytes(14) + b"\x55\xaa"


def decode_boot_sector(raw: bytes) -> Geometry:
    """Read a boot sector (512 bytes), taking nothing on trust that could lead outside the volume.

    Raises:
        DocumentError: not FAT, or a geometry that contradicts itself.
    """
    if len(raw) < SECTOR or raw[510:512] != b"\x55\xaa" or raw[0] not in (0xEB, 0xE9):
        raise DocumentError("cannot read FAT volume: it has no boot sector")
    (_, _, sector, per_cluster, reserved, fats, root_entries, small, _, fat16, _, _, _, large) = _BPB.unpack_from(raw)
    fat32, _, _, root_cluster, _, _, _, _, _, _, _, _ = _TAIL32.unpack_from(raw, _BPB.size)
    sectors, fat = small or large, fat16 or fat32
    if sector not in (512, 1024, 2048, 4096) or per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128) or not reserved:
        raise DocumentError(f"cannot read FAT volume: sectors of {sector} bytes, {per_cluster} in a cluster and"
                            f" {reserved} reserved make no volume")
    root = -(-root_entries * ENTRY // sector)
    data = sectors - reserved - fats * fat - root
    clusters = max(data, 0) // per_cluster
    bits = 32 if not fat16 else 16 if clusters >= FAT16_LEAST else 12
    if fats not in (1, 2) or not clusters or fat * sector * 8 < (clusters + 2) * bits or (bits == 32) == bool(root):
        raise DocumentError(f"cannot read FAT volume: {sectors} sectors, {fats} FATs of {fat} and {root_entries} root"
                            " entries make no volume")
    return Geometry(bits=bits, size=sectors * sector, sector=sector, cluster=per_cluster * sector, clusters=clusters,
                    reserved=reserved * sector, fats=fats, fat_size=fat * sector, root_size=root * sector,
                    root_cluster=root_cluster if bits == 32 else 0)
