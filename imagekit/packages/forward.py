"""A stream that is made from the front, and can be sought in all the same: going backward begins again.

What unpacks or is patched together comes in one direction only; who reads a package looks at its head more than once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from imagekit.errors import DocumentError
from imagekit.units import KIB, MIB

PACKED_WINDOW = 32 * MIB  # of zstd: what a device takes of its memory to unpack a package
PIECE = 256 * KIB


class Rewound(io.RawIOBase):
    """The bytes that `begin` gives each time it is called, `most` of them, so that they cannot go on for ever.

    `release` is called once, when the stream is closed.
    """

    def __init__(self, begin: Callable[[], Iterator[bytes]], *, most: int,
                 release: Callable[[], object] | None = None) -> None:
        super().__init__()
        self._begin, self._most, self._release = begin, most, release
        self._pieces = begin()
        self._held = b""
        self._at = self._wanted = 0  # where the next byte comes from, and where the reader wants it from

    def close(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END:
            while self._take(MIB):
                pass
            offset, whence = self._at + offset, io.SEEK_SET
        self._wanted = max(offset + (self._wanted if whence == io.SEEK_CUR else 0), 0)
        return self._wanted

    def readinto(self, buffer: Any, /) -> int:
        if self._wanted < self._at:
            self._pieces, self._held, self._at = self._begin(), b"", 0
        while self._at < self._wanted:
            if not self._take(self._wanted - self._at):
                return 0
        view = memoryview(buffer).cast("B")
        piece = self._take(len(view))
        view[:len(piece)] = piece
        self._wanted = self._at
        return len(piece)

    def _take(self, size: int) -> bytes:
        if not self._held:
            self._held = next(self._pieces, b"")
        piece = self._held[:min(size, self._most - self._at)]
        self._held = self._held[len(piece):]
        self._at += len(piece)
        return piece


def rewound(begin: Callable[[], Iterator[bytes]], *, most: int,
            release: Callable[[], object] | None = None) -> BinaryIO:
    """The same, buffered."""
    return cast(BinaryIO, io.BufferedReader(Rewound(begin, most=most, release=release), MIB))


def unpacked(source: BinaryIO) -> Iterator[bytes]:
    """What a zstd stream unpacks to, from its front, in bounded memory. Raises: DocumentError: it is damaged."""
    import zstandard

    source.seek(0)
    reader = zstandard.ZstdDecompressor(max_window_size=PACKED_WINDOW).stream_reader(
        source, read_across_frames=True, closefd=False)
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise DocumentError(f"cannot unpack: not valid zstd: {error}",
                            hint="the file was cut short or changed: copy it again") from error
