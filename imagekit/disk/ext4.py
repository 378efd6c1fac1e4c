"""Read which blocks of an ext4 file system are in use, and name the fields of its superblock.

Decides nothing about the file system: mke2fs makes it. The builder asks here which blocks matter, so that the block map
comes from what the file system says and not from the holes that the host happens to keep; `--twice` asks what a byte
means. Source: Linux Documentation/filesystems/ext4/ (super.rst, group_descr.rst, bitmaps.rst). Little-endian:

    superblock (at 1024, 1024 bytes) = inodes:u32 blocks:u32 .. magic:u16 at 56 .. uuid at 104 .. checksum at 1020
    group descriptor                 = block_bitmap:u32 inode_bitmap:u32 inode_table:u32 .. flags:u16 at 18 ..
    block bitmap                     = one bit for each block of the group, least significant first

A group whose bitmap was never written (BLOCK_UNINIT) uses no block but its superblock copy and descriptors.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from imagekit.digests import crc32c
from imagekit.errors import DocumentError

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024
MAGIC = 0xEF53
MAX_GROUPS = 1 << 16

_BLOCK_UNINIT = 0x2
_COMPAT_RESIZE = 0x10
_RO_SPARSE = 0x1
_RO_METADATA_CSUM = 0x400
_CHECKSUM_AT = 1020
_STATE_CLEAN = 0x1
_STATE_ERRORS = 0x2
_INCOMPAT_RECOVER = 0x4
_INCOMPAT_META_BG = 0x10
_INCOMPAT_64BIT = 0x80

# (offset, length, name) of the superblock's fields, as far as an image of ours can differ in them
FIELDS = (
    (0, 4, "inodes_count"), (4, 4, "blocks_count"), (12, 4, "free_blocks"), (16, 4, "free_inodes"),
    (44, 4, "mtime"), (48, 4, "wtime"), (52, 2, "mnt_count"), (64, 4, "lastcheck"), (92, 4, "feature_compat"),
    (96, 4, "feature_incompat"), (100, 4, "feature_ro_compat"), (104, 16, "uuid"), (120, 16, "volume_name"),
    (136, 64, "last_mounted"), (208, 16, "journal_uuid"), (236, 16, "hash_seed"), (264, 4, "mkfs_time"),
    (268, 68, "journal_blocks"), (372, 8, "kbytes_written"), (624, 4, "checksum_seed"), (1020, 4, "checksum"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ext4:
    """The superblock, as far as the block map needs it."""

    block_size: int
    blocks: int
    first_block: int
    blocks_per_group: int
    descriptor_size: int
    reserved_descriptors: int
    sparse: bool

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first_block) // self.blocks_per_group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How an ext4 file system was left: `replay`: its journal has something to replay; `size` is in bytes."""

    size: int
    label: str
    clean: bool
    errors: bool
    replay: bool
    mounts: int


def decode_condition(raw: bytes) -> Condition:
    """Read the same 1024 bytes.

    Raises:
        DocumentError: see `decode_superblock`; its checksum does not match.
    """
    layout = decode_superblock(raw)
    ro_compat, = struct.unpack_from("<I", raw, 100)
    if ro_compat & _RO_METADATA_CSUM and crc32c(raw[:_CHECKSUM_AT]) != struct.unpack_from("<I", raw, _CHECKSUM_AT)[0]:
        raise DocumentError("cannot decode ext4 superblock: its checksum does not match")
    mounts, state = struct.unpack_from("<H", raw, 52)[0], struct.unpack_from("<H", raw, 58)[0]
    incompat, = struct.unpack_from("<I", raw, 96)
    return Condition(size=layout.blocks * layout.block_size, clean=bool(state & _STATE_CLEAN), mounts=mounts,
                     errors=bool(state & _STATE_ERRORS), replay=bool(incompat & _INCOMPAT_RECOVER),
                     label=raw[120:136].split(b"\0")[0].decode("utf-8", "replace"))


