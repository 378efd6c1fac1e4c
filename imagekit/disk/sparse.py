"""Android's sparse images: runs of a disk without what lies between them, for boot loaders that take them by fastboot.

Decides how runs become chunks: blocks that repeat four bytes are told once, what lies between runs is left as it is on
the disk ("don't care"), all else is raw. Each file covers the whole disk, so that a reader's count of blocks is right
wherever the runs lie. The decoder is strict, and takes nothing that a boot loader might understand otherwise.

Source: AOSP platform/system/core libsparse/sparse_format.h.

    file   = header chunk*                                            ; all numbers little-endian
    header = magic:u32 major:u16 minor:u16 file_header:u16 chunk_header:u16 block:u32 blocks:u32 chunks:u32 checksum:u32
    chunk  = type:u16 reserved:u16 blocks:u32 bytes:u32 content       ; bytes: with these twelve
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from imagekit.errors import DocumentError

MAGIC = 0xED26FF3A
HEADER = struct.Struct("<IHHHHIIII")
CHUNK = struct.Struct("<HHII")
FILL = 4  # bytes that are repeated
OVERHEAD = HEADER.size + CHUNK.size  # of a file: its header, and what follows its last run


class Kind(IntEnum):
    """What a chunk holds."""

    RAW = 0xCAC1
    FILL = 0xCAC2
    DONT_CARE = 0xCAC3
    CRC32 = 0xCAC4


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A run of the disk; `content` are its bytes, or the four that are repeated, or none."""

    kind: Kind
    start: int
    end: int
    content: bytes = b""


def encode_sparse(size: int, block: int, runs: Iterable[tuple[int, bytes]]) -> bytes:
    """A file that puts `runs` (offset and bytes, ascending, in whole blocks) onto a disk of `size` bytes."""
    packed, count, at = bytearray(HEADER.size), 0, 0
    for chunk in _chunks(size, block, runs):
        packed += CHUNK.pack(chunk.kind, 0, (chunk.end - chunk.start) // block, CHUNK.size + len(chunk.content))
        packed += chunk.content
        count, at = count + 1, chunk.end
    assert at == size, "the last chunk ends where the disk does"
    HEADER.pack_into(packed, 0, MAGIC, 1, 0, HEADER.size, CHUNK.size, block, size // block, count, 0)
    return bytes(packed)


def _chunks(size: int, block: int, runs: Iterable[tuple[int, bytes]]) -> Iterator[Chunk]:
    at = 0
    for start, content in runs:
        if start % block or len(content) % block or start < at:
            raise ValueError(f"a run of {len(content)} bytes at {start} is not in order, or not in whole blocks")
        if start > at:
            yield Chunk(kind=Kind.DONT_CARE, start=at, end=start)
        yield from _described(start, block, content)
        at = start + len(content)
    if at < size:
        yield Chunk(kind=Kind.DONT_CARE, start=at, end=size)


def _described(start: int, block: int, content: bytes) -> Iterator[Chunk]:
    """A run as chunks that repeat, and chunks that do not."""
    first, before = 0, b""
    for at in range(0, len(content) + block, block):
        word = _repeated(content[at:at + block])
        if at and (word != before or at >= len(content)):
            shown = before or content[first:at]
            yield Chunk(kind=Kind.FILL if before else Kind.RAW, start=start + first, end=start + at, content=shown)
            first = at
        before = word


def _repeated(block: bytes) -> bytes:
    """The four bytes that a block repeats; none where it does not."""
    word = block[:FILL]
    return word if block and block == word * (len(block) // FILL) else b""


def most_content(limit: int) -> int:
    """How many bytes one run may have, so that a file with it is not larger than `limit`, whatever is in it.

    Each run costs a chunk for itself and one for the gap before it.
    """
    return limit - OVERHEAD - 2 * CHUNK.size


def decode_sparse(packed: bytes, *, name: str) -> tuple[int, tuple[Chunk, ...]]:
    """The size of the disk, and the chunks in order.

    Raises:
        DocumentError: the file is damaged, or not as this module's grammar has it.
    """
    def wrong(why: str) -> DocumentError:
        return DocumentError(f"cannot read sparse image {name}: {why}")

    if len(packed) < HEADER.size:
        raise wrong("it ends within its header")
    magic, major, _, file_header, chunk_header, block, blocks, count, _ = HEADER.unpack_from(packed)
    if (magic, major, file_header, chunk_header) != (MAGIC, 1, HEADER.size, CHUNK.size):
        raise wrong("its header is none of version 1")
    if not block or block % FILL:
        raise wrong(f"its blocks have {block} bytes")
    chunks: list[Chunk] = []
    offset, at = HEADER.size, 0
    for number in range(count):
        if len(packed) - offset < CHUNK.size:
            raise wrong(f"it ends before chunk {number} of {count}")
        kind, _, length, total = CHUNK.unpack_from(packed, offset)
        span = length * block
        expected = {Kind.RAW: span, Kind.FILL: FILL, Kind.DONT_CARE: 0}.get(kind)
        if expected is None or total != CHUNK.size + expected or len(packed) - offset < total:
            raise wrong(f"chunk {number} of type {kind:#06x} with {total} bytes for {length} blocks")
        chunks.append(Chunk(kind=Kind(kind), start=at, end=at + span,
                            content=bytes(packed[offset + CHUNK.size:offset + total])))
        offset, at = offset + total, at + span
    if offset != len(packed) or at != blocks * block:
        raise wrong(f"its chunks have {at} of {blocks * block} bytes, {len(packed) - offset} bytes follow them")
    return at, tuple(chunks)
