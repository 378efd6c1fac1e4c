"""Find the frames of a zstd file without decoding it, so that they can be decoded apart and in any order.

Decides nothing about the content. A file of one frame, or one whose frames do not state their size, has no use for an
index: it is read from the front.

Source: RFC 8878, sections 3.1.1 (frames and blocks) and 3.1.2 (skippable frames). Little-endian:

    frame = 0xFD2FB528:u32 descriptor:u8 [window:u8] [dictionary:0..4] [content size:0..8] block* [checksum:4]
    block = last:1 type:2 size:21 (bits, lowest first), then `size` bytes; of type 1 (a run), one byte
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import zstandard

from imagekit.errors import DocumentError

MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_RUN, _RESERVED = 1, 3
MOST_FRAMES = 1 << 20

Read = Callable[[int, int], bytes]  # so many bytes at an offset of the file, fewer at its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Compressed bytes `[at, stop)` of the file hold the content `[start, end)`."""

    at: int
    stop: int
    start: int
    end: int


def index_frames(read: Read, size: int, *, name: str) -> tuple[Frame, ...] | None:
    """Every frame of a file of `size` bytes, in order; None where one does not state its size, or there are too many.

    All frames are walked through in any case: decoders that read a file from the front do not tell that it was cut.

    Raises:
        DocumentError: it is no zstd file, or is cut short.
    """
    frames: list[Frame] = []
    at = start = count = 0
    try:
        while at < size:
            head = read(at, 18)
            if int.from_bytes(head[:4], "little") in _SKIPPABLE:
                at += 8 + int.from_bytes(head[4:8], "little")
                continue
            stop, length = _frame(read, at, head)
            if length is not None and len(frames) == count < MOST_FRAMES:
                frames.append(Frame(at=at, stop=stop, start=start, end=start + length))
                start += length
            at, count = stop, count + 1
    except (IndexError, ValueError) as error:
        raise DocumentError(f"cannot read {name}: it is no zstd file, or was cut short: {error}") from error
    if at > size or not count:
        raise DocumentError(f"cannot read {name}: it was cut short")
    return tuple(frames) if len(frames) == count else None


def _frame(read: Read, at: int, head: bytes) -> tuple[int, int | None]:
    """Where a frame ends, and the size of its content; None: it does not state it."""
    if head[:4] != MAGIC:
        raise ValueError(f"no frame begins at byte {at}")
    descriptor = head[4]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    here = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    length = int.from_bytes(head[here:here + width], "little") + (256 if width == 2 else 0) if width else None
    here += at + width
    last = False
    while not last:
        block = read(here, 3)
        header = block[0] | block[1] << 8 | block[2] << 16
        last, kind = bool(header & 1), header >> 1 & 3
        if kind == _RESERVED:
            raise ValueError(f"the block at byte {here} is of no known type")
        here += 3 + (1 if kind == _RUN else header >> 3)
    return here + 4 * checksum, length


def compress_frames(pieces: Iterable[bytes | memoryview], *, level: int = 3) -> Iterator[bytes]:
    """One frame for each piece, with its size and a checksum. Any zstd program unpacks the whole."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    for piece in pieces:
        yield compressor.compress(piece)