def decode_superblock(raw: bytes) -> Ext4:
    """Read the 1024 bytes at 1024.

    Raises:
        DocumentError: no ext4, or with a geometry that mke2fs does not make for us.
    """
    if len(raw) < SUPERBLOCK_SIZE or struct.unpack_from("<H", raw, 56)[0] != MAGIC:
        raise DocumentError("cannot decode ext4 superblock: its magic is missing")
    blocks, = struct.unpack_from("<I", raw, 4)
    first, log_size = struct.unpack_from("<II", raw, 20)
    per_group, = struct.unpack_from("<I", raw, 32)
    compat, incompat, ro_compat = struct.unpack_from("<III", raw, 92)
    reserved, = struct.unpack_from("<H", raw, 206)
    descriptor = struct.unpack_from("<H", raw, 254)[0] if incompat & _INCOMPAT_64BIT else 32
    if log_size > 6 or not 0 < per_group <= 8 << (10 + log_size) or blocks <= first:
        raise DocumentError(f"cannot decode ext4 superblock: {blocks} blocks, {per_group} in a group of size"
                            f" 2^{10 + log_size} make no sense")
    if incompat & _INCOMPAT_META_BG or not 32 <= descriptor <= 1 << (10 + log_size):
        raise DocumentError("cannot decode ext4 superblock: its group descriptors have a form that is not known here")
    found = Ext4(block_size=1 << (10 + log_size), blocks=blocks, first_block=first, blocks_per_group=per_group,
                 descriptor_size=descriptor, reserved_descriptors=reserved if compat & _COMPAT_RESIZE else 0,
                 sparse=bool(ro_compat & _RO_SPARSE))
    if found.groups > MAX_GROUPS:
        raise DocumentError(f"cannot decode ext4 superblock: {found.groups} groups, at most {MAX_GROUPS} are read")
    return found


def used_ranges(stream: BinaryIO, offset: int) -> tuple[tuple[int, int], ...]:
    """The byte ranges in use, relative to the file system at `offset` of the stream, ascending and joined.

    Raises:
        DocumentError: no ext4 there, damaged, or the stream ends before the file system does.
    """
    layout = decode_superblock(_read(stream, offset + SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE))
    size = stream.seek(0, io.SEEK_END) - offset
    if layout.blocks * layout.block_size > size:
        raise DocumentError(f"cannot read ext4: it has {layout.blocks} blocks of {layout.block_size} bytes, the stream"
                            f" has {size} bytes for it")
    table = _read(stream, offset + (layout.first_block + 1) * layout.block_size,
                  layout.groups * layout.descriptor_size)
    ranges: list[tuple[int, int]] = [(0, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE)]
    for group in range(layout.groups):
        for first, last in _group_runs(stream, offset, layout, table, group):
            start, end = first * layout.block_size, last * layout.block_size
            if start <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
            else:
                ranges.append((start, end))
    return tuple(ranges)


def _group_runs(stream: BinaryIO, offset: int, layout: Ext4, table: bytes, group: int) -> Iterator[tuple[int, int]]:
    """Runs of used blocks of one group, half-open."""
    first = layout.first_block + group * layout.blocks_per_group
    count = min(layout.blocks_per_group, layout.blocks - first)
    at = group * layout.descriptor_size
    flags, = struct.unpack_from("<H", table, at + 18)
    if flags & _BLOCK_UNINIT:
        if _has_superblock(group, sparse=layout.sparse):
            descriptors = -(-layout.groups * layout.descriptor_size // layout.block_size)
            yield first, first + min(count, 1 + descriptors + layout.reserved_descriptors)
        return
    low, = struct.unpack_from("<I", table, at)
    high = struct.unpack_from("<I", table, at + 32)[0] if layout.descriptor_size >= 64 else 0
    if high or low >= layout.blocks:
        raise DocumentError(f"cannot read ext4: the block bitmap of group {group} lies outside")
    bitmap = int.from_bytes(_read(stream, offset + low * layout.block_size, layout.block_size), "little")
    position = 0
    while position < count:
        rest = bitmap >> position
        if not rest & ((1 << (count - position)) - 1):
            return
        start = position + (rest & -rest).bit_length() - 1
        run = ~(bitmap >> start)
        end = min(start + (run & -run).bit_length() - 1, count)
        yield first + start, first + end
        position = end


def _has_superblock(group: int, *, sparse: bool) -> bool:
    """Copies lie in groups 0, 1 and the powers of 3, 5 and 7 (sparse_super), else everywhere."""
    if not sparse or group < 2:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def field_at(position: int) -> str | None:
    """The name of the superblock's field that holds byte `position` of it."""
    for start, length, name in FIELDS:
        if start <= position < start + length:
            return name
    return None


def _read(stream: BinaryIO, start: int, length: int) -> bytes:
    stream.seek(start)
    raw = stream.read(length)
    if len(raw) < length:
        raise DocumentError(f"cannot read ext4: the stream ends at byte {start + len(raw)}")
    return raw
