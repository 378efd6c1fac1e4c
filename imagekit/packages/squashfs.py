"""The outside of a squashfs package: its superblock, and the list of files that `unsquashfs` prints.

Decides whether a file is a whole squashfs 4.0 whose tables lie where they can, before any program is let at it. What is
inside is read by `imagekit.build.unsquash`. Source: Linux fs/squashfs/squashfs_fs.h and Documentation/filesystems/
squashfs.rst. Integers are little-endian:

    superblock (at 0, 96 bytes) = "hsqs" inodes:u32 time:u32 block_size:u32 fragments:u32 compression:u16 block_log:u16
                                  flags:u16 ids:u16 major:u16 minor:u16 root_inode:u64 bytes_used:u64 tables:u64[6]
    tables = ids xattrs inodes directories fragments exports     ; positions, ~0 for one that there is not
    line of the list = mode " " uid "/" gid size-or-device date time "squashfs-root" [path] [" -> " target]
"""

from __future__ import annotations

import re
import stat
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from imagekit.errors import DocumentError

MAGIC = b"hsqs"
SUPERBLOCK_SIZE = 96
MAX_INODES = 1 << 20  # above that, the list of files alone would fill the memory

_SUPERBLOCK = struct.Struct("<4sIIIIHHHHHHQQ6Q")
_ABSENT = (1 << 64) - 1
_MAX_NAME = 65535
_TYPES = {"-": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "c": stat.S_IFCHR, "b": stat.S_IFBLK,
          "p": stat.S_IFIFO, "s": stat.S_IFSOCK}
_LINE = re.compile(
    r"([-dlcbps])([-r][-w][-xsS][-r][-w][-xsS][-r][-w][-xtT]) (\d{1,10})/(\d{1,10}) +(\d{1,20}|\d{1,10}, *\d{1,10})"
    r" \d{4}-\d\d-\d\d \d\d:\d\d squashfs-root(?:/(.*))?\Z", re.DOTALL | re.ASCII)


class Compression(IntEnum):
    GZIP = 1
    LZMA = 2
    LZO = 3
    XZ = 4
    LZ4 = 5
    ZSTD = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """What a squashfs says of itself. `size` is that of the file system, without the padding behind it."""

    size: int
    inodes: int
    fragments: int
    ids: int
    block_size: int
    compression: Compression
    flags: int
    time: datetime


def decode_superblock(head: bytes, *, file_size: int, name: str) -> Superblock:
    """Read the first 96 bytes of a file of `file_size` bytes.

    Raises:
        DocumentError: no squashfs, another version, cut short, or with tables that lie elsewhere.
    """
    if len(head) < SUPERBLOCK_SIZE or head[:4] != MAGIC:
        raise _broken(name, f"no squashfs superblock in its {file_size} bytes")
    (_, inodes, time, block_size, fragments, compression, block_log, flags, ids, major, minor, root, used,
     *tables) = _SUPERBLOCK.unpack_from(head)
    if (major, minor) != (4, 0):
        raise _broken(name, f"it is of version {major}.{minor}, allowed is 4.0")
    if compression not in Compression.__members__.values():
        raise _broken(name, f"its compression is number {compression}, allowed are 1 to {max(Compression)}")
    if not 12 <= block_log <= 20 or block_size != 1 << block_log:
        raise _broken(name, f"its blocks have {block_size} bytes and 2^{block_log}, allowed is a power of two from"
                      " 4096 to 1048576")
    if not SUPERBLOCK_SIZE < used <= file_size:
        raise _broken(name, f"its superblock says {used} bytes, there are {file_size}")
    if not 0 < inodes <= MAX_INODES or not ids:
        raise _broken(name, f"it has {inodes} files and {ids} owners, allowed are 1 to {MAX_INODES} files, and an"
                      " owner at least")
    _check_tables(name, tables, used=used, root=root, fragments=fragments)
    return Superblock(size=used, inodes=inodes, fragments=fragments, ids=ids, block_size=block_size,
                      compression=Compression(compression), flags=flags, time=datetime.fromtimestamp(time, tz=UTC))


def _check_tables(name: str, tables: list[int], *, used: int, root: int, fragments: int) -> None:
    """The tables follow each other, inodes first, and the root lies in its own."""
    ids, xattrs, inodes, directories, fragment_table, exports = tables
    present = [table for table in (fragment_table, exports, ids, xattrs) if table != _ABSENT]
    if ids == _ABSENT or not SUPERBLOCK_SIZE <= inodes < directories < used or any(
            not directories <= table < used for table in present):
        raise _broken(name, f"a table of it lies outside of its {used} bytes, or before one that it follows")
    if fragments and fragment_table == _ABSENT:
        raise _broken(name, f"it has {fragments} fragments and no table of them")
    if root >> 16 >= directories - inodes or root & 0xFFFF >= 8192:
        raise _broken(name, f"its root {root:#x} lies outside of its {directories - inodes} bytes of inodes")


def _broken(name: str, why: str) -> DocumentError:
    return DocumentError(f"cannot read {name}: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of the list: `size` is 0 for what has none, `target` is a link's."""

    path: str
    mode: int
    uid: int
    gid: int
    size: int
    target: str = ""


def parse_listing(text: str, *, name: str) -> tuple[Listed, ...]:
    """What `unsquashfs -lln -UTC` printed, without the root itself.

    Raises:
        DocumentError: a line that is none, which a line end in a file's name makes too; a path twice or with `..`.
    """
    found: dict[str, Listed] = {}
    for line in text.removesuffix("\n").split("\n") if text else []:
        match = _LINE.match(line)
        if match is None or len(line) > _MAX_NAME or (match[1] == "-" and "," in match[5]):
            raise _broken(name, f"the list of its files has a line that is none: {line[:120]!r}")
        kind, bits, uid, gid, size, path = match.groups()
        if path is None:
            continue
        path, _, target = path.partition(" -> ") if kind == "l" else (path, "", "")
        if not path or path in found or any(part in ("", ".", "..") for part in path.split("/")):
            raise _broken(name, f"the list of its files has the path {path[:120]!r} twice, or it is none")
        found[path] = Listed(path=path, mode=_TYPES[kind] | _permissions(bits), uid=int(uid), gid=int(gid),
                             size=int(size) if kind == "-" else 0, target=target)
    return tuple(found.values())


def _permissions(bits: str) -> int:
    """The number of `rwxr-sr-t`."""
    mode = sum(1 << (8 - place) for place, bit in enumerate(bits) if bit not in "-ST")
    for place, special in ((2, stat.S_ISUID), (5, stat.S_ISGID), (8, stat.S_ISVTX)):
        if bits[place] in "sStT":
            mode |= special
    return mode
