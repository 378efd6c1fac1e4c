"""Read an EROFS package: its size, its files, and where their bytes lie.

Decides nothing about what a package should hold. The image is taken as hostile: every position is checked against the
size in the superblock, every directory is entered once, nothing is allocated that the image does not back, and each
fault is a `DocumentError`. Symbolic links are shown, never followed, and no path has a `..`. Extended attributes are
skipped. Data layouts: flat plain, flat inline and chunk-based; compressed files are refused one by one, so that the
rest of such an image can still be read.

Source: Linux fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. Integers are little-endian; with blocks of
2^blkszbits bytes:

    superblock (at 1024) = magic checksum:u32 compat:u32 blkszbits:u8 .. root_nid:u16 .. blocks:u32 meta_blkaddr:u32 ..
    inode (at meta_blkaddr blocks + nid * 32) = compact:32 | extended:64, then xattrs, then inline tail or chunk map
    directory block = (nid:u64 nameoff:u16 type:u8 reserved:u8)* name*           ; first nameoff / 12 is the count
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO
from uuid import UUID

from imagekit.digests import crc32c
from imagekit.disk.extents import Extent, ExtentReader, join
from imagekit.errors import DocumentError
from imagekit.units import MIB, align_up, iec

MAGIC = 0xE0F5E1E2
SUPERBLOCK_OFFSET = 1024
READ_LIMIT = 64 * MIB  # `read` gives up above this unless told otherwise

_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBB")
_COMPACT = struct.Struct("<HHHHIIIIHHI")
_EXTENDED = struct.Struct("<HHHHQIIIIQII16x")
_DIRENT = struct.Struct("<QHBB")

_COMPAT_CHECKSUM = 0x1
_INCOMPAT_HARMLESS = 0x1 | 0x2 | 0x4 | 0x10 | 0x20 | 0x40  # compression (refused per file), chunks, xattr prefixes
_CHUNK_BITS = 0x1F
_CHUNK_INDEXES = 0x20
_HOLE = 0xFFFFFFFF
_MAX_DEPTH = 64
_MAX_DIRECTORY = 4 * MIB


class _Layout(IntEnum):
    PLAIN = 0
    COMPRESSED_FULL = 1
    INLINE = 2
    COMPRESSED_COMPACT = 3
    CHUNKED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Inode:
    """One file, directory, link or device. `mode` has the type bits of `stat`; `mtime` is in seconds since 1970."""

    nid: int
    mode: int
    uid: int
    gid: int
    links: int
    size: int
    mtime: int
    layout: int
    union: int  # first block, device number or chunk format: it depends on type and layout
    tail: int  # where the bytes after inode and xattrs begin

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A name in the tree, relative to the root, without a leading slash."""

    path: str
    inode: Inode


