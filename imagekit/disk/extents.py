"""Runs of bytes in a larger stream, and a stream that reads them one after the other.

Decides nothing: file system readers say where a file lies, tests and builders copy or damage it there.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

from imagekit.errors import DocumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`length` bytes at `start` of a stream; `start` None is a hole, which reads as zeros."""

    start: int | None
    length: int

    @property
    def end(self) -> int | None:
        return None if self.start is None else self.start + self.length


def join(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """The same bytes in as few extents as possible."""
    joined: list[Extent] = []
    for extent in extents:
        if joined and extent.start == joined[-1].end:
            joined[-1] = Extent(start=joined[-1].start, length=joined[-1].length + extent.length)
        else:
            joined.append(extent)
    return tuple(joined)


class ExtentReader(io.RawIOBase):
    """The bytes of `extents` as one seekable stream. The stream below stays the caller's and may be shared."""

    def __init__(self, stream: BinaryIO, extents: Iterable[Extent]) -> None:
        super().__init__()
        self._stream = stream
        self._extents = tuple(extents)
        self._ends = list(accumulate(extent.length for extent in self._extents))
        self._position = 0

    @property
    def size(self) -> int:
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from one extent. Raises: DocumentError: the stream below has ended."""
        view = memoryview(buffer).cast("B")
        index = bisect_right(self._ends, self._position)
        if index == len(self._ends) or not view:
            return 0
        extent = self._extents[index]
        wanted = min(len(view), self._ends[index] - self._position)
        if extent.start is None:
            piece = bytes(wanted)
        else:
            self._stream.seek(extent.start + extent.length - (self._ends[index] - self._position))
            piece = self._stream.read(wanted)
            if not piece:
                raise DocumentError(f"cannot read a file in an image: the image ends before byte {extent.end}")
        view[:len(piece)] = piece
        self._position += len(piece)
        return len(piece)
