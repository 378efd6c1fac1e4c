"""Disks for fuzzing: a few kilobytes that stand for an image of any size.

    text = sectors:u32 (offset:u32 length:u16 bytes)*     ; little-endian, the size in units of 512 bytes
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

SECTOR = 512
MAX_SIZE = 64 << 20

_CHUNK = struct.Struct("<IH")


class Sparse(io.RawIOBase):
    """A read-only stream of which only some pieces are not zeros."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.size = min(int.from_bytes(text[:4], "little") * SECTOR, MAX_SIZE)
        self.pieces: list[tuple[int, bytes]] = []
        self._at = 0
        at = 4
        while at + _CHUNK.size <= len(text):
            offset, length = _CHUNK.unpack_from(text, at)
            piece = text[at + _CHUNK.size:at + _CHUNK.size + length]
            at += _CHUNK.size + length
            if piece:
                self.pieces.append((offset, piece))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(22, "negative position")  # as a file answers
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.size - self._at, 0)
        length = left if size is None or size < 0 else min(size, left)
        raw = bytearray(length)
        for offset, piece in self.pieces:
            start, end = max(offset, self._at), min(offset + len(piece), self._at + length)
            if start < end:
                raw[start - self._at:end - self._at] = piece[start - offset:end - offset]
        self._at += length
        return bytes(raw)

    def patch(self, offset: int, content: bytes) -> None:
        """Lay bytes over what is there."""
        self.pieces.append((offset, content))


def shrink(image: bytes) -> bytes:
    """The text that stands for an image."""
    text = bytearray(struct.pack("<I", -(-len(image) // SECTOR)))
    start = None
    for offset in range(0, len(image) + SECTOR, SECTOR):
        block = image[offset:offset + SECTOR]
        full = any(block)
        if start is not None and (not full or offset - start >= 32 * SECTOR):
            piece = image[start:offset].rstrip(b"\0")
            text += _CHUNK.pack(start, len(piece)) + piece
            start = None
        if full and start is None:
            start = offset
    return bytes(text)


def shrink_file(path: Path) -> bytes:
    """The text that stands for a file."""
    return shrink(path.read_bytes())
