"""The image while it is written: a sparse file of its final size, held open, and what a failed write means.

Whatever is not written reads as zeros. Decides nothing about the content.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imagekit.digests import CHUNK
from imagekit.errors import DocumentError, HostError
from imagekit.host.files import reason
from imagekit.units import iec


def pieces(stream: BinaryIO | io.FileIO, most: int) -> Iterator[memoryview]:
    """At most `most` bytes of a stream, in pieces that are good until the next one is asked for.

    One buffer serves all: a new one for each piece costs more page faults than the copying itself.
    """
    buffer = memoryview(bytearray(CHUNK))
    while most and (length := stream.readinto(buffer[:most])):  # type: ignore[union-attr]  # unbuffered files have it
        yield buffer[:length]
        most -= length


class ImageFile:
    """The image while it is written: a file descriptor and the plan's size."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.fchmod(self._descriptor, 0o644)
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)

    def write(self, offset: int, content: bytes | memoryview) -> None:
        """All of `content` at `offset`."""
        view = memoryview(content)
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            view, offset = view[done:], offset + done

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""
        return os.pread(self._descriptor, length, offset)

    def chunks(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from `start` to `end`, in pieces that are good until the next one is asked for."""
        buffer = memoryview(bytearray(min(CHUNK, end - start)))
        while start < end:
            length = os.preadv(self._descriptor, [buffer[:end - start]], start)
            if not length:
                raise DocumentError(f"cannot read {self.path}: it ends at byte {start}")
            yield buffer[:length]
            start += length

    def stream(self) -> BinaryIO:
        """A reader over the whole image; closing it leaves the image open."""
        return open(self._descriptor, "rb", closefd=False)

    def flush(self) -> None:
        """Wait until the bytes are on the disk."""
        os.fdatasync(self._descriptor)


def full_disk(error: OSError, path: Path, needed: int) -> HostError:
    """What a fault of the system means to a user; one that names a file is about that one, a package perhaps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        why = {errno.EFBIG: "the file would be larger than allowed", errno.EDQUOT: "the quota is used up"}
        return HostError(f"cannot write {path}: {why.get(error.errno or 0, 'no space left on the disk')}",
                         hint=f"the image needs {iec(needed)}; make room, or name another folder with -o")
    if error.filename is not None:
        return HostError(f"cannot use {os.fsdecode(error.filename)}: {reason(error)}")
    return HostError(f"cannot write {path}: {reason(error)}")