class Erofs:
    """An open package. The stream must be seekable and stays the caller's; `offset` is where the package begins."""

    def __init__(self, stream: BinaryIO, *, name: str = "package", offset: int = 0) -> None:
        """Read the superblock.

        Raises:
            DocumentError: not EROFS, with features unknown here, damaged, or longer than the stream.
        """
        self._stream = stream
        self._name = name
        self._offset = offset
        available = stream.seek(0, io.SEEK_END) - offset
        self.size = max(available, 0)
        raw = self._bytes(SUPERBLOCK_OFFSET, 128) if available >= SUPERBLOCK_OFFSET + 128 else b""
        if len(raw) < 128 or int.from_bytes(raw[:4], "little") != MAGIC:
            raise self._broken(f"no EROFS superblock in its {max(available, 0)} bytes")
        (_, checksum, compat, self._bits, _, self._root, _, self.build_time, _, blocks, self._meta, _, uuid, _,
         incompat, _, extra_devices, _, dirblkbits, _) = _SUPERBLOCK.unpack_from(raw)
        self.uuid = UUID(bytes=uuid)
        if not 9 <= self._bits <= 16 or dirblkbits:
            raise self._broken(f"blocks of 2^{self._bits} bytes and directory blocks of 2^{self._bits + dirblkbits},"
                               " allowed is 2^9 to 2^16 and the same for both")
        self.block_size = 1 << self._bits
        self.size = blocks << self._bits
        if incompat & ~_INCOMPAT_HARMLESS or extra_devices:
            raise self._broken(f"features {incompat:#x} and {extra_devices} extra devices are not known here")
        if self.size < SUPERBLOCK_OFFSET + 128 or self.size > available:
            raise self._broken(f"its superblock says {self.size} bytes, there are {available}")
        if compat & _COMPAT_CHECKSUM:
            self._check_superblock(checksum)

    def _check_superblock(self, expected: int) -> None:
        length = self.block_size - SUPERBLOCK_OFFSET if self.block_size > SUPERBLOCK_OFFSET else self.block_size
        block = bytearray(self._bytes(SUPERBLOCK_OFFSET, length))
        block[4:8] = bytes(4)
        found = crc32c(block)
        if found != expected:
            raise self._broken(f"checksum of its superblock is {found:#010x}, it says {expected:#010x}")

    def _broken(self, why: str) -> DocumentError:
        return DocumentError(f"cannot read {self._name}: {why}")

    def _bytes(self, start: int, length: int) -> bytes:
        """`length` bytes at `start` of the image, or a DocumentError; never a short answer."""
        if start < 0 or length < 0 or start + length > self.size:
            raise self._broken(f"it points at bytes {start} to {start + length} of {self.size}")
        self._stream.seek(self._offset + start)
        raw = self._stream.read(length)
        while len(raw) < length:
            more = self._stream.read(length - len(raw))
            if not more:
                raise self._broken(f"it ends at byte {start + len(raw)} of {self.size}")
            raw += more
        return raw

    def _inode(self, nid: int) -> Inode:
        start = (self._meta << self._bits) + nid * 32
        raw = self._bytes(start, _COMPACT.size)
        version = raw[0] & 1
        if version:
            raw = self._bytes(start, _EXTENDED.size)
            (kind, xattrs, mode, _, size, union, _, uid, gid, mtime, _, links) = _EXTENDED.unpack(raw)
        else:
            (kind, xattrs, mode, links, size, _, union, _, uid, gid, _) = _COMPACT.unpack(raw)
            mtime = self.build_time
        if kind >> 4 or kind >> 1 > _Layout.CHUNKED:
            raise self._broken(f"inode {nid} has the unknown format {kind:#x}")
        xattr_size = 12 + 4 * (xattrs - 1) if xattrs else 0
        return Inode(nid=nid, mode=mode, uid=uid, gid=gid, links=links, size=size, mtime=mtime, layout=kind >> 1,
                     union=union, tail=start + len(raw) + xattr_size)

    def _extents(self, inode: Inode) -> Iterator[Extent]:
        """The inode's bytes in order, positions relative to the image, each inside it."""
        if not inode.size:
            return
        if inode.layout == _Layout.CHUNKED:
            yield from self._chunks(inode)
            return
        if inode.layout in (_Layout.COMPRESSED_FULL, _Layout.COMPRESSED_COMPACT):
            raise DocumentError(f"cannot read {self._name}: file {inode.nid} is compressed",
                                hint="packages are uncompressed EROFS: make it again with `imagekit pack`")
        whole, rest = inode.size, 0
        if inode.layout == _Layout.INLINE:
            rest = inode.size % self.block_size or self.block_size
            whole -= rest
        if whole:
            yield self._inside(inode.union << self._bits, whole)
        if rest:
            if inode.tail // self.block_size != (inode.tail + rest - 1) // self.block_size:
                raise self._broken(f"the tail of inode {inode.nid} crosses a block")
            yield self._inside(inode.tail, rest)

    def _inside(self, start: int, length: int) -> Extent:
        if start + length > self.size:
            raise self._broken(f"it points at bytes {start} to {start + length} of {self.size}")
        return Extent(start=start, length=length)

    def _chunks(self, inode: Inode) -> Iterator[Extent]:
        if inode.union & 0xFFFF & ~(_CHUNK_BITS | _CHUNK_INDEXES):
            raise self._broken(f"inode {inode.nid} has the unknown chunk format {inode.union:#x}")
        chunk = self.block_size << (inode.union & _CHUNK_BITS)
        width = 8 if inode.union & _CHUNK_INDEXES else 4
        start = align_up(inode.tail, width)
        count = -(-inode.size // chunk)
        self._inside(start, count * width)
        left = inode.size
        for first in range(0, count, 1024):
            table = self._bytes(start + first * width, min(1024, count - first) * width)
            for at in range(0, len(table), width):
                if width == 8 and table[at:at + 4] != bytes(4) and table[at + 4:at + 8] != b"\xff" * 4:
                    raise self._broken(f"inode {inode.nid} has a chunk on another device")
                block = int.from_bytes(table[at + width - 4:at + width], "little")
                length = min(chunk, left)
                left -= length
                yield Extent(start=None, length=length) if block == _HOLE else self._inside(block << self._bits, length)

    def _content(self, inode: Inode, limit: int) -> bytes:
        if inode.size > limit:
            raise self._broken(f"inode {inode.nid} has {iec(inode.size)}, at most {iec(limit)} are taken here")
        return b"".join(bytes(extent.length) if extent.start is None else self._bytes(extent.start, extent.length)
                        for extent in self._extents(inode))

    def _names(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        """(name, nid) of a directory, in its order, `.` and `..` left out."""
        content = self._content(directory, _MAX_DIRECTORY)
        for base in range(0, len(content), self.block_size):
            yield from self._names_in_block(content[base:base + self.block_size], directory.nid)

    def _names_in_block(self, block: bytes, nid: int) -> Iterator[tuple[bytes, int]]:
        heads = int.from_bytes(block[8:10], "little") if len(block) >= _DIRENT.size else 0
        if not _DIRENT.size <= heads <= len(block) or heads % _DIRENT.size:
            raise self._broken(f"directory {nid} has a block whose names begin at {heads}")
        entries = list(_DIRENT.iter_unpack(block[:heads]))
        ends = [entry[1] for entry in entries[1:]] + [len(block)]
        for (target, start, _, _), end in zip(entries, ends, strict=True):
            name = block[start:end] if heads <= start < end <= len(block) else b""
            name = name.rstrip(b"\0") if end == len(block) else name
            if not name or b"/" in name or b"\0" in name or len(name) > 255:
                raise self._broken(f"directory {nid} has a name that is none: {name!r}")
            if name not in (b".", b".."):
                yield name, target

    def stat(self, path: str) -> Inode:
        """The inode at `path` (`meta/snap.yaml`; a leading slash changes nothing, "" is the root).

        Raises:
            DocumentError: no such path, one through a symbolic link or with `..`, or the image is damaged.
        """
        found = self.find(path)
        if found is None:
            raise DocumentError(f"cannot read {path} in {self._name}: there is no such file")
        return found

    def find(self, path: str) -> Inode | None:
        """As `stat`, but None where nothing has that path."""
        inode = self._inode(self._root)
        for part in path.encode("utf-8", "surrogateescape").split(b"/"):
            if part in (b"", b"."):
                continue
            if part == b"..":
                raise DocumentError(f"cannot read {path} in {self._name}: paths with '..' are not taken")
            if inode.is_link:
                raise DocumentError(f"cannot read {path} in {self._name}: it leads through a symbolic link")
            nid = dict(self._names(inode)).get(part) if inode.is_dir else None
            if nid is None:
                return None
            inode = self._inode(nid)
        return inode

    def _file(self, path: str) -> Inode:
        inode = self.stat(path)
        if not inode.is_file:
            raise DocumentError(f"cannot read {path} in {self._name}: it is no regular file")
        return inode

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """The content of a regular file. Raises: DocumentError: see `stat`; no regular file; above `limit` bytes."""
        return self._content(self._file(path), limit)

    def head(self, inode: Inode, length: int) -> bytes:
        """The first bytes of a regular file that `walk` gave; fewer where it is shorter, none where compressed."""
        if not inode.is_file or inode.layout in (_Layout.COMPRESSED_FULL, _Layout.COMPRESSED_COMPACT):
            return b""
        first = next(self._extents(inode), None)
        if first is None or first.start is None:
            return bytes(min(length, inode.size))
        return self._bytes(first.start, min(length, first.length))

    def places(self, inode: Inode) -> tuple[Extent, ...]:
        """Where the bytes of a regular file that `walk` gave lie in the package, in order; none where compressed."""
        if not inode.is_file or inode.layout in (_Layout.COMPRESSED_FULL, _Layout.COMPRESSED_COMPACT):
            return ()
        return tuple(self._extents(inode))

    def extents(self, path: str) -> tuple[Extent, ...]:
        """Where a regular file lies, as positions in the stream, neighbours joined: to copy it, or to damage it."""
        return join(extent if extent.start is None else Extent(start=self._offset + extent.start, length=extent.length)
                    for extent in self._extents(self._file(path)))

    def file_at(self, offset: int) -> str | None:
        """The path of the file or directory with bytes in the block at `offset`; None: no file's, or a list of names
        that is lost."""
        block = offset - offset % self.block_size
        for entry in self.walk():
            if not (entry.inode.is_file or entry.inode.is_dir):
                continue
            for extent in self._extents(entry.inode):
                if extent.start is not None and extent.start < block + self.block_size and (
                        block < extent.start + extent.length):
                    return entry.path
        return None

    def open(self, path: str) -> BinaryIO:
        """A regular file as a stream, for those too large to `read`."""
        return io.BufferedReader(ExtentReader(self._stream, self.extents(path)), MIB)

    def readlink(self, path: str) -> str:
        """Where a symbolic link points, unjudged. Raises: DocumentError: see `stat`; no link."""
        inode = self.stat(path)
        if not inode.is_link:
            raise DocumentError(f"cannot read {path} in {self._name}: it is no symbolic link")
        return self._content(inode, 4096).decode("utf-8", "surrogateescape")

    def listdir(self, path: str = "") -> tuple[str, ...]:
        """The names in a directory. Raises: DocumentError: see `stat`; no directory."""
        inode = self.stat(path)
        if not inode.is_dir:
            raise DocumentError(f"cannot list {path} in {self._name}: it is no directory")
        return tuple(name.decode("utf-8", "surrogateescape") for name, _ in self._names(inode))

    def walk(self) -> Iterator[Entry]:
        """Every path below the root, a directory before what it holds.

        Raises:
            DocumentError: the image is damaged, or directories hold each other, share bytes or lie too deep.
        """
        root = self._inode(self._root)
        entered = {root.nid}
        unread = self.size - root.size
        stack = [("", self._names(root))]
        while stack:
            prefix, names = stack[-1]
            name, nid = next(names, (b"", 0))
            if not name:
                stack.pop()
                continue
            inode = self._inode(nid)
            path = prefix + name.decode("utf-8", "surrogateescape")
            yield Entry(path=path, inode=inode)
            if inode.is_dir:
                unread -= inode.size
                if nid in entered or len(stack) >= _MAX_DEPTH or unread < 0:
                    raise self._broken(f"its directories run in circles at {path!r}")
                entered.add(nid)
                stack.append((path + "/", self._names(inode)))
