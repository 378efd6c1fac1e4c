"""Disks, file systems and records on them.

Where a format has a checksum, the bytes are first made to fit it when their last bit says so: a fuzzer never finds
through a checksum by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib

from sparse import Sparse

from imagekit.boot.autoboot import AUTOBOOT_SIZE, decode_autoboot, encode_autoboot, read_settings, select
from imagekit.boot.slotstate import RECORD_SIZE, decode_record, encode_record, newest
from imagekit.digests import crc32c
from imagekit.disk import gpt, mbr
from imagekit.disk.bmap import decode_ranges
from imagekit.disk.describe import describe
from imagekit.disk.ext4 import used_ranges
from imagekit.disk.fat_read import read_fat
from imagekit.disk.gpt_move import move_table
from imagekit.disk.probe import probe
from imagekit.disk.verity import Superblock as VeritySuperblock
from imagekit.disk.zstd_frames import index_frames
from imagekit.errors import DocumentError, ImagekitError
from imagekit.packages.delta import apply_delta
from imagekit.packages.erofs import MAGIC as EROFS_MAGIC
from imagekit.packages.erofs import Erofs
from imagekit.packages.squashfs import decode_superblock, parse_listing
from imagekit.units import MIB

READ_LIMIT = 16 << 10  # of a file in a file system
FILES = 50  # read of one file system


def repaired(raw: bytes) -> bool:
    """Whether these bytes ask for right checksums."""
    return bool(raw) and bool(raw[-1] & 1)


def partition_tables(raw: bytes) -> None:
    for sector in (512, 4096):
        disk = Sparse(raw)
        if repaired(raw):
            _repair_gpt(disk, sector)
        with contextlib.suppress(ImagekitError):
            table = gpt.decode(disk)
            with contextlib.suppress(ImagekitError):
                gpt.encode(table)
            for offset, piece in move_table(disk, table, 2 * disk.size // sector * sector):
                assert 0 <= offset <= offset + len(piece) <= 2 * disk.size
        with contextlib.suppress(ImagekitError):
            mbr.decode(disk, sector=sector)
    with contextlib.suppress(ImagekitError):
        probe(disk, name="fuzz")
    describe(disk)


def _repair_gpt(disk: Sparse, sector: int) -> None:
    for lba in (1, disk.size // sector - 1):
        if lba < 1:
            continue
        disk.seek(lba * sector)
        head = disk.read(sector)
        if len(head) < 92:
            continue
        size, entries, count, entry_size = (*struct.unpack_from("<I", head, 12), *struct.unpack_from("<QII", head, 72))
        if count * entry_size <= 1 << 20:
            disk.seek(min(entries * sector, disk.size))
            head = head[:88] + struct.pack("<I", zlib.crc32(disk.read(count * entry_size))) + head[92:]
        if 92 <= size <= sector:
            crc = zlib.crc32(head[:16] + bytes(4) + head[20:size])
            disk.patch(lba * sector, head[:16] + struct.pack("<I", crc) + head[20:])


def block_map(raw: bytes) -> None:
    if repaired(raw):
        text = raw.decode("ascii", "replace")
        start = text.find("<BmapFileChecksum>") + len("<BmapFileChecksum>")
        while text[start:start + 1] == " ":
            start += 1
        blank = text[:start] + "0" * 64 + text[start + 64:]
        raw = (text[:start] + hashlib.sha256(blank.encode()).hexdigest() + text[start + 64:]).encode()
    decode_ranges(raw, size=1 << 30)


def fat(raw: bytes) -> None:
    volume = read_fat(Sparse(raw))
    for number, entry in enumerate(volume.walk()):
        if number > FILES:
            break
        with contextlib.suppress(DocumentError):
            volume.read(entry.path, limit=READ_LIMIT)
        with contextlib.suppress(DocumentError):
            volume.locate(entry.path)
    volume.label  # noqa: B018  it is read from the root directory


def ext4(raw: bytes) -> None:
    used_ranges(Sparse(raw), 0)


def squashfs(raw: bytes) -> None:
    with contextlib.suppress(ImagekitError):
        decode_superblock(raw[:96], file_size=1 << 20, name="fuzz")
    parse_listing(raw.decode("utf-8", "surrogateescape"), name="fuzz")


def erofs(raw: bytes) -> None:
    image = Sparse(raw)
    if repaired(raw):
        image.seek(1024)
        head = image.read(3072)
        if head[:4] == EROFS_MAGIC.to_bytes(4, "little") and len(head) == 3072 and head[12] == 12:
            image.patch(1028, crc32c(head[:4] + bytes(4) + head[8:]).to_bytes(4, "little"))
    package = Erofs(image, name="fuzz")
    for number, entry in enumerate(package.walk()):
        if number > FILES:
            break
        with contextlib.suppress(DocumentError):
            if entry.inode.is_link:
                package.readlink(entry.path)
            elif entry.inode.is_file:
                package.head(entry.inode, 20)
                package.read(entry.path, limit=READ_LIMIT)


def autoboot(raw: bytes) -> None:
    """autoboot.txt as the firmware takes it and as ours; config.txt, which has the same lines."""
    for tryboot in (False, True):
        with contextlib.suppress(ImagekitError):
            found = select(raw, tryboot=tryboot)
            assert found.partition >= 0
            assert len(raw) <= AUTOBOOT_SIZE
    with contextlib.suppress(ImagekitError):
        assert encode_autoboot(decode_autoboot(raw)) == raw
    with contextlib.suppress(ImagekitError):
        every = read_settings(raw, filters=frozenset({"pi4", "tryboot"}), name="config.txt")
        fewer = read_settings(raw, filters=frozenset(), name="config.txt")
        assert fewer.keys() <= every.keys(), "a filter that passes takes nothing away"


def slot_state(raw: bytes) -> None:
    if repaired(raw) and len(raw) >= RECORD_SIZE:
        raw = raw[:RECORD_SIZE - 4] + struct.pack("<I", zlib.crc32(raw[:RECORD_SIZE - 4])) + raw[RECORD_SIZE:]
    newest((raw[:RECORD_SIZE], raw[RECORD_SIZE:]))
    state = decode_record(raw)
    assert decode_record(encode_record(state)) == state


def verity(raw: bytes) -> None:
    found = VeritySuperblock.decode(raw)
    assert VeritySuperblock.decode(found.encode()) == found


def zstd_frames(raw: bytes) -> None:
    frames = index_frames(lambda at, length: raw[at:at + length], len(raw), name="fuzz") or ()
    at = start = 0
    for frame in frames:
        assert at <= frame.at < frame.stop <= len(raw)
        assert start == frame.start <= frame.end
        at, start = frame.stop, frame.end


OLD = bytes(range(256)) * 64
DELTA_HEAD = struct.Struct("<8sQQ48s48sQQQ")


def delta(raw: bytes) -> None:
    """A delta against a package of 16 KiB, whose caller takes no more than a mebibyte, as devices take the signed size.

    Where the last bit is set, the lengths in the head are made right.
    """
    if len(raw) > DELTA_HEAD.size and repaired(raw):
        magic, _, size, old, new, ops, diff, _ = DELTA_HEAD.unpack_from(raw)
        body = len(raw) - DELTA_HEAD.size
        ops = ops % (body + 1)
        diff = diff % (body - ops + 1)
        raw = DELTA_HEAD.pack(magic, len(OLD), size % MIB + 1, old, new, ops, diff, body - ops - diff
                              ) + raw[DELTA_HEAD.size:]
    written = 0

    def write(piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        if written > MIB:
            raise DocumentError("more than the signed size")

    head = apply_delta(io.BytesIO(raw), io.BytesIO(OLD), write, name="fuzz")
    assert written == head.new_size
