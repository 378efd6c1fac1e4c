"""The names of the fields in the on-disk formats, and the way from a byte of a file system to its file and field.

Used by `imagekit.plan.difference`. Offsets and names follow UEFI 2.10 section 5.3 (GPT), Microsoft's FAT specification
sections 3 and 6, Linux fs/erofs/erofs_fs.h, the dm-verity superblock, Linux Documentation/filesystems/ext4 and
`imagekit.boot.slotstate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from imagekit.disk import ext4
from imagekit.disk.extents import Extent
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.verity import SUPERBLOCK, level_blocks
from imagekit.packages.erofs import SUPERBLOCK_OFFSET, Entry, Erofs
from imagekit.units import BLOCK, SECTOR

Table = tuple[tuple[int, int, str], ...]  # (offset, length, name)

GPT_ENTRY_SIZE = 128
DIRENT = 32
LONG_NAME = 0x0F

MBR: Table = ((0, 440, "boot code"), (440, 4, "disk signature"), (446, 64, "partition entries"), (510, 2, "signature"))
GPT_HEADER: Table = (
    (0, 8, "signature"), (8, 4, "revision"), (12, 4, "header size"), (16, 4, "header CRC"), (24, 8, "this LBA"),
    (32, 8, "other LBA"), (40, 8, "first usable LBA"), (48, 8, "last usable LBA"), (56, 16, "disk GUID"),
    (72, 8, "entries LBA"), (80, 4, "number of entries"), (84, 4, "size of an entry"), (88, 4, "entries CRC"))
GPT_ENTRY: Table = ((0, 16, "type GUID"), (16, 16, "unique GUID"), (32, 8, "first LBA"), (40, 8, "last LBA"),
                    (48, 8, "attributes"), (56, 72, "name"))
FAT_BOOT: Table = (
    (0, 3, "jump"), (3, 8, "OEM name"), (11, 2, "bytes per sector"), (13, 1, "sectors per cluster"),
    (14, 2, "reserved sectors"), (16, 1, "number of FATs"), (17, 2, "root entries"), (19, 2, "small sector count"),
    (21, 1, "media"), (22, 2, "sectors per FAT16"), (24, 4, "geometry"), (28, 4, "hidden sectors"),
    (32, 4, "large sector count"))
FAT16_BOOT: Table = ((36, 3, "drive"), (39, 4, "volume id"), (43, 11, "label"), (54, 8, "type"), (510, 2, "signature"))
FAT32_BOOT: Table = ((36, 4, "sectors per FAT32"), (44, 4, "root cluster"), (48, 2, "FSInfo sector"),
                     (50, 2, "backup boot sector"), (64, 3, "drive"), (67, 4, "volume id"), (71, 11, "label"),
                     (82, 8, "type"), (510, 2, "signature"))
FAT_INFO: Table = ((488, 4, "free clusters"), (492, 4, "next free cluster"))
FAT_DIRENT: Table = (
    (0, 11, "short name"), (11, 1, "attributes"), (12, 1, "case"), (13, 1, "creation time, hundredths"),
    (14, 2, "creation time"), (16, 2, "creation date"), (18, 2, "access date"), (20, 2, "first cluster, high"),
    (22, 2, "write time"), (24, 2, "write date"), (26, 2, "first cluster, low"), (28, 4, "size"))
EROFS_SUPERBLOCK: Table = (
    (0, 4, "magic"), (4, 4, "checksum"), (8, 4, "compatible features"), (12, 1, "block size"), (14, 2, "root inode"),
    (16, 8, "inodes"), (24, 8, "build time"), (32, 4, "build time, nanoseconds"), (36, 4, "blocks"),
    (40, 4, "metadata block"), (44, 4, "xattr block"), (48, 16, "uuid"), (64, 16, "volume name"),
    (80, 4, "incompatible features"))
EROFS_COMPACT: Table = ((0, 2, "format"), (2, 2, "xattr count"), (4, 2, "mode"), (6, 2, "links"), (8, 4, "size"),
                        (12, 4, "time"), (16, 4, "block"), (20, 4, "inode number"), (24, 2, "uid"), (26, 2, "gid"))
EROFS_EXTENDED: Table = ((0, 2, "format"), (2, 2, "xattr count"), (4, 2, "mode"), (8, 8, "size"), (16, 4, "block"),
                         (20, 4, "inode number"), (24, 4, "uid"), (28, 4, "gid"), (32, 8, "mtime"),
                         (40, 4, "mtime, nanoseconds"), (44, 4, "links"))
VERITY: Table = ((0, 8, "signature"), (8, 4, "version"), (12, 4, "type"), (16, 16, "uuid"), (32, 32, "algorithm"),
                 (64, 4, "data block size"), (68, 4, "hash block size"), (72, 8, "data blocks"), (80, 2, "salt size"),
                 (88, 256, "salt"))
SLOT_STATE: Table = ((0, 4, "magic"), (4, 4, "generation"), (8, 1, "slot"), (9, 1, "tries"), (10, 1, "confirmed"),
                     (11, 1, "unhealthy"), (12, 1, "other_good"), (13, 1, "format"), (508, 4, "CRC"))


def name_at(table: Table, position: int) -> str | None:
    """The field of `table` that holds the byte at `position`."""
    return next((name for start, length, name in table if start <= position < start + length), None)


def field(table: Table, position: int) -> str:
    """The same, in words, for any byte."""
    name = name_at(table, position)
    return f"field {name}" if name else f"byte {position} of it"


def in_fat(image: BinaryIO, start: int, relative: int) -> Sequence[str]:
    """The file or field of a FAT volume at byte `relative` of it."""
    volume = read_fat(image, start)
    geometry = volume.geometry
    wide = geometry.bits == 32
    for sector, name in ((0, "boot sector"), *(((6, "backup boot sector"),) if wide else ())):
        if sector * SECTOR <= relative < (sector + 1) * SECTOR:
            return (name, field(FAT_BOOT + (FAT32_BOOT if wide else FAT16_BOOT), relative - sector * SECTOR))
    for sector in (1, 7) if wide else ():
        if sector * SECTOR <= relative < (sector + 1) * SECTOR:
            return ("FSInfo sector", field(FAT_INFO, relative - sector * SECTOR))
    for number in range(geometry.fats):
        within = relative - geometry.reserved - number * geometry.fat_size
        if 0 <= within < geometry.fat_size:
            return (f"FAT {number + 1}", f"entry of cluster {within * 8 // geometry.bits}")
    return _in_fat_content(volume, start + relative) or (f"free space, byte {relative}",)


def _in_fat_content(volume: FatVolume, position: int) -> Sequence[str]:
    directories = {"": volume.directory_extents("")}
    for entry in volume.walk():
        if entry.is_dir:
            directories[entry.path] = volume.directory_extents(entry.path)
        elif (within := _within(volume.locate(entry.path), position)) is not None:
            return (f"file {entry.path}", f"byte {within} of it")
    for path, extents in directories.items():
        within = _within(extents, position)
        if within is not None:
            return (f"directory /{path}", *_in_directory(volume, path, within))
    return ()


def _in_directory(volume: FatVolume, path: str, within: int) -> Sequence[str]:
    """Which entry, by the short name that ends its run of long-name entries, and which field of it."""
    content = volume.directory_bytes(path)
    at = within // DIRENT * DIRENT
    long = content[at + 11:at + 12] == bytes([LONG_NAME])
    short = at
    while content[short + 11:short + 12] == bytes([LONG_NAME]):
        short += DIRENT
    raw = content[short:short + 11]
    stem, extension = raw[:8].decode("ascii", "replace").rstrip(), raw[8:].decode("ascii", "replace").rstrip()
    alias = f"{stem}.{extension}" if extension else stem
    entries = (entry for entry in volume.walk() if entry.path.rpartition("/")[0] == path)
    name = next((entry.name for entry in entries if entry.alias == alias), alias)
    return (f"entry of {name!r}", "part of its long name" if long else field(FAT_DIRENT, within - at))


def _within(extents: Sequence[Extent], position: int) -> int | None:
    """How far into a file a position of the image is; None if it is not in it."""
    done = 0
    for extent in extents:
        if extent.start is not None and extent.start <= position < extent.start + extent.length:
            return done + position - extent.start
        done += extent.length
    return None


def in_package(image: BinaryIO, start: int, relative: int) -> Sequence[str]:
    """The file or field of a package, or of its hash tree, at byte `relative` of the partition."""
    package = Erofs(image, offset=start)
    if relative >= package.size:
        return _in_tree(package.size, relative - package.size)
    if SUPERBLOCK_OFFSET <= relative < SUPERBLOCK_OFFSET + 128:
        return ("EROFS superblock", field(EROFS_SUPERBLOCK, relative - SUPERBLOCK_OFFSET))
    image.seek(start + SUPERBLOCK_OFFSET + 40)
    metadata = int.from_bytes(image.read(4), "little") * package.block_size
    for entry in (Entry(path="", inode=package.stat("")), *package.walk()):
        inode = metadata + entry.inode.nid * 32
        image.seek(start + inode)
        size, table = (64, EROFS_EXTENDED) if image.read(1)[0] & 1 else (32, EROFS_COMPACT)
        if inode <= relative < inode + size:
            return (f"inode of /{entry.path}", field(table, relative - inode))
        if entry.inode.is_file and (within := _within(package.extents(entry.path), start + relative)) is not None:
            return (f"file /{entry.path}", f"byte {within} of it")
    return ("EROFS directories and metadata", f"byte {relative}")


def _in_tree(size: int, relative: int) -> Sequence[str]:
    if relative < SUPERBLOCK:
        return ("verity superblock", field(VERITY, relative))
    block = relative // BLOCK - 1
    levels = level_blocks(size // BLOCK)
    for number, blocks in enumerate(levels):
        if 0 <= block < blocks:
            return ("hash tree", f"level {len(levels) - 1 - number}, block {block}, digest {relative % BLOCK // 32}")
        block -= blocks
    return ("behind the hash tree",)


def in_ext4(image: BinaryIO, start: int, relative: int) -> Sequence[str]:
    """The field of the superblock, or the block, of an ext4 file system."""
    image.seek(start + ext4.SUPERBLOCK_OFFSET)
    layout = ext4.decode_superblock(image.read(ext4.SUPERBLOCK_SIZE))
    within = relative - ext4.SUPERBLOCK_OFFSET
    if 0 <= within < ext4.SUPERBLOCK_SIZE:
        name = ext4.field_at(within)
        return ("ext4 superblock", f"field {name}" if name else f"byte {within} of it")
    block = relative // layout.block_size
    group, inside = divmod(block - layout.first_block, layout.blocks_per_group)
    if inside == 0 and group:
        name = ext4.field_at(relative % layout.block_size)
        return (f"ext4 superblock copy of group {group}", f"field {name}" if name else f"byte {relative}")
    if group == 0 and 0 < inside <= -(-layout.groups * layout.descriptor_size // layout.block_size):
        return ("ext4 group descriptors",
                f"group {(relative - (layout.first_block + 1) * layout.block_size) // layout.descriptor_size}")
    return (f"ext4 block {block}", f"byte {relative % layout.block_size} of it")
